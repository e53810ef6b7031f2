"""The steps that methods are made of.

Each step has the same four verbs: ``measure`` a picture, ``prepare`` what was measured of a reference, ``solve`` for the
transfer from what was measured of the source, and ``apply`` it. What is measured adds, so that pictures can be pooled, and a
transfer is a tensor, so that transfers can be averaged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from .affine import apply_affine, like
from .color_transfer import ColorSample, RotatedTransfer, color_moments
from .exact_specification import exact_specification
from .histogram_matching import (
    LEVELS,
    QuantileFunction,
    apply_transfer,
    cumulative_distribution,
    histogram,
    nearest_transfer_function,
)
from .regrain import regrain
from .skimage_matching import FrameValues, match_frame


@dataclass(frozen=True)
class Picture:
    """A picture in the color space in which it is matched.

    Attributes:
        pixels: floating point, shape ``[C, H, W]``.
        weights: how much each pixel counts, shape ``[H, W]``; None if all count as 1.
        in_range: whether all values are known to be in [0, 1].
        counts: the picture's histogram ``[C, LEVELS]``, where more is known of it than the pixels tell.
        rounding: how far apart values of equal colors can be.
    """

    pixels: Tensor
    weights: Tensor | None = None
    in_range: bool = False
    counts: Tensor | None = None
    rounding: float = 0.0


class Step(ABC):
    """A step of a method.

    Attributes:
        needs_source: whether the source is measured for it.
        needs_reference: whether a reference is.
        channels_apart: whether it treats each channel for itself, leaving out values that are not finite.
        adds_in_any_order: whether sums of what it measures do not depend on what was added first.
    """

    adds_in_any_order: ClassVar[bool] = True
    needs_source: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    channels_apart: ClassVar[bool] = False

    @abstractmethod
    def measure(self, picture: Picture) -> Any:
        """Measure a picture; sums of such measurements are measurements."""

    @abstractmethod
    def totals(self, measured: Any) -> list[float]:
        """How much counts in each channel of what was measured."""

    def prepare(self, measured: Any) -> Any:
        """Make ready what was measured of a reference, for many sources."""
        return measured

    @abstractmethod
    def solve(self, source: Any, prepared: Any) -> Any:
        """Find the transfer from what was measured of the source to what was prepared of the reference."""

    @abstractmethod
    def apply(self, pixels: Tensor, transfer: Any, picture: Picture, out: Tensor | None) -> Tensor:
        """Send ``pixels`` ``[C, H, W]`` through a transfer.

        Args:
            pixels: what the steps before have made of the picture.
            transfer: what :meth:`solve` found.
            picture: the picture as it was.
            out: memory that may be used for the result, perhaps that of ``pixels``; None where a gradient is wanted.

        Returns:
            The result, in ``out`` or in memory of its own.
        """


@dataclass(frozen=True)
class ChannelStep(Step):
    """Match channel by channel, by the inverse of the reference's distribution.

    Attributes:
        bins: of histograms and transfer functions.
    """

    bins: int = LEVELS
    channels_apart: ClassVar[bool] = True

    def measure(self, picture: Picture) -> Tensor:
        """Count."""
        if picture.counts is not None and self.bins == LEVELS:
            # Sums of measurements are made in place.
            return picture.counts.clone()
        weights = None if picture.weights is None else picture.weights[None]
        counts = histogram(picture.pixels, self.bins, weights, in_range=picture.in_range or None)
        # Where a device has no float64, sums over a clip are exact all the same.
        return counts if counts.dtype == torch.float64 else counts.cpu().double()

    def totals(self, measured: Tensor) -> list[float]:
        """Sum the counts."""
        totals: list[float] = measured.sum(-1).tolist()
        return totals

    def prepare(self, measured: Tensor) -> Any:
        """Invert the distribution."""
        return QuantileFunction(cumulative_distribution(measured))

    def solve(self, source: Any, prepared: Any) -> Tensor:
        """Compose with the inverse."""
        table: Tensor = prepared(cumulative_distribution(source).to(prepared.device))
        return table

    def apply(self, pixels: Tensor, transfer: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Look up."""
        known = (picture.in_range or None) if pixels is picture.pixels else None
        table = transfer if transfer.device == pixels.device else like(transfer, pixels)
        return apply_transfer(pixels, table, out=out, in_range=known)


