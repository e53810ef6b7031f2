"""Affine maps of colors."""

import torch
from torch import Tensor

from .dtypes import cast, wants_gradient
from .workers import by_stripes

# Pixels that are multiplied as one row. A matrix of 48 columns keeps the vector units of a processor busy, one of 3 does not.
_ROW = 16
# A matrix of fewer rows, or of a number that 8 does not divide, is multiplied in another way.
_LEAST = 8 * _ROW
# Where memory begins decides how a processor cuts it into vectors, and with that what is rounded.
_ALIGNMENT = 64


def apply_affine(pixels: Tensor, affine: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Send each color of ``pixels`` ``[C, H, W]`` through ``affine`` ``[C, C + 1]``, a matrix with the offset as last column.

    Differentiable in both. Where no gradient is wanted, ``out`` like ``pixels``, or ``pixels`` itself, can take the result.
    """
    if wants_gradient(pixels, affine):
        affine = cast(affine, pixels)
        rows = pixels.flatten(1).t()
        return torch.addmm(affine[:, -1], rows, affine[:, :-1].t()).t().reshape(pixels.shape)
    matched = torch.empty_like(pixels) if out is None else out
    ready = Affine(affine, pixels)

    def write(stripe: Tensor, target: Tensor) -> None:
        rows = color_rows(stripe)
        target.copy_(ready.map_rows(rows).view(*stripe.shape[1:], -1).movedim(-1, 0))

    with torch.no_grad():
        by_stripes(write, pixels, matched)
    return matched


def color_rows(pixels: Tensor) -> Tensor:
    """``[C, H, W]`` as colors ``[H * W, C]``, contiguous and aligned, so that equal colors are equal to the last bit."""
    rows = pixels.movedim(0, -1).reshape(-1, len(pixels)).contiguous()
    return rows if rows.data_ptr() % _ALIGNMENT == 0 else rows.clone()


class Affine:
    """An affine map ``[C, C + 1]`` made ready for many colors of the dtype and device of ``pixels``."""

    def __init__(self, affine: Tensor, pixels: Tensor) -> None:
        affine = cast(affine, pixels)
        self._matrix = torch.block_diag(*[affine[:, :-1].t()] * _ROW)
        self._offset = affine[:, -1].repeat(_ROW)

    def map_rows(self, rows: Tensor) -> Tensor:
        """The map of ``rows`` ``[N, C]``, contiguous."""
        if len(rows) < _LEAST:
            return self.map_rows(torch.cat([rows, rows.new_zeros(_LEAST - len(rows), rows.shape[1])]))[: len(rows)]
        mapped = torch.empty_like(rows)
        wide = self._offset.numel()
        many = len(rows) // _LEAST * _LEAST
        torch.addmm(self._offset, rows[:many].view(-1, wide), self._matrix, out=mapped[:many].view(-1, wide))
        if many < len(rows):
            mapped[many:] = self.map_rows(rows[-_LEAST:].clone())[many - len(rows) :]
        return mapped
