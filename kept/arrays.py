"""Named arrays in a file, which is read only as far as it holds what it should."""

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..command.whole_files import write_whole_file

_Kept = TypeVar("_Kept")

Shape = Sequence[int]
"""How long an array can be at most in each dimension."""
# Bytes of one item at most: numbers have 8, a format's name more.
_LONGEST_ITEM = 256


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write arrays to a file, which is complete or not there at all; an OSError if it cannot be written."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_whole_file(Path(path), content.getvalue())


def read_kept(path: str | os.PathLike[str], what: str, read: Callable[["Arrays"], _Kept]) -> _Kept:
    """What ``read`` makes of the arrays in a file of ``what``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is another file, or what is in it makes no sense.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return read(Arrays(archive))
    except (KeyError, ValueError, TypeError, EOFError, RuntimeError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected a file of {what}, got another ({error})") from error


class Arrays:
    """The arrays in a file, each of which is unpacked only if its header says that it is no larger than it can be."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def format(self) -> str:
        """What the array ``format`` says."""
        return str(self.read("format", ()))

    def check_format(self, expected: str) -> None:
        """Raise a ValueError unless the array ``format`` says what is expected."""
        if (found := self.format()) != expected:
            raise ValueError(f"format {found}")

    def read(self, name: str, most: Shape) -> NDArray[Any]:
        """An array of so many dimensions, of at most that length; a KeyError or ValueError if there is none."""
        with self._archive.open(f"{name}.npy") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        sizes = zip((*shape, dtype.itemsize), (*most, _LONGEST_ITEM), strict=True)
        if dtype.hasobject or any(size > limit for size, limit in sizes):
            raise ValueError(f"{name} of shape {shape} and type {dtype}")
        with self._archive.open(f"{name}.npy") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array
