"""Matching the moments of colors by an affine map.

A picture is reduced to the first and second moments of its colors, which add as histograms do, and two pictures' moments make a
map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from ..kernels.affine import apply_affine, color_rows
from ..kernels.workers import by_stripes
from .transform import Picture, Step, TensorPart

ROUNDING_VARIANCE = (1 / 255) ** 2 / 12
"""The variance of what rounding to 8 bits adds. A direction in which colors vary less than this holds no picture."""

# Pixels that are multiplied as one row, see affine.py.
_ROW = 4


class AffineMap(TensorPart):
    """An affine map of colors: ``values`` ``[C, C + 1]``, a matrix with the offset as its last column."""

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Multiply and add."""
        return apply_affine(pixels, self.values, out=out)


@dataclass(frozen=True)
class LinearStep(Step):
    """Match the moments of colors by an affine map, which ``affine`` makes of the source's and the reference's.

    ``widened``: map on so that [-1, 2] becomes [0, 1], for a step that follows and counts in [0, 1].
    """

    affine: Callable[[Tensor, Tensor], Tensor]
    widened: bool = False

    def measure(self, picture: Picture) -> Tensor:
        """Sum up the moments."""
        return color_moments(picture.pixels, picture.weights)

    def solve(self, source: Tensor, prepared: Tensor) -> AffineMap:
        """Find the map."""
        affine = self.affine(source, prepared)
        if self.widened:
            affine = affine / 3 + pad(affine.new_full((len(affine), 1), 1 / 3), (len(affine), 0))
        return AffineMap(affine)


def color_moments(pixels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum up the first and second moments of finite colors ``[C, H, W]``, each with its weight ``[H, W]`` or as one pixel.

    The sum over all pixels of ``x x^T`` with ``x = (1, color)``: ``[C + 1, C + 1]``, float64, on the CPU, differentiable.
    """
    channels = len(pixels)
    # Single precision loses least around the mean.
    center = color_rows(pixels.detach()[:, : max(1, (1 << 16) // pixels.shape[2])]).mean(dim=0)

    def sums(stripe: Tensor, weight: Tensor | None = None) -> Tensor:
        rows = color_rows(stripe) - center
        weighted = rows if weight is None else rows * weight.reshape(-1, 1).to(rows)
        total = rows.new_tensor(float(len(rows))) if weight is None else weight.to(rows).sum()
        first = _sum(weighted)
        second = _products(weighted, rows)
        return torch.cat([torch.cat([total[None], first])[None], torch.cat([first[:, None], second], dim=1)]).cpu().double()

    total = torch.zeros(channels + 1, channels + 1, dtype=torch.float64)
    for stripe in by_stripes(sums, *([pixels] if weights is None else [pixels, weights])):
        total = total + stripe
    shift = torch.eye(channels + 1, dtype=torch.float64)
    shift[0, 1:] = center.cpu()
    return shift.t() @ total @ shift


def _products(left: Tensor, right: Tensor) -> Tensor:
    """``left^T right`` for rows ``[n, C]``, in wider rows of several pixels, of whose products only some are of use."""
    channels = left.shape[1]
    many = len(left) // _ROW * _ROW
    wide = left[:many].reshape(-1, _ROW * channels).t() @ right[:many].reshape(-1, _ROW * channels)
    products = wide.view(_ROW, channels, _ROW, channels).diagonal(dim1=0, dim2=2).sum(-1)
    return products + left[many:].t() @ right[many:] if many < len(left) else products


def _sum(rows: Tensor) -> Tensor:
    """``rows.sum(0)`` for rows ``[n, C]``, in wider rows of several pixels."""
    many = len(rows) // _ROW * _ROW
    return rows[:many].reshape(-1, _ROW * rows.shape[1]).sum(0).view(_ROW, -1).sum(0) + rows[many:].sum(0)


def mean_and_covariance(moments: Tensor) -> tuple[Tensor, Tensor]:
    """The mean ``[C]`` and the covariance ``[C, C]`` of what :func:`color_moments` sums up; 0 where nothing counts."""
    total = moments[0, 0]
    normalized = moments / torch.where(total > 0, total, 1)
    mean = normalized[0, 1:]
    return mean, normalized[1:, 1:] - torch.outer(mean, mean)


def monge_kantorovich(source: Tensor, reference: Tensor, span: Sequence[float]) -> Tensor:
    """The affine map that gives the source's mean and covariance to the reference's with the least change of colors.

    With the covariances A of the source and B of the reference, its matrix is ``A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2`` (Pitie and
    Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping for example-based colour transfer"). Where the colors of
    the source vary less than rounding to 8 bits adds, in a gray or in an even picture, the covariance is taken as that of
    rounding, since there is nothing to stretch. ``span`` tells what a step of 1 is in each channel, in the units in which the
    change of colors is to be least.

    Moments as :func:`color_moments` gives them make a map ``[C, C + 1]``, float64, differentiable in both.
    """
    (source_mean, source_covariance), (reference_mean, reference_covariance) = map(mean_and_covariance, (source, reference))
    units = torch.tensor(span, dtype=source.dtype)
    scale = torch.outer(units, units)
    root: Tensor = _SquareRoot.apply(source_covariance * scale, ROUNDING_VARIANCE * max(span) ** 2)
    inverse = torch.linalg.inv(root)
    middle: Tensor = _SquareRoot.apply(root @ (reference_covariance * scale) @ root, 0.0)
    matrix = inverse @ middle @ inverse * torch.outer(1 / units, units)
    return torch.cat([matrix, (reference_mean - matrix @ source_mean)[:, None]], dim=1)


def mean_and_deviation(source: Tensor, reference: Tensor, axes: Tensor | None = None) -> Tensor:
    """The affine map that gives the source the reference's mean, and along each axis its standard deviation.

    This is the statistical step of Reinhard et al. 2001, "Color transfer between images"; they take it along the axes of the
    space l-alpha-beta. Where the source varies less than rounding to 8 bits adds, its deviation is taken as that. The axes are
    the rows of a matrix ``[C, C]``, float64, by default the channels; for the rest see :func:`monge_kantorovich`.
    """
    (source_mean, source_covariance), (reference_mean, reference_covariance) = map(mean_and_covariance, (source, reference))
    axes = torch.eye(len(source_mean), dtype=source.dtype) if axes is None else axes
    source_variance, reference_variance = (
        (axes @ covariance @ axes.t()).diagonal() for covariance in (source_covariance, reference_covariance)
    )
    # The smallest positive number in place of 0, whose square root has no slope.
    wanted = reference_variance.clamp(min=torch.finfo(source.dtype).tiny)
    scale = (wanted / source_variance.clamp(min=ROUNDING_VARIANCE)).sqrt()
    matrix = torch.linalg.inv(axes) @ scale.diag() @ axes
    return torch.cat([matrix, (reference_mean - matrix @ source_mean)[:, None]], dim=1)


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
