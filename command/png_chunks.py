"""The chunks of a PNG that say something of the picture: text, what its colors mean, EXIF."""

import io
import struct
from collections.abc import Iterable, Iterator
from typing import IO
from zlib import compress, decompressobj

from PIL.PngImagePlugin import putchunk

Chunk = tuple[bytes, bytes]
"""The name of a chunk, and what is in it."""

TEXT = (b"tEXt", b"zTXt", b"iTXt")
# How colors are meant and how large the picture is. A profile and EXIF are kept for themselves.
KEPT = (*TEXT, b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"pHYs")
_PIXELS = (b"IDAT", b"fdAT")
_SIGNATURE = 8
_HEADER = _SIGNATURE + 25
_RESOLUTION = 21
_LONGEST = 1 << 26
_XMP = b"XML:com.adobe.xmp\0"


def read_chunks(file: IO[bytes]) -> Iterator[Chunk]:
    """All chunks of a PNG in their order, those of pixels left empty."""
    file.seek(_SIGNATURE)
    while len(head := file.read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        if name in _PIXELS:
            file.seek(size, io.SEEK_CUR)
        yield name, b"" if name in _PIXELS else file.read(size)
        file.seek(4, io.SEEK_CUR)


def with_chunks(png: bytes, chunks: Iterable[Chunk]) -> bytes:
    """A PNG of libvips with these chunks before its pixels, in place of the resolution that it has invented."""
    added = io.BytesIO()
    for name, data in chunks:
        putchunk(added, name, data)
    invented = _RESOLUTION if png[_HEADER + 4 : _HEADER + 8] == b"pHYs" else 0
    # Without a copy of what may be large.
    return b"".join((png[:_HEADER], added.getvalue(), memoryview(png)[_HEADER + invented :]))


def profile_of(data: bytes) -> bytes:
    """The color profile in a chunk iCCP."""
    return _inflated(data.split(b"\0", 1)[1][1:])


def profile_chunk(profile: bytes) -> Chunk:
    """A chunk with a color profile."""
    return b"iCCP", b"ICC Profile\0\0" + compress(profile)


def xmp_of(chunk: Chunk) -> bytes | None:
    """The XMP in a chunk, if that is what it is for."""
    name, data = chunk
    if name != b"iTXt" or not data.startswith(_XMP):
        return None
    compressed = data[len(_XMP)]
    text = data[len(_XMP) + 2 :].split(b"\0", 2)[2]
    return _inflated(text) if compressed else text


def xmp_chunk(xmp: bytes) -> Chunk:
    """A chunk with XMP."""
    return b"iTXt", _XMP + b"\0\0\0\0" + xmp


def comment_of(chunk: Chunk) -> bytes | None:
    """The comment in a chunk, if that is what it is for."""
    name, data = chunk
    return data[8:] if name == b"tEXt" and data.startswith(b"Comment\0") else None


def comment_chunk(comment: bytes) -> Chunk:
    """A chunk with a comment."""
    return b"tEXt", b"Comment\0" + comment.replace(b"\0", b"")


def resolution_of(data: bytes) -> tuple[float, float] | None:
    """Dots an inch in a chunk pHYs, if it says how long they are."""
    across, down, unit = struct.unpack(">IIB", data)
    return (across * 0.0254, down * 0.0254) if unit == 1 else None


def resolution_chunk(dpi: tuple[float, float]) -> Chunk:
    """A chunk with dots an inch."""
    return b"pHYs", struct.pack(">IIB", *(round(dots / 0.0254) for dots in dpi), 1)


def _inflated(data: bytes) -> bytes:
    """What was compressed, up to a length that no profile and no text has."""
    return decompressobj().decompress(data, _LONGEST)
