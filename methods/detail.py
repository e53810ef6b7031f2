"""Keep the detail of a picture that is recolored: smooth the change along the edges of the picture."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from ..kernels.dtypes import wants_gradient
from ..kernels.workers import spread
from .transform import Part, Picture

# The side of a window and the distance to the next, in pixels: it holds a block of JPEG, wherever that begins.
_WINDOW, _STEP = 8, 4
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
    eq. 5 and 6, in windows at a distance, as in He and Sun 2015, "Fast guided filter"). Here its slope is multiplied by
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
    return torch.cat(list(map(smooth, *planes)) if alone else spread(smooth, *planes))


def _filtered(change: Tensor, guide: Tensor, weights: Tensor | None) -> Tensor:
    """A plane ``[1, H, W]``, smoothed along the edges of ``guide``."""
    height, width = guide.shape[1:]
    to_whole_windows = 0, -width % _STEP, 0, -height % _STEP
    weight = torch.ones_like(guide) if weights is None else weights[None].to(guide)
    total = _windows(pad(weight, to_whole_windows))
    # Where nothing counts, sums are 0 as well.
    total = torch.where(total > 0, total, 1)

    def mean(values: Tensor) -> Tensor:
        return _windows(pad(values if weights is None else values * weight, to_whole_windows)) / total

    def at_pixels(of_windows: Tensor) -> Tensor:
        around = _around(of_windows * total) / _around(total)
        return interpolate(around[None], scale_factor=_STEP, mode="bilinear")[0, :, :height, :width]

    guide_mean, change_mean = mean(guide), mean(change)
    variance = (mean(guide * guide) - guide_mean * guide_mean).clamp(min=0)
    covariance = mean(guide * change) - guide_mean * change_mean
    slope = covariance * variance / (variance * variance + _DETAIL**4)
    return at_pixels(slope) * guide + at_pixels(change_mean - slope * guide_mean)


def _windows(values: Tensor) -> Tensor:
    """The mean over each window of ``[1, H, W]``, where there are zeros around."""
    return avg_pool2d(values, _WINDOW, _STEP, (_WINDOW - _STEP) // 2)


def _around(of_windows: Tensor) -> Tensor:
    """The mean over each window and those around it."""
    return avg_pool2d(of_windows, 3, 1, 1)
