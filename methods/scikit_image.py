"""Match single frames with scikit-image, on the CPU: the answer that others are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.exposure import match_histograms
from torch import Tensor

from ..kernels.dtypes import cast, nearest_end
from ..kernels.workers import spread
from .transform import Part, Picture, Step


@dataclass(frozen=True)
class Values:
    """The values of one channel that are finite and have a weight."""

    values: NDArray[np.float32]
    """In [0, 1], shape ``[n]``."""
    weights: NDArray[np.float64] | None
    """How much each counts, shape ``[n]``; None if all count the same."""
    counted: Tensor
    """Where in the channel they are, bool, in the channel's shape."""


@dataclass(frozen=True)
class FrameValues:
    """The values of all channels that count, of one frame or of several."""

    channels: tuple[Values, ...]

    @classmethod
    def of(cls, frame: Tensor, mask: Tensor | None) -> "FrameValues":
        """The values of ``frame`` ``[C, H, W]`` that count under ``mask`` ``[H, W]``."""
        return cls(tuple(channel_values(channel, mask) for channel in frame))

    @classmethod
    def of_counts(cls, counts: Tensor) -> "FrameValues":
        """The values of a histogram ``[C, bins]``."""
        channels = []
        for row in counts.cpu():
            level = row.nonzero()[:, 0]
            values = (level.double() / (len(row) - 1)).float().numpy()
            channels.append(Values(values, row[level].double().numpy(), row > 0))
        return cls(tuple(channels))

    def __add__(self, other: "FrameValues") -> "FrameValues":
        return FrameValues(tuple(pool_values(pair) for pair in zip(self.channels, other.channels, strict=True)))


def channel_values(channel: Tensor, mask: Tensor | None) -> Values:
    """The values of ``channel`` ``[H, W]`` that count under ``mask`` ``[H, W]``."""
    counted = channel.isfinite().cpu()
    if mask is not None:
        counted &= mask.cpu() > 0
    values = channel.detach().cpu()[counted].float().clamp(0, 1).numpy()
    if mask is None:
        return Values(values, None, counted)
    weights = mask.detach().cpu()[counted].double().numpy()
    return Values(values, None if (weights == 1).all() else weights, counted)


def pool_values(parts: Sequence[Values]) -> Values:
    """Values of several frames as those of one."""
    weights = None
    if any(part.weights is not None for part in parts):
        weights = np.concatenate([np.ones(part.values.size) if part.weights is None else part.weights for part in parts])
    return Values(np.concatenate([part.values for part in parts]), weights, parts[0].counted)


def match_values(source: Values, reference: Values) -> NDArray[np.float64]:
    """The source's values matched to the reference's, shape ``[n]``.

    Where each value counts the same, this is :func:`skimage.exposure.match_histograms`. That function takes no weights; with
    weights, the same quantiles are computed from sums of weights in place of numbers of pixels.
    """
    if source.values.size == 0:
        return np.empty(0)
    if source.weights is None and reference.weights is None:
        matched: NDArray[np.float64] = match_histograms(source.values, reference.values)
        return matched
    _, position, quantiles = _distribution(source)
    levels, _, reference_quantiles = _distribution(reference)
    return np.interp(quantiles, reference_quantiles, levels)[position]


def _distribution(counted: Values) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float64]]:
    """The levels that occur, each value's place among them, and the fraction of the weight at or below each level."""
    levels, position = np.unique(counted.values, return_inverse=True)
    cumulative = np.bincount(position, counted.weights).cumsum()
    return levels, position, cumulative / cumulative[-1]


def match_frame(frame: Tensor, mask: Tensor | None, reference: FrameValues) -> Tensor:
    """Match ``frame`` ``[C, H, W]`` where ``mask`` ``[H, W]`` is not 0; float32 on the CPU, values in [0, 1]."""
    matched = nearest_end(frame.detach().cpu().float())

    def match(index: int) -> None:
        source = channel_values(frame[index], mask)
        values = match_values(source, reference.channels[min(index, len(reference.channels) - 1)])
        matched[index][source.counted] = torch.from_numpy(values).to(matched.dtype)

    spread(match, range(len(frame)))
    return matched


@dataclass(frozen=True)
class ReferenceValues(Part):
    """The values of the reference, to which those of a picture are matched in their order."""

    values: FrameValues
    pointwise: ClassVar[bool] = False

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Call scikit-image."""
        return cast(match_frame(_rounded(pixels, picture.rounding), picture.weights, self.values), pixels)


class SkimageStep(Step):
    """Match channel by channel with scikit-image, on the CPU."""

    channelwise: ClassVar[bool] = True
    measures_source: ClassVar[bool] = False

    def measure(self, picture: Picture) -> FrameValues:
        """Collect the values that count."""
        if picture.counts is not None:
            return FrameValues.of_counts(picture.counts)
        return FrameValues.of(_rounded(picture.pixels, picture.rounding), picture.weights)

    def solve(self, source: None, prepared: FrameValues) -> ReferenceValues:
        """The reference's values are all that is needed."""
        return ReferenceValues(prepared)


def _rounded(pixels: Tensor, step: float) -> Tensor:
    return (pixels.detach() / step).round() * step if step else pixels
