"""Masks are painted on upright pictures, whatever the EXIF orientation of picture and mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from comfyui_histogram_match.command.run import main
from photos import photo_8bit
from PIL import Image, ImageOps

# How to store an upright picture for each EXIF orientation.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
CAT = Image.fromarray(photo_8bit("chelsea")[:90, :120])


def save(path: Path, upright: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    step = STORED[orientation]
    (upright if step is None else upright.transpose(step)).save(path, exif=exif)


def upright(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(ImageOps.exif_transpose(picture))


def painted() -> Image.Image:
    """White in the upper left quarter, which no turn leaves in its place."""
    mask = np.zeros((90, 120), np.uint8)
    mask[:45, :60] = 255
    return Image.fromarray(mask)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("of_mask", [1, 6])
@pytest.mark.parametrize("orientation", STORED)
def test_an_image_mask_is_laid_on_upright(folder: Path, orientation: int, of_mask: int, suffix: str) -> None:
    if suffix == "webp":
        exif = Image.Exif()
        exif[274] = orientation
        step = STORED[orientation]
        (CAT if step is None else CAT.transpose(step)).save("cat.webp", lossless=True, exif=exif)
    else:
        save(Path(f"cat.{suffix}"), CAT, orientation)
    save(Path("mask.png"), painted(), of_mask)
    assert main([f"cat.{suffix}", "-r", "coffee.png", "-o", f"out.{suffix}", "--image-mask", "mask.png"]) == 0
    changed = (upright(Path(f"out.{suffix}")) != np.array(CAT)).any(axis=-1)
    inside = np.array(painted()) > 0
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.8
    with Image.open(f"out.{suffix}") as out:
        assert out.getexif().get(274) == orientation


@pytest.mark.parametrize("of_mask", [1, 8])
@pytest.mark.parametrize("orientation", STORED)
def test_a_reference_mask_is_laid_on_upright(folder: Path, orientation: int, of_mask: int) -> None:
    values = np.zeros((90, 120, 3), np.uint8)
    values[:45, :60] = (200, 100, 50)
    save(Path("reference.png"), Image.fromarray(values), orientation)
    save(Path("mask.png"), painted(), of_mask)
    CAT.save("cat.png")
    assert main(["cat.png", "-r", "reference.png", "-o", "out.png", "--reference-mask", "mask.png"]) == 0
    assert np.array_equal(np.unique(upright(Path("out.png")).reshape(-1, 3), axis=0), [[200, 100, 50]])


def test_each_picture_of_a_clip_gets_the_mask_in_its_own_orientation(folder: Path) -> None:
    for orientation in (1, 3, 8):
        save(Path(f"{orientation}.png"), CAT, orientation)
    save(Path("mask.png"), painted(), 1)
    arguments = ["1.png", "3.png", "8.png", "-r", "coffee.png", "-o", "out", "--image-mask", "mask.png"]
    assert main([*arguments, "--source-stats", "uniform"]) == 0
    results = [upright(Path(f"out/{orientation}.png")) for orientation in (1, 3, 8)]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
    assert np.array_equal(results[0][45:], np.array(CAT)[45:])
