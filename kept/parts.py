"""The parts of a transform as arrays, and back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..clip.settings import MOST_CELLS
from ..kernels.cells import BINS
from ..kernels.levels import LEVELS
from ..luts.color_table import ColorTable
from ..methods.channels import ChannelTables
from ..methods.detail import SmoothChange
from ..methods.dither import Dither
from ..methods.grid import CellAffine, CellTables
from ..methods.linear import AffineMap
from ..methods.regrain import Regrain
from ..methods.sliced import AXIS_BINS, RotatedTables, Rotations
from ..methods.transform import Part
from .arrays import Arrays, Shape

# More rotations, or more sizes of a picture, than anybody waits for.
_ROTATIONS = 4096
_SIZES = 64


@dataclass(frozen=True)
class Kind:
    """How parts of one class are kept: their ``arrays``, how large each can be, and what is made of them again."""

    part: type[Part]
    largest: dict[str, Shape]
    arrays: Callable[[Any], dict[str, Any]]
    of_arrays: Callable[[dict[str, Tensor]], Part]


def _rotated_arrays(part: RotatedTables) -> dict[str, Any]:
    rotations = part.rotations
    return {
        "values": part.values.detach().cpu().numpy(),
        "path": torch.stack(list(rotations.path)).numpy(),
        "there": torch.stack(list(rotations.there)).numpy(),
        "dithered": rotations.dithered,
    }


def _rotated(arrays: dict[str, Tensor]) -> RotatedTables:
    values = arrays["values"]
    if not len(values) == len(arrays["there"]) == len(arrays["path"]) - 1:
        raise ValueError("rotations of other shapes")
    rotations = Rotations(list(arrays["path"]), list(arrays["there"]), bool(arrays["dithered"]), values.shape[2])
    return RotatedTables(values, rotations)


def _values(part: Any) -> dict[str, Any]:
    return {"values": part.values.detach().cpu().numpy()}


KINDS = {
    "channel tables": Kind(ChannelTables, {"values": (3, LEVELS)}, _values, lambda arrays: ChannelTables(arrays["values"])),
    "affine map": Kind(AffineMap, {"values": (3, 4)}, _values, lambda arrays: AffineMap(arrays["values"])),
    "color table": Kind(ColorTable, {"values": (3, 256, 256, 256)}, _values, lambda arrays: ColorTable(arrays["values"])),
    "rotated tables": Kind(
        RotatedTables,
        {"values": (_ROTATIONS, 3, AXIS_BINS), "path": (_ROTATIONS, 3, 4), "there": (_ROTATIONS, 3, 4), "dithered": ()},
        _rotated_arrays,
        _rotated,
    ),
    "regrain": Kind(
        Regrain,
        {"strength": (), "iterations": (_SIZES,)},
        lambda part: {"strength": part.strength, "iterations": list(part.iterations)},
        lambda arrays: Regrain(float(arrays["strength"]), tuple(int(number) for number in arrays["iterations"])),
    ),
    "smooth change": Kind(
        SmoothChange, {"amount": ()}, lambda part: {"amount": part.amount}, lambda arrays: SmoothChange(float(arrays["amount"]))
    ),
    "cell tables": Kind(
        CellTables, {"values": (3, MOST_CELLS, MOST_CELLS, BINS)}, _values, lambda arrays: CellTables(arrays["values"])
    ),
    "cell affine maps": Kind(
        CellAffine, {"values": (MOST_CELLS, MOST_CELLS, 3, 4)}, _values, lambda arrays: CellAffine(arrays["values"])
    ),
    "dither": Kind(Dither, {}, lambda part: {}, lambda arrays: Dither()),
}
"""All kinds of parts that can be kept, by the names that they have in files."""


def part_arrays(part: Part) -> tuple[str, dict[str, Any]]:
    """The name of a part's kind, and its arrays; a ValueError for a part that cannot be kept."""
    for name, kind in KINDS.items():
        if type(part) is kind.part:
            return name, kind.arrays(part)
    raise ValueError(f"transform: expected one that can be kept, got {type(part).__name__}")


def read_part(name: str, arrays: Arrays, prefix: str) -> Part:
    """A part of the kind ``name``, of arrays whose names begin with ``prefix``; a ValueError or KeyError if they are none."""
    kind = KINDS[name]
    read = {}
    for array, most in kind.largest.items():
        values = torch.from_numpy(arrays.read(prefix + array, most))
        if values.is_complex() or not bool(values.isfinite().all()):
            raise ValueError(f"{array} that are not finite numbers")
        read[array] = values
    return kind.of_arrays(read)
