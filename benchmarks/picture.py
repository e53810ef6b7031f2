"""Make the pictures of the README and of the workflow templates from scikit-image's photos."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from comfyui_histogram_match import ColorTransform, Uniform, fit_transform, match_pil, specify_images
from comfyui_histogram_match.luts.cube_files import read_cube, write_cube
from PIL import Image
from skimage import data
from torch import Tensor

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


def pixels_of(picture: Image.Image) -> Tensor:
    """A picture as ComfyUI holds it, ``[1, H, W, 3]``."""
    return torch.from_numpy(np.array(picture).astype(np.float32) / 255)[None]


def picture_of(pixels: Tensor) -> Image.Image:
    """The first of a batch."""
    return Image.fromarray((pixels[0] * 255).round().byte().numpy())


def equalized(picture: Image.Image) -> Image.Image:
    """The picture with all lightnesses equally often."""
    return picture_of(specify_images(pixels_of(picture), Uniform(), color_space="oklab"))


def drifted(pixels: Tensor) -> Tensor:
    """In another tone: brighter, flatter and warmer."""
    return 0.08 + 0.85 * pixels.pow(torch.tensor([0.7, 0.8, 1.0]))


def inpainted() -> tuple[Image.Image, ...]:
    """A picture of which a part was replaced and all has drifted, before and after it is taken back."""
    original = pixels_of(scaled(coffee))
    edited, height, width = original.clone(), *original.shape[1:3]
    inside = (slice(None), slice(height // 2, height), slice(0, width // 3))
    edited[inside] = pixels_of(scaled(cat))[:, height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 3]
    edited = drifted(edited)
    return picture_of(edited), picture_of(fit_transform(edited, original, "aligned-curve").apply(edited))


def continued() -> tuple[Image.Image, ...]:
    """A frame of a clip, one of its extension in another tone, and that one as fitted to the clip on frames of both."""
    whole = pixels_of(scaled(astronaut))
    pan = torch.cat([whole[:, :, shift : shift + 200] for shift in range(0, 100, 5)])
    extension = drifted(pan[8:])
    fitted = fit_transform(extension[:4], pan[8:12], "aligned-curve").apply(extension)
    return tuple(picture_of(frames[index][None]) for frames, index in ((pan, 8), (extension, -1), (fitted, -1)))


def looks() -> tuple[Image.Image, Image.Image]:
    """The picture that a LUT was made with, and another one, both through the file."""
    with TemporaryDirectory() as folder:
        write_cube(Path(folder, "look.cube"), fit_transform(pixels_of(cat), pixels_of(coffee), "mkl").transform)
        look = ColorTransform(read_cube(Path(folder, "look.cube")).transform())
    return picture_of(look.apply(pixels_of(cat))), picture_of(look.apply(pixels_of(rocket)))


cat, coffee, rocket, astronaut = (
    Image.fromarray(photo()) for photo in (data.chelsea, data.coffee, data.rocket, data.astronaut)
)
dusk = match_pil(coffee, rocket, "sliced", color_space="oklab")
saved, loaded = looks()
for path, picture in {
    "docs/before_reference_after": side_by_side(*map(scaled, (coffee, rocket, dusk))),
    "example_workflows/histogram_match": scaled(match_pil(cat, coffee)),
    "example_workflows/reference_histogram": scaled(match_pil(cat, coffee, "sliced")),
    "example_workflows/histogram_specify": scaled(equalized(cat)),
    "example_workflows/inpainting_tone": side_by_side(*inpainted()),
    "example_workflows/continuation": side_by_side(*continued()),
    "example_workflows/save_lut": side_by_side(*map(scaled, (cat, saved))),
    "example_workflows/load_lut": side_by_side(*map(scaled, (rocket, loaded))),
}.items():
    picture.save(ROOT / f"{path}.jpg", quality=90)
