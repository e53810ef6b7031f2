"""Distances between the distributions of two images, to be made smaller by gradient descent.

They train networks whose output should have the colors of a reference, and guide sampling there. Histograms are soft (Ustinova
and Lempitsky 2016; Avi-Aharon et al. 2023, "Differentiable histogram loss functions for intensity-based image-to-image
translation"), and are compared by what it costs to move one into the other: a difference of levels then counts as its size,
where bin by bin all differences would be alike.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .affine import like
from .histogram_matching import check_bins, check_count, check_pair, check_pixels, pixel_rows, weight_rows
from .soft_binning import soft_histogram

DIRECTIONS = 32
"""The default number of directions of the joint distance."""

_REDUCTIONS = ("mean", "sum", "none")


def histogram_loss(
    image: Tensor,
    reference: Tensor,
    order: int = 1,
    bins: int = 256,
    *,
    image_weights: Tensor | None = None,
    reference_weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The Wasserstein distance of each channel's distribution to the reference's.

    Order 1 is the area between the two cumulative distributions (Villani 2003, Topics in Optimal Transportation, ch. 2.2).
    Order 2 is the mean square of the distance between levels of the same rank, without a root, so that gradients get smaller
    towards the match. Both are those of the soft histograms, exactly. Time and memory grow with the pixels alone.

    Args:
        image: floating point, shape ``[B, C, H, W]``, values in [0, 1]. Values outside count at the nearest end, with no
            gradient; NaN and infinite ones not at all.
        reference: likewise, shape ``[1 or B, C, H', W']``. One reference serves the whole batch.
        order: 1 or 2.
        bins: of the soft histograms, 2 to 65536.
        image_weights: how much each pixel of ``image`` counts, not negative, of a shape that broadcasts to the image's.
        reference_weights: likewise for ``reference``.
        reduction: ``"mean"`` or ``"sum"`` over batch and channels, or ``"none"`` for all of them, shape ``[B, C]``.

    Returns:
        In units of the values' range to the power ``order``: times 255, order 1 is in 8-bit levels. Of the dtype of ``image``,
        at least float32; differentiable in all tensors; NaN where nothing of image or reference counts.

    Raises:
        TypeError: a tensor is not a floating-point tensor, or a number is not an int.
        ValueError: a shape or another argument is none of the above.
    """
    _check(image, reference, order, bins, reduction)
    cdf, reference_cdf = (
        _distribution(pixel_rows(pixels), None if weights is None else weight_rows(pixels, weights), bins)
        for pixels, weights in ((image, image_weights), (reference, reference_weights))
    )
    return _reduced(_wasserstein(cdf, reference_cdf, order), image, reduction)


