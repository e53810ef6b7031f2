"""The axis for the shares of pixels, linear or logarithmic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

SCALES = ("linear", "log")
"""How the height of a bar goes with its number of pixels, the default first."""

# Of the linear axis above the highest bar, and of the logarithmic one on both sides, in decades.
_MARGIN, _LOG_MARGIN = 1.05, 0.15
_MOST_DECADES = 6


@dataclass(frozen=True)
class VerticalAxis:
    """From ``lowest``, 0 if it is linear, to ``highest``, in parts of all pixels."""

    lowest: float
    highest: float

    @classmethod
    def of(cls, rows: Sequence[Tensor], scale: str) -> "VerticalAxis":
        """The axis that shows all shares in some rows ``[256]``; of those that are very rare, they stand at its lower end."""
        highest = max(float(row.max()) for row in rows)
        if scale == "linear":
            return cls(0.0, highest * _MARGIN)
        top = math.log10(highest) + _LOG_MARGIN
        least = math.log10(min(float(row[row > 0].min()) for row in rows)) - _LOG_MARGIN
        # At least one power of ten is on the axis.
        bottom = max(min(least, math.floor(math.log10(highest)) - _LOG_MARGIN), top - _MOST_DECADES)
        return cls(10**bottom, 10**top)

    def positions(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where shares are, from 0 to 1."""
        if self.lowest == 0:
            places: NDArray[np.float64] = shares / self.highest
            return places
        bottom, top = math.log10(self.lowest), math.log10(self.highest)
        places = (np.log10(np.maximum(shares, self.lowest)) - bottom) / (top - bottom)
        return places.clip(0, 1)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """About so many shares to be marked, at least one, with their labels in percent."""
        if self.lowest > 0:
            decades = range(math.ceil(math.log10(self.lowest) - 1e-9), math.floor(math.log10(self.highest) + 1e-9) + 1)
            step = math.ceil(len(decades) / max(1, most))
            return [(10.0**power, _label(10.0**power)) for power in reversed(decades[::-1][::step])]
        # The smallest step of 1, 2 or 5 that makes not too many.
        least = self.highest / max(1, most)
        power = 10.0 ** math.floor(math.log10(least))
        step_size = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= least * (1 - 1e-9))
        while step_size > self.highest:
            step_size /= 2
        return [(number * step_size, _label(number * step_size)) for number in range(1, int(self.highest / step_size) + 1)]


def _label(share: float) -> str:
    return f"{share * 100:.6g}%"
