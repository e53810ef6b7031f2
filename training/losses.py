"""Distances between the distributions of two images, to be made smaller by gradient descent.

Histograms are soft (Ustinova and Lempitsky 2016; Avi-Aharon et al. 2023, "Differentiable histogram loss functions for
intensity-based image-to-image translation"), and are compared by what it costs to move one into the other: a difference of
levels then counts as its size, where bin by bin all differences would be alike.
"""

from typing import Any

import torch
from torch import Tensor

from ..checks import check_bins, check_choice, check_count, check_pair, checked_weights
from ..histogram_matching import cumulative_distribution
from ..kernels.dtypes import cast, precise_dtype, widened, working_dtype
from ..kernels.soft_binning import pixel_rows, soft_histogram

DIRECTIONS = 32
"""The default number of directions of the joint distance."""


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

    Order 1 is the area between the two cumulative distributions (Villani 2003, Topics in Optimal Transportation, ch. 2.2), and
    order 2 the mean square of the distance between levels of the same rank, without a root, so that gradients get smaller
    towards the match; both exactly, of the soft histograms. Time and memory grow with the pixels alone.

    Args:
        image: floating point, shape ``[B, C, H, W]``, values in [0, 1]. Values outside count at the nearest end, and their
            distance to it, to the power ``order``, adds to the loss, so that they move back; NaN and infinite ones count
            not at all.
        reference: the same, shape ``[1 or B, C, H', W']``. One reference serves the whole batch.
        order: 1 or 2.
        bins: of the soft histograms, 2 to 65536.
        image_weights: how much each pixel of ``image`` counts, not negative, of a shape that broadcasts to the image's.
        reference_weights: the same for ``reference``.
        reduction: ``"mean"`` or ``"sum"`` over batch and channels, or ``"none"``, shape ``[B, C]``.

    Returns:
        In units of the values' range to the power ``order``: times 255, order 1 is in 8-bit levels. Of the dtype of ``image``,
        at least float32; differentiable in all tensors; 0 where the weights of an image are, and NaN where image or reference
        have no finite value.

    Raises:
        TypeError: a tensor is not floating point, or a number is not an int.
        ValueError: a shape or another argument is none of the above, or the weights of a reference are 0 in a channel.

    >>> histogram_loss(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 9, 9), 0.5))
    tensor(0.5000)
    """
    _check_settings(order, bins, reduction)
    check_pair(image, reference)
    frames, weights = pixel_rows(image), _weight_rows(image_weights, image)
    cdf = _distribution(frames, weights, bins)
    reference_cdf = _distribution(pixel_rows(reference), _weight_rows(reference_weights, reference), bins)
    _check_counted(reference_cdf, reference_weights)
    return _reduced(_wasserstein(cdf, reference_cdf, order) + _outside(frames, weights, order), image, reduction)


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

    Colors are projected on ``directions``, 1 or more, and :func:`histogram_loss` compares their distributions along each (Rabin
    et al. 2012, "Wasserstein barycenter and its application to texture mixing"). Time and memory grow with the pixels times
    the directions. A few a step are enough in a descent, if each step takes others.

    Arguments, result and errors are those of :func:`histogram_loss`, except that ``bins`` lie along each direction, from the
    least to the greatest value that colors can have there; weights broadcast to ``[B, 1, H, W]``; what adds to the loss is the
    distance of colors to the cube of colors; ``reduction`` is over the batch, ``"none"`` of shape ``[B]``; and the mean over
    directions is in units of colors' distance to the power ``order``: of order 2, the root times 255 is in 8-bit levels. One
    ``seed``, 0 or more, gives the same directions on all machines.

    >>> sliced_histogram_loss(torch.zeros(2, 3, 8, 8), torch.ones(1, 3, 9, 9), reduction="none").shape
    torch.Size([2])
    """
    check_count("directions", directions, 1)
    check_count("seed", seed, 0)
    _check_settings(order, bins, reduction)
    check_pair(image, reference)
    axes = _random_axes(directions, image.shape[1], seed)
    distances = _sliced(axes, (image, image_weights), (reference, reference_weights), order=order, bins=bins)
    return _reduced(distances, image, reduction)


