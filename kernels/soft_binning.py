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

from .dtypes import nearest_end, precise_dtype, working_dtype
from .workers import stripe_size


def soft_histogram(frames: Tensor, bins: int, weights: Tensor | None = None) -> Tensor:
    """Count pixels in the two bins around each, in proportion to its nearness.

    Args:
        frames: floating point, shape ``[B, C, N]``. Values outside of [0, 1] count at the nearest end, NaN and infinite ones
            not at all.
        bins: 2 or more; bin ``k`` is centered at ``k / (bins - 1)``.
        weights: how much each pixel counts, in the shape of ``frames``; by default each counts as 1.

    Returns:
        Shape ``[B, C, bins]``, of :func:`precise_dtype`, differentiable in pixels and weights.
    """
    counts: Tensor = _SoftHistogram.apply(frames, weights, bins)
    return counts


def interpolate(frames: Tensor, tables: Tensor) -> Tensor:
    """Send pixels through the tables of their channels, linearly between entries.

    Args:
        frames: floating point, shape ``[B, C, N]``. Values outside of [0, 1] go where the nearest end goes; NaN becomes 0 and
            an infinity the nearest end.
        tables: floating point, shape ``[B, C, bins]``; entry ``k`` is what ``k / (bins - 1)`` becomes.

    Returns:
        The shape and dtype of ``frames``, differentiable in pixels and tables.
    """
    values: Tensor = _Interpolation.apply(frames, tables)
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


class _SoftHistogram(_Vectorized):
    """Pixels ``[B, C, N]``, each with its weight, to counts ``[B, C, bins]``."""

    @staticmethod
    def forward(frames: Tensor, weights: Tensor | None, bins: int) -> Tensor:
        whole = torch.zeros(*frames.shape[:2], bins, dtype=precise_dtype(frames.device), device=frames.device)
        upper = torch.zeros_like(whole)
        for batch, span in _blocks(frames):
            cell, part, finite = _locate(frames[batch, :, span], bins)
            if weights is None:
                weight = finite.to(whole.dtype)
            else:
                weight = torch.where(finite, weights[batch, :, span], 0).to(whole.dtype)
            whole[batch].scatter_add_(2, cell, weight)
            upper[batch].scatter_add_(2, cell, weight * part)
        return whole - upper + torch.nn.functional.pad(upper, (1, 0))[..., :-1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor | None, int], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        frames, weights = ctx.saved_tensors
        pixel_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            pixel_gradient = _slopes(frames, gradient)
            if weights is not None:
                pixel_gradient = pixel_gradient * weights.to(pixel_gradient.dtype)
        if ctx.needs_input_grad[1]:
            # A pixel that is not finite counts nowhere, whatever its weight.
            weight_gradient = torch.where(frames.isfinite(), interpolate(frames, gradient), 0).to(weights.dtype)
        return pixel_gradient, weight_gradient, None


class _Interpolation(_Vectorized):
    """Pixels ``[B, C, N]`` through tables ``[B, C, bins]``."""

    @staticmethod
    def forward(frames: Tensor, tables: Tensor) -> Tensor:
        tables = tables.to(working_dtype(frames))
        matched = torch.empty_like(frames)
        for batch, span in _blocks(frames):
            pixels, table = frames[batch, :, span], tables[batch]
            cell, part, finite = _locate(pixels, table.shape[2])
            values = torch.lerp(table.gather(2, cell), table.gather(2, cell + 1), part)
            matched[batch, :, span] = torch.where(finite, values, nearest_end(pixels))
        return matched

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        frames, tables = ctx.saved_tensors
        pixel_gradient = table_gradient = None
        if ctx.needs_input_grad[0]:
            pixel_gradient = _slopes(frames, tables) * gradient
        if ctx.needs_input_grad[1]:
            table_gradient = soft_histogram(frames, tables.shape[2], gradient).to(tables.dtype)
        return pixel_gradient, table_gradient


class _CellValues(_Vectorized):
    """For each pixel of ``[B, C, N]`` the entry of ``[B, C, cells]`` at its cell, 0 outside of [0, 1]."""

    @staticmethod
    def forward(frames: Tensor, entries: Tensor) -> Tensor:
        entries = entries.to(working_dtype(frames))
        values = torch.empty_like(frames)
        for batch, span in _blocks(frames):
            pixels = frames[batch, :, span]
            cell, _, finite = _locate(pixels, entries.shape[2] + 1)
            values[batch, :, span] = torch.where(_inside(pixels, finite), entries[batch].gather(2, cell), 0)
        return values

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        frames, entries = inputs
        ctx.save_for_backward(frames)
        ctx.cells, ctx.dtype = entries.shape[2], entries.dtype

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        sums: Tensor = _CellSums.apply(ctx.saved_tensors[0], gradient, ctx.cells)
        return None, sums.to(ctx.dtype)


class _CellSums(_Vectorized):
    """Weights ``[B, C, N]``, summed over the pixels in each cell, to ``[B, C, cells]``."""

    @staticmethod
    def forward(frames: Tensor, weights: Tensor, cells: int) -> Tensor:
        sums = torch.zeros(*frames.shape[:2], cells, dtype=precise_dtype(frames.device), device=frames.device)
        for batch, span in _blocks(frames):
            pixels = frames[batch, :, span]
            cell, _, finite = _locate(pixels, cells + 1)
            weight = torch.where(_inside(pixels, finite), weights[batch, :, span], 0)
            sums[batch].scatter_add_(2, cell, weight.to(sums.dtype))
        return sums

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.dtype = inputs[1].dtype

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        values: Tensor = _CellValues.apply(ctx.saved_tensors[0], gradient)
        return None, values.to(ctx.dtype), None


def _slopes(frames: Tensor, tables: Tensor) -> Tensor:
    """The slope of the tables ``[B, C, bins]`` at each pixel ``[B, C, N]``."""
    slopes: Tensor = _CellValues.apply(frames, tables.diff() * (tables.shape[2] - 1))
    return slopes


def _locate(pixels: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel, the bin center at its left (int64), how far it is on the way to the next, and whether it is finite."""
    finite = torch.isfinite(pixels)
    position = torch.where(finite, pixels, 0).to(working_dtype(pixels)).clamp(0, 1) * (bins - 1)
    # 8-bit content divided by 255 misses its bin center by a rounding error. Left there, that error would make the next
    # bin occur in the histogram, and the inverse of the distribution would bend towards a level that nobody painted.
    nearest = position.round()
    position = torch.where((position - nearest).abs() <= (bins - 1) * torch.finfo(pixels.dtype).eps, nearest, position)
    cell = position.floor().clamp(max=bins - 2)
    return cell.long(), position - cell, finite


def _inside(pixels: Tensor, finite: Tensor) -> Tensor:
    return finite & (pixels >= 0) & (pixels <= 1)


def _blocks(frames: Tensor) -> Iterator[tuple[slice, slice]]:
    """Cut ``[B, C, N]`` into blocks: several small frames, or a part of a large one."""
    batch, _, pixels = frames.shape
    # A compiler sees to this itself.
    step = max(batch * pixels, 1) if torch.compiler.is_compiling() else stripe_size(frames.device)
    many = max(step // pixels, 1)
    for first in range(0, batch, many):
        for start in range(0, pixels, step):
            yield slice(first, first + many), slice(start, start + step)
