"""Histogram matching to a target that is learned."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ..checks import check_bins, check_count, check_floating, check_pixels, checked_weights
from ..histogram_matching import cumulative_distribution
from ..kernels.dtypes import precise_dtype
from ..kernels.levels import LEVELS
from ..kernels.quantiles import quantile_function
from ..kernels.soft_binning import interpolate, pixel_rows, soft_histogram
from ..methods.samples import ColorSample
from ..reference_histogram import ReferenceHistogram
from .distributed import level_counts

# As what share of the range a step of the quantile function starts that is 0: small enough to be none, large enough to grow.
_LEAST_STEP = 1e-7
# A learned target counts as much as a picture of a megapixel, and in a sample is told by this many colors.
_PIXELS = 1 << 20
_COLORS = 1 << 12


class ParametricHistogramMatching(torch.nn.Module):
    """Give each image of a batch one target distribution, whose quantile function is trained.

    The target of each channel is the quantile function through ``knots`` points at even steps of probability, linear between
    them. Its steps are squares of parameters, divided by the channel's sum, so that it never falls and stays in [0, 1] whatever
    the parameters are (roots as coordinates: Srivastava et al. 2007, "Riemannian analysis of probability density functions").
    Learning the target together with a classifier is the idea of Otsuka et al. 2025, "Rethinking image histogram matching for
    image classification"; it takes an optimizer that scales each parameter's step by itself, such as Adam.

    A new module has the uniform target, which is histogram equalization; the constructors ``from_...`` start elsewhere. It
    computes the same with and without gradients, and under ``torch.compile``, ``torch.func`` and autocast.

    Args:
        channels: of the images, 1 or more.
        knots: points of each quantile function, 2 or more.
        bins: of histograms and transfer functions, 2 to 65536. 256 is exact on 8-bit content and makes smooth gradients.

    Attributes:
        roots: the parameters, shape ``[channels, knots + 1]``, of which only ratios count: for the steps between knots, which
            start at 1 with an even target, and for those below the first and above the last, which start near 0.

    Raises:
        TypeError: a number is not an int, or what a constructor takes is not the tensor it says.
        ValueError: a number is out of range, or that tensor has another shape or values, or a channel where nothing counts.

    >>> matching = ParametricHistogramMatching.from_reference(torch.rand(3, 16, 16))
    >>> matching(torch.rand(2, 3, 8, 8)).mean().backward()
    >>> matching.roots.grad.shape
    torch.Size([3, 257])
    """

    def __init__(self, channels: int = 3, knots: int = 256, bins: int = 256) -> None:
        super().__init__()
        check_bins(bins)
        check_count("channels", channels, 1)
        check_count("knots", knots, 2)
        self.bins = bins
        uniform = torch.linspace(0, 1, knots, dtype=torch.float64).expand(channels, -1)
        self.roots = _roots(_steps(uniform))

    @classmethod
    def from_quantiles(cls, quantiles: Tensor, bins: int = 256) -> "ParametricHistogramMatching":
        """Start at floating-point levels in [0, 1], ``[channels, knots]`` at even steps of probability, that never fall."""
        check_floating("quantiles", quantiles)
        steps = _steps(_double("quantiles", quantiles, "knots"))
        if not (steps >= 0).all():
            raise ValueError("quantiles: expected values from 0 to 1 that never fall from left to right, got others")
        channels, knots = quantiles.shape
        module = cls(channels, knots, bins)
        module.roots = _roots(steps)
        return module

    @classmethod
    def from_histogram(
        cls, histogram: Tensor | ReferenceHistogram, knots: int = 256, bins: int = 256
    ) -> "ParametricHistogramMatching":
        """Start at counts ``[channels, levels]`` of any real dtype at even levels in [0, 1], or :class:`ReferenceHistogram`."""
        counts = histogram.counts if isinstance(histogram, ReferenceHistogram) else histogram
        if not isinstance(counts, Tensor) or counts.is_complex():
            got = getattr(counts, "dtype", type(counts).__name__)
            raise TypeError(f"histogram: expected a tensor of counts or a ReferenceHistogram, got {got}")
        counts = _double("histogram", counts, "levels")
        if not ((counts.isfinite() & (counts >= 0)).all() and counts.any(dim=1).all()):
            raise ValueError("histogram: expected finite counts from 0 up, and some in each channel, got others")
        return cls.from_quantiles(_quantiles(counts, knots), bins)

    @classmethod
    def from_reference(cls, reference: Tensor, knots: int = 256, bins: int = 256) -> "ParametricHistogramMatching":
        """Start at a picture ``[C, H, W]``, or at several together, ``[B, C, H, W]``, floating point with values in [0, 1].

        Values outside count at the nearest end, NaN and infinite ones not at all.
        """
        counts = torch.stack(list(level_counts("reference", [reference]))).sum(0)
        if not counts.any(dim=1).all():
            raise ValueError("reference: expected finite values in each channel, got a channel with none")
        return cls.from_histogram(counts, knots, bins)

    @classmethod
    def from_dataset(cls, images: Iterable[Tensor], knots: int = 256, bins: int = 256) -> "ParametricHistogramMatching":
        """Start where the mean image of a data set stays as it is; one or more images, read once, as in :meth:`from_reference`.

        The mean of distributions is that of their quantile functions, which is their barycenter in Wasserstein-2 distance
        (Agueh and Carlier 2011, "Barycenters in the Wasserstein space"). Those of a batch count as so many images.
        """
        total, count = torch.zeros(()), 0
        for counts in level_counts("images", images):
            if not counts.any(dim=1).all():
                raise ValueError(f"images: expected finite values in each channel, got none in a channel of image {count}")
            total, count = total + _quantiles(counts, knots), count + 1
        if not count:
            raise ValueError("images: expected at least one, got none")
        return cls.from_quantiles((total / count).clamp(0, 1), bins)

    @property
    def quantiles(self) -> Tensor:
        """The target's levels at even steps of probability, shape ``[channels, knots]``, in [0, 1], rising; differentiable."""
        # With all parameters at 0, all levels are.
        return cumulative_distribution(self.roots.to(precise_dtype(self.roots.device)).square())[:, :-1]

    def forward(self, image: Tensor, image_weights: Tensor | None = None) -> Tensor:
        """Match each image to the target.

        Args:
            image: floating point, shape ``[..., C, H, W]``, values in [0, 1], any strides.
            image_weights: how much each pixel counts, not negative, of a shape that broadcasts to the image's; all pixels are
                matched. Not under ``torch.func.vmap``, where nobody can look whether they are negative.

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
        weights = None if image_weights is None else pixel_rows(checked_weights(image_weights, image))
        cdf = cumulative_distribution(soft_histogram(frames, self.bins, weights))
        tables = interpolate(cdf, self.quantiles.expand(frames.shape[0], -1, -1))
        return interpolate(frames, tables).reshape(image.shape)

    @torch.no_grad()
    def export(self) -> ReferenceHistogram:
        """The learned target, of 1 or 3 channels, as a reference: for :func:`match_images`, or a file for ComfyUI.

        A target says nothing of how channels go together; in the sample for joint methods they rise together, as in a gray
        picture. ValueError if there are neither 1 nor 3 channels.
        """
        quantiles = self.quantiles.cpu().double()
        if len(quantiles) not in (1, 3):
            raise ValueError(f"channels: expected 1 or 3 for a reference, got {len(quantiles)}")
        quantiles = quantiles.expand(3, -1)
        middle = (torch.arange(_COLORS, dtype=torch.float64) + 0.5) / _COLORS
        colors = interpolate(middle.expand(1, 3, -1), quantiles[None])[0]
        sample = ColorSample(colors.float(), torch.full((_COLORS,), _PIXELS / _COLORS))
        return ReferenceHistogram(_counts(quantiles), sample, 1)

    def extra_repr(self) -> str:
        """Name the settings in the module's ``repr``."""
        return f"channels={self.roots.shape[0]}, knots={self.roots.shape[1] - 1}, bins={self.bins}"


