"""Fitting through pairs of colors of which up to 40 % have nothing to do with one another."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .linear import ROUNDING_VARIANCE
from .samples import ColorSample

LEVEL = 1 / 255
# Colors further from a fit than this times its scale do not count at all. With three channels, it costs a twentieth of what
# can be known where all pairs are right.
_CUT = 6.0
# What the median distance is where three channels deviate by 1 each.
_MEDIAN = 1.538
# Pairs whose distances are found at a time.
_PART = 1 << 15
# On so many pairs a fit narrows down, before it is made of all of them.
_FEW = 1 << 13
_STEPS, _LAST = 2, 6
# Among how many first guesses, through how few pairs each and drawn to the identity like that, on how many pairs they are
# tried, within what distance those count, and how many guesses are then made better.
_GUESSES, _THROUGH, _DRAWN, _TRIED, _NEAR, _KEPT = 256, 4, (16 * LEVEL) ** 2, 1 << 11, 24 * LEVEL, 16
# Until changes are less than this, a fit is repeated that is to have a gradient.
_SETTLED, _MOST = 1e-12, 200


@dataclass(frozen=True)
class Pairs:
    """Colors of a picture and of its reference, each ``[C, n]``, and how much they count, ``[n]``; all float64."""

    source: Tensor
    reference: Tensor
    weights: Tensor

    @classmethod
    def of(cls, sample: ColorSample) -> "Pairs":
        """Take apart a sample of colors ``[2C, n]``."""
        source, reference = sample.colors.chunk(2)
        return cls(source, reference, sample.weights)

    def thinned(self, number: int) -> "Pairs":
        """So many of them at even steps of the weight, of which all count alike."""
        sample = ColorSample(torch.cat([self.source, self.reference]), self.weights)
        return Pairs.of(sample.thinned(number))

    def distances(self, predict: Callable[[Tensor, Tensor], Tensor], values: Tensor) -> Tensor:
        """The squares of how far references are from what ``predict(values, source)`` says, ``[n]``."""
        # A part at a time, for little memory.
        parts = zip(self.source.split(_PART, dim=1), self.reference.split(_PART, dim=1), strict=True)
        return torch.cat([(reference - predict(values, source)).square().sum(dim=0) for source, reference in parts])


def biweight(squares: Tensor, scale: float) -> Tensor:
    """How much pairs count at such squares of distances: Beaton and Tukey 1974."""
    return (1 - squares / (_CUT * scale) ** 2).clamp(min=0).square()


def robust_fit(
    pairs: Pairs,
    fit: Callable[[Pairs, Tensor], Tensor],
    predict: Callable[[Tensor, Tensor], Tensor],
    first: Tensor,
    widest: float,
) -> tuple[Tensor, float]:
    """Repeat a fit, in which pairs count less that are far from it, at an ever narrower scale.

    Args:
        pairs: of which some count.
        fit: makes values of pairs and of how much each counts besides.
        predict: says to what color values send one.
        first: values that are near to most pairs.
        widest: at what scale to begin at the least, in levels.

    Returns:
        The values, and the scale at which they were found: a level times a power of the root of 2. It narrows down to the
        typical distance, but not below a level, and it changes in steps, so that it has no part in the gradient.
    """
    few = pairs.thinned(_FEW)
    squares = few.distances(predict, first)
    rung = max(round(2 * math.log2(widest)), math.ceil(2 * math.log2(max(1.0, _typical(squares)))))
    while True:
        scale = LEVEL * 2 ** (rung / 2)
        for _ in range(_STEPS):
            values = fit(few, biweight(squares, scale))
            squares = few.distances(predict, values)
        if rung == 0 or LEVEL * 2 ** ((rung - 1) / 2) < LEVEL * _typical(squares):
            break
        rung -= 1
    for _ in range(_LAST):
        values = fit(pairs, biweight(pairs.distances(predict, values), scale))
    return values, scale


def _typical(squares: Tensor) -> float:
    """The median distance in levels, of what squares are given."""
    return math.sqrt(float(squares.median())) / (_MEDIAN * LEVEL)


def move(affine: Tensor, colors: Tensor) -> Tensor:
    """Send colors ``[C, n]`` through affine maps ``[..., C, C + 1]``."""
    return affine[..., :-1] @ colors + affine[..., -1:]


def fit_affine(pairs: Pairs, robust: Tensor, drawn: float = ROUNDING_VARIANCE) -> Tensor:
    """The affine maps ``[..., C, C + 1]`` with least squares for pairs that count ``[..., n]`` besides.

    They are drawn to the identity as if each color were spread by a variance ``drawn``: Hoerl and Kennard 1970, ridge
    regression. Differentiable.
    """
    weights = robust * pairs.weights
    total = weights.sum(dim=-1, keepdim=True)
    weights = weights / torch.where(total > 0, total, 1)
    channels = len(pairs.source)
    mean, spread = _moments(pairs, weights) if weights.ndim == 1 else _many_moments(pairs, weights)
    spread = spread - mean[..., :channels, None] * mean[..., None, :]
    identity = torch.eye(channels, dtype=mean.dtype)
    change = torch.linalg.solve(spread[..., :channels] + drawn * identity, spread[..., channels:]).transpose(-1, -2)
    offset = mean[..., channels:, None] - change @ mean[..., :channels, None]
    return torch.cat([identity + change, offset], dim=-1)


def _moments(pairs: Pairs, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted means ``[2C]`` of colors and of their changes, and of products of the former with both, ``[C, 2C]``."""
    channels = len(pairs.source)
    mean, spread = weights.new_zeros(2 * channels), weights.new_zeros(channels, 2 * channels)
    # A part at a time, for little memory.
    for planes in zip(*(plane.split(_PART, dim=-1) for plane in (pairs.source, pairs.reference, weights)), strict=True):
        source, reference, some = planes
        rows = torch.cat([source, reference - source])
        mean = mean + rows @ some
        spread = spread + (source * some) @ rows.t()
    return mean, spread


