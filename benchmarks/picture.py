"""Make the pictures of the README and of the workflow templates from scikit-image's photos coffee, rocket and chelsea."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from comfyui_histogram_match import Uniform, match_pil, specify_images
from PIL import Image
from skimage import data

ROOT = Path(__file__).parents[1]
HEIGHT = 300
GAP = 10


def scaled(picture: Image.Image) -> Image.Image:
    """The picture at the height that all of them have."""
    return picture.resize((picture.width * HEIGHT // picture.height, HEIGHT))


def side_by_side(*pictures: Image.Image) -> Image.Image:
    """The pictures in a row, with white between them."""
    row = Image.new("RGB", (sum(picture.width + GAP for picture in pictures) - GAP, HEIGHT), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    return row


def equalized(picture: Image.Image) -> Image.Image:
    """The picture with all lightnesses equally often."""
    pixels = torch.from_numpy(np.array(picture).astype(np.float32) / 255)[None]
    return Image.fromarray((specify_images(pixels, Uniform(), color_space="oklab")[0] * 255).round().byte().numpy())


cat, coffee, rocket = (Image.fromarray(photo()) for photo in (data.chelsea, data.coffee, data.rocket))
dusk = match_pil(coffee, rocket, "sliced", color_space="oklab")
for path, picture in {
    "docs/before_reference_after": side_by_side(*map(scaled, (coffee, rocket, dusk))),
    "example_workflows/histogram_match": scaled(match_pil(cat, coffee)),
    "example_workflows/reference_histogram": scaled(match_pil(cat, coffee, "sliced")),
    "example_workflows/histogram_specify": scaled(equalized(cat)),
}.items():
    picture.save(ROOT / f"{path}.jpg", quality=90)