class HistogramLoss(torch.nn.Module):
    """:func:`histogram_loss` as a module, with its ``order``, ``bins`` and ``reduction``.

    >>> HistogramLoss(order=2)(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 9, 9))
    tensor(1.)
    """

    def __init__(self, order: int = 1, bins: int = 256, reduction: str = "mean") -> None:
        super().__init__()
        _check_settings(order, bins, reduction)
        self.order, self.bins, self.reduction = order, bins, reduction

    def forward(
        self, image: Tensor, reference: Tensor, image_weights: Tensor | None = None, reference_weights: Tensor | None = None
    ) -> Tensor:
        """Measure; arguments, result and errors are those of :func:`histogram_loss`."""
        weights = {"image_weights": image_weights, "reference_weights": reference_weights}
        return histogram_loss(image, reference, self.order, self.bins, **weights, reduction=self.reduction)

    def extra_repr(self) -> str:
        """Name the settings in the module's ``repr``."""
        return f"order={self.order}, bins={self.bins}, reduction={self.reduction}"


class SlicedHistogramLoss(HistogramLoss):
    """:func:`sliced_histogram_loss` as a module, with its arguments, and with other directions at each call.

    Modules of one ``seed`` take the same directions in their first call, in their second and so on; a state dict tells where.

    >>> SlicedHistogramLoss()(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 9, 9)).shape
    torch.Size([])
    """

    def __init__(
        self, directions: int = DIRECTIONS, order: int = 2, bins: int = 256, reduction: str = "mean", seed: int = 0
    ) -> None:
        super().__init__(order, bins, reduction)
        check_count("directions", directions, 1)
        check_count("seed", seed, 0)
        self.directions, self.next_seed = directions, seed

    def forward(
        self, image: Tensor, reference: Tensor, image_weights: Tensor | None = None, reference_weights: Tensor | None = None
    ) -> Tensor:
        """Measure along new directions; arguments, result and errors are those of :func:`sliced_histogram_loss`."""
        _check_settings(self.order, self.bins, self.reduction)
        check_pair(image, reference)
        axes = self._next_axes(image.shape[1])
        distances = _sliced(axes, (image, image_weights), (reference, reference_weights), order=self.order, bins=self.bins)
        return _reduced(distances, image, self.reduction)

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
        return f"directions={self.directions}, {super().extra_repr()}"


def _check_settings(order: int, bins: int, reduction: str) -> None:
    check_bins(bins)
    if order not in (1, 2):
        raise ValueError(f"order: expected 1 or 2, got {order!r}")
    check_choice("reduction", reduction, ("mean", "sum", "none"))


def _weight_rows(weights: Tensor | None, image: Tensor) -> Tensor | None:
    return None if weights is None else pixel_rows(checked_weights(weights, image))