def sliced_histogram_loss(
    image: Tensor,
    reference: Tensor,
    directions: int = DIRECTIONS,
    order: int = 2,
    bins: int = 256,
    *,
    seed: int = 0,
    image_weights: Tensor | None = None,
    reference_weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sliced Wasserstein distance of the joint distribution of colors to the reference's.

    Colors are projected on random directions, and :func:`histogram_loss` compares their distributions along each (Rabin et al.
    2012, "Wasserstein barycenter and its application to texture mixing"). Time and memory grow with the pixels times the
    directions. A few directions a step are enough in a descent, if each step takes others.

    Args:
        image: as in :func:`histogram_loss`.
        reference: likewise.
        directions: how many, 1 or more.
        order: likewise, 1 or 2.
        bins: of the soft histogram along each direction, from the least to the greatest value that colors can have there.
        seed: of the random directions; the same one gives the same directions on all machines.
        image_weights: how much each pixel of ``image`` counts, not negative, of a shape that broadcasts to ``[B, 1, H, W]``.
        reference_weights: likewise for ``reference``.
        reduction: ``"mean"`` or ``"sum"`` over the batch, or ``"none"``, shape ``[B]``.

    Returns:
        The mean over directions, in units of colors' distance to the power ``order``: of order 2, the root times 255 is in
        8-bit levels. Dtype and gradients as in :func:`histogram_loss`.

    Raises:
        TypeError: a tensor is not a floating-point tensor, or a number is not an int.
        ValueError: a shape or another argument is none of the above.
    """
    check_count("directions", directions, 1)
    check_count("seed", seed, 0)
    check_pixels("image", image)
    axes = _random_axes(directions, image.shape[-3], seed)
    return _sliced(image, reference, axes, order, bins, image_weights, reference_weights, reduction)


class HistogramLoss(torch.nn.Module):
    """:func:`histogram_loss` as a module.

    Args:
        order: as there.
        bins: likewise.
        reduction: likewise.
    """

    def __init__(self, order: int = 1, bins: int = 256, reduction: str = "mean") -> None:
        super().__init__()
        _check_settings(order, bins, reduction)
        self.order, self.bins, self.reduction = order, bins, reduction

    def forward(
        self,
        image: Tensor,
        reference: Tensor,
        image_weights: Tensor | None = None,
        reference_weights: Tensor | None = None,
    ) -> Tensor:
        """Measure; arguments, result and errors are those of :func:`histogram_loss`."""
        return histogram_loss(
            image,
            reference,
            self.order,
            self.bins,
            image_weights=image_weights,
            reference_weights=reference_weights,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """Name the settings in the module's ``repr``."""
        return f"order={self.order}, bins={self.bins}, reduction={self.reduction}"


class SlicedHistogramLoss(torch.nn.Module):
    """:func:`sliced_histogram_loss` as a module, with other directions at each call.

    Args:
        directions: as there, for each call.
        order: likewise.
        bins: likewise.
        reduction: likewise.
        seed: of the first call's directions. Another module with this seed takes the same in its first call, in its second, and
            so on; a state dict holds at which call it is.
    """

    def __init__(
        self, directions: int = DIRECTIONS, order: int = 2, bins: int = 256, reduction: str = "mean", seed: int = 0
    ) -> None:
        super().__init__()
        _check_settings(order, bins, reduction)
        check_count("directions", directions, 1)
        check_count("seed", seed, 0)
        self.directions, self.order, self.bins, self.reduction = directions, order, bins, reduction
        self.next_seed = seed

    def forward(
        self,
        image: Tensor,
        reference: Tensor,
        image_weights: Tensor | None = None,
        reference_weights: Tensor | None = None,
    ) -> Tensor:
        """Measure along new directions; arguments, result and errors are those of :func:`sliced_histogram_loss`."""
        check_pixels("image", image)
        axes = self._next_axes(image.shape[-3])
        return _sliced(image, reference, axes, self.order, self.bins, image_weights, reference_weights, self.reduction)

    # A compiler would compile anew for each seed.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _next_axes(self, channels: int) -> Tensor:
        axes: Tensor = _random_axes(self.directions, channels, self.next_seed)
        self.next_seed += 1
        return axes

    def get_extra_state(self) -> int:
        """The seed of the next call."""
        return self.next_seed

    def set_extra_state(self, state: Any) -> None:
        """Go on with this seed."""
        self.next_seed = state

    def extra_repr(self) -> str:
        """Name the settings in the module's ``repr``."""
        return f"directions={self.directions}, order={self.order}, bins={self.bins}, reduction={self.reduction}"


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _random_axes(directions: int, channels: int, seed: int) -> Tensor:
    """Axes ``[directions, channels]`` of length 1, float64."""
    axes = torch.randn(directions, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    unit: Tensor = axes / axes.norm(dim=1, keepdim=True)
    return unit


def _sliced(
    image: Tensor,
    reference: Tensor,
    axes: Tensor,
    order: int,
    bins: int,
    image_weights: Tensor | None,
    reference_weights: Tensor | None,
    reduction: str,
) -> Tensor:
    _check(image, reference, order, bins, reduction)
    cdf, reference_cdf = (
        _along(axes, pixels, weights, bins) for pixels, weights in ((image, image_weights), (reference, reference_weights))
    )
    distances = _wasserstein(cdf, reference_cdf, order)
    distances = distances * like(axes.abs().sum(1), distances) ** order
    return _reduced(distances.mean(1), image, reduction)


def _along(axes: Tensor, image: Tensor, weights: Tensor | None, bins: int) -> Tensor:
    """The distributions ``[B, D, bins]`` of the colors of ``[B, C, H, W]`` along the axes ``[D, C]``."""
    frames = pixel_rows(image)
    frames = frames.to(torch.promote_types(frames.dtype, torch.float32))
    # Outside of the cube of colors, axes would not be long enough; and one value that is not finite spoils its pixel's sums.
    finite = frames.isfinite().all(dim=1, keepdim=True)
    colors = torch.where(finite, frames, 0).clamp(0, 1)
    counted = finite.to(colors)
    if weights is not None:
        counted = counted * weight_rows(image[:, :1], weights).to(colors)
    lowest, extents = axes.clamp(max=0).sum(1), axes.abs().sum(1)
    # From 0 at the least to 1 at the greatest value of a color in the cube; in less than single precision, bins would blur.
    with torch.autocast(colors.device.type, enabled=False):
        positions = like(axes / extents[:, None], colors) @ colors - like(lowest / extents, colors)[:, None]
    return _distribution(positions.clamp(0, 1), counted.expand_as(positions), bins)


def _distribution(frames: Tensor, weights: Tensor | None, bins: int) -> Tensor:
    """The cumulative distribution of frames, not a number where nothing counts."""
    cumulative = soft_histogram(frames, bins, weights).cumsum(-1)
    return cumulative / cumulative[..., -1:]


def _wasserstein(cdf: Tensor, reference_cdf: Tensor, order: int) -> Tensor:
    """The distance of distributions ``[..., bins]``, which broadcast, to the power ``order``."""
    if order == 1:
        return (cdf - reference_cdf).abs().sum(-1) / (cdf.shape[-1] - 1)
    cdf, reference_cdf = (rows.contiguous() for rows in torch.broadcast_tensors(cdf, reference_cdf))
    fixed, reference_fixed = cdf.detach(), reference_cdf.detach()
    # Between two neighbouring values of the two distributions, both quantile functions are constant.
    ends = torch.cat([fixed, reference_fixed], dim=-1).sort(dim=-1).values
    shares = ends.diff(dim=-1, prepend=torch.zeros_like(ends[..., :1]))
    distance = (shares * (_level(fixed, ends) - _level(reference_fixed, ends)).square()).sum(-1)
    # What is added is 0, and has the gradient.
    for rows, others in ((cdf, reference_fixed), (reference_cdf, fixed)):
        distance = distance + (_marginal_cost(rows.detach(), others) * (rows - rows.detach())).sum(-1)
    return distance


def _marginal_cost(cdf: Tensor, other: Tensor) -> Tensor:
    """How the square of the Wasserstein-2 distance grows with each value of ``cdf`` ``[..., bins]``.

    More at or below a level is pixels of that rank that move down by a level: the square of their distance to the other's
    level of that rank changes. Where that level jumps, it is the mean of both.
    """
    level = torch.linspace(0, 1, cdf.shape[-1], dtype=cdf.dtype, device=cdf.device)
    below, above = _level(other, cdf), _level(other, cdf, right=True)
    # There is no rank below 0 or above 1.
    below, above = torch.where(cdf <= 0, above, below), torch.where(cdf >= 1, below, above)
    costs = [(level[:-1] - wanted[..., :-1]).square() - (level[1:] - wanted[..., :-1]).square() for wanted in (below, above)]
    # The last value is 1 whatever happens.
    return torch.nn.functional.pad((costs[0] + costs[1]) / 2, (0, 1))


def _level(cdf: Tensor, rank: Tensor, *, right: bool = False) -> Tensor:
    """The level in [0, 1] at which a distribution reaches a rank, or exceeds it."""
    last = cdf.shape[-1] - 1
    return torch.searchsorted(cdf, rank, right=right).clamp(max=last).to(cdf.dtype) / last


def _reduced(distances: Tensor, image: Tensor, reduction: str) -> Tensor:
    distances = distances.to(torch.promote_types(image.dtype, torch.float32))
    if reduction == "none":
        return distances
    return distances.mean() if reduction == "mean" else distances.sum()


def _check(image: Tensor, reference: Tensor, order: int, bins: int, reduction: str) -> None:
    _check_settings(order, bins, reduction)
    check_pair(image, reference)


def _check_settings(order: int, bins: int, reduction: str) -> None:
    check_bins(bins)
    if order not in (1, 2):
        raise ValueError(f"order: expected 1 or 2, got {order!r}")
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction: expected one of {', '.join(_REDUCTIONS)}, got {reduction!r}")
