"""Read and write OpenEXR files of one picture, by the OpenEXR project's own library."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .file_kinds import FileError

# What the library makes of channels R, G and B, with or without A, and of Y.
_PICTURES = ("RGB", "RGBA", "Y")
# What is laid out anew: the channels, and tiles.
_LAYOUT = ("channels", "tiles", "type", "chunkCount")


def read_exr(path: Path) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Values ``[H, W, C]`` and options for :func:`write_exr`: all else that the header says, and if values are ``half``.

    Raises:
        FileError: the library is not installed, the file is damaged, or it holds something else than one picture.
    """
    opened = _library().File(str(path))
    if not opened.parts:
        raise FileError("damaged EXR")
    channels = opened.parts[0].channels
    if len(opened.parts) > 1 or len(channels) != 1 or next(iter(channels)) not in _PICTURES:
        names = [name for part in opened.parts for name in part.channels]
        raise FileError(f"expected an EXR of one picture, gray, RGB or RGBA, got channels {', '.join(names)}")
    (values,) = (channel.pixels for channel in channels.values())
    if values.dtype not in (np.float16, np.float32):
        raise FileError(f"expected an EXR of floats, got {values.dtype}")
    header = {name: value for name, value in opened.parts[0].header.items() if name not in _LAYOUT}
    return values.astype(np.float32).reshape(*values.shape[:2], -1), {"header": header, "half": values.dtype == np.float16}


def write_exr(values: NDArray[np.float32], header: dict[str, Any] | None = None, half: bool = False) -> bytes:
    """A file with values ``[H, W, C]`` of 1, 3 or 4 channels; by default of 32 bits, compressed without loss.

    Raises:
        FileError: the library is not installed.
        ValueError: a gray picture has alpha, for which EXR has no name.
    """
    library = _library()
    if values.shape[2] == 2:
        raise ValueError("expected TIFF for a gray picture with alpha")
    stored = values.astype(np.float16 if half else np.float32)
    name = {1: "Y", 3: "RGB", 4: "RGBA"}[values.shape[2]]
    header = {"compression": library.ZIP_COMPRESSION, **(header or {}), "type": library.scanlineimage}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture.exr")
        library.File(header, {name: np.ascontiguousarray(stored[..., 0] if name == "Y" else stored)}).write(str(path))
        return path.read_bytes()


def _library() -> Any:
    try:
        import OpenEXR
    except ImportError as error:
        raise FileError(f"EXR takes OpenEXR: {sys.executable} -m pip install OpenEXR") from error
    return OpenEXR
