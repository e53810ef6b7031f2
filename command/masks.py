"""Masks in files, which are painted on pictures as people see them: upright."""

from pathlib import Path

from torch import Tensor

from .file_kinds import about
from .image_files import read_image
from .orientation import upright


def read_mask(path: Path) -> Tensor:
    """An image as a mask ``[H, W]``, upright: its brightness, whatever its alpha; an OSError that names the file."""
    with about(path):
        image = read_image(path)
    return upright(image.pixels[0, ..., :3].mean(dim=-1), image.orientation)
