"""Monotone curves through pairs of colors, one for each channel."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv1d

from ..kernels.levels import look_up
from .robust import LEVEL, Pairs

_BINS = 256
# How much curves may bend, and how far beyond colors that tell of them they go on as they were and fade to the identity, in
# bins. The first is in bins squared that a bend deviates by, times pixels.
_BEND, _STRAIGHT, _FADE = 200.0, 48.0, 64.0
# What weighs pixels that do not, so that every bin has a place in a monotone curve.
_LITTLE = 1e-3
# The grid on which curves are looked for, such that the identity goes through its points.
_ACROSS, _UP = 64, 127
# How far from a curve pairs count that it goes through.
_NEAR = 16 * LEVEL
# What a curve costs, as part of all pairs, for each 1 that it goes up or down beside the identity, and for lying beside it.
_COST_OF_TURNS, _COST_OF_DISTANCE = 0.2, 0.02


def send(tables: Tensor, colors: Tensor, unit: Tensor) -> Tensor:
    """Send colors ``[C, n]``, in units, through tables ``[C, bins]``, which are not."""
    return look_up((colors / unit[:, None])[:, None], tables)[:, 0] * unit[:, None]


def fit_curves(pairs: Pairs, robust: Tensor, unit: Tensor) -> Tensor:
    """The monotone tables ``[C, 256]`` of least squares for pairs that count ``[n]`` besides.

    In each bin that is the mean of the references; these are made monotone (Barlow, Bartholomew, Bremner and Brunk 1972,
    "Statistical inference under order restrictions"), and their difference to the identity smooth (Whittaker 1923).
    """
    # Not at the top, since it takes long to import.
    from scipy.linalg import solveh_banded
    from scipy.optimize import isotonic_regression

    weights = robust * pairs.weights
    source, reference = pairs.source / unit[:, None], pairs.reference / unit[:, None]
    bins = (source * (_BINS - 1)).round_().long().clamp_(0, _BINS - 1)
    identity = np.linspace(0, 1, _BINS)
    tables = []
    for index, change in zip(bins, reference - source, strict=True):
        counts = torch.bincount(index, weights, _BINS).numpy()
        sums = torch.bincount(index, weights * change, _BINS).numpy()
        means, some = np.zeros(_BINS), counts > 0
        if some.any():
            wanted = identity[some] + sums[some] / counts[some]
            means[some] = isotonic_regression(wanted, weights=counts[some]).x - identity[some]
        bands = _smoothness().copy()
        bands[-1] += counts
        smooth = solveh_banded(bands, counts * means)
        tables.append(isotonic_regression(identity + smooth, weights=counts + _LITTLE).x)
    return torch.from_numpy(np.stack(tables))


@cache
def _smoothness() -> Any:
    """The upper bands ``[3, 256]`` of the matrix that says what differences to the identity cost."""
    bend, slope = _BEND, _BEND / _STRAIGHT**2
    bands = np.zeros((3, _BINS))
    bands[-1] = slope / _FADE**2
    for cost, steps in ((slope, (1, -1)), (bend, (1, -2, 1))):
        order = len(steps) - 1
        for first in range(order + 1):
            for second in range(first, order + 1):
                apart = second - first
                bands[2 - apart, second : _BINS - order + second] += cost * steps[first] * steps[second]
    return bands


def likely_curves(pairs: Pairs, unit: Tensor) -> Tensor:
    """The monotone tables ``[C, 64]`` that most pairs are near to, found among all by dynamic programming (Bellman 1957)."""
    total = pairs.weights.sum()
    weights = pairs.weights / torch.where(total > 0, total, 1)
    channels = len(pairs.source)
    across = ((pairs.source / unit[:, None]) * (_ACROSS - 1)).round_().long().clamp_(0, _ACROSS - 1)
    up = ((pairs.reference / unit[:, None]) * (_UP - 1)).round_().long().clamp_(0, _UP - 1)
    index = (torch.arange(channels)[:, None] * _ACROSS + across) * _UP + up
    counts = torch.bincount(index.flatten(), weights.repeat(channels), channels * _ACROSS * _UP)
    reach = int(_NEAR * (_UP - 1))
    window = (1 - (torch.arange(-reach, reach + 1, dtype=counts.dtype) / (reach + 1)).square()).square()
    gain = conv1d(counts.view(-1, 1, _UP), window.view(1, 1, -1), padding=reach).view(channels, _ACROSS, _UP)
    levels, columns = (torch.linspace(0, 1, number, dtype=gain.dtype) for number in (_UP, _ACROSS))
    gain = gain - _COST_OF_DISTANCE / _ACROSS * (levels - columns[:, None]).abs()
    rise = levels[:, None] - levels
    step = torch.where(rise < 0, -torch.inf, -_COST_OF_TURNS * (rise - columns[1]).abs())
    best, ways = gain[:, 0] - _COST_OF_TURNS * levels, []
    for column in gain[:, 1:].unbind(1):
        reached, way = (best[:, None] + step).max(dim=-1)
        best = reached + column
        ways.append(way)
    path = [best.argmax(dim=-1, keepdim=True)]
    for way in reversed(ways):
        path.append(way.gather(1, path[-1]))
    return torch.cat(path[::-1], dim=1) / (_UP - 1)
