"""Affine maps of colors."""

from __future__ import annotations

import torch
from torch import Tensor

# Pixels that are multiplied as one row. A matrix of 48 columns keeps the vector units of a processor busy, one of 3 does not.
_ROW = 16


def apply_affine(pixels: Tensor, affine: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Send each color through an affine map.

    Args:
        pixels: floating point, shape ``[C, H, W]``, any strides.
        affine: shape ``[C, C + 1]``, a matrix with the offset as its last column.
        out: where to write the result, another memory than that of ``pixels``, of the same shape, dtype and device; only
            where no gradient is wanted. New memory by default.

    Returns:
        Shape and dtype of ``pixels``, differentiable in both.
    """
    rows = pixels.flatten(1).t()
    if out is None:
        affine = like(affine, pixels)
        return torch.addmm(affine[:, -1], rows, affine[:, :-1].t()).t().reshape(pixels.shape)
    out_rows = out.flatten(1).t()
    if rows.is_contiguous() and out_rows.is_contiguous():
        Affine(affine, pixels).write(rows, out_rows)
    else:
        out.copy_(apply_affine(pixels, affine))
    return out


class Affine:
    """An affine map ``[C, C + 1]`` made ready for many colors of the dtype and device of ``pixels``."""

    def __init__(self, affine: Tensor, pixels: Tensor) -> None:
        affine = like(affine, pixels)
        self._matrix, self._offset = affine[:, :-1].t(), affine[:, -1]
        self._wide_matrix, self._wide_offset = torch.block_diag(*[self._matrix] * _ROW), self._offset.repeat(_ROW)

    def write(self, rows: Tensor, out: Tensor) -> None:
        """Write the map of ``rows`` ``[N, C]`` to ``out``, both contiguous."""
        many = rows.shape[0] // _ROW * _ROW
        wide = self._wide_offset.numel()
        torch.addmm(self._wide_offset, rows[:many].view(-1, wide), self._wide_matrix, out=out[:many].view(-1, wide))
        if many < rows.shape[0]:
            torch.addmm(self._offset, rows[many:], self._matrix, out=out[many:])


def like(tensor: Tensor, pixels: Tensor) -> Tensor:
    """``tensor`` in the dtype and on the device of ``pixels``: first the dtype, since some devices have no float64."""
    return tensor.to(pixels.dtype).to(pixels.device)
