"""Make the pictures of docs/choosing.md from scikit-image's photos: pairs by the methods that differ, and what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from comfyui_histogram_match import match_images
from PIL import Image, ImageDraw
from skimage import data
from torch import Tensor

ROOT = Path(__file__).parents[1]
SIDE, GAP, LINE = 200, 8, 18
PAIRS = (("astronaut", "coffee"), ("coffee", "rocket"), ("rocket", "chelsea"))
METHODS: dict[str, dict[str, Any]] = {
    "pytorch": {},
    "pytorch, luminance": {"color_space": "luminance"},
    "reinhard": {"method": "reinhard"},
    "mkl": {"method": "mkl"},
    "hm-mkl-hm": {"method": "hm-mkl-hm"},
    "sliced": {"method": "sliced"},
}


class Cell(NamedTuple):
    """A picture [1, H, W, 3] and what is written below it."""

    text: str
    pixels: Tensor


def photo(name: str) -> Tensor:
    """The square in the middle of a photo, float32 [1, S, S, 3]."""
    pixels = getattr(data, name)()
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return torch.from_numpy(pixels[top : top + side, left : left + side].astype(np.float32) / 255)[None]


def cropped(cells: list[Cell], left: int, top: int, side: int) -> list[Cell]:
    """The same part of the pictures that are not the reference."""
    part = (slice(None), slice(top, top + side), slice(left, left + side))
    return [cell if cell.text.startswith("reference") else Cell(cell.text, cell.pixels[part]) for cell in cells]


def failure(title: str, image: Tensor, look: str, wrong: dict[str, Any], text: str, right: dict[str, Any]) -> list[Cell]:
    """Image, reference, what goes wrong, and what helps."""
    reference = photo(look)
    method = wrong.get("method", "pytorch")
    return [
        Cell("image", image),
        Cell("reference", reference),
        Cell(f"{method}: {title}", match_images(image, reference, **wrong)),
        Cell(f"better: {text}", match_images(image, reference, **right)),
    ]


def write(name: str, rows: list[list[Cell]]) -> None:
    """Write rows of pictures with their texts."""
    columns = max(map(len, rows))
    sheet = Image.new("RGB", (columns * (SIDE + GAP) + GAP, len(rows) * (SIDE + LINE + GAP) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            left, top = GAP + column * (SIDE + GAP), GAP + row * (SIDE + LINE + GAP)
            picture = Image.fromarray((cell.pixels[0] * 255).round().byte().numpy())
            sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, top))
            draw.text((left, top + SIDE + 2), cell.text, fill="black", font_size=13)
    sheet.save(ROOT / "docs" / name, quality=85)


def main() -> None:
    """Make both pictures."""
    rows = []
    for source, look in PAIRS:
        image, reference = photo(source), photo(look)
        cells = [Cell(name, match_images(image, reference, **how)) for name, how in METHODS.items()]
        cells = [Cell("image", image), Cell("reference", reference), *cells]
        rows += [cells[:4], cells[4:]]
    write("choosing.jpg", rows)

    astronaut, rocket = photo("astronaut"), photo("rocket")
    # As a camera stores what is four stops too dark: in 17 levels.
    dark = (rocket * 255 / 16).round() / 255
    half = {"factor": 0.5}
    noisy = failure("noise", rocket, "astronaut", {}, "factor 0.5", half)
    write(
        "failures.jpg",
        [
            cropped(failure("bands", dark, "rocket", {}, "exact", {"method": "exact"}), 0, 0, 200),
            cropped(noisy, 60, 20, 150),
            failure("patches", rocket, "astronaut", {"method": "sliced"}, "mkl", {"method": "mkl"}),
            failure("washed out", astronaut, "chelsea", {}, "factor 0.5", half),
            failure("tinted", astronaut, "rocket", {}, "luminance", {"color_space": "luminance"}),
        ],
    )


if __name__ == "__main__":
    main()
