"""What goes into a run over a clip and what comes out: frames, references, results, and what the user should be told."""

import operator
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from functools import reduce
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ..kernels.dtypes import working_dtype
from ..methods.value_range import ValueRange, moved_counts
from .histograms import FrameHistograms


@dataclass(frozen=True)
class Reference:
    """A reference: pixels ``[C, H, W]`` in [0, 1] with C of 1, 3 or 4, of which a fourth is ignored, and its name for errors.

    A mask ``[H', W']`` in [0, 1] says how much each pixel counts; or ``weights`` ``[H, W]``, not negative, of pixels that are a
    sample of the histogram ``counts`` ``[C, LEVELS]``, whose levels span ``values``, None for [0, 1].
    """

    pixels: Tensor
    name: str
    mask: Tensor | None = None
    counts: Tensor | None = None
    weights: Tensor | None = None
    values: ValueRange | None = None

    def counts_at(self, values: ValueRange | None) -> Tensor | None:
        """Its histogram at the levels of another range, if it is known."""
        return None if self.counts is None else moved_counts(self.counts, self.values, values)

    def span(self) -> ValueRange:
        """What values it holds, or can hold."""
        return ValueRange.of([self.pixels[:3]]) if self.counts is None else self.values or ValueRange(0.0, 1.0)


@dataclass(frozen=True)
class Frame:
    """A frame to match: pixels ``[C, H, W]`` in [0, 1] with C of 1, 3 or 4, of which a fourth is kept, and ``out`` like it.

    Without a reference it has that of the frame before. A mask ``[H', W']`` in [0, 1] says how much each pixel counts where the
    frame is measured, and ``change`` how much each is changed. ``source`` is whatever the caller wants to have with the result.
    """

    pixels: Tensor
    out: Tensor
    reference: Reference | None = None
    mask: Tensor | None = None
    change: Tensor | None = None
    source: Any = None

    def fitted_mask(self) -> Tensor | None:
        """The mask ``[H, W]``; a ValueError if it holds NaN."""
        return None if self.mask is None else fit_mask("image_mask", self.mask, self.pixels)

    def fitted_change(self) -> Tensor | None:
        """How much each pixel is changed, ``[H, W]``; a ValueError if it holds NaN."""
        return None if self.change is None else fit_mask("change_mask", self.change, self.pixels)


@dataclass(frozen=True)
class Report:
    """What the user should be told of a run, or of a part of it, each a number of values or of frames. Reports add."""

    image_missing: int = 0
    reference_missing: int = 0
    image_outside: int = 0
    reference_outside: int = 0
    image_masked: int = 0
    reference_masked: int = 0
    fallbacks: int = 0
    reference_resized: int = 0

    def __add__(self, other: "Report") -> "Report":
        return Report(*(own + others for own, others in zip(astuple(self), astuple(other), strict=True)))

    def notes(self) -> list[str]:
        """A sentence for each thing there is to tell."""
        far = "values far outside of [0, 1] in {} frames, taken as 0 and 1; levels up to 255 are to be divided by 255"
        texts = {
            "image: left out {} NaN or infinite values": self.image_missing,
            "reference: left out {} NaN or infinite values": self.reference_missing,
            f"image: {far}": self.image_outside,
            f"reference: {far}": self.reference_outside,
            "image_mask: 0 throughout for {} frames, which are left as they are; paint where to match, or unplug it": (
                self.image_masked
            ),
            "reference_mask: 0 throughout for {} frames, which are left as they are; paint where to measure, or unplug it": (
                self.reference_masked
            ),
            "device: out of memory {} times, there the CPU did the work": self.fallbacks,
            "reference: resized to the size of {} frames, to compare pixel by pixel": self.reference_resized,
        }
        return [text.format(number) for text, number in texts.items() if number]


@dataclass(frozen=True)
class Matched:
    """A frame with the result in its ``out``, what there is to tell of it and of its reference, and what is to be shown."""

    frame: Frame
    report: Report
    histograms: FrameHistograms | None = None


@dataclass(frozen=True)
class Clip:
    """A clip: ``frames`` begins to read it, ``references`` those that are pooled, in place of those of the frames.

    ``lengths`` says how many of both there are, if that is known. ``first_pass`` begins to read those frames that are measured
    before the first is matched, by default all. Several frames may be worked on ``together``. ``combine`` makes of what was
    measured of all frames, None for no frames, what all machines have measured of the clip. ``observed``: of how many
    frames histograms are to be shown. ``values``: what the levels of frames and references span, if that is not [0, 1].
    """

    frames: Callable[[], Iterable[Frame]]
    references: Callable[[], Iterable[Reference]]
    lengths: tuple[int, int] | None
    first_pass: Callable[[], Iterable[Frame]] | None = None
    together: bool = True
    combine: Callable[[Any], Any] | None = None
    observed: int = 0
    values: ValueRange | None = None


def spanned(pictures: Iterable[Tensor], references: Iterable[Reference]) -> ValueRange:
    """What values the colors of pictures ``[C, H, W]`` and references hold; read one by one."""
    spans = chain((ValueRange.of([pixels[:3]]) for pixels in pictures), (reference.span() for reference in references))
    return reduce(operator.or_, spans)


def fit_mask(name: str, mask: Tensor, pixels: Tensor) -> Tensor:
    """A mask ``[H', W']`` for ``pixels`` ``[..., H, W]``, resized as ComfyUI does, in [0, 1].

    Raises:
        ValueError: it holds NaN.
    """
    mask = mask.to(working_dtype(mask))
    lowest, highest = torch.aminmax(mask.detach())
    if lowest.isnan():
        raise ValueError(f"{name}: expected values from 0 to 1, got NaN")
    if mask.shape != pixels.shape[-2:]:
        mask = torch.nn.functional.interpolate(mask[None, None], size=pixels.shape[-2:], mode="bilinear")[0, 0]
    return mask if lowest >= 0 and highest <= 1 else mask.clamp(0, 1)
