"""Let the transform of a clip follow it slowly, and start anew at a cut."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..methods.transform import Transform

# A cut moves the distribution by more than _CUT, and by more than _CUT_RATIO times the running average of what the frames
# before moved it by, in which each counts for _MOVEMENT_WEIGHT.
_CUT = 5 / 255
_CUT_RATIO = 4.0
_MOVEMENT_WEIGHT = 0.2
# How far the typical pixel may run ahead of the running average before the transform hurries after it.
_LAG = 0.25 / 255
# A frame whose pixels differ less than this from its median has nothing of its own to follow.
_FLAT = 1 / 255
# Rows and columns of pixels that are watched.
_SAMPLES = 96


@dataclass(frozen=True)
class FrameStatistics:
    """What smoothing needs to know of a frame: its own transform, its cumulative distribution ``[C, bins]``, and some pixels.

    These, ``samples`` ``[C, n]``, are always at the same places; NaN where they do not count.
    """

    transform: Transform
    cdf: Tensor
    samples: Tensor


class TransferSmoothing:
    """A running average of transforms that keeps still things still.

    The average is exponential, as slow as ``window`` frames: a new frame has the weight ``2 / (window + 1)``. Something that
    crosses the picture moves a frame's histogram, but hardly this average, so the background stays as it is. A fade moves
    most pixels in one direction: where the median pixel runs ahead of the average picture, the new frame gets as much weight
    as it takes to keep up. A cut shows in the histograms, as a Wasserstein distance from one frame to the next far above
    that of the frames before, and the average starts anew. A frame of one color, such as white or black between scenes,
    has nothing to follow: it gets the transform of the frames before, or ``opening`` or its own where there are none, and does
    not change it.
    """

    def __init__(self, window: int, opening: Transform | None = None) -> None:
        self._weight, self._opening = 2 / (window + 1), opening
        self._average: FrameStatistics | None = None
        self._movement: float | None = None

    def follow(self, frame: FrameStatistics) -> Transform:
        """Take the next frame into the average and return the transform for it."""
        before = self._average
        if is_flat(frame.cdf):
            return (before.transform if before else self._opening) or frame.transform
        # A picture of another size is another scene.
        if before and before.samples.shape == frame.samples.shape and not self._is_cut(before.cdf, frame.cdf):
            samples = frame.samples
            ahead = (samples - before.samples).nanmedian(dim=1).values.abs().nan_to_num(nan=0).max().item()
            # With a weight of 1 - _LAG / ahead, the average is left behind by _LAG.
            weight = max(self._weight, 1 - _LAG / ahead) if ahead > 0 else self._weight
            # Where a mask moves, pixels begin to be watched.
            samples = torch.where(before.samples.isnan(), samples, torch.lerp(before.samples, samples, weight))
            samples = torch.where(samples.isnan(), before.samples, samples)
            frame = FrameStatistics(before.transform.averaged(frame.transform, weight), frame.cdf, samples)
        self._average = frame
        return frame.transform

    def _is_cut(self, cdf_before: Tensor, cdf: Tensor) -> bool:
        distance = (cdf - cdf_before).abs().mean(dim=1).max().item()
        before = self._movement
        self._movement = distance if before is None else before + _MOVEMENT_WEIGHT * (distance - before)
        return distance > _CUT and (before is None or distance > _CUT_RATIO * before)


def is_flat(cdf: Tensor) -> bool:
    """Whether a distribution ``[C, bins]`` has next to no spread: the mean distance to the median, in every channel."""
    return bool((torch.minimum(cdf, 1 - cdf).mean(dim=1) < _FLAT).all())


def watched_pixels(frame: Tensor, mask: Tensor | None) -> Tensor:
    """Pixels of ``frame`` ``[C, H, W]`` on a grid, shape ``[C, n]``; NaN where ``mask`` ``[H, W]`` is 0."""
    rows, columns = (torch.linspace(0, side - 1, min(side, _SAMPLES)).round().long() for side in frame.shape[-2:])
    samples = _on_grid(frame.detach(), rows, columns).float()
    if mask is not None:
        samples = torch.where(_on_grid(mask, rows, columns) > 0, samples, torch.nan)
    return samples.flatten(1)


def _on_grid(plane: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return plane.index_select(-2, rows.to(plane.device)).index_select(-1, columns.to(plane.device))
