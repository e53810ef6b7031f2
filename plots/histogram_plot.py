"""A picture of the histograms of up to three images."""

import numpy as np
import torch
from torch import Tensor

from ..checks import check_choice, check_count, check_frames
from ..kernels.workers import map_frames
from .drawing import CHANNELS, SCALES, draw_histograms
from .level_counts import count_levels

__all__ = ["CHANNELS", "SCALES", "plot_histograms"]

_MOST_IMAGES = 3
_LEAST_SIDE, _MOST_SIDE = 128, 8192


def plot_histograms(
    images: dict[str, Tensor], channels: str = CHANNELS[0], scale: str = SCALES[0], width: int = 768, height: int = 512
) -> Tensor:
    """Draw the histograms of one to three batches of frames into one picture.

    The first is drawn as an area, the others as lines over it, with the mean of each and its distance W1 to the first, in
    levels of 0 to 255. All frames of a batch count together, each pixel at the one of 256 levels to which it rounds; the
    height is a level's share of all pixels. Where the picture is too narrow for 256 bars, it is a mean of several levels. Lines
    bridge gaps of up to 8 levels, as 8-bit pictures have them after a match: the pixels beside a gap are spread over it.

    Args:
        images: by their names, floating point, shape ``[B, H, W, C]`` with C of 1, 3 or 4 and values in [0, 1], in any sizes.
            A fourth channel is alpha and ignored; a gray image counts as red, green and blue alike. Values outside count at the
            nearest end; NaN and infinite ones do not count, as where histograms are matched.
        channels: ``"rgb"``, ``"luminance"`` (as Rec. 709 has it), or ``"all"`` four, one below the other.
        scale: ``"linear"``, cut off where a few levels stand out far above all others; or ``"log"``, where rare ones can be
            seen as well.
        width: of the picture in pixels, 128 or more.
        height: the same.

    Returns:
        float32, shape ``[1, height, width, 3]``, values in [0, 1].

    Raises:
        TypeError: an image is not a floating-point tensor, or a number not a whole one.
        ValueError: there are no images or more than three, a shape or another argument is none of the above, or a channel of
            an image has no finite value.

    >>> plot_histograms({"before": torch.rand(1, 8, 8, 3), "after": torch.rand(2, 4, 4, 3)}, "all", "log", 640, 480).shape
    torch.Size([1, 480, 640, 3])
    """
    if not 1 <= len(images) <= _MOST_IMAGES:
        raise ValueError(f"images: expected 1 to {_MOST_IMAGES}, got {len(images)}")
    check_choice("channels", channels, CHANNELS)
    check_choice("scale", scale, SCALES)
    for name, side in (("width", width), ("height", height)):
        check_count(name, side, _LEAST_SIDE, _MOST_SIDE)
    for name, frames in images.items():
        check_frames(name, frames)
    counts = {name: _counted(name, frames) for name, frames in images.items()}
    drawn = draw_histograms(counts, channels, scale, width, height)
    return torch.from_numpy(np.array(drawn)).float().div_(255)[None]


def _counted(name: str, frames: Tensor) -> Tensor:
    counts = torch.stack(list(map_frames(count_levels, frames.movedim(-1, 1), together=len(frames) > 1))).sum(dim=0)
    if not counts.any(dim=1).all():
        raise ValueError(f"{name}: expected finite values in each channel, got none")
    return counts
