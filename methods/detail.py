"""Keep the detail of a picture that is recolored: smooth the change along the edges of the picture."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ..kernels.dtypes import wants_gradient
from ..kernels.workers import spread
from .transform import Part, Picture

# The side of a block of pixels; a window is 2 x 2 of them.
_BLOCK = 4
# The standard deviation of what is half detail and half structure, in a window.
_DETAIL = 40 / 255


@dataclass(frozen=True)
class SmoothChange(Part):
    """Smooth the change of colors by an ``amount`` from 0 to 1, see :func:`smooth_change`."""

    amount: float
    pointwise: ClassVar[bool] = False
    reason: ClassVar[str] = "keeps the detail of a picture"
    looks_back: ClassVar[bool] = True

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Smooth."""
        return smooth_change(pixels, picture.pixels, self.amount, picture.weights)


def smooth_change(matched: Tensor, original: Tensor, amount: float = 1.0, weights: Tensor | None = None) -> Tensor:
    """Take back how much a match has amplified noise, blocks and bands.

    The *change* of each channel is smoothed by a guided filter whose guide is the channel of the original: in a window, the
    change becomes the linear function of the original that is nearest to it (He, Sun and Tang 2013, "Guided image filtering",
    eq. 5 and 6, in windows at a distance, as by He and Sun 2015, "Fast guided filter"). Here its slope is multiplied by
    ``v^2 / (v^2 + d^4)``, where v is the variance of the original in the window: what varies by much less than d is detail,
    and comes through as it was, what varies by more is structure, and changes as it was matched to.

    Pictures are ``[C, H, W]``; ``amount`` is 0 for no smoothing, and 1 for all of it; a pixel counts as its weight ``[H, W]``,
    0 to 1. The result is differentiable in all tensors.
    """

    def smooth(matched: Tensor, original: Tensor) -> Tensor:
        # In one order of memory, in which all planes are rounded alike.
        original = original.contiguous()
        change = matched.contiguous() - original
        return original + torch.lerp(change, _filtered(change, original, weights), amount)

    planes = list(matched.split(1)), list(original.split(1))
    alone = matched.device.type != "cpu" or wants_gradient(matched, original, weights)
    return torch.cat(spread(smooth, *planes, alone=alone))


def _filtered(change: Tensor, guide: Tensor, weights: Tensor | None) -> Tensor:
    """A plane ``[1, H, W]``, smoothed along the edges of ``guide``."""
    weight = None if weights is None else weights[None].to(guide)
    total = None if weight is None else _windows(weight)

    def mean(values: Tensor) -> Tensor:
        return _windows(values) if weight is None or total is None else _windows(values * weight) / _divisor(total)

    guide_mean, change_mean = mean(guide), mean(change)
    variance = (mean(guide * guide) - guide_mean * guide_mean).clamp(min=0)
    covariance = mean(guide * change) - guide_mean * change_mean
    slope = covariance * variance / (variance * variance + _DETAIL**4)
    lines = torch.cat([slope, change_mean - slope * guide_mean])
    lines = _around(lines) if total is None else _around(lines * total) / _divisor(_around(total))
    # From the corners of blocks to the pixels between them.
    height, width = (slice(_BLOCK // 2, _BLOCK // 2 + side) for side in guide.shape[1:])
    lines = interpolate(lines[None], scale_factor=_BLOCK, mode="bilinear")[0, :, height, width]
    return lines[:1] * guide + lines[1:]


def _windows(values: Tensor) -> Tensor:
    """The mean of the blocks of ``[C, H, W]`` at each of their corners."""
    return avg_pool2d(avg_pool2d(values, _BLOCK, ceil_mode=True), 2, 1, 1, count_include_pad=False)


def _around(windows: Tensor) -> Tensor:
    """The mean of each window and those around it."""
    return avg_pool2d(windows, 3, 1, 1, count_include_pad=False)


def _divisor(total: Tensor) -> Tensor:
    """Sums of weights; where nothing counts, any number does."""
    return torch.where(total > 0, total, 1)
