"""Masks in files, which are painted on pictures as people see them: upright."""

from pathlib import Path

from torch import Tensor

from .file_kinds import naming
from .image_files import read_image


def read_mask(path: Path) -> Tensor:
    """An image as a mask ``[H, W]``, upright: its brightness, whatever its alpha; an OSError that names the file."""
    with naming(path):
        image = read_image(path)
    return _upright(image.pixels[0, ..., :3].mean(dim=-1), image.orientation)


def as_stored(mask: Tensor, orientation: int) -> Tensor:
    """An upright mask ``[H, W]`` turned as a file with this EXIF orientation stores its pixels."""
    if orientation >= 5:
        mask = mask.T
    return mask.flip(_FLIPS[orientation]) if _FLIPS[orientation] else mask


def _upright(mask: Tensor, orientation: int) -> Tensor:
    """A mask upright that is as a file with this EXIF orientation stores it."""
    mask = mask.flip(_FLIPS[orientation]) if _FLIPS[orientation] else mask
    return mask.T if orientation >= 5 else mask


# Which of the stored rows (0) and columns (1) run against those of the upright picture; from 5 on, rows are its columns.
_FLIPS: dict[int, tuple[int, ...]] = {1: (), 2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (0,), 7: (0, 1), 8: (1,)}
