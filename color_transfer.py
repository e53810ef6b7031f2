"""Transfer of joint color distributions, with colors as points in a space and not as values in channels.

The linear methods reduce a picture to the moments of its colors, and make an affine map of the moments of two pictures. Moments
add as histograms do. Iterative distribution transfer goes all the way to the joint distribution, by matching histograms along
the axes of one rotated space after the other. What it measures of a picture is a sample of the colors in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .affine import Affine, apply_affine, like
from .histogram_matching import (
    QuantileFunction,
    apply_transfer,
    cumulative_distribution,
    histogram,
    wants_gradient,
)
from .soft_binning import precise_dtype

AXIS_BINS = 8192
"""The default number of bins along each rotated axis."""

# The variance of what rounding to 8 bits adds. A direction in which colors vary less than this holds no picture.
_ROUNDING_VARIANCE = (1 / 255) ** 2 / 12
# Colors in a sample at most. Of a picture with more pixels, there are a third as many or more.
_SAMPLE = 1 << 17
# Pixels that are worked on at a time.
_BLOCK = 1 << 16
# Pixels that are multiplied as one row, see affine.py.
_ROW = 4
# How far beyond [0, 1] colors are followed.
_MARGIN = 0.1
# Among how many random rotations the one is taken whose axes are furthest from those of the rotations before.
_CANDIDATES = 256
_LOOK_BACK = 8


def color_moments(pixels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum up the first and second moments of colors. Like the counts in histograms, the moments of several pictures add.

    Args:
        pixels: floating point, shape ``[C, H, W]``, finite values.
        weights: how much each pixel counts, shape ``[H, W]``; by default all of them count the same, as one pixel.

    Returns:
        A matrix ``[C + 1, C + 1]`` in double precision, on the processor: the outer product of a color with itself, with a one
        put in front of the color's values, summed over all pixels. Differentiable in both arguments.
    """
    rows = pixels.flatten(1).t()
    weight_rows = repeat(None) if weights is None else weights.reshape(-1, 1).split(_BLOCK)
    channels = rows.shape[1]
    total = torch.zeros(channels + 1, channels + 1, dtype=torch.float64)
    # Single precision loses least around the mean.
    centre = rows[:_BLOCK].detach().mean(dim=0)
    for block, weight in zip(rows.split(_BLOCK), weight_rows, strict=False):
        centred = block - centre
        weighted = centred if weight is None else centred * weight.to(block)
        count = block.new_tensor(float(len(block))) if weight is None else weight.to(block).sum()
        first = _sum(weighted)
        second = _products(weighted, centred)
        sums = torch.cat([torch.cat([count[None], first])[None], torch.cat([first[:, None], second], dim=1)])
        total = total + sums.cpu().double()
    shift = torch.eye(channels + 1, dtype=torch.float64)
    shift[0, 1:] = centre.cpu()
    return shift.t() @ total @ shift


def _products(left: Tensor, right: Tensor) -> Tensor:
    """``left^T right`` for rows ``[n, C]``, in wider rows of several pixels, of whose products only some are of use."""
    channels = left.shape[1]
    many = len(left) // _ROW * _ROW
    wide = left[:many].reshape(-1, _ROW * channels).t() @ right[:many].reshape(-1, _ROW * channels)
    products = wide.view(_ROW, channels, _ROW, channels).diagonal(dim1=0, dim2=2).sum(-1)
    return products + left[many:].t() @ right[many:] if many < len(left) else products


def _sum(rows: Tensor) -> Tensor:
    """``rows.sum(0)``, likewise."""
    many = len(rows) // _ROW * _ROW
    return rows[:many].reshape(-1, _ROW * rows.shape[1]).sum(0).view(_ROW, -1).sum(0) + rows[many:].sum(0)