def _many_moments(pairs: Pairs, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The same for many weights ``[..., n]`` of few pairs."""
    channels = len(pairs.source)
    rows = torch.cat([pairs.source, pairs.reference - pairs.source])
    products = (rows[:channels, None] * rows[None]).flatten(0, 1)
    return weights @ rows.t(), (weights @ products.t()).unflatten(-1, (channels, 2 * channels))


def likely_affine(pairs: Pairs) -> Tensor:
    """The affine map that most pairs are near to, of many that each go through a few: Fischler and Bolles 1981.

    Which pairs those are is random, but the same at each call.
    """
    few = pairs.thinned(_TRIED)
    number = len(few.weights)
    chosen = torch.randint(number, (_GUESSES, _THROUGH), generator=torch.Generator().manual_seed(0))
    # Nothing but that is known of no pairs: the identity is a guess, too.
    guesses = torch.cat([fit_affine(few, few.weights.new_zeros(1, number), _DRAWN), *_fits_through(few, chosen[1:])])
    for near in (_NEAR, _NEAR, _NEAR, 0.75 * _NEAR, 0.5 * _NEAR, 0.5 * _NEAR):
        guesses = fit_affine(few, _counts(few, _best(few, guesses, near, _KEPT), near))
    return _best(few, guesses, 0.5 * _NEAR, 1)[0]


def _fits_through(pairs: Pairs, chosen: Tensor) -> Iterator[Tensor]:
    """Affine maps through a few pairs each, of indices ``[n, few]``: some at a time, for little memory."""
    for some in chosen.split(_KEPT):
        through = pairs.weights.new_zeros(len(some), len(pairs.weights))
        yield fit_affine(pairs, through.scatter_add_(1, some, through.new_ones(some.shape)), _DRAWN)


def _best(pairs: Pairs, guesses: Tensor, near: float, number: int) -> Tensor:
    """So many of the affine maps that most pairs are near to."""
    scores = torch.cat([_counts(pairs, some, near).sum(dim=-1) for some in guesses.split(_KEPT)])
    return guesses[scores.topk(min(number, len(scores))).indices]


def _counts(pairs: Pairs, guesses: Tensor, near: float) -> Tensor:
    """How much each pair counts with each of several affine maps."""
    squares = (pairs.reference - move(guesses, pairs.source)).square().sum(dim=-2)
    return biweight(squares, near / _CUT)


def settled(update: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """The values that ``update`` leaves as they are, near to those given, with the gradient of whatever it depends on.

    By the implicit function theorem, as in Bai, Kolter and Koltun 2019, "Deep equilibrium models": how the values were found
    does not matter.
    """
    with torch.no_grad():
        for _ in range(_MOST):
            before, values = values, update(values)
            if float((values - before).abs().max()) <= _SETTLED:
                break
    slopes = torch.autograd.functional.jacobian(update, values).view(values.numel(), -1).detach()
    identity = torch.eye(len(slopes), dtype=slopes.dtype)
    step: Tensor = torch.linalg.solve(identity - slopes, (update(values) - values).flatten())
    return values + step.view(values.shape)
