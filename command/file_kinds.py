"""What kind of picture is in a file, and what is wrong with a file, in plain words."""

import contextlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyvips

_STARTS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"v/1\x01": "EXR",
}
_HEAD = 64
# What libraries raise for damage, beside an OSError.
_DAMAGE = (pyvips.Error, SyntaxError, ValueError, RuntimeError, EOFError, IndexError, ArithmeticError, struct.error, zlib.error)


class FileError(OSError):
    """What is wrong with a file, in words for its user; whoever has its name puts it before."""


class NamedError(FileError):
    """What is wrong with a file, in words for its user, beginning with its name."""


def kind_of(path: Path) -> str | None:
    """The format of a file by how it begins, ``PNG``, ``JPEG``, ``WEBP`` and so on; None if it is not known.

    Raises:
        OSError: there is no such file, or none that can be opened.
    """
    with _system_errors(), open(path, "rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise FileError("an empty file")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brands = head[8 : int.from_bytes(head[:4], "big")]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        return "HEIF" if any(brand in brands for brand in (b"heic", b"heix", b"heim", b"hevc", b"mif1")) else None
    return next((kind for start, kind in _STARTS.items() if head.startswith(start)), None)


@contextlib.contextmanager
def plain_errors(kind: str) -> Iterator[None]:
    """Turn what a library says of a file of this kind into plain words."""
    with _system_errors():
        try:
            yield
        except FileError:
            raise
        except _DAMAGE as error:
            raise FileError(_damaged(kind)) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise FileError(_damaged(kind)) from error


@contextlib.contextmanager
def about(path: Path, target: Path | None = None) -> Iterator[None]:
    """Put the name of a file before what is wrong with it, as a :class:`NamedError`, unless its or its target's is there."""
    try:
        yield
    except NamedError:
        raise
    except (OSError, ValueError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        names = {str(name) for file in (path, target) if file is not None for name in (file, file.name)}
        raise NamedError(text if text.startswith(tuple(f"{name}: " for name in names)) else f"{path}: {text}") from error


@contextlib.contextmanager
def _system_errors() -> Iterator[None]:
    """Turn what the system says of a file into plain words, without its name."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileError("no such file") from error
    except IsADirectoryError as error:
        raise FileError("expected a file, got a folder") from error
    except PermissionError as error:
        raise FileError("no permission to read it") from error


def _damaged(kind: str) -> str:
    # TIFF can hold nearly anything; what a library does not know looks like damage.
    return "damaged TIFF, or one of a kind that is not read" if kind == "TIFF" else f"damaged {kind.replace('WEBP', 'WebP')}"
