"""Counting for plots: exact, by 8-bit levels."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..clip.histograms import BINS, coarse, count_colors, sample_pixels
from ..kernels.levels import count
from ..kernels.workers import by_stripes, map_frames
from ..methods.color_space import luma

ROWS = ("red", "green", "blue", "luminance")
"""What is counted, one row each."""

_GAP = 8


def count_levels(pixels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Count pixels ``[C, H, W]`` with C of 1, 3 or 4, each by its weight ``[H, W]``, if there are any: ``[4, 256]``.

    A fourth channel is ignored. NaN and infinite values do not count, and pixels with one have no luminance.
    """
    colors = pixels.detach()[:3]
    counts = count(colors, weights=weights).cpu().double()
    if len(colors) == 1:
        return coarse(counts).expand(len(ROWS), -1)
    brightness = colors.new_empty(1, *colors.shape[1:])
    with torch.no_grad():
        by_stripes(_write_luma, colors, brightness)
    return coarse(torch.cat([counts, count(brightness, weights=weights).cpu().double()]))


def by_rows(counts: Tensor) -> Tensor:
    """Counts ``[1 or 3, LEVELS]`` of gray or of colors as those of red, green and blue, ``[3, 256]``."""
    return coarse(counts.cpu().double()).expand(3, -1)


def count_sampled(frames: Tensor) -> list[int]:
    """Count the values of some pixels of frames ``[B, H, W, C]``, whatever channel they are in: 256 whole numbers."""

    def count_frame(frame: Tensor) -> Tensor:
        return count_colors(*sample_pixels(frame))[:3].sum(dim=0)

    counts = torch.stack(list(map_frames(count_frame, frames.movedim(-1, 1), together=True)))
    levels: list[int] = counts.sum(dim=0).long().tolist()
    return levels


def shares(counts: Tensor) -> Tensor:
    """Counts ``[..., 256]`` as parts of all in their row."""
    return counts / counts.sum(dim=-1, keepdim=True)


def mean_level(shares: Tensor) -> float:
    """The mean of a row ``[256]``, in levels."""
    return float((shares * torch.arange(BINS)).sum())


def distance(shares: Tensor, others: Tensor) -> float:
    """W1 between two rows ``[256]``, in levels: the area between the cumulative distributions, Vallender 1974."""
    return float((shares - others).cumsum(dim=0).abs().sum())


def resampled(shares: NDArray[np.float64], number: int, bridged: bool = False) -> NDArray[np.float64]:
    """Means ``[number]`` over equal parts of the range of levels ``[256]``.

    ``bridged``: the pixels of levels with a gap of up to 8 between them count as if they were spread over it. 8-bit pictures
    have such gaps after a match or a stretch.
    """
    levels = np.flatnonzero(shares)
    begins, ends = levels.astype(np.float64), levels + 1.0
    if bridged:
        near = np.flatnonzero(np.diff(levels) <= _GAP + 1)
        begins[near + 1] = ends[near] = (ends[near] + begins[near + 1]) / 2
    total = np.cumsum(shares[levels])
    places, below = np.stack([begins, ends], axis=1).ravel(), np.stack([np.append(0.0, total[:-1]), total], axis=1).ravel()
    means: NDArray[np.float64] = np.diff(np.interp(np.linspace(0, BINS, number + 1), places, below)) * number / BINS
    return means


def _write_luma(colors: Tensor, out: Tensor) -> None:
    out.copy_(luma(torch.where(colors.isfinite(), colors.clamp(0, 1), math.nan)))
