"""LUT files in the Common LUT Format (SMPTE ST 2136-1), with the ending .clf, through OpenColorIO."""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..command.whole_files import write_whole_file
from ..kernels.levels import LEVELS
from ..methods.transform import Transform
from .color_table import color_grid
from .cube import Cube, cube_of
from .cube_files import LARGEST_FILE, check_title
from .kinds import SIZES

_FORMAT = "Academy/ASC Common LUT Format"


def read_clf(path: str | os.PathLike[str]) -> Cube:
    """Read a file, whatever it is made of: as curves of 65536 entries where its channels are apart, else as a table.

    A table that is alone in a file keeps its points; all else is evaluated at 65 points along each axis of [0, 1]. Values
    beyond that range are taken as its nearest end.

    Raises:
        ModuleNotFoundError: there is no OpenColorIO.
        OSError: the file cannot be read.
        ValueError: OpenColorIO cannot read it, or it makes values that are not finite.
    """
    ocio, path = _opencolorio(), Path(path)
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{path}: expected a file of at most {LARGEST_FILE >> 20} MiB, got more")
    with open(path, "rb"):
        # What cannot be read is no matter of the format.
        pass
    # It would remember what was in a file of this name before.
    ocio.ClearAllCaches()
    file = ocio.FileTransform(os.path.abspath(path), interpolation=ocio.INTERP_TETRAHEDRAL)
    # In the raw configuration's own context, $HOME in a name would become what the environment has for it.
    config, context = ocio.Config.CreateRaw(), ocio.Context()
    try:
        processor = config.getProcessor(context, file, ocio.TRANSFORM_DIR_FORWARD)
        group = processor.createGroupTransform()
        if not processor.hasChannelCrosstalk():
            curves = _evaluated(ocio, processor, torch.linspace(0, 1, LEVELS).expand(3, -1))
            cube = Cube(group.getFormatMetadata().getName(), curves=curves)
        else:
            size = _points(ocio, list(group))
            table = _evaluated(ocio, processor, color_grid(size).flatten(1)).view(3, size, size, size)
            cube = Cube(group.getFormatMetadata().getName(), table=table)
    except ocio.Exception as error:
        raise ValueError(f"{path}: expected a file in the Common LUT Format, got another ({error})") from error
    if not all(bool(table.isfinite().all()) for table in (cube.curves, cube.table) if table is not None):
        raise ValueError(f"{path}: expected a LUT of finite values, got others")
    return cube


def write_clf(path: str | os.PathLike[str], transform: Transform, size: int = 33, title: str = "") -> None:
    """Write a transform to a file, which is complete or not there at all; see :func:`cube_of`.

    Raises:
        ModuleNotFoundError: there is no OpenColorIO.
        OSError: the file cannot be written.
        ValueError: the transform cannot be a LUT of this ``size``, or the title is not a line without quotation marks.
    """
    ocio = _opencolorio()
    check_title(title)
    cube = cube_of(transform, size, title)
    group = ocio.GroupTransform()
    description = group.getFormatMetadata()
    description.setName(cube.title)
    description.addChildElement("Description", f"Made by comfyui-histogram-match {__version__}")
    if cube.curves is not None:
        curves = ocio.Lut1DTransform(cube.curves.shape[1], False)
        curves.setData(_rows(cube.curves))
        group.appendTransform(curves)
    if cube.table is not None:
        table = ocio.Lut3DTransform(cube.table.shape[-1])
        table.setInterpolation(ocio.INTERP_TETRAHEDRAL)
        # Here, blue is the fastest.
        table.setData(_rows(cube.table.permute(0, 3, 2, 1)))
        group.appendTransform(table)
    write_whole_file(Path(path), group.write(_FORMAT, ocio.Config.CreateRaw()).encode())


def _rows(table: Tensor) -> Any:
    return np.ascontiguousarray(table.flatten(1).t().numpy(), np.float32).ravel()


def _points(ocio: ModuleType, parts: list[Any]) -> int:
    """How many points along each axis a table takes to hold what is in a file."""
    if len(parts) == 1 and isinstance(parts[0], ocio.Lut3DTransform) and parts[0].getDirection() == ocio.TRANSFORM_DIR_FORWARD:
        size: int = parts[0].getGridSize()
        return size
    return SIZES[-1]


def _evaluated(ocio: ModuleType, processor: Any, colors: Tensor) -> Tensor:
    """What becomes of colors ``[3, n]``."""
    rows = colors.t().float().contiguous()
    processor.getDefaultCPUProcessor().apply(ocio.PackedImageDesc(rows.numpy(), len(rows), 1, 3))
    return rows.t().contiguous()


def _opencolorio() -> ModuleType:
    try:
        import PyOpenColorIO
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'CLF files need OpenColorIO: {sys.executable} -m pip install "opencolorio>=2.4"') from error
    ocio: ModuleType = PyOpenColorIO
    return ocio
