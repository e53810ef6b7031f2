"""Levels for values that are not in [0, 1]: linear light, float EXR, HDR."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.levels import LEVELS

# Below this, levels are spaced evenly, above in proportion to the value: 7.5 stops below a middle gray of 0.18.
_EVEN = 2.0**-10


@dataclass(frozen=True)
class ValueRange:
    """Values from ``low`` to ``high``, spaced over the levels of [0, 1] in a scale like that of a logarithm.

    A value ``x`` has the level ``(asinh(x / s) - a) / (b - a)`` with ``s = 2^-10``, ``a = asinh(low / s)`` and
    ``b = asinh(high / s)``: the inverse hyperbolic sine is a straight line around 0, a logarithm beyond ``s``, and holds
    negative values. Neighbors of 65536 levels are at most 0.08 % apart, or ``s`` times as much near 0, for values up to those
    of half-precision floats.
    """

    low: float
    high: float

    @classmethod
    def of(cls, planes: Iterable[Tensor]) -> "ValueRange":
        """That of all finite values in tensors; of none, from 0 to 1."""
        low, high = math.inf, -math.inf
        for plane in planes:
            values = plane.detach()
            finite = values.isfinite()
            if not finite.all():
                values = values[finite]
            if values.numel():
                least, greatest = values.aminmax()
                low, high = min(low, float(least)), max(high, float(greatest))
        return cls(low, high) if low <= high else cls(0.0, 1.0)

    def __or__(self, other: "ValueRange") -> "ValueRange":
        """The least range that holds both."""
        return ValueRange(min(self.low, other.low), max(self.high, other.high))

    def levels(self, values: Tensor) -> Tensor:
        """The levels in [0, 1] of finite values; those beyond the ends are at the nearest end."""
        first, span = self._scale()
        return ((values / _EVEN).asinh() - first).div(span).clamp(0, 1)

    def values(self, levels: Tensor) -> Tensor:
        """The values at levels; those of levels beyond [0, 1] are those of the nearest end."""
        first, span = self._scale()
        return (levels.clamp(0, 1) * span + first).sinh() * _EVEN

    def finite(self, values: Tensor) -> Tensor:
        """Values that are all finite: 0 for NaN, the nearest end for an infinity."""
        return torch.nan_to_num(values, nan=0.0, posinf=self.high, neginf=self.low)

    def _scale(self) -> tuple[float, float]:
        first = math.asinh(self.low / _EVEN)
        # A range of one value has one level.
        return first, math.asinh(self.high / _EVEN) - first or 1.0


def moved_counts(counts: Tensor, before: ValueRange | None, after: ValueRange | None) -> Tensor:
    """Counts ``[C, LEVELS]`` at levels of one range at those of another; None is [0, 1], at even distances."""
    if before == after:
        return counts
    levels = torch.linspace(0, 1, LEVELS, dtype=torch.float64)
    values = levels if before is None else before.values(levels)
    moved = values.clamp(0, 1) if after is None else after.levels(values)
    return torch.zeros_like(counts).index_add_(1, (moved * (LEVELS - 1)).round().long(), counts)
