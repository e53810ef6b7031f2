"""Histogram matching on torch tensors, with gradients for the image and for the reference.

Pixels are counted into a histogram, the histogram is summed into a cumulative distribution, two distributions make a
transfer function, and the transfer function is applied to pixels; :class:`HistogramMatching` is the four in a row. Counting
and applying have two evaluations of one function, see ``kernels/levels.py``.
"""

from itertools import product

import torch
from torch import Tensor

from .checks import check_bins, check_floating, check_pair, check_pixels, check_rows, checked_weights
from .kernels.dtypes import wants_gradient
from .kernels.levels import count, look_up
from .kernels.quantiles import quantile_function
from .kernels.soft_binning import interpolate, pixel_rows, soft_histogram
from .kernels.workers import in_thread


def histogram(image: Tensor, bins: int = 256, weights: Tensor | None = None) -> Tensor:
    """Count the pixels of each channel in soft bins.

    Bin ``k`` is centered at ``k / (bins - 1)``. A pixel between two centers is split between them in proportion to its
    nearness (the triangular kernel of Ustinova and Lempitsky 2016, "Learning deep embeddings with histogram loss"), so a
    pixel on a center counts there alone and the counts of 8-bit content in 256 bins are whole numbers. Values outside
    [0, 1] count at the nearest end; NaN and infinite values are left out.

    Args:
        image: floating point, shape ``[..., C, H, W]``, values in [0, 1], any strides.
        bins: number of bins, 2 to 65536.
        weights: floating point, not negative, of a shape that broadcasts to the image's: a mask ``[..., 1, H, W]``, say. A
            pixel counts as its weight; by default each counts as 1.

    Returns:
        Counts of shape ``[..., C, bins]``, float64 (float32 on devices without float64). If gradients are enabled and
        ``image`` or ``weights`` requires one, the counts are differentiable in both; else each pixel is first rounded to
        the nearest of 65536 levels.

    Raises:
        TypeError: ``image`` or ``weights`` is not a floating-point tensor, or ``bins`` is not an int.
        ValueError: ``image`` has fewer than three dimensions or no pixels, ``bins`` is out of range, or ``weights`` does
            not fit the image or holds a negative number, an infinity or NaN.

    >>> histogram(torch.tensor([[[0.0, 0.25, 1.0]]]), bins=3)
    tensor([[1.5000, 0.5000, 1.0000]], dtype=torch.float64)
    """
    check_pixels("image", image)
    check_bins(bins)
    if weights is not None:
        weights = checked_weights(weights, image)
    if wants_gradient(image, weights):
        counts = soft_histogram(pixel_rows(image), bins, None if weights is None else pixel_rows(weights))
    else:
        frames = product(*map(range, image.shape[:-3]))
        counts = torch.stack([count(image[index], bins, None if weights is None else weights[index]) for index in frames])
    return counts.reshape(*image.shape[:-2], bins)


def cumulative_distribution(counts: Tensor) -> Tensor:
    """Sum a histogram into the fraction of pixels at or below each bin.

    Args:
        counts: floating point, shape ``[..., bins]``, not negative.

    Returns:
        Same shape and dtype, rising from left to right to 1; 0 throughout where a histogram counts nothing.

    Raises:
        TypeError: ``counts`` is not a floating-point tensor.
        ValueError: ``counts`` has fewer than two bins.

    >>> cumulative_distribution(torch.tensor([1.0, 0.0, 3.0]))
    tensor([0.2500, 0.2500, 1.0000])
    """
    check_rows("counts", counts)
    cumulative = counts.cumsum(-1)
    total = cumulative[..., -1:]
    return cumulative / torch.where(total > 0, total, torch.ones_like(total))


def transfer_function(source_cdf: Tensor, reference_cdf: Tensor) -> Tensor:
    """Map each level of the source to the level of the reference that has the same quantile.

    The reference's distribution is inverted by linear interpolation between the levels that occur in it, as
    ``numpy.interp`` over its non-empty bins does. On 8-bit content in 256 bins the table therefore holds what
    ``skimage.exposure.match_histograms`` computes. This is histogram specification (Gonzalez and Woods, Digital Image
    Processing, ch. 3) with the generalized inverse of the empirical distribution.

    Args:
        source_cdf: floating point, shape ``[..., bins]``, as :func:`cumulative_distribution` gives it.
        reference_cdf: same dtype and number of bins; its other dimensions broadcast to those of ``source_cdf``.

    Returns:
        A table of the shape of ``source_cdf``: the value in [0, 1] that each bin center goes to, never falling from left
        to right. Differentiable in both arguments.

    Raises:
        TypeError: an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: the shapes do not fit, or a reference distribution counts nothing.

    >>> transfer_function(torch.tensor([0.5, 1.0, 1.0]), torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.5000, 1.0000, 1.0000])
    """
    check_rows("source_cdf", source_cdf)
    check_rows("reference_cdf", reference_cdf)
    if source_cdf.dtype != reference_cdf.dtype:
        raise TypeError(f"source_cdf and reference_cdf: expected one dtype, got {source_cdf.dtype} and {reference_cdf.dtype}")
    try:
        reference_cdf.expand_as(source_cdf)
    except RuntimeError:
        raise ValueError(
            f"reference_cdf: expected a shape that broadcasts to source_cdf's {list(source_cdf.shape)}, "
            f"got {list(reference_cdf.shape)}"
        ) from None
    if not bool((reference_cdf[..., -1] > 0).all()):
        raise ValueError("reference_cdf: expected at least one counted pixel in each channel, got a channel with none")
    return quantile_function(reference_cdf, source_cdf)


