"""Exact histogram specification: order all pixels, and hand out the reference's levels in that order."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor

from ..kernels.dtypes import nearest_end
from ..kernels.levels import LEVELS
from ..kernels.workers import by_stripes, spread, stripe_size
from .channels import ChannelStep
from .transform import Part, Picture, Step

# The neighborhoods of Coltuc, Bolon and Chassery 2006, "Exact histogram specification", each with all of those before it:
# the pixel itself and rings of 4, 4, 4, 8 and 4 neighbors by their distance.
_RINGS = ((5, 4, 3, 4, 5), (4, 2, 1, 2, 4), (3, 1, 0, 1, 3), (4, 2, 1, 2, 4), (5, 4, 3, 4, 5))
_RADIUS = 2
# Bits that hold the sum of a neighborhood of 16-bit levels: 1, 5, 9, 13, 21 and 25 of them.
_BITS = (16, 19, 20, 20, 21, 21)
# Pixels that are sorted at a time, so many at most parts, and of how many pixels the parts are told.
_PART = 1 << 20
_MOST_PARTS = 255
_SAMPLE = 1 << 16


@dataclass(frozen=True)
class RankedLevels(Part):
    """The levels that are handed out to the pixels in their order: how often each, ``[C, LEVELS]``."""

    counts: Tensor
    pointwise: ClassVar[bool] = False
    reason: ClassVar[str] = "ranks the pixels of a picture"

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Order and hand out."""
        matched = torch.empty_like(pixels) if out is None else out

        def write(source: Tensor, counts: Tensor, target: Tensor) -> None:
            target.copy_(exact_specification(source, counts, picture.weights))

        planes = (pixels, self.counts.expand(len(pixels), -1), matched)
        # Of large channels, the parts are shared out: what is known of one takes several times its memory.
        list(map(write, *planes)) if pixels[0].numel() > 2 * _PART else spread(write, *planes)
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
    result = nearest_end(channel).contiguous()
    counted = channel.isfinite()
    if weights is not None:
        counted &= weights > 0
    parts = _order(*_keys(result, counted))
    before = [0, *accumulate(map(len, parts))]
    reference, middle, total = reference_counts.cpu().cumsum(0), None, float(before[-1])
    if weights is not None and total:
        ordered = torch.cat([weights.flatten()[part] for part in parts]).cpu().double()
        middle = ordered.cumsum(0)
        total = float(middle[-1])
        middle -= ordered.div_(2)

    def hand_out(part: Tensor, first: int, last: int) -> None:
        places = torch.arange(first, last, dtype=torch.float64) + 0.5 if middle is None else middle[first:last]
        # With equal totals the factor is 1, and whole numbers stay what they are.
        level = torch.searchsorted(reference, places * (float(reference[-1]) / total)).clamp_(max=LEVELS - 1)
        result.view(-1).index_copy_(0, part, (level.double() / (LEVELS - 1)).to(result.dtype).to(result.device))

    if total:
        spread(hand_out, parts, before, before[1:])
    return result


def _keys(channel: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Two numbers to sort the pixels ``[H, W]`` by, one after the other, of which the first is -1 for what is not counted."""
    height, width = channel.shape
    first, second = torch.empty(2, height, width, dtype=torch.int64, device=channel.device)
    lines = max(1, stripe_size(channel.device) // width)

    def write(top: int) -> None:
        rows = slice(top, min(top + lines, height))
        around = torch.arange(top - _RADIUS, rows.stop + _RADIUS, device=channel.device).clamp_(0, height - 1)
        level = (channel[around].float().clamp(0, 1) * (LEVELS - 1)).round()
        framed = torch.nn.functional.pad(level[None], (_RADIUS, _RADIUS), mode="replicate")[0].int()
        total = torch.zeros_like(first[rows], dtype=torch.int32)
        sums = []
        for ring in range(len(_BITS)):
            for down, row in enumerate(_RINGS):
                for right, its_ring in enumerate(row):
                    if its_ring == ring:
                        total += framed[down : down + len(total), right : right + width]
            sums.append(total.long())
        first[rows] = torch.where(counted[rows], _key(sums[:3], _BITS[:3]), -1)
        second[rows] = _key(sums[3:], _BITS[3:])

    spread(write, range(0, height, lines))
    return first, second


def _order(first: Tensor, second: Tensor) -> list[Tensor]:
    """The pixels from the darkest to the brightest by two numbers ``[H, W]``, as indices into them, in parts."""
    sample = first.flatten()[:: first.numel() // _SAMPLE + 1]
    sample = sample[sample >= 0].sort().values
    number = min(-(-first.numel() // _PART), _MOST_PARTS) if len(sample) else 1
    edges = sample[torch.arange(1, number, device=sample.device) * len(sample) // number]
    edges = torch.cat([first.new_full((1,), -1), edges]).unique()
    part = torch.empty_like(first, dtype=torch.uint8)
    by_stripes(lambda keys, target: target.copy_(torch.bucketize(keys, edges, out_int32=True)), first, part)

    def order(index: int) -> Tensor:
        return _order_part((part.view(-1) == index).nonzero()[:, 0], first.view(-1), second.view(-1))

    return spread(order, range(1, len(edges) + 1))


def _order_part(place: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Order the pixels ``place``, which rise."""
    keys = first[place]
    if len(place) == 0 or bool((keys == keys[0]).all()):
        # In an even area, as much as there is of it, nothing is to be sorted.
        keys = second[place]
        return place if len(place) == 0 or bool((keys == keys[0]).all()) else place[keys.argsort(stable=True)]
    ordered, order = keys.sort(stable=True)
    # Most pixels differ by now; only the others are compared further.
    same = ordered.diff() == 0
    tied = torch.nn.functional.pad(same, (1, 0)) | torch.nn.functional.pad(same, (0, 1))
    where = tied.nonzero()[:, 0]
    group = torch.nn.functional.pad((~same).cumsum(0), (1, 0))[where]
    among = order[where]
    by_rings = second[place[among]].argsort(stable=True)
    by_group = group[by_rings].argsort(stable=True)
    order[where] = among[by_rings][by_group]
    return place[order]


def _key(sums: Sequence[Tensor], bits: Sequence[int]) -> Tensor:
    """One number to sort by several sums of so many bits, the first of them first."""
    key = sums[0]
    for total, its_bits in zip(sums[1:], bits[1:], strict=True):
        key = (key << its_bits) | total
    return key
