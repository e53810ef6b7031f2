"""Histograms that are specified in numbers, without a picture that has them.

Each target is a function that makes a transfer function of a source's cumulative distribution, see :func:`specify_images`.
What computes is imported where it does, so that numbers are checked before torch is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..checks import check_number

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Uniform:
    """All levels equally often: histogram equalization, Gonzalez and Woods, Digital Image Processing, ch. 3.

    >>> import torch
    >>> Uniform()(torch.tensor([[0.25, 0.5, 1.0]]))
    tensor([[0.2500, 0.5000, 1.0000]])
    """

    def __call__(self, cdf: Tensor) -> Tensor:
        """The transfer function of a source with the distribution ``cdf`` ``[C, bins]``: the distribution itself."""
        return cdf


@dataclass(frozen=True)
class Normal:
    """Levels spread around a mean as in a normal distribution, cut off at 0 and 1.

    Attributes:
        mean: 0 to 1.
        deviation: the standard deviation before the ends are cut off, at least 0.001.

    Raises:
        ValueError: a number is not in its range.

    >>> import torch
    >>> Normal(0.5, 0.1)(torch.linspace(0, 1, 256)[None])[0, ::51]
    tensor([0.0000, 0.4139, 0.4727, 0.5234, 0.5822, 1.0000])
    """

    mean: float = 0.5
    deviation: float = 0.2

    def __post_init__(self) -> None:
        check_number("mean", self.mean, 0, 1)
        check_number("deviation", self.deviation, 0.001, math.inf)

    def __call__(self, cdf: Tensor) -> Tensor:
        """The transfer function of a source with the distribution ``cdf`` ``[C, bins]``, in its shape."""
        import torch

        from ..histogram_matching import cumulative_distribution
        from ..kernels.quantiles import quantile_function

        level = torch.linspace(0, 1, cdf.shape[-1], dtype=cdf.dtype, device=cdf.device)
        counts = (-0.5 * ((level - self.mean) / self.deviation).square()).exp()
        return quantile_function(cumulative_distribution(counts[None]), cdf)


@dataclass(frozen=True)
class LinearStretch:
    """The darkest pixels become 0, the brightest 1, and those between keep their distances.

    Attributes:
        low: how many of the darkest pixels may be clipped, in percent.
        high: how many of the brightest.

    Raises:
        ValueError: a number is below 0, or both leave nothing between them.

    >>> import torch
    >>> LinearStretch(0, 0)(torch.tensor([[0.0, 0.5, 0.5, 1.0, 1.0]]))
    tensor([[0.0000, 0.0000, 0.5000, 1.0000, 1.0000]])
    """

    low: float = 0.1
    high: float = 0.1

    def __post_init__(self) -> None:
        check_number("low", self.low, 0, 100)
        check_number("high", self.high, 0, 100)
        if self.low + self.high >= 100:
            raise ValueError(f"low and high: expected less than 100 percent together, got {self.low + self.high}")

    def __call__(self, cdf: Tensor) -> Tensor:
        """The transfer function of a source with the distribution ``cdf`` ``[C, bins]``, in its shape.

        It is linear between the ends. A channel of one level, which has no distances, stays as it is.
        """
        import torch

        rows = cdf.detach().contiguous()
        bins = cdf.shape[-1]
        low = torch.searchsorted(rows, rows.new_full((len(rows), 1), self.low / 100), right=True)
        # Rounding must not push what reaches all pixels beyond the last level that has any.
        reached = rows.new_full((len(rows), 1), 1 - self.high / 100 - 1e-12)
        low, high = low.clamp(max=bins - 1), torch.searchsorted(rows, reached).clamp(max=bins - 1)
        level = torch.arange(bins, dtype=cdf.dtype, device=cdf.device)
        stretched = ((level - low) / (high - low).clamp(min=1)).clamp(0, 1)
        return torch.where(high > low, stretched, level / (bins - 1))


class Specified:
    """A given histogram.

    Args:
        counts: how often each level occurs, from black to white, one number for each of 2 to 65536 levels: 256 for 8 bits. One
            row for all channels, or a row for each.

    Raises:
        TypeError: ``counts`` holds something other than numbers.
        ValueError: there are too few or too many numbers or rows of different lengths, one of them is negative or not finite,
            or a row is 0 throughout.

    >>> import torch
    >>> Specified([0, 3, 1])(torch.tensor([[0.75, 1.0]]))
    tensor([[0.5000, 1.0000]])
    """

    def __init__(self, counts: Sequence[float] | Sequence[Sequence[float]] | Tensor) -> None:
        import torch

        from ..histogram_matching import cumulative_distribution
        from ..kernels.levels import LEVELS, rebin

        try:
            rows = torch.as_tensor(counts).detach().cpu().double()
        except (TypeError, ValueError) as error:
            raise TypeError(f"histogram: expected numbers, in rows of one length, got {error}") from error
        if rows.ndim not in (1, 2) or not 2 <= rows.shape[-1] <= LEVELS or rows.shape[0] == 0:
            raise ValueError(f"histogram: expected rows of 2 to {LEVELS} counts, got shape {list(rows.shape)}")
        rows = rows.reshape(-1, rows.shape[-1])
        if not bool((rows.isfinite() & (rows >= 0)).all()):
            raise ValueError("histogram: expected finite counts from 0 up, got others")
        if not bool(rows.sum(-1).all()):
            raise ValueError("histogram: expected at least one pixel in each row, got a row of zeros")
        self.counts = rebin(rows, LEVELS)
        """At 65536 levels, shape ``[1 or C, 65536]``."""
        self._cdf = cumulative_distribution(self.counts)

    def __call__(self, cdf: Tensor) -> Tensor:
        """The transfer function of a source with the distribution ``cdf`` ``[C, bins]``, in its shape.

        Raises:
            ValueError: the source has another number of channels than there are rows, and there is more than one row.
        """
        from ..kernels.quantiles import quantile_function

        if len(self.counts) not in (1, len(cdf)):
            raise ValueError(f"histogram: expected 1 row or {len(cdf)}, one for each channel, got {len(self.counts)}")
        return quantile_function(self._cdf, cdf.to(self._cdf.device))
