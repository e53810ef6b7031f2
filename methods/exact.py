"""Exact histogram specification: order all pixels, and hand out the reference's levels in that order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..kernels.dtypes import nearest_end
from ..kernels.levels import LEVELS
from ..kernels.workers import spread
from .channels import ChannelStep
from .transform import Part, Picture, Step

# The neighborhoods of Coltuc, Bolon and Chassery 2006, "Exact histogram specification", each with all of those before it:
# the pixel itself and rings of 4, 4, 4, 8 and 4 neighbors by their distance.
_RINGS = ((5, 4, 3, 4, 5), (4, 2, 1, 2, 4), (3, 1, 0, 1, 3), (4, 2, 1, 2, 4), (5, 4, 3, 4, 5))
_RADIUS = 2
# Bits that hold the sum of a neighborhood of 16-bit levels: 1, 5, 9, 13, 21 and 25 of them.
_BITS = (16, 19, 20, 20, 21, 21)


@dataclass(frozen=True)
class RankedLevels(Part):
    """The levels that are handed out to the pixels in their order: how often each, ``[C, LEVELS]``."""

    counts: Tensor
    pointwise: ClassVar[bool] = False

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Order and hand out."""
        matched = torch.empty_like(pixels) if out is None else out

        def write(source: Tensor, counts: Tensor, target: Tensor) -> None:
            target.copy_(exact_specification(source, counts, picture.weights))

        spread(write, pixels, self.counts.expand(len(pixels), -1), matched)
        return matched


class ExactStep(Step):
    """Order the pixels of each channel, and hand out the reference's levels in that order."""

    channelwise: ClassVar[bool] = True
    measures_source: ClassVar[bool] = False

    def measure(self, picture: Picture) -> Tensor:
        """Count at all levels."""
        return ChannelStep().measure(picture)

    def solve(self, source: None, prepared: Tensor) -> RankedLevels:
        """The counts are what is handed out."""
        return RankedLevels(prepared)


def exact_specification(channel: Tensor, reference_counts: Tensor, weights: Tensor | None = None) -> Tensor:
    """Give one channel ``[H, W]`` in [0, 1] exactly the histogram ``[LEVELS]``, float64, of a reference, without gradient.

    Pixels are put in a strict order: by their 16-bit level, equal ones by the sum of growing neighborhoods (Coltuc, Bolon
    and Chassery 2006), and what is equal even then, by position. The darkest pixel gets the reference's darkest level and so
    on. Where the reference counts as many pixels as the channel, the histograms are the same, level by level; else each pixel
    gets the reference's level at its own place in the order, in proportion.

    ``weights`` ``[H, W]`` say how much each pixel counts. Pixels with weight 0 and those that are not finite have no place in
    the order and stay as they are, the latter at the nearest end.
    """
    result = nearest_end(channel)
    counted = channel.isfinite()
    if weights is not None:
        counted &= weights > 0
    order = _order(result, counted.flatten().nonzero()[:, 0])
    if weights is None:
        middle = torch.arange(order.numel(), dtype=torch.float64, device="cpu") + 0.5
        total = float(order.numel())
    else:
        ordered = weights.flatten()[order].cpu().double()
        cumulative = ordered.cumsum(0)
        middle, total = cumulative - ordered / 2, float(cumulative[-1]) if len(cumulative) else 0.0
    reference = reference_counts.cpu().cumsum(0)
    # With equal totals the factor is 1, and whole numbers stay what they are.
    wanted = middle * (float(reference[-1]) / total) if total else middle
    level = torch.searchsorted(reference, wanted).clamp_(max=LEVELS - 1)
    values = (level.double() / (LEVELS - 1)).to(result.dtype).to(result.device)
    return result.flatten().index_copy(0, order, values).view(channel.shape)


def _order(channel: Tensor, place: Tensor) -> Tensor:
    """The pixels at ``place`` from the darkest to the brightest, as indices into ``channel`` ``[H, W]``."""
    level = (channel.float().clamp(0, 1) * (LEVELS - 1)).round()
    height, width = channel.shape
    framed = torch.nn.functional.pad(level[None, None], (_RADIUS,) * 4, mode="replicate")[0, 0].int()
    total = torch.zeros_like(framed[:height, :width])
    sums = []
    for ring in range(len(_BITS)):
        for down, row in enumerate(_RINGS):
            for right, its_ring in enumerate(row):
                if its_ring == ring:
                    total = total + framed[down : down + height, right : right + width]
        sums.append(total.flatten()[place].long())
    ordered, order = _key(sums[:3], _BITS[:3]).sort(stable=True)
    # Most pixels differ by now; only the others are compared further.
    same = ordered.diff() == 0
    tied = torch.nn.functional.pad(same, (1, 0)) | torch.nn.functional.pad(same, (0, 1))
    where = tied.nonzero()[:, 0]
    group = torch.nn.functional.pad((~same).cumsum(0), (1, 0))[where]
    among = order[where]
    by_rings = _key([total[among] for total in sums[3:]], _BITS[3:]).argsort(stable=True)
    by_group = group[by_rings].argsort(stable=True)
    order[where] = among[by_rings][by_group]
    return place[order]


def _key(sums: Sequence[Tensor], bits: Sequence[int]) -> Tensor:
    """One number to sort by several sums of so many bits, the first of them first."""
    key = sums[0]
    for total, its_bits in zip(sums[1:], bits[1:], strict=True):
        key = (key << its_bits) | total
    return key
