"""Histograms of frames, as they are shown to the user: of red, green, blue and luminance, at 8-bit levels."""

import functools
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
# not counted them all: at least so many. Histograms of clips longer than this are shown in fewer bins, which fewer pixels fill.
_LEAST = 12_000
_STRATA = 64
_SHORT_CLIP = 16


@dataclass(frozen=True)
class FrameHistograms:
    """What is shown of a frame: pixels by channels and levels ``[4, 256]`` of its source, its result and its reference, if any.

    ``exact``: the channels, not the luminance, are counted from all pixels, not from a sample.
    """

    source: Tensor
    result: Tensor
    reference: Tensor | None
    exact: bool = False


def sample_pixels(pixels: Tensor, weights: Tensor | None = None, least: int = _LEAST) -> tuple[Tensor, Tensor | None]:
    """Some pixels ``[3, h, w]`` on the CPU of ``[C, H, W]`` with C of 1, 3 or 4, and their weights ``[h, w]`` of ``[H, W]``.

    They are in rows and columns at even distances. Values beyond [0, 1] and those that are not finite are at the nearest end.
    """
    height, width = pixels.shape[1:]
    counting = height * width if weights is None else int((weights > 0).sum())
    stride = max(1, math.isqrt(counting // least))
    down, along = (slice(min(stride, side) // 2, None, stride) for side in (height, width))
    # A pixel at a time, then plane by plane in memory, which is faster from here on.
    few = pixels.detach()[:3, down, along].movedim(0, -1).contiguous().movedim(-1, 0).cpu().float().contiguous()
    sample = nearest_end(few).clamp_(0, 1).expand(3, -1, -1)
    return sample, None if weights is None else weights.detach()[down, along].cpu()


def count_colors(pixels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Count pixels ``[3, H, W]`` in [0, 1] by their weights ``[H, W]``, in the four histograms that are shown: ``[4, 256]``."""
    planes = torch.cat([pixels, luma(pixels)]).flatten(1)
    return _count(planes, None if weights is None else weights.double().flatten())


def _with_luminance(channels: Tensor, pictures: Tensor, weights: Tensor | None = None) -> Tensor:
    """Counts ``[P, 4, 256]`` of channels ``[P, 3, 256]`` and of luminance, of which there is only a sample ``[3, P, N]``.

    The sample, with weights ``[N]``, is of the first of P pictures, and what became of it in the others. It is stratified after
    the fact by green, most of the luminance: the pixels of the sample in a stratum stand for all that were counted there.
    Cochran 1977, "Sampling techniques", ch. 5A.
    """
    green, size = channels[0, 1], BINS // _STRATA
    strata = (pictures[1, 0] * ((BINS - 1) / size)).add_(0.5 / size).int()
    found = torch.bincount(strata, weights, minlength=_STRATA)
    each = torch.where(found > 0, green.view(_STRATA, size).sum(dim=1) / found, 0)
    each = (each * (green.sum() / each.dot(found.to(each.dtype)))).index_select(0, strata)
    luminance = _count(luma(pictures)[0], each if weights is None else each * weights)
    return torch.cat([channels, luminance[:, None]], dim=1)


def _count(planes: Tensor, weights: Tensor | None) -> Tensor:
    """Count values ``[C, N]`` in [0, 1], by weights ``[N]``, at 8-bit levels: ``[C, 256]``, float64."""
    # As whole numbers, each row in bins of its own.
    firsts = torch.arange(0.5, len(planes) * BINS, BINS)[:, None]
    bins = torch.add(firsts, planes, alpha=BINS - 1).int().flatten()
    added = None if weights is None else weights.repeat(len(planes))
    return torch.bincount(bins, added, minlength=len(planes) * BINS).double().view(-1, BINS)


def frame_histograms(
    source: Tensor,
    result: Tensor,
    weights: tuple[Tensor | None, Tensor | None],
    reference: Tensor | None,
    known: tuple[Tensor, Tensor] | None = None,
    factor: float = 1.0,
    frames: int = 1,
) -> FrameHistograms:
    """What is shown of one of so many frames, of pixels ``[C, H, W]`` before and after, each with its weights ``[H, W]``.

    ``known`` is how many of all pixels are at a level or below, ``[3, LEVELS]``, and the tables ``[3 or 1, LEVELS]`` that all
    went through by this ``factor``, if it is so.
    """
    if known is None:
        before, after = (count_colors(*sample_pixels(*planes)) for planes in zip((source, result), weights, strict=True))
        return FrameHistograms(before, after, reference)
    below, table, dtype = known[0].cpu(), known[1].cpu(), working_dtype(result)
    if factor < 1:
        table = (table.to(dtype) * factor).add(torch.arange(LEVELS, dtype=dtype) / (LEVELS - 1), alpha=1 - factor)
    table = table.double().expand(3, -1)
    sample = sample_pixels(source, least=_LEAST if frames <= _SHORT_CLIP else _LEAST // 2)[0].flatten(1)
    sent = table.gather(1, (sample * (LEVELS - 1)).add_(0.5).long()).to(sample.dtype).clamp_(0, 1)
    channels = torch.stack([_coarse(below), _sent_through(below, table, dtype)])
    before, after = _with_luminance(channels, torch.stack([sample, sent], dim=1))
    return FrameHistograms(before, after, reference, exact=True)


def reference_histogram(pixels: Tensor, mask: Tensor | None, counts: Any) -> Tensor:
    """What is shown ``[4, 256]`` of a reference of pixels ``[C, H, W]``, by weights ``[H, W]``.

    ``counts`` are those of its channels, ``[C, LEVELS]``, if they are known, or something else that was measured.
    """
    if not isinstance(counts, Tensor) or counts.shape not in ((1, LEVELS), (3, LEVELS)):
        return count_colors(*sample_pixels(pixels, mask))
    sample, weights = sample_pixels(pixels, mask)
    weights = None if weights is None else weights.double().flatten()
    return _with_luminance(coarse(counts.cpu()).expand(1, 3, -1), sample.flatten(1)[:, None], weights)[0]


def coarse(counts: Tensor) -> Tensor:
    """Counts ``[C, LEVELS]`` at the 8-bit levels to which they round, ``[C, 256]``, float64."""
    return _coarse(counts.cumsum(dim=1)).double()


def _coarse(below: Tensor) -> Tensor:
    """The same of sums ``[C, LEVELS]`` of what is at a level or below."""
    # 257 levels round to each, but half of them to the first and to the last.
    step = LEVELS // BINS + 1
    return below[:, step // 2 :: step].diff(dim=1, prepend=below.new_zeros(len(below), 1), append=below[:, -1:])


def _sent_through(below: Tensor, table: Tensor, dtype: torch.dtype) -> Tensor:
    """The same of what becomes of them by a table ``[C, LEVELS]`` that does not fall, of which pixels have the ``dtype``."""
    firsts = torch.searchsorted(table.contiguous(), _edges(dtype).expand(len(table), -1).contiguous())
    none = below.new_zeros(len(below), 1)
    under = torch.where(firsts > 0, below.gather(1, (firsts - 1).clamp_(min=0)), 0)
    return under.diff(dim=1, prepend=none, append=below[:, -1:])


@functools.cache
def _edges(dtype: torch.dtype) -> Tensor:
    """The least numbers that round to a higher of the 8-bit levels once they are rounded to a ``dtype``."""
    # Some entries of a table lie on the border between two levels before they are rounded, or after.
    exact = (torch.arange(BINS - 1, dtype=torch.float64) + 0.5) / (BINS - 1)
    inside = exact.to(dtype)
    inside = torch.where(inside < exact, inside.nextafter(torch.ones_like(inside)), inside)
    between = (inside.double() + inside.nextafter(torch.zeros_like(inside)).double()) / 2
    return torch.where(between.to(dtype) < inside, between.nextafter(inside.double()), between)
