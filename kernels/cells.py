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

from .dtypes import nearest_end, precise_dtype, wants_gradient, working_dtype
from .soft_binning import soft_histogram
from .workers import spread, stripe_size

BINS = 256
"""Entries of the table of a cell."""
FINE = 4 * (BINS - 1) + 1
"""Levels at which pixels of a cell are counted. Those of 8 bits, and the bins, are among them."""

# As many times the pixels of a stripe are worked on at a time.
_STRIPES = 3


def count_cells(pixels: Tensor, grid: int, weights: Tensor | None = None) -> Tensor:
    """Count the pixels of each channel of ``[C, H, W]``, by weights ``[H, W]``: ``[C, grid, grid, FINE]``.

    As :func:`~.levels.count`: softly where a gradient is wanted, else at the nearest level, in :func:`precise_dtype`. Cells
    differ by a pixel where sides are no multiples of ``grid``, and are empty where a picture has fewer pixels.
    """
    planes = [pixels] if weights is None else [pixels, weights]
    height, width = pixels.shape[1:]
    column = torch.arange(width, device=pixels.device) * grid // width
    edges = [-(-row * height // grid) for row in range(grid + 1)]
    rows = [[plane[..., top:bottom, :] for plane in planes] for top, bottom in pairwise(edges)]
    softly = wants_gradient(*planes)
    work = partial(_count_softly if softly else _count_row, grid, column)
    return torch.stack(spread(work, *zip(*rows, strict=True), alone=softly or pixels.device.type != "cpu"), dim=1)


def look_up_cells(pixels: Tensor, tables: Tensor, out: Tensor | None = None) -> Tensor:
    """Send pixels ``[C, H, W]`` through the tables ``[C or 1, rows, columns, bins]`` of the cells around each.

    Linearly between entries as between cells, and differentiable in both; values that are not in [0, 1] as by
    :func:`~.levels.look_up`. Where no gradient is wanted, ``out``, of their shape and on their device, or ``pixels`` itself can
    take the result.
    """
    return _between_cells(_look_up_lines, tables.expand(len(pixels), -1, -1, -1).movedim(0, 2), pixels, out)


def map_cells(pixels: Tensor, affine: Tensor, out: Tensor | None = None) -> Tensor:
    """Send pixels ``[C, H, W]`` through affine maps ``[rows, columns, C, C + 1]`` of the cells around each, as above."""
    return _between_cells(_map_lines, affine, pixels, out)


def _between_cells(send: Callable[..., Tensor], cells: Tensor, pixels: Tensor, out: Tensor | None) -> Tensor:
    """Send ``pixels`` ``[C, H, W]`` through what is known of the ``cells`` ``[rows, columns, C, n]`` around each, by lines."""
    (height, width), dtype = pixels.shape[1:], working_dtype(pixels)
    # First the dtype, since some devices have no float64.
    cells = cells.to(dtype).to(pixels.device)
    down, across = (
        (torch.arange(side, dtype=dtype) + 0.5) * (number / side) + 0.5
        for side, number in zip((height, width), cells.shape[:2], strict=True)
    )
    # Beyond the outermost middles, all is as it is there.
    cells = pad(cells.movedim((0, 1), (2, 3)), (1, 1, 1, 1), mode="replicate").movedim((2, 3), (0, 1)).contiguous()
    rows, lines = torch.unique_consecutive(down.long(), return_counts=True)
    parts, column, part = (plane.to(pixels.device) for plane in (down.frac(), across.long(), across.frac()))
    # Between two rows of middles, as many lines at a time as keep pixels, and what is made for each line, in a cache.
    most = max(1, _STRIPES * stripe_size(pixels.device) // max(width, cells[0, :, 0].numel()))
    stripes, first = [], 0
    for row, number in zip(rows.tolist(), lines.tolist(), strict=True):
        step = number if wants_gradient(pixels, cells) else most
        stripes += [(row, slice(top, min(top + step, first + number))) for top in range(first, first + number, step)]
        first += number

    def work(row: int, some: slice) -> Tensor:
        between = torch.lerp(cells[row], cells[row + 1], parts[some].view(-1, 1, 1, 1))
        return send(between, column, part, pixels[:, some].to(between.dtype))

    if wants_gradient(pixels, cells):
        return torch.cat([work(*stripe) for stripe in stripes], dim=1).to(pixels.dtype)
    matched = torch.empty_like(pixels) if out is None else out

    def write(row: int, some: slice) -> None:
        matched[:, some] = work(row, some)

    spread(write, *zip(*stripes, strict=True), alone=pixels.device.type != "cpu")
    return matched


def _count_row(grid: int, column: Tensor, pixels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Count a row of cells ``[C, h, W]`` at the nearest levels, with weights ``[h, W]``: ``[C, grid, FINE]``."""
    dtype = torch.int32 if weights is None else precise_dtype(pixels.device)
    counts = torch.zeros(len(pixels) * grid * FINE, dtype=dtype, device=pixels.device)
    if pixels.numel():
        # In the order of memory.
        order = _order(pixels)
        values, finite = _inside(pixels.permute(order).to(working_dtype(pixels)))
        cell = torch.arange(len(pixels), device=pixels.device).view(-1, 1, 1) * grid + column
        level = (values * (FINE - 1)).add_(0.5).to(torch.int32).add_((cell * FINE).to(torch.int32).permute(order))
        one = torch.ones(1, 1, 1, dtype=dtype, device=pixels.device) if weights is None else weights.to(dtype)[None]
        added = one.expand(pixels.shape).permute(order)
        if finite is not None:
            level, added = level[finite], added[finite]
        counts.index_add_(0, level.flatten(), added.reshape(-1))
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
    order = _order(pixels)
    given = pixels.permute(order)
    values, finite = _inside(given)
    position = values * (bins - 1)
    index = position.detach().to(torch.int32).clamp_(0, bins - 2)
    between = position - index
    channel, line = (torch.arange(number, device=pixels.device) for number in (channels, height))
    index.add_(((column * channels + channel[:, None, None]) * bins).to(torch.int32).permute(order))
    index = index.add_((line.view(1, -1, 1) * columns * channels * bins).to(torch.int32).permute(order)).flatten()
    flat = lines.flatten()
    # Of the cells at both sides, the entries at both sides.
    corners = [flat[first:].index_select(0, index).view_as(between) for first in (0, 1, channels * bins, channels * bins + 1)]
    left, right = (torch.lerp(lower, upper, between) for lower, upper in (corners[:2], corners[2:]))
    matched = torch.lerp(left, right, part.view(1, 1, -1).permute(order))
    if finite is not None:
        matched = torch.where(finite, matched, nearest_end(given))
    return matched.permute((2, 0, 1) if order[0] else order)


def _map_lines(lines: Tensor, column: Tensor, part: Tensor, pixels: Tensor) -> Tensor:
    """Send lines ``[C, h, W]`` through affine maps ``[h, columns, C, C + 1]``, likewise between columns."""
    affine = torch.lerp(lines[:, column], lines[:, column + 1], part[:, None, None])
    return torch.einsum("hwck,khw->chw", affine[..., :-1], pixels) + affine[..., -1].movedim(-1, 0)


def _order(pixels: Tensor) -> tuple[int, int, int]:
    """How dimensions of ``[C, H, W]`` follow in memory."""
    return (1, 2, 0) if len(pixels) > 1 and pixels.stride(0) < pixels.stride(2) else (0, 1, 2)


def _inside(values: Tensor) -> tuple[Tensor, Tensor | None]:
    """Values with those beyond [0, 1] at the nearest end, and which are finite; None if all are."""
    lowest, highest = torch.aminmax(values.detach())
    if lowest >= 0 and highest <= 1:
        return values, None
    finite = values.isfinite()
    return nearest_end(values).clamp(0, 1), None if finite.all() else finite
