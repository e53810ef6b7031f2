"""Counting and looking up, channel by channel: softly where a gradient is wanted, at 16-bit levels where none is.

Both evaluations compute the same function. The one at levels rounds each pixel to the nearest of 65536 first, so that counting
is whole-number counting and applying is one table look-up.
"""

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from .dtypes import nearest_end, precise_dtype, wants_gradient, working_dtype
from .soft_binning import interpolate, soft_histogram
from .workers import by_stripes, stripe_size

LEVELS = 65536
"""Levels of the evaluation without gradients. 65535 = 255 * 257, so 8-bit values are levels too, without rounding."""

# Channels that share one table of 16-bit levels. A float32 has the bits to number the levels of this many.
_CHANNELS = 4
# Fractions are added up in stretches of so many pixels, whoever does it.
_WEIGHTED_STRETCH = 1 << 19


def count(pixels: Tensor, bins: int = LEVELS, weights: Tensor | None = None, *, inside: bool = False) -> Tensor:
    """Count the pixels of each channel of ``[C, H, W]`` in soft bins, as :func:`histogram` describes it.

    Weights broadcast to the shape of ``pixels``. ``inside``: all values are known to be in [0, 1]. The counts ``[C, bins]`` are
    of :func:`precise_dtype`.
    """
    planes = (pixels,) if weights is None else (pixels, weights.expand(pixels.shape))
    if wants_gradient(*planes):
        return soft_histogram(pixels.flatten(1)[None], bins, *(plane.flatten(1)[None] for plane in planes[1:]))[0]
    rows = []
    with torch.no_grad():
        for first in range(0, len(pixels), _CHANNELS):
            parts = [plane[first : first + _CHANNELS] for plane in planes]
            # Whole numbers may be added in any order, fractions may not.
            stretch = partial(_count_stretch, inside)
            tables = by_stripes(stretch, *parts, pixels=0 if weights is None else _WEIGHTED_STRETCH)
            total = tables[0].to(precise_dtype(pixels.device))
            for table in tables[1:]:
                total += table
            rows.append(total.view(-1, LEVELS))
    counts = rows[0] if len(rows) == 1 else torch.cat(rows)
    return counts if bins == LEVELS else rebin(counts, bins)


def look_up(pixels: Tensor, table: Tensor, out: Tensor | None = None, *, inside: bool = False) -> Tensor:
    """Send pixels ``[C, H, W]`` through the tables ``[C or 1, bins]`` of their channels, as :func:`apply_transfer` does.

    Where no gradient is wanted, ``out``, of their shape and on their device, or ``pixels`` itself can take the result.
    ``inside``: all values are known to be in [0, 1].
    """
    table = table.expand(len(pixels), -1)
    if wants_gradient(pixels, table):
        return interpolate(pixels.flatten(1)[None], table[None])[0].view(pixels.shape)
    matched = torch.empty_like(pixels) if out is None else out
    entries = (table if table.shape[1] == LEVELS else resample(table)).to(working_dtype(pixels)).to(pixels.device)
    with torch.no_grad():
        for first in range(0, len(pixels), _CHANNELS):
            part = slice(first, first + _CHANNELS)
            by_stripes(partial(_look_up_stretch, inside, entries[part].flatten()), pixels[part], matched[part], pixels=0)
    return matched


def value_range(pixels: Tensor) -> tuple[float, float]:
    """The least and the greatest value of ``pixels`` ``[C, H, W]``; NaN if there is a NaN."""
    lines = pixels.detach().movedim(0, -1)
    plane = lines.flatten(1) if lines.is_contiguous() else pixels.detach()
    lowest, highest = torch.aminmax(torch.stack([end for ends in by_stripes(torch.aminmax, plane, pixels=0) for end in ends]))
    return float(lowest), float(highest)


def missing_values(pixels: Tensor) -> int:
    """How many values of ``pixels`` ``[C, H, W]`` are NaN or infinite."""
    return 0 if all(map(math.isfinite, value_range(pixels))) else int((~pixels.isfinite()).sum())


