"""Matching channel by channel: through the reference's distribution, to the level of nearest rank, or to a target."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..checks import check_rows
from ..histogram_matching import cumulative_distribution
from ..kernels.levels import LEVELS, count, look_up
from ..kernels.quantiles import quantile_function
from .transform import Picture, Step, TensorPart


class ChannelTables(TensorPart):
    """Transfer functions ``values`` ``[C, bins]``, of which entry ``k`` is what ``k / (bins - 1)`` becomes."""

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Look up."""
        return look_up(pixels, self.values, out, inside=picture.inside and pixels is picture.pixels)


@dataclass(frozen=True)
class ChannelStep(Step):
    """Match channel by channel, by the inverse of the reference's distribution."""

    bins: int = LEVELS
    channelwise: ClassVar[bool] = True

    def measure(self, picture: Picture) -> Tensor:
        """Count, ``[C, bins]``."""
        if picture.counts is not None and self.bins == LEVELS:
            # Sums of measurements are made in place.
            return picture.counts.clone()
        counts = count(picture.pixels, self.bins, picture.weights, inside=picture.inside)
        # Where a device has no float64, sums over a clip are exact all the same.
        return counts if counts.dtype == torch.float64 else counts.cpu().double()

    def prepare(self, measured: Tensor) -> Tensor:
        """The cumulative distribution."""
        return cumulative_distribution(measured)

    def solve(self, source: Tensor, prepared: Tensor) -> ChannelTables:
        """Send each level to the one at which the reference reaches the same quantile."""
        return ChannelTables(quantile_function(prepared, cumulative_distribution(source).to(prepared.device)))


class NearestStep(ChannelStep):
    """Match channel by channel, at 256 levels, each to the one whose distribution is nearest."""

    def prepare(self, measured: Tensor) -> Tensor:
        """The counts as they are."""
        return measured

    def solve(self, source: Tensor, prepared: Tensor) -> ChannelTables:
        """Compare all levels with all."""
        return ChannelTables(nearest_transfer_function(source, prepared.to(source.device)))


def nearest_transfer_function(source_counts: Tensor, reference_counts: Tensor) -> Tensor:
    """Map each of 256 levels of the source to the level whose cumulative distribution in the reference is nearest to its own.

    This is conventional histogram matching as textbooks have it, and as the first algorithm of the supplement to Otsuka et al.
    2025, "Rethinking image histogram matching for image classification", writes it down: of several levels equally near, the
    darkest one. It has no gradient. Histograms ``[C, bins]`` and ``[C or 1, bins]`` make a table ``[C, bins]``, where all
    levels that round to the same one of 256 have the same value.
    """
    bins = source_counts.shape[1]
    nearest_8bit = (torch.arange(bins, device=source_counts.device) * 255 + (bins - 1) // 2) // (bins - 1)
    source_cdf, reference_cdf = (
        cumulative_distribution(counts.detach().new_zeros(counts.shape[0], 256).index_add_(1, nearest_8bit, counts.detach()))
        for counts in (source_counts, reference_counts)
    )
    table = (reference_cdf[:, None, :] - source_cdf[:, :, None]).abs().argmin(dim=-1)
    return table[:, nearest_8bit].to(source_cdf.dtype) / 255


@dataclass(frozen=True)
class TargetStep(ChannelStep):
    """Give each channel a histogram that comes from no picture: ``target`` makes a table of the source's distribution."""

    target: Callable[[Tensor], Tensor] = field(kw_only=True)
    measures_reference: ClassVar[bool] = False

    def solve(self, source: Tensor, prepared: Any) -> ChannelTables:
        """Ask the target."""
        cdf = cumulative_distribution(source)
        table = self.target(cdf)
        check_rows("target", table)
        if len(table) not in (1, len(cdf)):
            raise ValueError(f"target: expected a table of shape {list(cdf.shape)}, got {list(table.shape)}")
        return ChannelTables(table)
