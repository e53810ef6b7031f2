"""Soft binning with gradients: spread pixels over bins, and read tables between their entries.

Both are linear in what is spread or read, and each is the adjoint of the other, so that the gradient of either is made of the
other: derivatives of any order exist. In their pixels both are piecewise linear, with slopes that are read and summed cell by
cell; a cell is what lies between the centers of two bins.

All functions take pixels as ``[B, C, N]``, whatever picture they come from, and run under ``torch.func`` and ``torch.compile``.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .dtypes import fitting, nearest_end, precise_dtype, working_dtype
from .workers import stripe_size


def soft_histogram(frames: Tensor, bins: int, weights: Tensor | None = None) -> Tensor:
    """Count pixels in the two bins around each, in proportion to its nearness; bin ``k`` is centered at ``k / (bins - 1)``.

    Values of ``frames`` ``[B, C, N]`` outside of [0, 1] count at the nearest end, NaN and infinite ones not at all, others as
    their ``weights``, of the same shape. The counts ``[B, C, bins]``, of :func:`precise_dtype`, are differentiable in both.
    """
    counts: Tensor = _Spread.apply(frames, weights, bins, True)
    return counts


def interpolate(frames: Tensor, tables: Tensor) -> Tensor:
    """Send pixels through the tables of their channels, linearly between entries; ``k`` is what ``k / (bins - 1)`` becomes.

    Values of ``frames`` ``[B, C, N]`` outside of [0, 1] go where the nearest end goes; NaN becomes 0, an infinity the nearest
    end. The result is differentiable in pixels and in ``tables`` ``[B, C, bins]``.
    """
    values: Tensor = _Read.apply(frames, tables, True, frames.dtype)
    return values


def pixel_rows(image: Tensor) -> Tensor:
    """``[..., C, H, W]`` as ``[B, C, H * W]``, without a copy for contiguous and for channels-last memory."""
    return image.reshape(-1, image.shape[-3], image.shape[-2] * image.shape[-1])


class _Vectorized(torch.autograd.Function):
    """A function of batches ``[B, ...]``, for which one more dimension in front makes a larger batch."""

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
        """Do the work of ``torch.func.vmap``."""
        folded = []
        for argument, dim in zip(arguments, in_dims, strict=True):
            if isinstance(argument, Tensor):
                rows = argument.expand(info.batch_size, *argument.shape) if dim is None else argument.movedim(dim, 0)
                argument = rows.flatten(0, 1)
            folded.append(argument)
        result: Tensor = cls.apply(*folded)
        return result.unflatten(0, (info.batch_size, -1)), 0


class _Spread(_Vectorized):
    """Weights ``[B, C, N]`` of pixels, added up ``[B, C, n]``: at bin centers, ``linear``, or over each cell of [0, 1].

    This is the adjoint of :class:`_Read`. Weights of pixels that are not finite do not count.
    """

    @staticmethod
    def forward(frames: Tensor, weights: Tensor | None, number: int, linear: bool) -> Tensor:
        sums = torch.zeros(*frames.shape[:2], number, dtype=precise_dtype(frames.device), device=frames.device)
        upper = torch.zeros_like(sums) if linear else sums
        for batch, span in _blocks(frames):
            cell, part, counted = _locate(frames[batch, :, span], number, linear)
            if weights is None:
                weight = counted.to(sums.dtype)
            else:
                weight = torch.where(counted, weights[batch, :, span], 0).to(sums.dtype)
            sums[batch].scatter_add_(2, cell, weight)
            if linear:
                upper[batch].scatter_add_(2, cell, weight * part)
        return sums - upper + torch.nn.functional.pad(upper, (1, 0))[..., :-1] if linear else sums

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor | None, int, bool], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.linear = inputs[3]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        frames, weights = ctx.saved_tensors
        pixel_gradient = weight_gradient = None
        if ctx.linear and ctx.needs_input_grad[0]:
            pixel_gradient = _slopes(frames, gradient)
            if weights is not None:
                pixel_gradient = pixel_gradient * weights.to(pixel_gradient.dtype)
            pixel_gradient = fitting(pixel_gradient, frames.dtype)
        if ctx.needs_input_grad[1]:
            read = _Read.apply(frames, gradient, ctx.linear, working_dtype(frames))
            # A pixel that is not finite counts nowhere, whatever its weight.
            weight_gradient = fitting(torch.where(frames.isfinite(), read, 0), weights.dtype)
        return pixel_gradient, weight_gradient, None, None


class _Read(_Vectorized):
    """Tables ``[B, C, n]`` read at pixels ``[B, C, N]``: between bin centers, ``linear``, or in cells, 0 outside of [0, 1]."""

    @staticmethod
    def forward(frames: Tensor, tables: Tensor, linear: bool, dtype: torch.dtype) -> Tensor:
        tables = fitting(tables, working_dtype(frames))
        values = torch.empty_like(frames, dtype=dtype)
        for batch, span in _blocks(frames):
            pixels, table = frames[batch, :, span], tables[batch]
            cell, part, counted = _locate(pixels, table.shape[2], linear)
            read, other = table.gather(2, cell), torch.zeros((), dtype=table.dtype, device=table.device)
            if linear:
                read, other = torch.lerp(read, table.gather(2, cell + 1), part), nearest_end(pixels)
            values[batch, :, span] = torch.where(counted, read, other)
        return values

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, bool, torch.dtype], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.linear = inputs[2]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        frames, tables = ctx.saved_tensors
        pixel_gradient = table_gradient = None
        if ctx.linear and ctx.needs_input_grad[0]:
            pixel_gradient = fitting(_slopes(frames, tables) * gradient, frames.dtype)
        if ctx.needs_input_grad[1]:
            table_gradient = fitting(_Spread.apply(frames, gradient, tables.shape[2], ctx.linear), tables.dtype)
        return pixel_gradient, table_gradient, None, None


def _slopes(frames: Tensor, tables: Tensor) -> Tensor:
    """The slope of the tables ``[B, C, bins]`` at each pixel ``[B, C, N]``, of :func:`working_dtype`."""
    dtype = working_dtype(frames)
    differences = tables.to(torch.promote_types(tables.dtype, dtype)).diff()
    slopes: Tensor = _Read.apply(frames, differences * (tables.shape[2] - 1), False, dtype)
    return slopes


def _locate(pixels: Tensor, number: int, linear: bool) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel its cell (int64), how far in it the pixel lies, and whether it counts.

    ``number`` is that of the bin centers, ``linear``, where all finite pixels count, or of the cells between them.
    """
    last = number - 1 if linear else number
    finite = torch.isfinite(pixels)
    position = torch.where(finite, pixels, 0).to(working_dtype(pixels)).clamp(0, 1) * last
    # 8-bit content divided by 255 misses its bin center by a rounding error. Left there, that error would make the next
    # bin occur in the histogram, and the inverse of the distribution would bend towards a level that nobody painted.
    nearest = position.round()
    position = torch.where((position - nearest).abs() <= last * torch.finfo(pixels.dtype).eps, nearest, position)
    cell = position.floor().clamp(max=last - 1)
    return cell.long(), position - cell, finite if linear else finite & (pixels >= 0) & (pixels <= 1)


def _blocks(frames: Tensor) -> Iterator[tuple[slice, slice]]:
    """Cut ``[B, C, N]`` into blocks: several small frames, or a part of a large one."""
    batch, _, pixels = frames.shape
    # A compiler sees to this itself.
    step = max(batch * pixels, 1) if torch.compiler.is_compiling() else stripe_size(frames.device)
    many = max(step // pixels, 1)
    for first in range(0, batch, many):
        for start in range(0, pixels, step):
            yield slice(first, first + many), slice(start, start + step)