def mean_and_covariance(moments: Tensor) -> tuple[Tensor, Tensor]:
    """The mean ``[C]`` and the covariance ``[C, C]`` of what :func:`color_moments` sums up; 0 where nothing counts."""
    normalised = moments / moments[0, 0].clamp(min=torch.finfo(moments.dtype).tiny)
    mean = normalised[0, 1:]
    return mean, normalised[1:, 1:] - torch.outer(mean, mean)


def monge_kantorovich(source: Tensor, reference: Tensor, span: Sequence[float]) -> Tensor:
    """The affine map that gives the source's mean and covariance to the reference's with the least change of colors.

    With the covariances A of the source and B of the reference, its matrix is the root of A, times B, times the root of A, of
    all that the root, and before and after that the inverse of the root of A (Pitie and Kokaram 2007, "The linear
    Monge-Kantorovitch linear colour mapping for example-based colour transfer"). Where the colors of the source vary less than
    rounding to eight bits adds, in a gray or in an even picture, the covariance is taken as that of rounding, since there is
    nothing to stretch.

    Args:
        source: the sums of moments of the source, as the function for moments in this module gives them.
        reference: likewise those of the reference.
        span: what a step of one is in each channel, in the units in which the change of colors is to be least.

    Returns:
        The matrix with the offset as its last column, in double precision, shape ``[C, C + 1]``. Differentiable in both sums
        of moments.
    """
    (source_mean, source_covariance), (reference_mean, reference_covariance) = map(mean_and_covariance, (source, reference))
    units = torch.tensor(span, dtype=source.dtype)
    scale = torch.outer(units, units)
    root: Tensor = _SquareRoot.apply(source_covariance * scale, _ROUNDING_VARIANCE * max(span) ** 2)
    inverse = torch.linalg.inv(root)
    middle: Tensor = _SquareRoot.apply(root @ (reference_covariance * scale) @ root, 0.0)
    matrix = inverse @ middle @ inverse * torch.outer(1 / units, units)
    return torch.cat([matrix, (reference_mean - matrix @ source_mean)[:, None]], dim=1)


def mean_and_deviation(source: Tensor, reference: Tensor, axes: Tensor | None = None) -> Tensor:
    """The affine map that gives the source the reference's mean, and along each axis its standard deviation.

    This is the statistical step of Reinhard et al. 2001, "Color transfer between images"; they take it along the axes of the
    space l-alpha-beta. Where the source varies less than rounding to 8 bits adds, its deviation is taken as that.

    Args:
        source: as :func:`color_moments` gives them, shape ``[C + 1, C + 1]``.
        reference: likewise.
        axes: as the rows of a matrix ``[C, C]``, float64; by default the channels.

    Returns:
        Shape ``[C, C + 1]``, float64: the matrix and, in the last column, the offset. Differentiable in both moments.
    """
    (source_mean, source_covariance), (reference_mean, reference_covariance) = map(mean_and_covariance, (source, reference))
    axes = torch.eye(len(source_mean), dtype=source.dtype) if axes is None else axes
    source_variance, reference_variance = (
        (axes @ covariance @ axes.t()).diagonal() for covariance in (source_covariance, reference_covariance)
    )
    # The smallest positive number in place of 0, whose square root has no slope.
    wanted = reference_variance.clamp(min=torch.finfo(source.dtype).tiny)
    scale = (wanted / source_variance.clamp(min=_ROUNDING_VARIANCE)).sqrt()
    matrix = torch.linalg.inv(axes) @ scale.diag() @ axes
    return torch.cat([matrix, (reference_mean - matrix @ source_mean)[:, None]], dim=1)


