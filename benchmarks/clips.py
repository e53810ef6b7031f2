"""Clips with known trouble, made from photos that scikit-image ships."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from skimage import data
from skimage.transform import resize
from torch import Tensor

_PHOTOS = {"astronaut": data.astronaut, "chelsea": data.chelsea, "coffee": data.coffee, "rocket": data.rocket}


@dataclass(frozen=True)
class Clip:
    """Frames with the values of 8-bit video, and what is known of them.

    Attributes:
        frames: shape ``[T, H, W, 3]``.
        still: the rows in which nothing moves; none, if nothing is known to be still.
        first: the first frame after a cut, if there is one.
    """

    frames: Tensor
    still: slice = field(default_factory=lambda: slice(0))
    first: int = 0


def photo(name: str, height: int, width: int) -> Tensor:
    """A photo, cut to the proportions and scaled, shape ``[height, width, 3]``."""
    pixels = _PHOTOS[name]()
    scale = min(pixels.shape[0] / height, pixels.shape[1] / width)
    rows, columns = (int(side * scale) for side in (height, width))
    top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
    scaled = resize(pixels[top : top + rows, left : left + columns], (height, width), anti_aliasing=True)
    return torch.from_numpy(scaled.astype(np.float32))


def reference() -> Tensor:
    """The look that is wanted: a photo as it is, shape ``[1, 400, 600, 3]``."""
    return torch.from_numpy(data.coffee().astype(np.float32))[None] / 255


def pan_zoom(count: int, height: int, width: int) -> Clip:
    """A slow pan and zoom over a photo."""
    large = photo("astronaut", 2 * height, 2 * width).movedim(-1, 0)[None]
    frames = []
    for index in range(count):
        done = index / (count - 1)
        scale = 0.7 - 0.2 * done
        move = torch.tensor([[[scale, 0, 0.25 * done - 0.1], [0, scale, 0.1 - 0.3 * done]]])
        grid = torch.nn.functional.affine_grid(move, [1, 3, height, width], align_corners=False)
        frames.append(torch.nn.functional.grid_sample(large, grid, align_corners=False)[0].movedim(0, -1))
    return Clip(_as_video(torch.stack(frames)))


def crossing(count: int, height: int, width: int) -> Clip:
    """An object that crosses a still background from left to right."""
    background, thing = photo("astronaut", height, width), photo("rocket", height // 2, height // 2)
    frames = background.repeat(count, 1, 1, 1)
    top, side = height // 2, height // 2
    for index in range(count):
        left = round((width + side) * index / (count - 1)) - side
        begin, end = max(left, 0), min(left + side, width)
        frames[index, top : top + side, begin:end] = thing[:, begin - left : end - left]
    return Clip(_as_video(frames), still=slice(0, top))


def fade(count: int, height: int, width: int) -> Clip:
    """A photo that fades to a tenth of its brightness."""
    brightness = torch.linspace(1, 0.1, count).view(-1, 1, 1, 1)
    return Clip(_as_video(photo("astronaut", height, width) * brightness))


def cut(count: int, height: int, width: int) -> Clip:
    """A hard cut in the middle, from one slow pan to another."""
    half = count // 2
    scenes = []
    for name, frames in (("astronaut", half), ("chelsea", count - half)):
        wide = photo(name, height, width + frames)
        scenes += [wide[:, index : index + width] for index in range(frames)]
    return Clip(_as_video(torch.stack(scenes)), first=half)


def white_end(count: int, height: int, width: int) -> Clip:
    """A crossing whose last quarter is white."""
    clip = crossing(count, height, width)
    first = count - count // 4
    frames = clip.frames.clone()
    frames[first:] = 1
    return Clip(frames, first=first)


CLIPS: dict[str, Callable[[int, int, int], Clip]] = {
    "pan and zoom": pan_zoom,
    "crossing object": crossing,
    "fade": fade,
    "cut": cut,
    "white end": white_end,
}


def _as_video(frames: Tensor) -> Tensor:
    return (frames * 255).round() / 255