def _check_counted(reference_cdf: Tensor, weights: Tensor | None) -> None:
    # Without weights, a look at the values would only break up the graphs of a compiler.
    if weights is not None and not bool((reference_cdf[..., -1] > 0).all()):
        raise ValueError("reference: expected pixels that count in every channel, got a channel with none")


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _random_axes(directions: int, channels: int, seed: int) -> Tensor:
    """Axes ``[directions, channels]`` of length 1, float64."""
    axes = torch.randn(directions, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    unit: Tensor = axes / axes.norm(dim=1, keepdim=True)
    return unit


def _sliced(axes: Tensor, *pictures: tuple[Tensor, Tensor | None], order: int, bins: int) -> Tensor:
    """The distance ``[B]`` of two pictures, each with its weights, in the mean over the axes ``[D, C]``."""
    (frames, weights), (reference, reference_weights) = (
        (pixel_rows(pixels), _weight_rows(weights, pixels[:, :1])) for pixels, weights in pictures
    )
    reference_cdf = _along(axes, reference, reference_weights, bins)
    _check_counted(reference_cdf, reference_weights)
    distances = _wasserstein(_along(axes, frames, weights, bins), reference_cdf, order)
    along = (distances * cast(axes.abs().sum(1), distances) ** order).mean(1)
    return along + _outside(frames, weights, order, jointly=True)[:, 0]


def _outside(frames: Tensor, weights: Tensor | None, order: int, *, jointly: bool = False) -> Tensor:
    """The mean distance of the values ``[B, C, N]`` to [0, 1], ``[B, C]``, or of colors to the cube, ``[B, 1]``."""
    frames = widened(frames).to(precise_dtype(frames.device))
    counted = frames.isfinite().all(dim=1, keepdim=True) if jointly else frames.isfinite()
    distance = torch.where(counted, frames - frames.clamp(0, 1), 0).abs()
    if jointly:
        distance = torch.linalg.vector_norm(distance, dim=1, keepdim=True)
    weight = counted.to(distance)
    if weights is not None:
        weight = weight * weights.to(distance)
    total = weight.sum(-1)
    mean = (distance**order * weight).sum(-1) / torch.where(total > 0, total, 1)
    return torch.where(counted.any(-1), mean, float("nan"))


def _along(axes: Tensor, frames: Tensor, weights: Tensor | None, bins: int) -> Tensor:
    """The distributions ``[B, D, bins]`` of the colors of ``[B, C, N]`` along the axes ``[D, C]``."""
    frames = widened(frames)
    # Outside of the cube of colors, axes would not be long enough; and one value that is not finite spoils its pixel's sums.
    finite = frames.isfinite().all(dim=1, keepdim=True)
    colors = torch.where(finite, frames, 0).clamp(0, 1)
    counted = finite.to(colors)
    if weights is not None:
        counted = counted * weights.to(colors)
    lowest, extents = axes.clamp(max=0).sum(1), axes.abs().sum(1)
    # From 0 at the least to 1 at the greatest value of a color in the cube; in less than single precision, bins would blur.
    with torch.autocast(colors.device.type, enabled=False):
        positions = cast(axes / extents[:, None], colors) @ colors - cast(lowest / extents, colors)[:, None]
    return _distribution(positions.clamp(0, 1), counted.expand_as(positions), bins)


def _distribution(frames: Tensor, weights: Tensor | None, bins: int) -> Tensor:
    """The cumulative distribution of frames, 0 where nothing counts."""
    return cumulative_distribution(soft_histogram(frames, bins, weights))


def _wasserstein(cdf: Tensor, reference_cdf: Tensor, order: int) -> Tensor:
    """The distance of distributions ``[..., bins]``, which broadcast, to the power ``order``; 0 to none."""
    distance = (_distance_1 if order == 1 else _distance_2)(cdf, reference_cdf)
    distance = torch.where(cdf[..., -1] > 0, distance, 0)
    return torch.where(reference_cdf[..., -1] > 0, distance, float("nan"))


def _distance_1(cdf: Tensor, reference_cdf: Tensor) -> Tensor:
    return (cdf - reference_cdf).abs().sum(-1) / (cdf.shape[-1] - 1)


def _distance_2(cdf: Tensor, reference_cdf: Tensor) -> Tensor:
    cdf, reference_cdf = (rows.contiguous() for rows in torch.broadcast_tensors(cdf, reference_cdf))
    fixed, reference_fixed = cdf.detach(), reference_cdf.detach()
    # Between two neighboring values of the two distributions, both quantile functions are constant.
    ends = torch.cat([fixed, reference_fixed], dim=-1).sort(dim=-1).values
    shares = ends.diff(dim=-1, prepend=torch.zeros_like(ends[..., :1]))
    distance = (shares * (_level(fixed, ends) - _level(reference_fixed, ends)).square()).sum(-1)
    # What is added is 0, and has the gradient.
    for rows, others in ((cdf, reference_fixed), (reference_cdf, fixed)):
        distance = distance + (_marginal_cost(rows.detach(), others) * (rows - rows.detach())).sum(-1)
    return distance


def _marginal_cost(cdf: Tensor, other: Tensor) -> Tensor:
    """How the square of the Wasserstein-2 distance grows with each value of ``cdf`` ``[..., bins]``."""
    # More at or below a level is pixels of that rank that move down by a level: the square of their distance to the other's
    # level of that rank changes. Where that level jumps, it is the mean of both.
    step = 1 / (cdf.shape[-1] - 1)
    level = torch.linspace(0, 1, cdf.shape[-1], dtype=cdf.dtype, device=cdf.device)
    below, above = _level(other, cdf), _level(other, cdf, right=True)
    # There is no rank below 0 or above 1.
    below, above = torch.where(cdf <= 0, above, below), torch.where(cdf >= 1, below, above)
    return step * (below + above - 2 * level - step)


def _level(cdf: Tensor, rank: Tensor, *, right: bool = False) -> Tensor:
    """The level in [0, 1] at which a distribution reaches a rank, or exceeds it."""
    last = cdf.shape[-1] - 1
    return torch.searchsorted(cdf, rank, right=right).clamp(max=last).to(cdf.dtype) / last


def _reduced(distances: Tensor, image: Tensor, reduction: str) -> Tensor:
    distances = distances.to(working_dtype(image))
    if reduction == "none":
        return distances
    return distances.mean() if reduction == "mean" else distances.sum()
