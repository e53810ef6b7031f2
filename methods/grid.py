"""Matching in the cells of a grid: the transfer function changes over the picture."""

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..kernels.cells import BINS, FINE, count_cells, look_up_cells, map_cells
from ..kernels.levels import rebin
from .channels import ChannelStep
from .transform import Picture, Step, TensorPart

# What the pixels of the cells around one count there beside its own; its square is what those of all others do.
_BORROWED = 1e-3
# An excess that is less than this part of all is not worth another round.
_LITTLE = 1e-9
_ROUNDS = 64
# Of tables that are solved for together.
_ROWS = 256


class CellTables(TensorPart):
    """Transfer functions ``values`` ``[C, rows, columns, bins]`` for the middles of cells."""

    pointwise: ClassVar[bool] = False
    reason: ClassVar[str] = "changes over the picture"

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Look up."""
        return look_up_cells(pixels, self.values, out)


class CellAffine(TensorPart):
    """Affine maps of colors ``values`` ``[rows, columns, C, C + 1]`` for the middles of cells."""

    pointwise: ClassVar[bool] = False
    reason: ClassVar[str] = CellTables.reason

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Multiply and add."""
        return map_cells(pixels, self.values, out)


@dataclass(frozen=True)
class CellStep(Step):
    """Do what ``step`` does in each of ``grid * grid`` cells, with slopes of at most ``clip``, if that is not 0.

    A cell in which nothing or little counts borrows from the cells around it, and a little from all: wherever levels are not
    its own, its transfer function is theirs.
    """

    step: ChannelStep
    grid: int
    clip: float
    channelwise: ClassVar[bool] = True

    @property
    def needs_picture(self) -> str:  # type: ignore[override]
        """Of one cell, a histogram does as well."""
        return "to compare cell by cell" if self.grid > 1 else ""

    @property
    def measures_reference(self) -> bool:  # type: ignore[override]
        """Whether the step does."""
        return self.step.measures_reference

    def measure(self, picture: Picture) -> Tensor:
        """Count in each cell, ``[C, grid, grid, FINE]``."""
        if picture.counts is not None and self.grid == 1:
            return rebin(picture.counts, FINE)[:, None, None]
        counts = count_cells(picture.pixels, self.grid, picture.weights)
        # As of a picture as a whole, see ChannelStep.
        return counts if counts.dtype == torch.float64 else counts.cpu().double()

    def solve(self, source: Tensor, prepared: Any) -> CellTables:
        """Solve for each cell."""
        given = [_binned(counts) for counts in (source, prepared) if counts is not None]
        shares = [counts.sum(-1, keepdim=True) for counts in given]
        # Where less of one counts than of the other, neither counts more.
        least = reduce(torch.minimum, [share / share.amax((1, 2), keepdim=True) for share in shares])
        counts = [borrowed(one / torch.where(share > 0, share, 1) * least) for one, share in zip(given, shares, strict=True)]
        tables = self._tables(*counts)
        if self.clip:
            # What becomes of what is darker than all; a target sends that to one value.
            darkest = torch.zeros_like(counts[-1] if len(counts) > 1 else counts[0][:, :1, :1])
            darkest[..., -1] = 1
            black = self._tables(darkest, *counts[1:])[..., :1].expand(*tables.shape[:3], 1)
            tables = limit_slopes(tables.flatten(0, 2), black.flatten(0, 2), self.clip).view(tables.shape)
        return CellTables(tables)

    def _tables(self, source: Tensor, reference: Tensor | None = None) -> Tensor:
        """The tables ``[C, grid, grid, bins]`` from counts of that shape."""
        if reference is None:
            # Targets may have a row for each channel.
            found = [self.step.solve(cell, source).values.expand_as(cell) for cell in source.flatten(1, 2).unbind(1)]
            return torch.stack(found, dim=1).view(source.shape)
        rows = zip(*(counts.flatten(0, 2).split(_ROWS) for counts in (source, reference.expand_as(source))), strict=True)
        return torch.cat([self.step.solve(some, self.step.prepare(others)).values for some, others in rows]).view(source.shape)


def in_cells(step: ChannelStep, grid: int, clip: float) -> Step:
    """The step in cells, if there is more than one, or if slopes are limited."""
    return CellStep(replace(step, bins=BINS), grid, clip) if grid > 1 or clip else step


def _binned(counts: Tensor) -> Tensor:
    return rebin(counts.flatten(0, 2), BINS).view(*counts.shape[:3], BINS)


def borrowed(counts: Tensor) -> Tensor:
    """Counts ``[C, rows, columns, bins]``, with some of those around each cell, and fewer of all."""
    planes = counts.movedim(-1, 1)
    around: Tensor = avg_pool2d(planes, 3, 1, 1, divisor_override=1).movedim(1, -1)
    everywhere = counts.sum(dim=(1, 2), keepdim=True)
    return counts + _BORROWED * around + _BORROWED**2 * everywhere


def limit_slopes(tables: Tensor, black: Tensor, most: float) -> Tensor:
    """Limit the slopes of tables ``[C, bins]``, which begin at ``black`` ``[C, 1]``, to so much.

    What an entry rises by more than that is spread evenly over all that rise by less: Zuiderveld 1994, see
    :mod:`~comfyui_histogram_match.kernels.cells`, where tables are cumulative histograms.
    """
    bins = tables.shape[1]
    limit = most / bins
    rises = torch.cat([tables[:, :1] - black, tables.diff(dim=1)], dim=1)
    for _ in range(_ROUNDS):
        excess = (rises - limit).clamp(min=0).sum(dim=1, keepdim=True)
        if bool((excess <= _LITTLE).all()):
            break
        rises = rises.clamp(max=limit)
        below = (rises < limit).to(rises.dtype)
        rises = rises + below * excess / below.sum(dim=1, keepdim=True).clamp(min=1)
    return black + rises.cumsum(dim=1)
