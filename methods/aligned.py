"""Matching a picture to one that shows the same at the same place, by an affine map or by curves."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ..kernels.dtypes import cast, wants_gradient
from ..kernels.workers import by_stripes, stripe_size
from .channels import ChannelTables
from .curves import fit_curves, likely_curves, send
from .grid import CellAffine, CellTables
from .linear import AffineMap
from .robust import Pairs, biweight, fit_affine, likely_affine, move, robust_fit, settled
from .samples import ColorSample
from .transform import PairStep, Picture

# Of pictures with more pixels than that, larger cells are measured.
_CELLS = 1 << 14
# The least side of a cell. It keeps grain and half a pixel of misalignment out of what is measured.
_SIDE = 2
# The variance of colors in a cell, added up over the channels of both pictures, at which it counts for half.
_BUSY = (8 / 255) ** 2
# A stripe is kept in so many times the memory of others.
_PLANES = 4
# To the fit of a cell of a grid, one of so many pairs counts that are far from it, and so much.
_ONE_OF, _FAR_COUNTS = 16, 0.1
# The scale in levels, see robust.py, from which a fit narrows down: a curve starts from a coarser one than a line.
_LINE_SCALE, _CURVE_SCALE = 4.0, 8.0


@dataclass(frozen=True)
class AlignedStep(PairStep):
    """Measure both pictures in the same cells of some pixels.

    ``span`` is what a step of 1 is in each channel. What is measured are colors ``[2C, n]``, the picture's above the
    reference's, of cells that count less where there are edges in them: those tell of misalignment. Where the fit changes over
    a ``grid``, two rows more say where they are, in its cells.
    """

    span: tuple[float, ...]
    grid: int = 1

    def measure_pair(self, picture: Picture, reference: Picture) -> ColorSample:
        """Take the mean colors of cells.

        Raises:
            ValueError: the reference has neither the picture's size nor another scale of it.
        """
        height, width = picture.pixels.shape[1:]
        side = max(_SIDE, math.ceil(_SIDE * height / reference.pixels.shape[1]))
        while math.ceil(height / side) * math.ceil(width / side) > _CELLS:
            side += 1
        other = at_size(reference, (height, width))
        given = [plane for plane in (picture.weights, other.weights) if plane is not None]
        # So that all cells of a picture are whole but for those at its ends.
        lines = side * max(1, stripe_size(picture.pixels.device) // (_PLANES * side * width))
        cells = partial(_cells, units(self.span, picture.pixels), (min(side, height), min(side, width)))
        places = self._places(picture.pixels)
        parts = by_stripes(cells, picture.pixels, other.pixels.to(picture.pixels), places, *given, pixels=lines * width)
        colors, weights = zip(*parts, strict=True)
        return ColorSample(torch.cat(colors, dim=1), torch.cat(weights))

    def _places(self, pixels: Tensor) -> Tensor:
        """Where pixels ``[C, H, W]`` are, ``[2, H, W]`` in cells of the grid; ``[0, H, W]`` where that is of no interest."""
        if self.grid == 1:
            return pixels.new_empty(0, *pixels.shape[1:])
        sides = ((torch.arange(side, dtype=pixels.dtype) + 0.5) * (self.grid / side) for side in pixels.shape[1:])
        return torch.stack(torch.meshgrid(*sides, indexing="ij")).to(pixels.device)

    def _pairs(self, measured: ColorSample) -> Pairs:
        """What was measured, in units in which colors can be compared."""
        # On the CPU, so that all devices find the same, in double precision.
        unit = torch.tensor(self.span, dtype=torch.float64).repeat(2)[:, None] / self.span[0]
        return Pairs.of(ColorSample(measured.colors[: len(unit)].cpu() * unit, measured.weights.cpu().double()))

    @abstractmethod
    def _fit(self, pairs: Pairs) -> Tensor:
        """The values of a part from which the fewest pairs deviate; those of the identity where nothing counts."""

    def _fitted(self, measured: ColorSample) -> Tensor:
        """What is fitted to all pairs, or in each cell of the grid, ``[grid, grid, ...]``, to what is near to its middle."""
        pairs = self._pairs(measured)
        if self.grid == 1:
            return self._fit(pairs)
        places = measured.colors[-2:].detach().cpu().double()
        few = torch.arange(places.shape[1]) % _ONE_OF == 0
        fitted = []
        for cell in product(range(self.grid), repeat=2):
            kernel = (1 - (places - 0.5 - places.new_tensor(cell)[:, None]).abs()).clamp(min=0).prod(dim=0)
            chosen = (kernel > 0) | few
            weights = (pairs.weights * torch.where(kernel > 0, kernel, _FAR_COUNTS))[chosen]
            fitted.append(self._fit(Pairs(pairs.source[:, chosen], pairs.reference[:, chosen], weights)))
        cells: Tensor = torch.stack(fitted).unflatten(0, (self.grid, self.grid))
        return cells


@dataclass(frozen=True)
class AlignedLinear(AlignedStep):
    """Fit an affine map of colors, and leave out where the pictures show different things."""

    def solve(self, measured: ColorSample, prepared: Any) -> AffineMap | CellAffine:
        """Find the map from which the fewest pixels deviate; the identity where nothing counts."""
        affine = self._fitted(measured)
        unit = units(self.span, affine)
        affine = affine * torch.cat([unit, unit.new_ones(1)]) / unit[:, None]
        return AffineMap(affine) if self.grid == 1 else CellAffine(affine)

    def _fit(self, pairs: Pairs) -> Tensor:
        with torch.no_grad():
            affine, scale = robust_fit(pairs, fit_affine, move, likely_affine(pairs), _LINE_SCALE)
        if wants_gradient(pairs.source, pairs.weights):
            affine = settled(lambda values: fit_affine(pairs, biweight(pairs.distances(move, values), scale)), affine)
        return affine


@dataclass(frozen=True)
class AlignedCurve(AlignedStep):
    """Fit a monotone curve to each channel, and leave out where the pictures show different things."""

    @torch.no_grad()
    def solve(self, measured: ColorSample, prepared: Any) -> ChannelTables | CellTables:
        """Find the curves from which the fewest pixels deviate; the identity where nothing counts."""
        tables = self._fitted(measured)
        return ChannelTables(tables) if self.grid == 1 else CellTables(tables.movedim(2, 0))

    def _fit(self, pairs: Pairs) -> Tensor:
        unit = units(self.span, pairs.source)
        fit, sends = partial(fit_curves, unit=unit), partial(send, unit=unit)
        return robust_fit(pairs, fit, sends, likely_curves(pairs, unit), _CURVE_SCALE)[0]


def units(span: Sequence[float], pixels: Tensor) -> Tensor:
    """What channels are multiplied by to be compared, ``[C]``: the first one's level is the unit."""
    return torch.tensor(span, dtype=pixels.dtype, device=pixels.device) / span[0]


