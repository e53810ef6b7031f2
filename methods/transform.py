"""What a match finds, as a value: the parts of a transform, the steps that solve for them, and how both meet a picture.

    measure(picture) ; measure(reference)  ->  solve  ->  Transform  ->  apply(picture)

A step measures pictures and solves for a part of a transform. What is measured adds, so that pictures can be pooled. A method
is a chain of steps, and of parts that there is nothing to solve for; each acts on what those before it have made of a picture.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from .color_space import ColorSpace

_Part = TypeVar("_Part", bound="Part")
_TensorPart = TypeVar("_TensorPart", bound="TensorPart")


@dataclass(frozen=True)
class Picture:
    """Floating-point pixels ``[C, H, W]`` in the color space in which they are matched, and how much each counts, ``[H, W]``.

    ``kept`` is what the color space needs besides to put the picture together again; ``counts`` its histogram ``[C, LEVELS]``,
    where more is known of it than the pixels tell; ``rounding`` how far apart values of equal colors can be; ``missing`` how
    many values were NaN or infinite, and ``outside`` whether finite ones were far outside of [0, 1]; ``inside``: none is.
    """

    pixels: Tensor
    weights: Tensor | None = None
    kept: Tensor | None = None
    counts: Tensor | None = None
    rounding: float = 0.0
    missing: int = 0
    outside: bool = False
    inside: bool = False


class Part(ABC):
    """A part of a transform.

    ``pointwise``: the same color always goes to the same color; if not, ``reason`` says why, as what "it" does. ``looks_back``:
    it needs the picture as it was as well.
    """

    pointwise: ClassVar[bool] = True
    reason: ClassVar[str] = ""
    looks_back: ClassVar[bool] = False

    @abstractmethod
    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Send ``pixels`` ``[C, H, W]``, which the parts before have made of ``picture``, through this part.

        The result may take the memory ``out``, which may be that of ``pixels``; that is None where a gradient is wanted.
        """

    def mixed(self: _Part, other: _Part, weight: float) -> _Part:
        """The way from this part, at weight 0, to another of the same step, at weight 1."""
        return self


@dataclass(frozen=True)
class TensorPart(Part):
    """A part that is told by a tensor ``values``."""

    values: Tensor

    def mixed(self: _TensorPart, other: _TensorPart, weight: float) -> _TensorPart:
        """The linear way between the tensors."""
        return replace(self, values=torch.lerp(self.values, other.values.to(self.values.device), weight))


class Step(ABC):
    """A step of a method.

    ``channelwise``: it treats each channel for itself, leaving out values that are not finite. ``adds_in_any_order``: sums of
    what it measures do not depend on what was added first. ``needs_picture``: for what a reference must be a picture, empty if
    its histogram does as well.
    """

    channelwise: ClassVar[bool] = False
    measures_source: ClassVar[bool] = True
    measures_reference: ClassVar[bool] = True
    adds_in_any_order: ClassVar[bool] = True
    needs_picture: ClassVar[str] = ""

    @abstractmethod
    def measure(self, picture: Picture) -> Any:
        """Measure a picture; sums of such measurements are measurements."""

    def prepare(self, measured: Any) -> Any:
        """Make ready what was measured of a reference, for many sources."""
        return measured

    @abstractmethod
    def solve(self, source: Any, prepared: Any) -> Part:
        """Find the part that leads from what was measured of the source to what was prepared of the reference."""


class PairStep(Step):
    """A step that looks at a picture and its reference pixel by pixel, which show the same at the same place.

    What it measures adds over pairs, and leads to a part for all of them.
    """

    adds_in_any_order: ClassVar[bool] = False
    needs_picture: ClassVar[str] = "to compare pixel by pixel"

    def measure(self, picture: Picture) -> Picture:
        """A reference as it is."""
        return picture

    @abstractmethod
    def measure_pair(self, picture: Picture, reference: Picture) -> Any:
        """Measure a picture beside its reference."""


@dataclass(frozen=True)
class Transform:
    """A change of colors, as a match has found it: what is done, one part after the other, in a color space."""

    space: ColorSpace
    parts: tuple[Part, ...] = ()

    @property
    def pointwise(self) -> bool:
        """Whether the same color always goes to the same color, whatever picture it is in."""
        return all(part.pointwise for part in self.parts)

    def apply(self, pixels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Send RGB pixels ``[3, H, W]``, finite and in [0, 1], through the transform; values can leave [0, 1].

        ``weights`` ``[H, W]`` say how much each pixel counts, where parts are not pointwise.
        """
        channels, kept = self.space.split(pixels)
        _, matched = complete(self, (), Picture(channels, weights), ())
        return self.space.join(matched, kept)

    def averaged(self, other: "Transform", weight: float) -> "Transform":
        """The way from this transform, at weight 0, to another that was found by the same method, at weight 1."""
        return replace(
            self, parts=tuple(own.mixed(others, weight) for own, others in zip(self.parts, other.parts, strict=True))
        )


def complete(
    transform: Transform,
    steps: Sequence[Step | Part],
    picture: Picture,
    prepared: Sequence[Any],
    out: Tensor | None = None,
    *,
    to_the_end: bool = True,
) -> tuple[Transform, Tensor]:
    """Send a picture through what is known of a transform, and through what is solved for the picture itself after that.

    The parts of ``transform`` are those of the first of the method's ``steps``; without steps, all that is known is applied.
    ``prepared`` is what each step has prepared of the reference. The result is the transform with a part for each step, and
    what has become of the pixels, in ``out``, see :meth:`Part.apply`, or in memory of its own. If not ``to_the_end``, pixels
    go only as far as it takes to solve for all parts.
    """
    pixels, parts = picture.pixels, list(transform.parts)
    for index in range(max(len(parts), len(steps))):
        if index == len(parts):
            step = steps[index]
            if isinstance(step, Step):
                now = picture if index == 0 else Picture(pixels, picture.weights)
                if isinstance(step, PairStep):
                    measured = step.measure_pair(now, prepared[index])
                else:
                    measured = step.measure(now) if step.measures_source else None
                step = step.solve(measured, prepared[index])
            parts.append(step)
        if to_the_end or any(isinstance(later, Step) for later in steps[index + 1 :]):
            pixels = parts[index].apply(pixels, picture, out)
    return replace(transform, parts=tuple(parts)), pixels
