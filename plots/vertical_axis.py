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
# A few levels that stand out, as black borders do, would make all others flat.
_OUTSTANDING, _TIMES = 4, 2


@dataclass(frozen=True)
class VerticalAxis:
    """From ``lowest``, 0 if it is linear, to ``highest``, in parts of all pixels."""

    lowest: float
    highest: float

    @classmethod
    def of(cls, rows: Sequence[Tensor], scale: str) -> "VerticalAxis":
        """The axis for shares in some rows ``[256]``.

        Linear, it is cut off where up to 4 levels of a row have more than twice as many pixels as any other; those that are
        very rare stand at the lower end of a logarithmic one.
        """
        highest = max(float(row.max()) for row in rows)
        if scale == "linear":
            usual = _TIMES * max(float(row.sort(descending=True).values[_OUTSTANDING]) for row in rows)
            return cls(0.0, usual if 0 < usual < highest else highest * _MARGIN)
        top = math.log10(highest) + _LOG_MARGIN
        least = math.log10(min(float(row[row > 0].min()) for row in rows)) - _LOG_MARGIN
        # At least one power of ten is on the axis.
        bottom = max(min(least, math.floor(math.log10(highest)) - _LOG_MARGIN), top - _MOST_DECADES)
        return cls(10**bottom, 10**top)

    def positions(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where shares are, from 0 to 1; those beyond an end are there."""
        inside = shares.clip(self.lowest, self.highest)
        if self.lowest == 0:
            places: NDArray[np.float64] = inside / self.highest
            return places
        bottom, top = math.log10(self.lowest), math.log10(self.highest)
        places = (np.log10(inside) - bottom) / (top - bottom)
        return places

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