def _steps(quantiles: Tensor) -> Tensor:
    """The steps ``[channels, knots + 1]`` of quantile functions ``[channels, knots]`` from 0 to 1."""
    return pad(pad(quantiles, (1, 0)), (0, 1), value=1).diff()


def _roots(steps: Tensor) -> torch.nn.Parameter:
    """Parameters for these steps, around 1."""
    return torch.nn.Parameter((steps.clamp(min=_LEAST_STEP) * (steps.shape[1] - 2)).sqrt().float())


def _quantiles(counts: Tensor, knots: int) -> Tensor:
    """The levels of a histogram ``[channels, levels]`` at even steps of probability, ``[channels, knots]``."""
    check_count("knots", knots, 2)
    probability = torch.linspace(0, 1, knots, dtype=counts.dtype).expand(len(counts), -1).contiguous()
    return quantile_function(cumulative_distribution(counts), probability)


def _counts(quantiles: Tensor) -> Tensor:
    """The histogram of as many pixels as a learned target counts, ``[channels, LEVELS]``."""
    level, probability = np.linspace(0, 1, LEVELS), np.linspace(0, 1, quantiles.shape[1])
    # The probability of a level or less, since of several knots at one level numpy takes the last.
    cdf = np.stack([np.interp(level, row, probability) for row in quantiles.numpy()])
    return torch.from_numpy(np.diff(cdf, prepend=0)) * _PIXELS


def _double(name: str, rows: Tensor, columns: str) -> Tensor:
    """A table of two columns or more in double precision, on the processor."""
    if rows.ndim != 2 or rows.shape[0] < 1 or rows.shape[1] < 2:
        raise ValueError(f"{name}: expected shape [channels, {columns}] with 2 {columns} or more, got {list(rows.shape)}")
    return rows.detach().cpu().double()