def at_size(reference: Picture, size: tuple[int, int]) -> Picture:
    """The reference ``[C, h, w]`` at the size of a picture, where it shows the same at another scale.

    Raises:
        ValueError: one has other proportions than the other.
    """
    given = tuple(reference.pixels.shape[1:])
    if given == size:
        return reference
    # Sides are whole numbers of pixels, so the scale is known up to one of them.
    if max((had - 1) / side for had, side in zip(given, size, strict=True)) >= min(
        (had + 1) / side for had, side in zip(given, size, strict=True)
    ):
        expected = f"the size of the image, {size[0]}x{size[1]}, or another scale of it, to compare pixel by pixel"
        raise ValueError(f"reference: expected {expected}, got {given[0]}x{given[1]}")
    resize = partial(interpolate, size=size, mode="bilinear", antialias=True)
    weights = reference.weights
    if weights is None:
        return Picture(resize(reference.pixels[None])[0])
    resized = resize(torch.cat([reference.pixels * weights, weights[None].to(reference.pixels)])[None])[0]
    return Picture(resized[:-1] / torch.where(resized[-1] > 0, resized[-1], 1), resized[-1])


def _cells(
    unit: Tensor, side: tuple[int, int], source: Tensor, reference: Tensor, places: Tensor, *given: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean colors ``[2C, n]`` of cells of a stripe, and their places; how much they count, ``[n]``, by weights ``given``."""
    colors = torch.cat([source, reference])
    squares = (colors.square() * cast(unit, colors).square().repeat(2).view(-1, 1, 1)).sum(dim=0, keepdim=True)
    weights = math.prod((cast(plane, colors) for plane in given), start=colors.new_ones(colors.shape[1:]))
    planes = torch.cat([colors, places, squares])
    planes = torch.cat([planes * weights if given else planes, weights[None]])
    sums = avg_pool2d(planes[None], side, ceil_mode=True, divisor_override=1)[0].flatten(1)
    totals = sums[-1]
    means = sums[:-1] / torch.where(totals > 0, totals, 1)
    variance = means[-1] - (means[: len(colors)].square() * cast(unit, means).square().repeat(2)[:, None]).sum(dim=0)
    return means[:-1], totals / (1 + variance.clamp(min=0) / _BUSY)