@dataclass(frozen=True)
class ColorSample:
    """Some colors of one or of several pictures, and for how many pixels each stands.

    Attributes:
        colors: floating point, shape ``[C, n]``.
        weights: not negative, shape ``[n]``.
    """

    colors: Tensor
    weights: Tensor

    @classmethod
    def of(cls, pixels: Tensor, weights: Tensor | None = None) -> ColorSample:
        """Take all pixels of a small picture, and of a large one as many as tell its distribution.

        Args:
            pixels: floating point, shape ``[C, H, W]``.
            weights: how much each pixel counts, shape ``[H, W]``; by default each counts as 1.
        """
        height, width = pixels.shape[1:]
        if weights is not None:
            # Not on a grid, between the points of which a small mask could fall.
            flat = weights.flatten()
            counting = flat.detach().nonzero()[:, 0]
            chosen = counting[:: math.ceil(len(counting) / _SAMPLE)] if len(counting) else counting.new_zeros(1)
            colors = pixels.flatten(1)[:, chosen]
            return cls(colors, flat[chosen].to(colors) * (len(counting) / len(chosen)))
        one_of = math.ceil(height * width / _SAMPLE)
        across = min(width, math.ceil(math.sqrt(one_of)))
        down = min(height, math.ceil(one_of / across))
        colors = pixels[:, ::down, :: math.ceil(one_of / down)].flatten(1)
        return cls(colors, colors.new_full(colors.shape[1:], height * width / colors.shape[1]))

    def __add__(self, other: ColorSample) -> ColorSample:
        """The sample of both; where it gets larger than a sample of one picture, as many colors at even steps of the weight."""
        colors = torch.cat([self.colors, other.colors.to(self.colors)], dim=1)
        weights = torch.cat([self.weights, other.weights.to(self.weights)])
        cumulative = weights.detach().cpu().double().cumsum(0)
        total = cumulative[-1].item()
        if len(weights) <= _SAMPLE or total == 0:
            return ColorSample(colors[:, :_SAMPLE], weights[:_SAMPLE])
        middle = (torch.arange(_SAMPLE, dtype=torch.float64) + 0.5) * (total / _SAMPLE)
        index = torch.searchsorted(cumulative, middle).clamp_(max=len(weights) - 1).to(colors.device)
        return ColorSample(colors[:, index], (weights.sum() / _SAMPLE).expand(_SAMPLE))


