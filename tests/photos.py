"""The photos that scikit-image ships, as the tests use them."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import torch
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
