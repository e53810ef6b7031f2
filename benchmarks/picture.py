"""Make the picture of the README from scikit-image's photos."""

from __future__ import annotations

from pathlib import Path

from comfyui_histogram_match import match_pil
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


coffee, rocket = (Image.fromarray(photo()) for photo in (data.coffee, data.rocket))
dusk = match_pil(coffee, rocket, "sliced", color_space="oklab", detail=1.0)
side_by_side(*map(scaled, (coffee, rocket, dusk))).save(ROOT / "docs/before_reference_after.jpg", quality=90)