class RotatedTransfer:
    """Iterative distribution transfer: match the histograms along the axes of one rotated space after the other.

    This is the method of Pitie, Kokaram and Dahyot 2007, "Automated colour grading using colour distribution transfer".
    Values that many pixels share, in 8-bit pictures and above all in black and white areas, would stay together on every axis.
    They are spread by noise of half a level at most before the first rotation, the same at each run.

    Args:
        rotations: orthogonal matrices, shape ``[K, C, C]``, see :func:`spread_rotations`.
        span: what 1 is in each channel, in the units in which the space is rotated.
        dithered: whether to spread the source's values.
        bins: bins along each axis.
    """

    def __init__(self, rotations: Tensor, span: Sequence[float], *, dithered: bool, bins: int = AXIS_BINS) -> None:
        units = torch.tensor(span, dtype=torch.float64)
        # Scaled so that no color of [0, 1]^C lands beyond [0, 1] on any axis.
        units = units / units.norm()
        centre = torch.full((rotations.shape[1],), 0.5, dtype=torch.float64)
        forward = rotations.double() * units
        backward = rotations.double().transpose(1, 2) / units[:, None]
        there = [_around(centre, matrix) for matrix in forward]
        between = [_around(centre, forward[i + 1] @ backward[i]) for i in range(len(forward) - 1)]
        self._there = there
        # The way onto the first axes, from each to the next, and back from the last.
        self._path = [there[0], *between, _around(centre, backward[-1])]
        self._dithered, self._bins = dithered, bins
        # Colors on all axes of one rotation can lie this far beyond [0, 1] on an axis of the next.
        self._beyond = math.ceil(bins * ((1 + 2 * _MARGIN) * math.sqrt(rotations.shape[1]) - 1) / 2)

    def measure(self, reference: ColorSample) -> list[QuantileFunction]:
        """The reference's distribution along the axes of each rotation."""
        if wants_gradient(reference.colors, reference.weights):
            colors = reference.colors[:, None]
            cdfs = [self._soft_cdf(apply_affine(colors, affine), reference.weights) for affine in self._there]
        else:
            rows = reference.colors.t().contiguous()
            levels = torch.empty_like(rows)
            cdfs = []
            for affine in self._there:
                Affine(self._to_bins(affine), rows).write(rows, levels)
                cdfs.append(self._counted_cdf(levels, reference.weights))
        return [QuantileFunction(cdf) for cdf in cdfs]

    def solve(self, source: ColorSample, reference: Sequence[QuantileFunction]) -> Tensor:
        """Transfer functions for the axes of each rotation, one after the other: shape ``[K, C, bins]``.

        Differentiable in the source's colors and weights and in what the reference was measured from.
        """
        colors = source.colors + self._noise(source.colors)
        tables: list[Tensor] = []
        if wants_gradient(colors, source.weights, reference[0].cdf):
            colors = colors[:, None]
            for affine, quantiles in zip(self._path, reference, strict=False):
                colors = apply_affine(colors, affine)
                tables.append(quantiles(self._soft_cdf(colors, source.weights).to(quantiles.device)))
                colors = apply_transfer(colors, tables[-1].to(colors))
            return torch.stack(tables)
        # Far beyond [0, 1] there is no bin to count in.
        rows = colors.t().contiguous().clamp(-_MARGIN, 1 + _MARGIN)
        levels = torch.empty_like(rows)
        for affine, quantiles in zip(self._path, reference, strict=False):
            Affine(self._to_bins(affine), rows).write(rows, levels)
            tables.append(quantiles(self._counted_cdf(levels, source.weights).to(quantiles.device)))
            torch.index_select(self._entries(tables[-1], rows), 0, levels.int().view(-1), out=rows.view(-1))
        return torch.stack(tables)

    def apply(self, pixels: Tensor, tables: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Send ``pixels`` through all rotations.

        Args:
            pixels: floating point, shape ``[C, H, W]``.
            tables: what :meth:`solve` found.
            out: where to write the result, of the shape, dtype and device of ``pixels``, which it may be itself; only where no
                gradient is wanted. New memory by default.

        Returns:
            Shape and dtype of ``pixels``, differentiable in both.
        """
        if out is None:
            colors = pixels + self._noise(pixels)
            for affine, table in zip(self._path, like(tables, pixels), strict=False):
                colors = apply_transfer(apply_affine(colors, affine), table)
            return apply_affine(colors, self._path[-1])
        steps = [
            (Affine(self._to_bins(affine), pixels), self._entries(table, pixels))
            for affine, table in zip(self._path, tables, strict=False)
        ]
        last = Affine(self._path[-1], pixels)
        lines = max(1, _BLOCK // pixels.shape[2]) if pixels.device.type == "cpu" else pixels.shape[1]
        noise = self._noise(pixels[:, :lines])
        for part, target in zip(pixels.split(lines, dim=1), out.split(lines, dim=1), strict=True):
            # Far beyond [0, 1] there is no entry in a table.
            colors = (part + noise[:, : part.shape[1]]).clamp_(-_MARGIN, 1 + _MARGIN)
            rows = colors.flatten(1).t().contiguous()
            levels = torch.empty_like(rows)
            level = torch.empty(rows.shape, dtype=torch.int32, device=rows.device)
            for to_bins, entries in steps:
                to_bins.write(rows, levels)
                torch.index_select(entries, 0, level.copy_(levels).view(-1), out=rows.view(-1))
            last.write(rows, levels)
            target.copy_(levels.t().view(target.shape))
        return out

    def _noise(self, pixels: Tensor) -> Tensor:
        """What spreads the values of ``pixels`` ``[C, ...]``: up to half an 8-bit level, the same at each call."""
        if not self._dithered:
            return pixels.new_zeros(()).expand_as(pixels)
        noise = torch.rand(*pixels.shape[1:], len(pixels), generator=torch.Generator().manual_seed(0))
        return (noise.movedim(-1, 0).to(pixels) - 0.5) / 255

    def _to_bins(self, affine: Tensor) -> Tensor:
        """``affine`` followed by the way to an index into :meth:`_entries`, to be rounded down."""
        channels = affine.shape[0]
        scaled = affine * (self._bins - 1)
        scaled[:, -1] += 0.5 + self._beyond + torch.arange(channels) * (self._bins + 2 * self._beyond)
        return scaled

    def _entries(self, table: Tensor, pixels: Tensor) -> Tensor:
        """The values of a table ``[C, bins]`` in one row, with those at its ends repeated for colors beyond [0, 1]."""
        wider = torch.nn.functional.pad(table[None], (self._beyond, self._beyond), mode="replicate")
        return like(wider, pixels).flatten()

    def _counted_cdf(self, levels: Tensor, weights: Tensor) -> Tensor:
        """The distribution in whole bins, from indices ``[N, C]`` into :meth:`_entries`."""
        channels, width = levels.shape[1], self._bins + 2 * self._beyond
        weights = weights[:, None].expand_as(levels).reshape(-1).to(precise_dtype(weights.device))
        counts = torch.bincount(levels.long().view(-1), weights, channels * width).view(channels, width)
        inside = counts[:, self._beyond : -self._beyond]
        inside[:, 0] += counts[:, : self._beyond].sum(1)
        inside[:, -1] += counts[:, -self._beyond :].sum(1)
        return cumulative_distribution(inside)

    def _soft_cdf(self, colors: Tensor, weights: Tensor) -> Tensor:
        return cumulative_distribution(histogram(colors, self._bins, weights[None, None]))


def spread_rotations(count: int, channels: int, seed: int = 0) -> Tensor:
    """Rotations whose axes are spread over all directions, the first of them none.

    Each is the one among random ones whose axes are furthest from those of the few before it. Pitie et al. 2007 optimise the
    spread, which takes fewer rotations than random ones.

    Returns:
        Shape ``[count, channels, channels]``, float64; the same for the same arguments.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = [torch.eye(channels, dtype=torch.float64)]
    while len(chosen) < count:
        noise = torch.randn(_CANDIDATES, channels, channels, dtype=torch.float64, generator=generator)
        candidates = torch.linalg.qr(noise).Q
        nearness = (candidates @ torch.cat(chosen[-_LOOK_BACK:]).t()).abs().amax(dim=(1, 2))
        chosen.append(candidates[nearness.argmin()])
    return torch.stack(chosen[:count])


class _SquareRoot(torch.autograd.Function):
    """The square root of a symmetric matrix ``[C, C]`` whose eigenvalues below a floor are raised to it.

    The gradient is that of a spectral function (Daleckii and Krein 1965). Other than through the eigenvectors, it is finite
    where eigenvalues are equal.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, floor: float) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        ctx.save_for_backward(values, vectors)
        ctx.floor = floor
        root: Tensor = vectors @ values.clamp(min=floor).sqrt().diag() @ vectors.t()
        return root

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        values, vectors = ctx.saved_tensors
        raised = values.clamp(min=ctx.floor)
        roots = raised.sqrt()
        above = values > ctx.floor
        tiny = torch.finfo(values.dtype).tiny
        # (sqrt(a) - sqrt(b)) / (a - b), which is 1 / (sqrt(a) + sqrt(b)) where neither is below the floor.
        slopes = 1 / (roots[:, None] + roots).clamp(min=tiny)
        one_above = above[:, None] != above
        distance = torch.where(one_above, values[:, None] - values, 1)
        slopes = torch.where(one_above, (roots[:, None] - roots) / distance, slopes)
        slopes = torch.where(above[:, None] | above, slopes, 0)
        inner = vectors.t() @ gradient @ vectors
        return vectors @ (inner * slopes) @ vectors.t(), None


def _around(centre: Tensor, matrix: Tensor) -> Tensor:
    """``matrix`` as an affine map that leaves ``centre`` where it is."""
    return torch.cat([matrix, (centre - matrix @ centre)[:, None]], dim=1)
