"""What a LUT file holds, as a value: curves, a table of colors or both; and how a transform becomes one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ..kernels.levels import LEVELS
from ..methods.channels import ChannelTables
from ..methods.color_space import ColorSpace
from ..methods.linear import AffineMap
from ..methods.transform import Part, Transform
from .color_table import ColorTable, color_grid
from .kinds import SIZES

Range: TypeAlias = tuple[Sequence[float], Sequence[float]]
"""The least and the greatest value of each of three channels."""

UNIT: Range = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
# How far beyond [0, 1] the values of a table go.
_BEYOND = 0.25
# Colors at which transforms are compared.
_COLORS = 1 << 17


@dataclass(frozen=True)
class Cube:
    """Curves, a table of colors, or curves and then a table.

    Attributes:
        title: the name of the look.
        curves: what evenly spaced values of each channel become, ``[3, n]``, or None.
        curve_range: the values that the first and the last entry of the curves stand for.
        table: what becomes of a grid of colors, as in :class:`ColorTable`, ``[3, N, N, N]``, or None.
        table_range: the values that the ends of the table stand for.
    """

    title: str = ""
    curves: Tensor | None = None
    curve_range: Range = UNIT
    table: Tensor | None = None
    table_range: Range = UNIT

    def transform(self) -> Transform:
        """As a transform of RGB in [0, 1]; values beyond a range are taken as its nearest end."""
        parts: list[Part] = []
        if self.curves is not None:
            parts.append(
                ChannelTables(self.curves if _is_unit(self.curve_range) else _over_unit_range(self.curves, self.curve_range))
            )
        if self.table is not None:
            if not _is_unit(self.table_range):
                low, high = (torch.tensor(end, dtype=torch.float64) for end in self.table_range)
                parts.append(AffineMap(torch.cat([torch.diag(1 / (high - low)), (-low / (high - low))[:, None]], dim=1)))
            parts.append(ColorTable(self.table))
        return Transform(ColorSpace("rgb"), tuple(parts))


def cube_of(transform: Transform, size: int = 33, title: str = "") -> Cube:
    """Make a LUT of a transform: curves where its channels are apart, else a table of ``size`` points along each axis.

    Curves have as many entries as the transform's own table, up to 65536, since such tables are steep: where a picture has few
    levels, all that is between two of them is a jump. So they are exact. In a table, values beyond [0, 1] stay up to a quarter.
    Readers cut off what they have interpolated: cut off before, a slope would end in the middle of a cell; not at all, and a
    value far away, as that of a color which no screen shows, would bend all cells around it.

    Raises:
        ValueError: ``size`` is none of 17, 33 and 65, the transform is not pointwise, or it has values that are not finite.
    """
    if size not in SIZES:
        raise ValueError(f"size: expected one of {', '.join(map(str, SIZES))}, got {size}")
    if not transform.pointwise:
        reasons = dict.fromkeys(f"one that {part.reason} ({type(part).__name__})" for part in transform.parts if part.reason)
        raise ValueError(f"transform: expected one that sends equal colors to equal colors, got {', '.join(reasons)}")
    if transform.space.values is not None:
        raise ValueError("transform: expected one of values from 0 to 1, got one that was fitted with the range data")
    if transform.space.name == "rgb" and all(isinstance(part, ChannelTables) for part in transform.parts):
        return Cube(title, curves=_finite(_curves(transform)))
    values = _applied(transform, color_grid(size).flatten(1, 2)).view(3, size, size, size)
    return Cube(title, table=_finite(values).clamp_(-_BEYOND, 1 + _BEYOND))


def difference(transform: Transform, other: Transform) -> tuple[float, float]:
    """How far two pointwise transforms are apart in 8-bit levels, mean and largest, over all channels of many colors.

    The same evenly spread colors of the RGB cube each time (Sobol 1967), and its corners; results are cut off to [0, 1], as in
    a picture.
    """
    inner = torch.quasirandom.SobolEngine(3).draw(_COLORS, dtype=torch.float64)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    # As the pixels of a picture, which are in single precision.
    colors = torch.cat([inner, corners]).float().t().reshape(3, -1, 8)
    first, second = (_applied(one, colors).double().clamp(0, 1) for one in (transform, other))
    apart = (first - second).abs() * 255
    return float(apart.mean()), float(apart.max())


def _over_unit_range(curves: Tensor, limits: Range) -> Tensor:
    """Curves at each level of [0, 1]; of their own levels, only few would lie there if they have a wide range."""
    last = curves.shape[1] - 1
    low, high = (torch.tensor(end, dtype=torch.float64)[:, None] for end in limits)
    position = ((torch.linspace(0, 1, LEVELS, dtype=torch.float64) - low) / (high - low)).clamp(0, 1) * last
    before = position.long().clamp(max=last - 1)
    curves = curves.double()
    return torch.lerp(curves.gather(1, before), curves.gather(1, before + 1), position - before)


def _curves(transform: Transform) -> Tensor:
    """What a transform whose channels are apart does to each."""
    if len(transform.parts) == 1 and isinstance(transform.parts[0], ChannelTables):
        return transform.parts[0].values.detach().cpu().double().expand(3, -1)
    return _applied(transform, torch.linspace(0, 1, LEVELS, dtype=torch.float64).expand(3, 1, -1))[:, 0]


def _applied(transform: Transform, colors: Tensor) -> Tensor:
    with torch.no_grad():
        return transform.apply(colors)


def _finite(values: Tensor) -> Tensor:
    if not bool(values.isfinite().all()):
        raise ValueError("transform: expected finite values, got others")
    return values


def _is_unit(limits: Range) -> bool:
    return tuple(map(tuple, limits)) == UNIT
