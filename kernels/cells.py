"""Counting and looking up in the cells of a grid over a picture, channel by channel.

Cells are measured each for itself, and their tables lie at their middles; between these, results are interpolated
bilinearly, as by Zuiderveld 1994, "Contrast limited adaptive histogram equalization", Graphics Gems IV.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad

from .dtypes import cast, precise_dtype, wants_gradient, working_dtype
from .soft_binning import soft_histogram
from .workers import by_stripes, spread, stripe_size

BINS = 256
"""Entries of the table of a cell."""
FINE = 4 * (BINS - 1) + 1
"""Levels at which pixels of a cell are counted. Those of 8 bits, and the bins, are among them."""


def count_cells(pixels: Tensor, grid: int, weights: Tensor | None = None) -> Tensor:
    """Count the pixels of each channel of ``[C, H, W]`` in [0, 1], by weights ``[H, W]``: ``[C, grid, grid, FINE]``.

    As :func:`~.levels.count`: softly where a gradient is wanted, else at the nearest level, in :func:`precise_dtype`. Cells
    differ by a pixel where sides are no multiples of ``grid``, and are empty where a picture has fewer pixels.
    """
    planes = [pixels] if weights is None else [pixels, weights]
    height, width = pixels.shape[1:]
    column = torch.arange(width, device=pixels.device) * grid // width
    edges = [-(-row * height // grid) for row in range(grid + 1)]
    rows = [[plane[..., top:bottom, :] for plane in planes] for top, bottom in pairwise(edges)]
    if wants_gradient(*planes):
        counted = [_count_softly(grid, column, *row) for row in rows]
    else:
        work = partial(_count_row, grid, column)
        counted = [work(*row) for row in rows] if pixels.device.type != "cpu" else spread(work, *zip(*rows, strict=True))
    return torch.stack(counted, dim=1)


def look_up_cells(pixels: Tensor, tables: Tensor, out: Tensor | None = None) -> Tensor:
    """Send pixels ``[C, H, W]`` in [0, 1] through the tables ``[C or 1, rows, columns, bins]`` of the cells around each.

    Linearly between entries as between cells, and differentiable in both. Where no gradient is wanted, ``out``, of their shape
    and on their device, or ``pixels`` itself can take the result.
    """
    tables = cast(tables, pixels).expand(len(pixels), -1, -1, -1)
    return _between_cells(_look_up_lines, tables.movedim(0, 2), pixels, out)


def map_cells(pixels: Tensor, affine: Tensor, out: Tensor | None = None) -> Tensor:
    """Send pixels ``[C, H, W]`` through affine maps ``[rows, columns, C, C + 1]`` of the cells around each, as above."""
    return _between_cells(_map_lines, cast(affine, pixels), pixels, out)


def _between_cells(send: Callable[..., Tensor], cells: Tensor, pixels: Tensor, out: Tensor | None) -> Tensor:
    """Send ``pixels`` ``[C, H, W]`` through what is known of the ``cells`` ``[rows, columns, C, n]`` around each, by lines."""
    # Beyond the outermost middles, all is as it is there.
    cells = pad(cells.movedim((0, 1), (2, 3)), (1, 1, 1, 1), mode="replicate").movedim((2, 3), (0, 1))
    height, width = pixels.shape[1:]
    down, across = (
        (torch.arange(side, dtype=pixels.dtype, device=pixels.device) + 0.5) * ((number - 2) / side) + 0.5
        for side, number in zip((height, width), cells.shape[:2], strict=True)
    )

    def work(pixels: Tensor, down: Tensor) -> Tensor:
        row = down.long()
        lines = torch.lerp(cells[row[:, 0]], cells[row[:, 0] + 1], (down - row)[..., None, None])
        return send(lines, across.long(), across - across.long(), pixels.to(working_dtype(pixels)))

    if wants_gradient(pixels, cells):
        return work(pixels, down[:, None])
    matched = torch.empty_like(pixels) if out is None else out
    # What is made for each line is not to be more than its pixels.
    most = max(1, stripe_size(pixels.device) // max(width, cells[0, :, 0].numel()))
    with torch.no_grad():
        by_stripes(
            lambda some, line, target: target.copy_(work(some, line)), pixels, down[:, None], matched, pixels=most * width
        )
    return matched


def _count_row(grid: int, column: Tensor, pixels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Count a row of cells ``[C, h, W]`` at the nearest levels, with weights ``[h, W]``: ``[C, grid, FINE]``."""
    dtype = torch.int32 if weights is None else precise_dtype(pixels.device)
    channels = torch.arange(len(pixels), device=pixels.device).view(-1, 1, 1) * grid
    first = ((channels + column) * FINE).to(torch.int32)
    level = (pixels.contiguous() * (FINE - 1)).add_(0.5).to(torch.int32).add_(first).flatten()
    added = (
        torch.ones((), dtype=dtype, device=pixels.device)
        if weights is None
        else weights.to(dtype).flatten().repeat(len(pixels))
    )
    counts = torch.zeros(len(pixels) * grid * FINE, dtype=dtype, device=pixels.device)
    counts.index_add_(0, level, added.expand(level.shape))
    return counts.to(precise_dtype(pixels.device)).view(len(pixels), grid, FINE)


def _count_softly(grid: int, column: Tensor, pixels: Tensor, weights: Tensor | None = None) -> Tensor:
    """The same between levels, with a gradient."""
    cells = []
    for index in range(grid):
        inside = pixels[..., column == index].flatten(1)[None]
        counted = None if weights is None else weights[:, column == index].to(pixels.dtype).flatten().expand_as(inside)
        cells.append(soft_histogram(inside, FINE, counted)[0])
    return torch.stack(cells, dim=1)


def _look_up_lines(lines: Tensor, column: Tensor, part: Tensor, pixels: Tensor) -> Tensor:
    """Send lines ``[C, h, W]`` through tables ``[h, columns, C, bins]``, a ``part`` ``[W]`` of the way from ``column`` on."""
    height, columns, channels, bins = lines.shape
    position = pixels.contiguous() * (bins - 1)
    entry = position.detach().to(torch.int32).clamp_(0, bins - 2)
    between = position - entry
    line = torch.arange(height, device=pixels.device)[:, None] * columns + column
    channel = torch.arange(channels, device=pixels.device).view(-1, 1, 1)
    index = entry.add_(((line * channels + channel) * bins).to(torch.int32)).flatten()
    flat = lines.flatten()
    # Of the cells at both sides, the entries at both sides.
    corners = [flat[first:].index_select(0, index).view_as(between) for first in (0, 1, channels * bins, channels * bins + 1)]
    left, right = (torch.lerp(lower, upper, between) for lower, upper in (corners[:2], corners[2:]))
    return torch.lerp(left, right, part)


def _map_lines(lines: Tensor, column: Tensor, part: Tensor, pixels: Tensor) -> Tensor:
    """Send lines ``[C, h, W]`` through affine maps ``[h, columns, C, C + 1]``, likewise between columns."""
    affine = torch.lerp(lines[:, column], lines[:, column + 1], part[:, None, None])
    return torch.einsum("hwck,khw->chw", affine[..., :-1], pixels) + affine[..., -1].movedim(-1, 0)
