"""Turn pictures from how a file stores them to how people see them, and back."""

from torch import Tensor


def as_stored(mask: Tensor, orientation: int) -> Tensor:
    """An upright mask ``[H, W]`` turned as a file with this EXIF orientation stores its pixels."""
    if orientation >= 5:
        mask = mask.T
    return mask.flip(_FLIPS[orientation]) if _FLIPS[orientation] else mask


def upright(pixels: Tensor, orientation: int) -> Tensor:
    """Pixels ``[H, W, ...]`` upright that are as a file with this EXIF orientation stores them."""
    pixels = pixels.flip(_FLIPS[orientation]) if _FLIPS[orientation] else pixels
    return pixels.transpose(0, 1) if orientation >= 5 else pixels


# Which of the stored rows (0) and columns (1) run against those of the upright picture; from 5 on, rows are its columns.
_FLIPS: dict[int, tuple[int, ...]] = {1: (), 2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (0,), 7: (0, 1), 8: (1,)}