def rebin(counts: Tensor, bins: int) -> Tensor:
    """Spread counts at even levels ``[C, levels]`` over so many soft bins."""
    counts, last = counts.to(precise_dtype(counts.device)), counts.shape[1] - 1
    if bins == counts.shape[1]:
        return counts
    position = torch.arange(last + 1, device=counts.device) * (bins - 1)
    cell = (position // last).clamp_(max=bins - 2)
    part = (position - cell * last).to(counts.dtype) / last
    spread_out = torch.zeros(counts.shape[0], bins, dtype=counts.dtype, device=counts.device)
    spread_out.index_add_(1, cell, counts * (1 - part))
    spread_out.index_add_(1, cell + 1, counts * part)
    return spread_out


def resample(table: Tensor, levels: int = LEVELS) -> Tensor:
    """Evaluate a table ``[C, bins]`` at so many even levels, linearly between its entries: ``[C, levels]``."""
    table = table.to(precise_dtype(table.device))
    return torch.nn.functional.interpolate(table[None], size=levels, mode="linear", align_corners=True)[0]


def _count_stretch(inside: bool, pixels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Count ``pixels`` ``[C, h, W]`` at their levels, in one row ``[C * LEVELS]``: in whole numbers, or by ``weights``."""
    # 2^30 pixels cannot overflow an int32, and adding to it is faster than to a larger number.
    dtype = torch.int32 if weights is None else precise_dtype(pixels.device)
    counts = torch.zeros(len(pixels) * LEVELS, dtype=dtype, device=pixels.device)
    one = torch.ones((), dtype=dtype, device=pixels.device)
    for _, level, finite, others in _level_blocks(inside, pixels, *([] if weights is None else [weights])):
        added = others[0].reshape(-1).to(dtype) if others else one.expand_as(level)
        if finite is not None:
            level, added = level[finite], added[finite]
        counts.index_add_(0, level, added)
    return counts


def _look_up_stretch(inside: bool, entries: Tensor, pixels: Tensor, out: Tensor) -> None:
    """Write the entry of ``entries`` ``[C * LEVELS]`` at each pixel of ``pixels`` ``[C, h, W]`` to ``out``."""
    for values, level, finite, (target,) in _level_blocks(inside, pixels, out):
        if finite is None and target.is_contiguous() and target.dtype == entries.dtype:
            torch.index_select(entries, 0, level, out=target.view(-1))
            continue
        matched = torch.index_select(entries, 0, level)
        if finite is not None:
            matched = torch.where(finite, matched, nearest_end(values))
        target.copy_(matched.view(target.shape))


def _level_blocks(
    inside: bool, pixels: Tensor, *others: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor | None, list[Tensor]]]:
    """Walk over ``pixels`` ``[C, h, W]`` in blocks of lines, in the order of memory.

    Yields:
        The block's values, flat; the 16-bit level of each plus ``LEVELS`` for each channel before it, valid until the next
        block; which of them are finite, None if all are; and the same block of the other planes, in the same order.
    """
    lines = max(1, stripe_size(pixels.device) // pixels.shape[2])
    interleaved = len(pixels) > 1 and pixels.stride(0) < pixels.stride(2)
    order = (1, 2, 0) if interleaved else (0, 1, 2)
    shift = torch.arange(len(pixels), dtype=torch.float32, device=pixels.device).view(-1, 1, 1) * LEVELS + 0.5
    offsets = scaled = torch.empty(0, device=pixels.device)
    level = torch.empty(0, dtype=torch.int32, device=pixels.device)
    for block, *rest in zip(*(plane.split(lines, dim=1) for plane in (pixels, *others)), strict=True):
        values = block.permute(order).reshape(-1)
        if offsets.shape != values.shape:
            # First a line of them: many short rows take longer to copy than few long ones.
            line = shift.expand(-1, 1, block.shape[2]).permute(order).contiguous()
            offsets = line.expand_as(block.permute(order)).reshape(-1)
            scaled, level = torch.empty_like(offsets), level.resize_(values.shape)
        clamped, finite = values, None
        # A GPU waits at each question.
        lowest, highest = (0, 1) if inside else torch.aminmax(values)
        if not (lowest >= 0 and highest <= 1):
            is_finite = torch.isfinite(values)
            clamped = torch.where(is_finite, values, 0).clamp_(0, 1)
            finite = None if is_finite.all() else is_finite
        # One pass scales and rounds and moves each channel to levels of its own.
        torch.add(offsets, clamped, alpha=LEVELS - 1, out=scaled)
        yield values, level.copy_(scaled), finite, [plane.permute(order) for plane in rest]
