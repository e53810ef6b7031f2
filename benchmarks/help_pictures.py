"""Make the pictures of the help pages from scikit-image's photos."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from comfyui_histogram_match import (
    ColorTransform,
    LinearStretch,
    Normal,
    ReferenceHistogram,
    Uniform,
    fit_transform,
    match_images,
    specify_images,
)
from comfyui_histogram_match.luts.cube_files import read_cube, write_cube
from comfyui_histogram_match.methods.channels import ChannelTables
from comfyui_histogram_match.methods.color_space import ColorSpace
from comfyui_histogram_match.methods.transform import Transform
from comfyui_histogram_match.plots.histogram_plot import plot_histograms
from comfyui_histogram_match.sample_photos import KINDS, PHOTOS, sample_photo
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "web" / "docs" / "images"
# The help panel is some 400 pixels wide, and screens have up to two of their pixels to one of these.
WIDTH = 600
GAP = 6
RATIO = 2 / 3

Tile = tuple[str, Image.Image]


def shown(pixels: Tensor, frame: int = 0) -> Image.Image:
    """A frame of a batch ``[B, H, W, 3]``."""
    return Image.fromarray((pixels[frame].clamp(0, 1) * 255).round().byte().numpy())


def rows(*rows_of_tiles: list[Tile], ratio: float = RATIO) -> Image.Image:
    """Rows of pictures of one width, each with a name in its corner, if it has one."""
    parts = []
    for tiles in rows_of_tiles:
        width = (WIDTH - GAP * (len(tiles) - 1)) // len(tiles)
        row = Image.new("RGB", (WIDTH, round(width * ratio)), "white")
        for place, (name, picture) in enumerate(tiles):
            row.paste(
                named(ImageOps.fit(picture, (width, row.height), Image.Resampling.LANCZOS), name), (place * (width + GAP), 0)
            )
        parts.append(row)
    whole = Image.new("RGB", (WIDTH, sum(row.height + GAP for row in parts) - GAP), "white")
    for place, row in enumerate(parts):
        whole.paste(row, (0, sum(above.height + GAP for above in parts[:place])))
    return whole


def named(picture: Image.Image, name: str) -> Image.Image:
    """The picture with a name on a dark ground in its corner."""
    if name:
        draw, font = ImageDraw.Draw(picture), ImageFont.load_default(18)
        right, bottom = draw.textbbox((8, 6), name, font=font)[2:]
        draw.rectangle((0, 0, right + 8, bottom + 6), fill=(20, 20, 20))
        draw.text((8, 6), name, font=font, fill="white")
    return picture


def tiles(**pictures: Tensor) -> list[Tile]:
    """Batches by their names, with spaces for underscores."""
    return [(name.replace("_", " "), shown(pixels)) for name, pixels in pictures.items()]


def drifted(pixels: Tensor) -> Tensor:
    """In another tone: brighter, flatter and warmer."""
    return 0.08 + 0.85 * pixels.pow(torch.tensor([0.7, 0.8, 1.0]))


def match() -> Image.Image:
    """What the main node does."""
    return rows(
        tiles(image=coffee, reference=rocket), [("", shown(match_images(coffee, rocket, "sliced", color_space="oklab")))]
    )


def methods() -> Image.Image:
    """One pair by several methods."""
    results = [
        (name, shown(match_images(chelsea, coffee, name)))
        for name in ("pytorch", "exact", "reinhard", "mkl", "hm-mkl-hm", "sliced")
    ]
    return rows(tiles(image=chelsea, reference=coffee), results[:2], results[2:4], results[4:])


def specify() -> Image.Image:
    """A dim photo with each of the histograms that need no other."""
    dim = 0.15 + 0.35 * chelsea
    results = {"uniform": Uniform(), "normal": Normal(), "linear stretch": LinearStretch()}
    made = [(name, shown(specify_images(dim, target))) for name, target in results.items()]
    return rows([*tiles(image=dim), made[0]], made[1:])


def pooled() -> Image.Image:
    """Three references, and a photo in the look of all."""
    references = [rocket, coffee, astronaut]
    reference = sum((ReferenceHistogram.of(one) for one in references[1:]), ReferenceHistogram.of(references[0]))
    return rows(
        [("", shown(one)) for one in references], [*tiles(image=chelsea), ("", shown(match_images(chelsea, reference)))]
    )


def fitted() -> Image.Image:
    """A photo of which a part was replaced and all has drifted, before and after it is taken back."""
    height, width = coffee.shape[1:3]
    original, other = coffee, resized(chelsea, height, width)
    edited = original.clone()
    edited[:, height // 2 :, : width // 3] = other[
        :, height // 4 : height // 4 + height - height // 2, width // 3 : 2 * (width // 3)
    ]
    edited = drifted(edited)
    return rows(
        tiles(reference=original, image=edited), [("", shown(fit_transform(edited, original, "aligned-curve").apply(edited)))]
    )


def applied() -> Image.Image:
    """The last frame of a clip and the next one, as it came and as it is after Fit and Apply."""
    pan = sample_photo("astronaut", "pan", 24)
    extension = drifted(pan[12:])
    changed = fit_transform(extension[:4], pan[12:16], "aligned-curve").apply(extension)
    return rows([("", shown(pan, 11)), ("", shown(extension, 6)), ("", shown(changed, 6))], ratio=1)


def graded() -> tuple[Image.Image, Image.Image]:
    """The photo that a LUT was made with, and others, through the file."""
    with TemporaryDirectory() as folder:
        write_cube(Path(folder, "look.cube"), fit_transform(chelsea, coffee, "mkl").transform)
        look = ColorTransform(read_cube(Path(folder, "look.cube")).transform())
    return (
        rows([("", shown(chelsea)), ("", shown(look.apply(chelsea)))]),
        rows([("", shown(one)) for one in (rocket, astronaut)], [("", shown(look.apply(one))) for one in (rocket, astronaut)]),
    )


def plotted() -> Image.Image:
    """Histograms of an image, its reference and the result."""
    images = {"image": chelsea, "image_2": coffee, "image_3": match_images(chelsea, coffee, "mkl")}
    return shown(plot_histograms(images, "rgb", "linear", WIDTH, 480))


def sampled() -> Image.Image:
    """All photos, and frames of each kind of clip."""
    photos = [(name, shown(sample_photo(name))) for name in PHOTOS]
    clips = [sample_photo("coffee", kind, 9) for kind in KINDS[1:]]
    frames = [
        [(kind if not frame else "", shown(clip, frame)) for frame in (0, 3, 5, 8)]
        for kind, clip in zip(KINDS[1:], clips, strict=True)
    ]
    return rows(photos[:3], photos[3:], *frames)


def curved() -> Image.Image:
    """A photo, three curves, and what they make of it."""
    levels = torch.linspace(0, 1, 256)
    contrast = levels + 0.12 * torch.sin(2 * torch.pi * (levels - 0.5))
    curves = torch.stack([(contrast + 0.16 * levels * (1 - levels)), contrast, 0.1 + 0.75 * contrast]).clamp(0, 1)
    changed = ColorTransform(Transform(ColorSpace("rgb"), (ChannelTables(resampled(curves)),))).apply(chelsea)
    ground = Image.new("RGB", (480, 320), (32, 32, 32))
    draw = ImageDraw.Draw(ground)
    for color, curve in zip(((235, 80, 80), (90, 200, 90), (90, 140, 255)), curves.tolist(), strict=True):
        draw.line([(place * 479 / 255, 319 * (1 - level)) for place, level in enumerate(curve)], color, 4)
    return rows([("", shown(chelsea)), ("", ground), ("", shown(changed))])


def resampled(curves: Tensor) -> Tensor:
    """Curves at the number of levels that tables have."""
    return torch.nn.functional.interpolate(curves[None], 65536, mode="linear", align_corners=True)[0]


def resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """Pixels at another size."""
    picture = shown(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).float()[None] / 255


chelsea, coffee, rocket, astronaut = map(sample_photo, ("chelsea", "coffee", "rocket", "astronaut"))
PICTURES: dict[str, Callable[[], Image.Image]] = {
    "match": match,
    "methods": methods,
    "specify": specify,
    "reference_histogram": pooled,
    "fit": fitted,
    "apply": applied,
    "save_lut": lambda: graded()[0],
    "load_lut": lambda: graded()[1],
    "plot": plotted,
    "sample_photo": sampled,
    "curves": curved,
}

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or PICTURES:
        PICTURES[name]().save(FOLDER / f"{name}.jpg", quality=80, optimize=True)
