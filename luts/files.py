"""LUT files of either kind, by their names."""

import os
from pathlib import Path

from ..methods.transform import Transform
from .clf_files import read_clf, write_clf
from .cube import Cube
from .cube_files import read_cube, write_cube
from .kinds import SUFFIXES


def read_lut(path: str | os.PathLike[str]) -> Cube:
    """Read a file; errors are those of :func:`read_cube` and :func:`read_clf`, and a ValueError for another ending."""
    return read_clf(path) if _suffix(path) == ".clf" else read_cube(path)


def write_lut(path: str | os.PathLike[str], transform: Transform, size: int = 33, title: str = "") -> None:
    """Write a transform to a file; errors are those of :func:`write_cube` and :func:`write_clf`, and as for reading."""
    write = write_clf if _suffix(path) == ".clf" else write_cube
    write(path, transform, size, title)


def _suffix(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")
    return suffix
