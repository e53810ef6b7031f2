"""Match single frames with scikit-image, on the CPU: the answer that others are compared with."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.exposure import match_histograms
from torch import Tensor

from ..kernels.dtypes import nearest_end
from ..kernels.workers import by_stripes, spread
from .transform import Part, Picture, Step

Values: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float64] | None]
"""Values in [0, 1], shape ``[n]``, and how much each counts; None if all count the same."""

# Channels with more pixels are matched in stripes of so many.
_LARGE = 1 << 21
_STRIPE = 1 << 20


@dataclass(frozen=True)
class ReferenceValues(Part):
    """The values of each channel of the reference, to which those of a picture are matched in their order."""

    channels: tuple[Values, ...]
    pointwise: ClassVar[bool] = False
    reason: ClassVar[str] = "compares the values of a picture with those of another"

    def __add__(self, other: "ReferenceValues") -> "ReferenceValues":
        if len(self.channels) != len(other.channels):
            raise ValueError(f"reference: expected {len(self.channels)} channels as in the first, got {len(other.channels)}")
        return ReferenceValues(tuple(map(pooled_values, self.channels, other.channels)))

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Call scikit-image, and do the same in less memory for large pictures."""
        matched = torch.empty_like(pixels) if out is None else out
        large = pixels[0].numel() > _LARGE and picture.weights is None

        def match(channel: Tensor, reference: Values, target: Tensor) -> None:
            if large:
                _match_by_stripes(channel, reference, picture.rounding, target)
                return
            rounded = _rounded(channel, picture.rounding)
            source, counted = channel_values(rounded, picture.weights)
            clean = nearest_end(rounded.cpu().float())
            clean[counted] = torch.from_numpy(match_values(source, reference)).to(clean.dtype)
            target.copy_(clean)

        planes = (pixels.detach(), [self.channels[min(index, len(self.channels) - 1)] for index in range(len(pixels))], matched)
        list(map(match, *planes)) if large else spread(match, *planes)
        return matched


class SkimageStep(Step):
    """Match channel by channel with scikit-image, on the CPU."""

    channelwise: ClassVar[bool] = True
    measures_source: ClassVar[bool] = False

    def measure(self, picture: Picture) -> ReferenceValues:
        """Collect the values that count."""
        if picture.counts is not None:
            return ReferenceValues(tuple(map(histogram_values, picture.counts.cpu())))
        pixels = _rounded(picture.pixels, picture.rounding)
        return ReferenceValues(tuple(channel_values(channel, picture.weights)[0] for channel in pixels))

    def solve(self, source: None, prepared: ReferenceValues) -> ReferenceValues:
        """The reference's values are all that is needed."""
        return prepared


def channel_values(channel: Tensor, mask: Tensor | None) -> tuple[Values, Tensor]:
    """The values of ``channel`` ``[H, W]`` that are finite and count under ``mask`` ``[H, W]``, and where they are, bool."""
    counted = channel.isfinite().cpu()
    if mask is not None:
        counted &= mask.cpu() > 0
    values = channel.detach().cpu()[counted].float().clamp(0, 1).numpy()
    weights = None if mask is None else mask.detach().cpu()[counted].double().numpy()
    return (values, None if weights is None or (weights == 1).all() else weights), counted


def histogram_values(counts: Tensor) -> Values:
    """The values of one channel's histogram ``[bins]``."""
    level = counts.nonzero()[:, 0]
    return (level.double() / (len(counts) - 1)).float().numpy(), counts[level].double().numpy()


def pooled_values(one: Values, other: Values) -> Values:
    """Values of two frames as those of one."""
    weights = None
    if one[1] is not None or other[1] is not None:
        weights = np.concatenate([np.ones(values.size) if weights is None else weights for values, weights in (one, other)])
    return np.concatenate([one[0], other[0]]), weights


def match_values(source: Values, reference: Values) -> NDArray[np.float64]:
    """The source's values matched to the reference's, shape ``[n]``.

    Where each value counts the same, this is :func:`skimage.exposure.match_histograms`. That function takes no weights; with
    weights, the same quantiles are computed from sums of weights in place of numbers of pixels.
    """
    if source[0].size == 0:
        return np.empty(0)
    if source[1] is None and reference[1] is None:
        matched: NDArray[np.float64] = match_histograms(source[0], reference[0])
        return matched
    _, position, quantiles = _distribution(source)
    levels, _, reference_quantiles = _distribution(reference)
    return np.interp(quantiles, reference_quantiles, levels)[position]


def _match_by_stripes(channel: Tensor, reference: Values, rounding: float, out: Tensor) -> None:
    """What :func:`match_values` makes of ``channel`` ``[H, W]``, where scikit-image would take the memory of many channels."""
    levels, quantiles = _quantiles(reference)
    ordered: NDArray[np.float32] = _rounded(channel, rounding).to("cpu", torch.float32, copy=True).flatten().numpy()
    ordered.sort()
    # NaN comes last. A bound of another dtype would copy all.
    lowest, highest = np.float32(-np.inf), np.float32(np.inf)
    ordered = ordered[np.searchsorted(ordered, lowest, "right") : np.searchsorted(ordered, highest)]
    ordered.clip(0, 1, out=ordered)

    def match(stripe: Tensor, target: Tensor) -> None:
        rounded = _rounded(stripe, rounding).cpu().float()
        values = rounded.clamp(0, 1).flatten().numpy()
        # What is looked up in its order is found at once.
        order = np.argsort(values)
        matched = np.empty(values.size, np.float32)
        reached = np.searchsorted(ordered, values[order], "right") / max(1, len(ordered))
        matched[order] = np.interp(reached, quantiles, levels)
        target.copy_(torch.where(rounded.isfinite(), torch.from_numpy(matched).view(rounded.shape), nearest_end(rounded)))

    by_stripes(match, channel, out, pixels=_STRIPE)


def _quantiles(channel: Values) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The levels that occur, and the fraction of the weight at or below each."""
    if channel[1] is not None:
        levels, _, quantiles = _distribution(channel)
        return levels, quantiles
    levels, counts = np.unique(channel[0], return_counts=True)
    return levels, counts.cumsum() / channel[0].size


def _distribution(channel: Values) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float64]]:
    """The levels that occur, each value's place among them, and the fraction of the weight at or below each level."""
    levels, position = np.unique(channel[0], return_inverse=True)
    cumulative = np.bincount(position, channel[1]).cumsum()
    return levels, position, cumulative / cumulative[-1]


def _rounded(pixels: Tensor, step: float) -> Tensor:
    return (pixels.detach() / step).round() * step if step else pixels
