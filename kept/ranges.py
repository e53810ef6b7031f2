"""The range of values that something kept is for."""

import math
from typing import Any

from ..methods.value_range import ValueRange
from .arrays import Arrays


def kept_range(values: ValueRange | None, whole: str, ranged: str) -> dict[str, Any]:
    """The arrays of a range and of the format's name: ``whole`` without a range, for values in [0, 1], else ``ranged``."""
    return {"format": whole} if values is None else {"format": ranged, "range": [values.low, values.high]}


def read_range(arrays: Arrays, whole: str, ranged: str) -> ValueRange | None:
    """The range, and None for [0, 1]; a ValueError if the format is neither or the range none."""
    if arrays.format() == whole:
        return None
    arrays.check_format(ranged)
    low, high = (float(end) for end in arrays.read("range", (2,)))
    if not -math.inf < low <= high < math.inf:
        raise ValueError(f"range {low} to {high}")
    return ValueRange(low, high)
