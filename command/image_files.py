"""Read and write image files without losing bits, alpha or color profile."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import torch
from torch import Tensor

from .paths import IMAGE_SUFFIXES
from .whole_files import write_whole_file

_HIGHEST = {"uchar": 255, "ushort": 65535}
_COLOR_SPACES = ("b-w", "srgb", "grey16", "rgb16")
_CARRIED = ("icc-profile-data", "exif-data", "xmp-data", "iptc-data", "orientation", "resolution-unit")
_JPEG = {"Q": 95, "subsample_mode": "off"}
_TIFF = {"compression": "deflate", "predictor": "horizontal"}
_SAVE_OPTIONS: dict[str, Any] = {".jpg": _JPEG, ".jpeg": _JPEG, ".webp": {"Q": 95}, ".tif": _TIFF, ".tiff": _TIFF}


@dataclass(frozen=True)
class ImageFile:
    """Pixels, float32 ``[1, H, W, C]`` with C of 1, 3 or 4, in [0, 1], and what has to be written back with them.

    ``alpha`` ``[1, H, W, 1]`` is that of a gray image; of a color image it is the fourth channel. ``opened`` is the file as
    libvips opened it: bit depth, color profile and metadata.
    """

    pixels: Tensor
    alpha: Tensor | None
    opened: pyvips.Image


def read_image(path: Path) -> ImageFile:
    """Read an image of 8 or 16 bits, gray or RGB, with or without alpha; a ValueError for others, an OSError for no image."""
    try:
        # libvips remembers files by name; revalidate reads a file that has changed since.
        opened = pyvips.Image.new_from_file(str(path), fail_on="error", revalidate=True)
        if opened.get_typeof("n-pages") and opened.get("n-pages") > 1:
            raise ValueError(f"expected one picture, got {opened.get('n-pages')} pages or frames")
        if opened.format not in _HIGHEST or opened.interpretation not in _COLOR_SPACES or opened.bands > 4:
            raise ValueError(
                f"expected gray or RGB of 8 or 16 bits, got {opened.bands} bands of {opened.interpretation} as {opened.format}"
            )
        values = opened.numpy()
    except pyvips.Error as error:
        raise OSError(" ".join(str(error).split())) from error
    values = values.reshape(1, opened.height, opened.width, opened.bands)
    pixels = torch.from_numpy(values.astype(np.float32)).div_(_HIGHEST[opened.format])
    if opened.bands == 2:
        return ImageFile(pixels[..., :1], pixels[..., 1:], opened)
    return ImageFile(pixels, None, opened)


def write_image(path: Path, pixels: Tensor, like: ImageFile) -> None:
    """Write ``pixels`` with the bit depth, alpha, color profile and metadata of the file they were read from.

    JPEG and WebP are written at quality 95, the others without loss. A ValueError says that a format cannot hold the bits.
    """
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ValueError(f"{path.name}: expected a name that ends in {', '.join(IMAGE_SUFFIXES)}")
    opened = like.opened
    if opened.format == "ushort" and suffix in (".jpg", ".jpeg", ".webp"):
        raise ValueError(f"{path.name}: expected PNG or TIFF for 16 bits, {suffix} holds 8")
    if opened.hasalpha() and suffix in (".jpg", ".jpeg"):
        raise ValueError(f"{path.name}: expected PNG, TIFF or WebP for a picture with alpha, {suffix} has none")
    if like.alpha is not None:
        pixels = torch.cat([pixels, like.alpha], dim=-1)
    highest = _HIGHEST[opened.format]
    # Rounded in place: for a large picture, new memory costs more than what is done to it.
    values = (pixels[0].float() * highest).round_().numpy().astype(np.uint8 if highest == 255 else np.uint16)
    picture = pyvips.Image.new_from_array(values, interpretation=opened.interpretation)
    picture = picture.copy(xres=opened.xres, yres=opened.yres)
    for field in _CARRIED:
        if opened.get_typeof(field):
            picture.set_type(opened.get_typeof(field), field, opened.get(field))
    try:
        content = picture.write_to_buffer(suffix, **_SAVE_OPTIONS.get(suffix, {}))
    except pyvips.Error as error:
        raise OSError(" ".join(str(error).split())) from error
    write_whole_file(path, content)
