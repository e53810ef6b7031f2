"""The photos that scikit-image ships, as the tests use them."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import torch
from comfyui_histogram_match import METHODS
from PIL import Image
from skimage import data
from torch import Tensor

_COLOR = {
    "astronaut": data.astronaut,
    "chelsea": data.chelsea,
    "coffee": data.coffee,
    "hubble_deep_field": data.hubble_deep_field,
    "immunohistochemistry": data.immunohistochemistry,
    "retina": data.retina,
    "rocket": data.rocket,
    "stereo_motorcycle": lambda: data.stereo_motorcycle()[0],
}
_GRAY = {
    "brick": data.brick,
    "camera": data.camera,
    "coins": data.coins,
    "grass": data.grass,
    "gravel": data.gravel,
    "moon": data.moon,
    "page": data.page,
    "text": data.text,
}
COLOR_PHOTOS, GRAY_PHOTOS = tuple(_COLOR), tuple(_GRAY)
# Without those that are another one under a second name, which a test of its own holds.
DISTINCT = [name for name in METHODS if "mvgd" not in name]
COLOR_PAIRS = tuple(itertools.permutations(COLOR_PHOTOS, 2))


@cache
def photo_8bit(name: str) -> np.ndarray:
    """A photo that scikit-image ships, uint8 [H, W, C]."""
    values = (_COLOR | _GRAY)[name]()
    return values.reshape(*values.shape[:2], -1)


def photo(name: str) -> Tensor:
    """A photo as ComfyUI holds it: float32 [1, H, W, C] in [0, 1]."""
    return torch.from_numpy(photo_8bit(name).astype(np.float32) / 255)[None]


def pixels(path: Path | str) -> np.ndarray:
    """What is in an image file by Pillow, int64."""
    with Image.open(path) as picture:
        return np.array(picture).astype(int)


def continuous_photo(name: str) -> Tensor:
    """A photo with noise of 0.004, so that nearly every pixel has a value of its own."""
    image = photo(name)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(len(name))) * 0.004
    return (image + noise).clamp(0, 1)


def counterpart(method: str, image: Tensor, reference: Tensor) -> Tensor:
    """What a method can match images ``[B, H, W, C]`` to: a reference, or the first image in other tones, place by place."""
    tones = torch.tensor([0.9, 0.7, 0.5], dtype=image.dtype)[: image.shape[-1]]
    return image[:1, ..., :3] * tones + 0.1 if METHODS[method].aligned else reference


def at_size_of(method: str, image: Tensor, reference: Tensor) -> Tensor:
    """A reference, at the size of an image where a method compares pixel by pixel."""
    if not METHODS[method].aligned:
        return reference
    rows, columns = (torch.arange(side) * had // side for side, had in zip(image.shape[1:3], reference.shape[1:3], strict=True))
    return reference[:, rows][:, :, columns]