def apply_transfer(image: Tensor, table: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Send each pixel through the transfer function of its channel, linearly between the table's entries.

    Args:
        image: floating point, shape ``[..., C, H, W]``, values in [0, 1], any strides.
        table: floating point, shape ``[..., C, bins]``; entry ``k`` is the value that ``k / (bins - 1)`` goes to. Its
            dimensions broadcast to those of ``image`` without height and width.
        out: where to write the result, of the image's shape and device; only where no gradient is wanted. New memory by
            default.

    Returns:
        The image's shape, dtype, device and memory order. Values outside [0, 1] go where the nearest end goes; NaN
        becomes 0 and an infinity the nearest end. If gradients are enabled and an argument requires one, the result is
        differentiable in both; else each pixel is first rounded to the nearest of 65536 levels.

    Raises:
        TypeError: an argument is not a floating-point tensor.
        ValueError: a shape does not fit, or ``out`` is given where a gradient is wanted.

    >>> apply_transfer(torch.tensor([[[0.0, 0.25, 1.0]]]), torch.tensor([[1.0, 0.0]]))
    tensor([[[1.0000, 0.7500, 0.0000]]])
    """
    check_pixels("image", image)
    check_rows("table", table)
    if out is not None:
        check_floating("out", out)
        if out.shape != image.shape or out.device != image.device:
            raise ValueError(
                f"out: expected the image's shape {list(image.shape)} on {image.device}, got {list(out.shape)} on {out.device}"
            )
    try:
        tables = table.expand(*image.shape[:-2], table.shape[-1])
    except RuntimeError:
        raise ValueError(
            f"table: expected a shape [..., C, bins] that broadcasts to image's {list(image.shape)} without height and "
            f"width, got {list(table.shape)}"
        ) from None
    if out is not None and wants_gradient(image, table):
        raise ValueError("out: expected None where a gradient is wanted, got a tensor")
    if wants_gradient(image, table):
        return interpolate(pixel_rows(image), tables.reshape(-1, *tables.shape[-2:])).reshape(image.shape)
    matched = torch.empty_like(image) if out is None else out
    for index in product(*map(range, image.shape[:-3])):
        look_up(image[index], tables[index], matched[index])
    return matched


class HistogramMatching(torch.nn.Module):
    """Give each image of a batch the histogram of a reference, channel by channel.

    Args:
        bins: number of bins and of entries in the transfer function, 2 to 65536. 256 makes smooth gradients and is exact
            on 8-bit content; 65536 follows continuous content to the limit of 16 bits.

    Raises:
        TypeError: ``bins`` is not an int.
        ValueError: ``bins`` is out of range.

    >>> image, reference = torch.rand(2, 3, 8, 8, requires_grad=True), torch.rand(1, 3, 9, 9)
    >>> HistogramMatching()(image, reference).mean().backward()
    >>> image.grad.shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, bins: int = 256) -> None:
        super().__init__()
        check_bins(bins)
        self.bins = bins

    def forward(
        self, image: Tensor, reference: Tensor, image_weights: Tensor | None = None, reference_weights: Tensor | None = None
    ) -> Tensor:
        """Match ``image`` to ``reference``.

        Args:
            image: floating point, shape ``[B, C, H, W]``, values in [0, 1], any strides.
            reference: floating point, shape ``[1 or B, C, H', W']``, values in [0, 1], any strides. One reference serves
                the whole batch.
            image_weights: how much each pixel of ``image`` counts, not negative, of a shape that broadcasts to the
                image's. All pixels are matched, whatever their weight.
            reference_weights: the same for ``reference``.

        Returns:
            The image's shape, dtype and memory order, values in [0, 1], differentiable in all arguments. A gradient beyond
            what its dtype holds, as slopes between 65536 bins are in float16, is the greatest number that it does hold.

        Raises:
            TypeError: an argument is not a floating-point tensor.
            ValueError: a shape or a weight does not fit, or no finite pixel of a channel of the reference counts.
        """
        check_pair(image, reference)
        arguments = (image, reference, image_weights, reference_weights)
        if image.device.type == "cpu" and not wants_gradient(*arguments):
            return in_thread(self._match, *arguments)
        return self._match(*arguments)

    def _match(
        self, image: Tensor, reference: Tensor, image_weights: Tensor | None, reference_weights: Tensor | None
    ) -> Tensor:
        table = transfer_function(
            cumulative_distribution(histogram(image, self.bins, image_weights)),
            cumulative_distribution(histogram(reference, self.bins, reference_weights)),
        )
        return apply_transfer(image, table)

    def extra_repr(self) -> str:
        """Name the settings in the module's ``repr``."""
        return f"bins={self.bins}"
