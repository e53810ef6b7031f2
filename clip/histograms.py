"""Histograms of frames, as they are shown to the user: of red, green, blue and luminance, at 8-bit levels."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..kernels.dtypes import nearest_end, working_dtype
from ..kernels.levels import LEVELS
from ..methods.color_space import luma

BINS = 256
"""Bins of a histogram that is shown, one for each value that rounds to the same of 256 levels."""

# A frame has a few percent of its matching's time for this, so that only some of its pixels are counted where the match has
# not counted them all: one of so many in each direction, fewer of small frames, but at least so many in all.
_STRIDE = 7
_LEAST = 1 << 14


@dataclass(frozen=True)
class FrameHistograms:
    """What is shown of a frame: pixels by channels and levels ``[4, 256]`` of its source, its result and its reference, if any.

    ``exact``: the channels, not the luminance, are counted from all pixels, not from a sample.
    """

    source: Tensor
    result: Tensor
    reference: Tensor | None
    exact: bool = False


def sample_pixels(pixels: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Some pixels ``[3, h, w]`` on the CPU of ``[C, H, W]`` with C of 1, 3 or 4, and their weights ``[h, w]`` of ``[H, W]``.

    Values beyond [0, 1] and those that are not finite are at the nearest end.
    """
    height, width = pixels.shape[1:]
    counting = height * width if weights is None else int((weights > 0).sum())
    stride = max(1, min(_STRIDE, math.isqrt(counting // _LEAST)))
    down, along = (slice(min(stride, side) // 2, None, stride) for side in (height, width))
    sample = nearest_end(pixels.detach()[:3, down, along].cpu().float()).clamp(0, 1).expand(3, -1, -1)
    return sample, None if weights is None else weights.detach()[down, along].cpu()


def count_colors(pixels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Count pixels ``[3, H, W]`` in [0, 1] by their weights ``[H, W]``, in the four histograms that are shown: ``[4, 256]``."""
    return _count(torch.cat([pixels, luma(pixels)]), weights)


def _with_luminance(counts: Tensor, sample: Tensor, weights: Tensor | None) -> Tensor:
    """Counts of channels ``[3, 256]`` with those of the luminance, of which there is only a sample ``[3, h, w]``.

    It is stratified after the fact by green, most of the luminance: in each of its bins, the pixels of the sample stand for all
    that were counted there. Cochran 1977, "Sampling techniques", ch. 5A.
    """
    strata = (sample[1] * (BINS - 1)).add_(0.5).int()
    found = torch.bincount(strata.flatten(), None if weights is None else weights.double().flatten(), minlength=BINS)
    each = torch.where(found > 0, counts[1] / found, 0)[strata]
    luminance = _count(luma(sample), each if weights is None else each * weights)
    return torch.cat([counts, luminance * (counts[1].sum() / luminance.sum())])


def _count(planes: Tensor, weights: Tensor | None) -> Tensor:
    """Count values ``[C, H, W]`` in [0, 1] at 8-bit levels, ``[C, 256]``."""
    # As whole numbers, each channel in bins of its own.
    firsts = torch.arange(len(planes), dtype=torch.int32)[:, None] * BINS
    bins = (planes.flatten(1) * (BINS - 1)).add_(0.5).int().add_(firsts).flatten()
    added = None if weights is None else weights.double().flatten().repeat(len(planes))
    return torch.bincount(bins, added, minlength=len(planes) * BINS).double().view(-1, BINS)


def frame_histograms(
    source: Tensor,
    result: Tensor,
    weights: tuple[Tensor | None, Tensor | None],
    reference: Tensor | None,
    known: tuple[Tensor, Tensor] | None = None,
    factor: float = 1.0,
) -> FrameHistograms:
    """What is shown of a frame of pixels ``[C, H, W]`` before and after, each with its weights ``[H, W]``.

    ``known`` are the counts ``[3, LEVELS]`` of all pixels and the tables ``[3 or 1, LEVELS]`` that all went through by this
    ``factor``, if it is so.
    """
    samples = sample_pixels(source, weights[0]), sample_pixels(result, weights[1])
    if known is None:
        return FrameHistograms(count_colors(*samples[0]), count_colors(*samples[1]), reference)
    # In the precision in which pixels were looked up and blended: some lie on the border between two levels.
    below, table = known[0].cpu().cumsum(dim=1), known[1].to("cpu", working_dtype(result)).expand(3, -1)
    if factor < 1:
        table = (table * factor).add(torch.arange(LEVELS, dtype=table.dtype) / (LEVELS - 1), alpha=1 - factor)
    channels = _coarse(below), _sent_through(below, table)
    before, after = (_with_luminance(counts, *sample) for counts, sample in zip(channels, samples, strict=True))
    return FrameHistograms(before, after, reference, exact=True)


def reference_histogram(pixels: Tensor, mask: Tensor | None, counts: Any) -> Tensor:
    """What is shown ``[4, 256]`` of a reference of pixels ``[C, H, W]``, by weights ``[H, W]``.

    ``counts`` are those of its channels, ``[C, LEVELS]``, if they are known, or something else that was measured.
    """
    sample = sample_pixels(pixels, mask)
    if not isinstance(counts, Tensor) or counts.shape not in ((1, LEVELS), (3, LEVELS)):
        return count_colors(*sample)
    return _with_luminance(coarse(counts.cpu()).expand(3, -1), *sample)


def coarse(counts: Tensor) -> Tensor:
    """Counts ``[C, LEVELS]`` at the 8-bit levels to which they round, ``[C, 256]``, float64."""
    return _coarse(counts.cumsum(dim=1))


def _coarse(below: Tensor) -> Tensor:
    """The same of sums ``[C, LEVELS]`` of what is at a level or below."""
    # 257 levels round to each, but half of them to the first and to the last.
    step = LEVELS // BINS + 1
    return _apart(torch.cat([below[:, step // 2 :: step], below[:, -1:]], dim=1))


def _sent_through(below: Tensor, table: Tensor) -> Tensor:
    """The same of what becomes of them by a table ``[C, LEVELS]`` that does not fall."""
    edges = ((torch.arange(BINS - 1, dtype=torch.float64) + 0.5) / (BINS - 1)).expand(len(table), -1)
    firsts = torch.searchsorted(table.double().contiguous(), edges.contiguous())
    at_edges = below.gather(1, (firsts - 1).clamp(min=0))
    return _apart(torch.cat([torch.where(firsts > 0, at_edges, 0), below[:, -1:]], dim=1))


def _apart(below: Tensor) -> Tensor:
    return torch.cat([below[:, :1], below.diff(dim=1)], dim=1).double()
