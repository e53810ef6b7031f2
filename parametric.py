"""Histogram matching to a target that is learned."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .color_transfer import ColorSample
from .histogram_matching import (
    LEVELS,
    QuantileFunction,
    check_bins,
    check_count,
    check_pixels,
    cumulative_distribution,
    histogram,
    pixel_rows,
    weight_rows,
)
from .reference_histogram import ReferenceHistogram
from .soft_binning import interpolate, precise_dtype, soft_histogram

# As what share of the range a step of the quantile function starts that is 0: small enough to be none, large enough to grow.
_LEAST_STEP = 1e-7
# A learned target counts as much as a picture of a megapixel, and in a sample is told by this many colors.
_PIXELS = 1 << 20
_COLORS = 1 << 12


class ParametricHistogramMatching(torch.nn.Module):
    """Give each image of a batch one target distribution, whose quantile function is trained.

    The target of each channel is the quantile function through ``knots`` points at even steps of probability, linear between
    them. Its steps are squares of parameters, divided by the sum of all of a channel, so that it rises from left to right and
    stays in [0, 1] whatever the parameters are; the square root of a distribution is what Srivastava et al. 2007, "Riemannian
    analysis of probability density functions", take as coordinates. Only the ratios of a channel's parameters count. Each
    image is then matched to the target as in :class:`HistogramMatching`. Learning the target together with a classifier is the
    idea of Otsuka et al. 2025, "Rethinking image histogram matching for image classification".

    A new module has the uniform target, which is histogram equalization; :meth:`from_reference`, :meth:`from_histogram`,
    :meth:`from_dataset` and :meth:`from_quantiles` start elsewhere. It computes the same with and without gradients, and under
    ``torch.compile``, ``torch.func`` and autocast. What it learns takes some optimizer that scales each parameter's step by
    itself, such as Adam.

    Args:
        channels: of the images, 1 or more.
        knots: points of each quantile function, 2 or more.
        bins: of the images' histograms and of the transfer functions, 2 to 65536. 256 is exact on 8-bit content and makes
            smooth gradients.

    Attributes:
        roots: the parameters, shape ``[channels, knots + 1]``: one for each step between knots, and one each for what is left
            below the first and above the last. With an even target, those between knots start at 1, the other two near 0.

    Raises:
        TypeError: a number is not an int.
        ValueError: a number is out of range.
    """

    def __init__(self, channels: int = 3, knots: int = 256, bins: int = 256) -> None:
        super().__init__()
        check_bins(bins)
        check_count("channels", channels, 1)
        check_count("knots", knots, 2)
        self.bins = bins
        uniform = torch.linspace(0, 1, knots, dtype=torch.float64).expand(channels, -1)
        self.roots = torch.nn.Parameter(_roots(uniform).float())

    @classmethod
    def from_quantiles(cls, quantiles: Tensor, bins: int = 256) -> ParametricHistogramMatching:
        """Start at a given quantile function.

        Args:
            quantiles: floating point, shape ``[channels, knots]``: the levels in [0, 1] at even steps of probability, never
                falling from left to right.
            bins: as in the module.

        Raises:
            TypeError: ``quantiles`` is not a floating-point tensor.
            ValueError: it has another shape, or falls, or leaves [0, 1].
        """
        if not isinstance(quantiles, Tensor) or not quantiles.is_floating_point():
            raise TypeError(f"quantiles: expected a floating-point tensor, got {_kind(quantiles)}")
        if quantiles.ndim != 2 or quantiles.shape[0] < 1 or quantiles.shape[1] < 2:
            raise ValueError(f"quantiles: expected shape [channels, knots] with 2 knots or more, got {list(quantiles.shape)}")
        given = quantiles.detach().cpu().double()
        if not (bool((given >= 0).all()) and bool((given <= 1).all()) and bool((given.diff() >= 0).all())):
            raise ValueError("quantiles: expected values from 0 to 1 that never fall from left to right, got others")
        module = cls(given.shape[0], given.shape[1], bins)
        module.roots = torch.nn.Parameter(_roots(given).float())
        return module

    @classmethod
    def from_histogram(
        cls, histogram: Tensor | ReferenceHistogram, knots: int = 256, bins: int = 256
    ) -> ParametricHistogramMatching:
        """Start at the quantiles of a histogram.

        Args:
            histogram: counts of any real dtype, shape ``[channels, levels]``, for levels at even steps from 0 to 1; or what
                Reference Histogram keeps.
            knots: as in the module.
            bins: likewise.

        Raises:
            TypeError: ``histogram`` is neither.
            ValueError: it has another shape, counts that are negative or not finite, or a channel without any.
        """
        counts = histogram.counts if isinstance(histogram, ReferenceHistogram) else histogram
        if not isinstance(counts, Tensor) or counts.is_complex():
            raise TypeError(f"histogram: expected a tensor of counts or a ReferenceHistogram, got {_kind(counts)}")
        if counts.ndim != 2 or counts.shape[0] < 1 or counts.shape[1] < 2:
            raise ValueError(f"histogram: expected shape [channels, levels] with 2 levels or more, got {list(counts.shape)}")
        counts = counts.detach().cpu().double()
        if not (bool((counts.isfinite() & (counts >= 0)).all()) and bool(counts.any(dim=1).all())):
            raise ValueError("histogram: expected finite counts from 0 up, and some in each channel, got others")
        return cls.from_quantiles(_quantiles(counts, knots), bins)

    @classmethod
    def from_reference(cls, reference: Tensor, knots: int = 256, bins: int = 256) -> ParametricHistogramMatching:
        """Start at the quantiles of a picture, or of several together.

        Args:
            reference: floating point, shape ``[C, H, W]`` or ``[B, C, H, W]``, values in [0, 1]. Values outside count at the
                nearest end, NaN and infinite ones not at all.
            knots: as in the module.
            bins: likewise.

        Raises:
            TypeError: ``reference`` is not a floating-point tensor.
            ValueError: it has another shape, or a channel without finite values.
        """
        counts = histogram(_pictures("reference", reference).detach(), LEVELS).sum(0)
        if not bool(counts.any(dim=1).all()):
            raise ValueError("reference: expected finite values in each channel, got a channel with none")
        return cls.from_histogram(counts, knots, bins)

    @classmethod
    def from_dataset(cls, images: Iterable[Tensor], knots: int = 256, bins: int = 256) -> ParametricHistogramMatching:
        """Start where the mean image of a data set stays as it is.

        The mean of distributions is taken as that of their quantile functions, which is their barycentre in Wasserstein-2
        distance (Agueh and Carlier 2011, "Barycenters in the Wasserstein space"): an image that has this distribution is
        mapped to itself.

        Args:
            images: each as in :meth:`from_reference`; those of a batch count as so many images. They are read once.
            knots: as in the module.
            bins: likewise.

        Raises:
            TypeError: an image is not a floating-point tensor.
            ValueError: there is none, one has another shape or number of channels, or a channel without finite values.
        """
        total: Tensor | None = None
        count = 0
        for batch in images:
            for image in _pictures("images", batch):
                counts = histogram(image.detach(), LEVELS).cpu().double()
                if not bool(counts.any(dim=1).all()):
                    raise ValueError(f"images: expected finite values in each channel, got none in a channel of image {count}")
                quantiles = _quantiles(counts, knots)
                if total is not None and total.shape != quantiles.shape:
                    raise ValueError(f"images: expected {len(total)} channels as in the first, got {len(quantiles)}")
                total = quantiles if total is None else total + quantiles
                count += 1
        if total is None:
            raise ValueError("images: expected at least one, got none")
        return cls.from_quantiles((total / count).clamp(0, 1), bins)

    @property
    def quantiles(self) -> Tensor:
        """The target's levels at even steps of probability, shape ``[channels, knots]``, in [0, 1], rising; differentiable."""
        steps = self.roots.to(precise_dtype(self.roots.device)).square()
        reached = steps.cumsum(-1)
        # With all parameters at 0, all levels are.
        return reached[:, :-1] / reached[:, -1:].clamp(min=torch.finfo(steps.dtype).tiny)

    def forward(self, image: Tensor, image_weights: Tensor | None = None) -> Tensor:
        """Match each image to the target.

        Args:
            image: floating point, shape ``[..., C, H, W]``, values in [0, 1], any strides.
            image_weights: how much each pixel counts, not negative, of a shape that broadcasts to the image's. All pixels are
                matched, whatever their weight. Not under ``torch.func.vmap``, where nobody can look whether they are negative.

        Returns:
            The image's shape and dtype, values in [0, 1], differentiable in image, weights and parameters. Values outside of
            [0, 1] go where the nearest end goes; NaN becomes 0 and an infinity the nearest end.

        Raises:
            TypeError: an argument is not a floating-point tensor.
            ValueError: a shape or a weight does not fit.
        """
        check_pixels("image", image)
        channels = self.roots.shape[0]
        if image.shape[-3] != channels:
            raise ValueError(f"image: expected shape [..., {channels}, H, W], got {list(image.shape)}")
        frames = pixel_rows(image)
        weights = None if image_weights is None else weight_rows(image, image_weights)
        cdf = cumulative_distribution(soft_histogram(frames, self.bins, weights))
        tables = interpolate(cdf, self.quantiles.expand(frames.shape[0], -1, -1))
        return interpolate(frames, tables).reshape(image.shape)

    @torch.no_grad()
    def export(self) -> ReferenceHistogram:
        """The learned target as a reference: for :func:`match_images`, and saved to a file for ComfyUI's Reference Histogram.

        Each channel has its histogram. A target says nothing of how channels go together, so in the sample for methods that
        match colors as a whole they rise together, as in a gray picture.

        Raises:
            ValueError: there are neither 1 nor 3 channels.
        """
        quantiles = self.quantiles.cpu().double()
        if len(quantiles) not in (1, 3):
            raise ValueError(f"channels: expected 1 or 3 for a reference, got {len(quantiles)}")
        quantiles = quantiles.expand(3, -1).contiguous()
        knots = quantiles.shape[1]
        level = torch.linspace(0, 1, LEVELS, dtype=torch.float64).expand(3, -1).contiguous()
        # The probability of a level or less: the knots passed, and the part of the way to the next one.
        passed = torch.searchsorted(quantiles, level, right=True)
        before, after = passed.clamp(1, knots - 1) - 1, passed.clamp(1, knots - 1)
        low, high = quantiles.gather(1, before), quantiles.gather(1, after)
        part = torch.where(high > low, (level - low) / (high - low), 0).clamp(0, 1)
        cdf = torch.where(passed == 0, 0, torch.where(passed == knots, 1, (before + part) / (knots - 1)))
        counts = cdf.diff(prepend=torch.zeros(3, 1, dtype=torch.float64)) * _PIXELS
        probability = (torch.arange(_COLORS, dtype=torch.float64) + 0.5) / _COLORS
        colors = interpolate(probability.expand(1, 3, -1), quantiles[None])[0]
        sample = ColorSample(colors.float(), torch.full((_COLORS,), _PIXELS / _COLORS))
        return ReferenceHistogram(counts, sample, 1)

    def extra_repr(self) -> str:
        """Name the settings in the module's ``repr``."""
        return f"channels={self.roots.shape[0]}, knots={self.roots.shape[1] - 1}, bins={self.bins}"


def _roots(quantiles: Tensor) -> Tensor:
    """Parameters for the quantile functions ``[channels, knots]``, around 1."""
    low, high = quantiles[:, :1], 1 - quantiles[:, -1:]
    steps = torch.cat([low, quantiles.diff(), high], dim=1).clamp(min=_LEAST_STEP)
    return (steps * (quantiles.shape[1] - 1)).sqrt()


def _quantiles(counts: Tensor, knots: int) -> Tensor:
    """The levels of a histogram ``[channels, levels]`` at even steps of probability, ``[channels, knots]``."""
    check_count("knots", knots, 2)
    probability = torch.linspace(0, 1, knots, dtype=counts.dtype).expand(len(counts), -1).contiguous()
    return QuantileFunction(cumulative_distribution(counts))(probability)


def _pictures(name: str, images: Tensor) -> Tensor:
    """``[C, H, W]`` or ``[B, C, H, W]`` as the latter."""
    check_pixels(name, images)
    if images.ndim not in (3, 4):
        raise ValueError(f"{name}: expected shape [C, H, W] or [B, C, H, W], got {list(images.shape)}")
    return images if images.ndim == 4 else images[None]


def _kind(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
