"""A table of colors on an even grid, as a part of a transform."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.dtypes import nearest_end, wants_gradient, working_dtype
from ..kernels.workers import by_stripes
from ..methods.transform import Picture, TensorPart

# Pixels that are worked on at a time: few enough for the caches of a core, many enough that calling torch is not most of it.
_BLOCK = 1 << 15


@dataclass(frozen=True)
class ColorTable(TensorPart):
    """What becomes of the colors of a grid: ``values`` ``[3, N, N, N]`` with N from 2, by channel, blue, green and red.

    ``values[c, b, g, r]`` is what channel ``c`` of the color ``(r, g, b) / (N - 1)`` becomes.
    """

    def __post_init__(self) -> None:
        size = self.values.shape[-1]
        if self.values.shape != (3, size, size, size) or size < 2:
            raise ValueError(f"values: expected shape [3, N, N, N] with N of 2 or more, got {list(self.values.shape)}")

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Interpolate in tetrahedra, see :func:`look_up_colors`."""
        return look_up_colors(pixels, self.values, out)


def color_grid(size: int) -> Tensor:
    """The table ``[3, size, size, size]`` that leaves colors as they are, in double precision."""
    axis = torch.linspace(0, 1, size, dtype=torch.float64)
    blue, green, red = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([red, green, blue])


def look_up_colors(pixels: Tensor, table: Tensor, out: Tensor | None = None) -> Tensor:
    """Send colors ``[3, H, W]`` through a table ``[3, N, N, N]``, see :class:`ColorTable`, linearly between its entries.

    Each cell of the grid falls into six tetrahedra around the diagonal from its darkest corner to its brightest. A color
    becomes the mean of what the four corners of its own become, weighted by how near they are. So grays depend on grays alone
    (Kasson, Plouffe and Nin 1993, "A tetrahedral interpolation technique for color space conversion"; Selan 2004, "Using lookup
    tables to accelerate color transformations").

    Values beyond [0, 1] are taken as its nearest end, and NaN as 0. Differentiable in both. Where no gradient is wanted,
    ``out`` like ``pixels``, or ``pixels`` itself, can take the result.
    """
    entries = table.to(working_dtype(pixels)).to(pixels.device).flatten(1)
    size = table.shape[-1]
    if wants_gradient(pixels, table):
        return _interpolate(pixels, entries, size)
    matched = torch.empty_like(pixels) if out is None else out
    with torch.no_grad():
        if pixels.device.type == "cpu":
            by_stripes(lambda stripe, target: _write(stripe, entries.contiguous(), size, target), pixels, matched, pixels=0)
        else:
            by_stripes(lambda stripe, target: target.copy_(_interpolate(stripe, entries, size)), pixels, matched)
    return matched


def _interpolate(pixels: Tensor, entries: Tensor, size: int) -> Tensor:
    """Look up in ``entries`` ``[3, N^3]`` with a gradient, on any device."""
    position = (nearest_end(pixels).clamp(0, 1).to(entries.dtype) * (size - 1)).flatten(1)
    cell = position.detach().floor().clamp_(max=size - 2)
    inside, order = (position - cell).sort(dim=0, descending=True)
    strides = torch.tensor([1, size, size * size], device=pixels.device)
    first = (cell.long() * strides[:, None]).sum(0, keepdim=True)
    index = torch.cat([first, first + strides[order].cumsum(0)])
    weights = torch.cat([1 - inside[:1], inside[:2] - inside[1:], inside[2:]])
    corners = entries.index_select(1, index.flatten()).view(3, *index.shape)
    return (corners * weights).sum(1).view(pixels.shape).to(pixels.dtype)


def _write(pixels: Tensor, entries: Tensor, size: int, out: Tensor) -> None:
    """Look up in ``entries`` ``[3, N^3]`` without a gradient, block by block, into ``out``."""
    lines = max(1, _BLOCK // pixels.shape[2])
    cells = None
    for block, target in zip(pixels.split(lines, dim=1), out.split(lines, dim=1), strict=True):
        if cells is None or cells.count != block[0].numel():
            cells = _Cells(block[0].numel(), entries)
        cells.locate(block.to(entries.dtype), size)
        cells.mix(entries, target)


class _Cells:
    """Where the colors of a block lie in the grid, in memory that is used for one block after the other.

    Each operation rounds once, so that it does not matter which pixels a processor takes together.
    """

    def __init__(self, count: int, entries: Tensor) -> None:
        self.count = count
        self._inside, self._corner = entries.new_empty(2, 3, count)
        self._weights, self._places = entries.new_empty(2, 4, count)
        self._narrow, self._index = (torch.empty(4, count, dtype=dtype) for dtype in (torch.int32, torch.int64))
        self._values = entries.new_empty(3, 4, count)

    def locate(self, colors: Tensor, size: int) -> None:
        """Find the corners around ``colors`` ``[3, h, W]`` and their weights."""
        inside, corner, weights, places = self._inside, self._corner, self._weights, self._places
        torch.mul(colors, size - 1, out=inside.view(colors.shape))
        torch.nan_to_num(inside, nan=0.0, posinf=size - 1, neginf=0.0, out=inside).clamp_(0, size - 1)
        torch.floor(inside, out=corner).clamp_(max=size - 2)
        inside -= corner
        self._number(0, corner, size)
        most, middle, least = weights[:3]
        larger, smaller = places[1:3]
        torch.maximum(inside[0], inside[1], out=larger)
        torch.minimum(inside[0], inside[1], out=smaller)
        torch.maximum(larger, inside[2], out=most)
        torch.minimum(smaller, inside[2], out=least)
        torch.maximum(torch.minimum(larger, inside[2], out=middle), smaller, out=middle)
        # The second corner is one further along the axis along which the color is furthest inside of its cell, the third along
        # two. Where axes are equal, one of these takes another corner, whose weight is 0.
        self._number(1, torch.ge(inside, most, out=corner), size).add_(places[0])
        self._number(2, torch.gt(inside, least, out=corner), size).add_(places[0])
        torch.add(places[0], 1 + size + size * size, out=places[3])
        weights[3] = least
        torch.sub(middle, least, out=weights[2])
        torch.sub(most, middle, out=middle)
        torch.neg(most, out=most).add_(1)
        # By a narrower number on the way, which a processor converts to many at a time.
        self._index.copy_(self._narrow.copy_(places))

    def _number(self, place: int, corner: Tensor, size: int) -> Tensor:
        """The number of a corner in the table; a float32 holds all of 256^3."""
        number = torch.add(corner[0], corner[1], alpha=size, out=self._places[place])
        return number.add_(corner[2], alpha=size * size)

    def mix(self, entries: Tensor, out: Tensor) -> None:
        """Write the mean of the corners' entries to ``out`` ``[3, h, W]``."""
        for channel, values in zip(entries, self._values, strict=True):
            torch.index_select(channel, 0, self._index.view(-1), out=values.view(-1))
        first, second, third, last = self._values.mul_(self._weights).unbind(1)
        # To other memory than that of the sum, a copy is faster than a sum.
        out.copy_(first.add_(second).add_(third).add_(last).view(out.shape))