@dataclass(frozen=True)
class NearestStep(ChannelStep):
    """Match channel by channel, at 256 levels, each to the one whose distribution is nearest."""

    def prepare(self, measured: Tensor) -> Tensor:
        """Nothing to invert."""
        return measured

    def solve(self, source: Tensor, prepared: Tensor) -> Tensor:
        """Compare all levels with all."""
        return nearest_transfer_function(source, prepared.to(source.device))

    def apply(self, pixels: Tensor, transfer: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Look up, without the gradient that a staircase does not have."""
        return super().apply(pixels.detach(), transfer, Picture(pixels), out)


@dataclass(frozen=True)
class TargetStep(ChannelStep):
    """Give each channel a histogram that comes from no picture.

    Attributes:
        target: makes a transfer function of the source's cumulative distribution ``[C, bins]``.
    """

    target: Callable[[Tensor], Tensor] = field(kw_only=True)
    needs_reference: ClassVar[bool] = False

    def solve(self, source: Tensor, prepared: Any) -> Tensor:
        """Ask the target."""
        return self.target(cumulative_distribution(source))


@dataclass(frozen=True)
class LinearStep(Step):
    """Match the moments of colors by an affine map.

    Attributes:
        affine: makes the map of the source's and the reference's moments.
        widened: whether to map on so that [-1, 2] becomes [0, 1], for a step that follows and counts in [0, 1].
    """

    affine: Callable[[Tensor, Tensor], Tensor]
    widened: bool = False

    def measure(self, picture: Picture) -> Tensor:
        """Sum up the moments."""
        return color_moments(picture.pixels, picture.weights)

    def totals(self, measured: Tensor) -> list[float]:
        """The sum of weights, the same for each channel."""
        return [measured[0, 0].item()] * (len(measured) - 1)

    def solve(self, source: Tensor, prepared: Tensor) -> Tensor:
        """Find the map."""
        affine = self.affine(source, prepared)
        if not self.widened:
            return affine
        offset = torch.zeros_like(affine)
        offset[:, -1] = 1 / 3
        return affine / 3 + offset

    def apply(self, pixels: Tensor, transfer: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Multiply and add."""
        if out is not None and out.data_ptr() == pixels.data_ptr():
            out = torch.empty_like(out)
        return apply_affine(pixels, transfer, out=out)


@dataclass(frozen=True, eq=False)
class RotatedStep(Step):
    """Match histograms along the axes of one rotated space after the other.

    Attributes:
        rotated: does so.
    """

    rotated: RotatedTransfer
    adds_in_any_order: ClassVar[bool] = False

    def measure(self, picture: Picture) -> ColorSample:
        """Take a sample."""
        return ColorSample.of(picture.pixels, picture.weights)

    def totals(self, measured: ColorSample) -> list[float]:
        """The sum of weights, the same for each channel."""
        return [measured.weights.sum().item()] * len(measured.colors)

    def prepare(self, measured: ColorSample) -> list[QuantileFunction]:
        """Invert the distributions along all axes."""
        return self.rotated.measure(measured)

    def solve(self, source: ColorSample, prepared: Sequence[QuantileFunction]) -> Tensor:
        """Match the sample, and keep the transfer functions."""
        return self.rotated.solve(source, prepared)

    def apply(self, pixels: Tensor, transfer: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Rotate, look up, rotate on."""
        return self.rotated.apply(pixels, transfer, out=out)


@dataclass(frozen=True)
class RegrainStep(Step):
    """Move the result towards the gradients of the picture as it was.

    Attributes:
        strength: how far, see :func:`regrain`.
        iterations: how many, likewise.
    """

    strength: float
    iterations: tuple[int, ...]
    needs_source: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = False

    def measure(self, picture: Picture) -> None:
        """Nothing."""

    def totals(self, measured: None) -> list[float]:
        """Nothing."""
        return []

    def solve(self, source: None, prepared: None) -> Tensor:
        """Nothing."""
        return torch.empty(0)

    def apply(self, pixels: Tensor, transfer: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Smooth the change."""
        return regrain(pixels, picture.pixels, self.strength, self.iterations, picture.weights)


class ExactStep(ChannelStep):
    """Order the pixels of each channel, and hand out the reference's levels in that order."""

    needs_source: ClassVar[bool] = False

    def prepare(self, measured: Tensor) -> Tensor:
        """The counts are what is handed out."""
        return measured

    def solve(self, source: Tensor | None, prepared: Tensor) -> Tensor:
        """The counts are what is handed out."""
        return prepared

    def apply(self, pixels: Tensor, transfer: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Order and hand out."""
        pixels = pixels.detach()
        matched = torch.empty_like(pixels) if out is None else out
        for channel, target, counts in zip(pixels, matched, transfer.expand(len(pixels), -1), strict=True):
            target.copy_(exact_specification(channel, counts, picture.weights))
        return matched


@dataclass(frozen=True)
class SkimageStep(Step):
    """Match channel by channel with scikit-image, on the CPU."""

    needs_source: ClassVar[bool] = False
    channels_apart: ClassVar[bool] = True

    def measure(self, picture: Picture) -> FrameValues:
        """Collect the values that count."""
        if picture.counts is not None:
            return FrameValues.of_counts(picture.counts)
        return FrameValues.of(_rounded(picture.pixels, picture.rounding), picture.weights)

    def totals(self, measured: FrameValues) -> list[float]:
        """How many values there are."""
        return [float(channel.values.size) for channel in measured.channels]

    def solve(self, source: None, prepared: FrameValues) -> FrameValues:
        """The reference's values are all that is needed."""
        return prepared

    def apply(self, pixels: Tensor, transfer: FrameValues, picture: Picture, out: Tensor | None) -> Tensor:
        """Call scikit-image."""
        return like(match_frame(_rounded(pixels, picture.rounding), picture.weights, transfer), pixels)


def _rounded(pixels: Tensor, step: float) -> Tensor:
    return (pixels.detach() / step).round() * step if step else pixels


def match_picture(
    steps: Sequence[Step],
    picture: Picture,
    prepared: Sequence[Any],
    transfers: Sequence[Any] = (),
    out: Tensor | None = None,
    *,
    upto: int | None = None,
) -> tuple[Tensor, list[Any]]:
    """Send a picture through the steps of a method.

    Args:
        steps: of the method.
        picture: the picture to match.
        prepared: what each step has prepared of the reference.
        transfers: of the first steps, where they do not come from this picture itself.
        out: memory that may be used for the result; None where a gradient is wanted.
        upto: before which step to stop; by default after the last.

    Returns:
        What has become of the pixels, in ``out`` or in memory of its own, and the transfers of all steps so far.
    """
    pixels, taken = picture.pixels, list(transfers)
    for index, step in enumerate(steps[:upto]):
        if index == len(taken):
            source = step.measure(stage(picture, pixels)) if step.needs_source else None
            taken.append(step.solve(source, prepared[index]))
        pixels = step.apply(pixels, taken[index], picture, out)
    return pixels, taken


def stage(picture: Picture, pixels: Tensor) -> Picture:
    """What steps have made of a picture so far, as a picture to be measured."""
    return picture if pixels is picture.pixels else Picture(pixels, picture.weights)
