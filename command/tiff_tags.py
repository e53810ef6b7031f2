"""The tags of a TIFF that say something of the picture. EXIF is a TIFF without pixels, and read and written in the same way.

Tags are kept as the bytes that they are, since libraries that read values guess at types and alphabets when they write them.
"""

import contextlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from zlib import decompressobj

import numpy as np

ORIENTATION, XMP, IPTC, PHOTOSHOP, PROFILE = 274, 700, 33723, 34377, 34675
COMPRESSION = 259
_RESOLUTION, _RESOLUTION_UNIT = (282, 283), 296
_STRIP_OFFSETS = 273
# Where strips and tiles begin, and how long they are.
_PARTS = ((_STRIP_OFFSETS, 279), (324, 325))
_DEFLATES = (8, 32946)
_PIECE = 1 << 20
_EXIF, _GPS, _INTEROPERABILITY = 34665, 34853, 40965
# Which tags point to directories, in the first directory and in those.
_POINTERS = {None: (_EXIF, _GPS), _EXIF: (_INTEROPERABILITY,)}
# How pixels are laid out, other pictures in the file, and Photoshop's layers: all of that is written anew, or is not written.
_LAYOUT = {
    *range(254, 267),
    *(_STRIP_OFFSETS, 277, 278, 279, 280, 281, 284, *range(288, 294), 301, 317),
    *range(320, 348),
    *range(512, 522),
    *range(529, 533),
    37724,
}
# The types: how many bytes a value has, and in what units byte order turns them.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNITS = _SIZES | {5: 4, 10: 4}
_BYTE, _SHORT, _LONG, _RATIONAL, _LARGEST_OF_SMALL_FILES = 1, 3, 4, 5, 13
_NO_UNIT, _INCH, _CENTIMETER = 1, 2, 3
_START = 8


@dataclass(frozen=True)
class Tag:
    """The type of a tag, its values as little-endian bytes, and the directory ``below`` if it points to one."""

    kind: int
    data: bytes
    below: "Tags | None" = None

    @property
    def number(self) -> int:
        """The first of its values, if these are whole numbers."""
        return int.from_bytes(self.data[: _SIZES[self.kind]], "little")

    @property
    def numbers(self) -> list[int]:
        """All of its values, if these are whole numbers."""
        size = _SIZES[self.kind]
        return [int.from_bytes(self.data[start : start + size], "little") for start in range(0, len(self.data), size)]


Tags = dict[int, Tag]
"""Tags by their numbers."""


def read_tags(file: IO[bytes]) -> Tags:
    """The tags of the first picture in a TIFF; a ``struct.error`` if there are none."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    header = file.read(16)
    order = "<" if header[:2] == b"II" else ">"
    large = struct.unpack_from(f"{order}H", header, 2) == (43,)
    (start,) = struct.unpack_from(f"{order}{'Q' if large else 'I'}", header, 8 if large else 4)
    return _read_directory(file, size, order, large, start, None)


def check_deflate(path: Path) -> None:
    """Look for damage in the first picture of a TIFF that is compressed by deflate: libraries pass over its checksums.

    Raises:
        zlib.error, EOFError: there is damage.
        struct.error: there are no tags.
    """
    with open(path, "rb") as file:
        tags = read_tags(file)
        if COMPRESSION not in tags or tags[COMPRESSION].number not in _DEFLATES:
            return
        for starts, lengths in _PARTS:
            if starts in tags and lengths in tags:
                for start, length in zip(tags[starts].numbers, tags[lengths].numbers, strict=False):
                    file.seek(start)
                    # Of a sparse file, parts that are not there are empty.
                    if length and not _is_whole(file, length):
                        raise EOFError


def describing(tags: Tags) -> Tags:
    """Those of the tags that do not lay out the pixels."""
    return {tag: value for tag, value in tags.items() if tag not in _LAYOUT and value.kind <= _LARGEST_OF_SMALL_FILES}


def exif_of(tags: Tags) -> bytes | None:
    """Tags that describe a picture as EXIF, from its byte order on; None if there is nothing to tell."""
    kept = {tag: value for tag, value in tags.items() if tag not in (XMP, IPTC, PHOTOSHOP, PROFILE)}
    told = set(kept) - {*_RESOLUTION, _RESOLUTION_UNIT}
    if told <= {ORIENTATION} and orientation_of(kept) == 1:
        return None
    return b"II*\0" + struct.pack("<I", _START) + _directory(kept, _START)


def with_tags(tiff: bytes, tags: Tags) -> bytes:
    """A small TIFF of libvips with these tags, in place of the resolution that it has invented."""
    own = {tag: value for tag, value in read_tags(io.BytesIO(tiff)).items() if tag in _LAYOUT}
    # The tags come first, so that the pixels move by their length.
    length = len(_directory(own | tags, _START))
    offsets = np.frombuffer(own[_STRIP_OFFSETS].data, f"<u{_SIZES[own[_STRIP_OFFSETS].kind]}").astype("<u4") + length
    own[_STRIP_OFFSETS] = Tag(_LONG, offsets.astype("<u4").tobytes())
    return b"".join((tiff[:4], struct.pack("<I", _START), _directory(own | tags, _START), tiff[_START:]))


def orientation_of(tags: Tags) -> int:
    """How the picture is turned, from 1 to 8."""
    number = tags[ORIENTATION].number if ORIENTATION in tags else 1
    return number if number in range(1, 9) else 1


def resolution_of(tags: Tags) -> tuple[float, float] | None:
    """Dots an inch, if the tags say so."""
    unit = tags[_RESOLUTION_UNIT].number if _RESOLUTION_UNIT in tags else _INCH
    pairs = [struct.unpack("<II", tags[tag].data) for tag in _RESOLUTION if tag in tags and tags[tag].kind == _RATIONAL]
    if unit not in (_INCH, _CENTIMETER) or len(pairs) < 2 or not all(all(pair) for pair in pairs):
        return None
    across, down = (dots / of * (2.54 if unit == _CENTIMETER else 1) for dots, of in pairs)
    return across, down


def resolution_tags(dpi: tuple[float, float] | None) -> Tags:
    """Dots an inch as tags, which also say where they are not known: without them, readers take one dot an inch."""
    unit, scale = (_NO_UNIT, 1) if dpi is None else (_INCH, 10000)
    values = (struct.pack("<II", round(dots * scale), scale) for dots in dpi or (1, 1))
    tags = {tag: Tag(_RATIONAL, data) for tag, data in zip(_RESOLUTION, values, strict=True)}
    return tags | {_RESOLUTION_UNIT: Tag(_SHORT, struct.pack("<H", unit))}


def bytes_tag(data: bytes) -> Tag:
    """A tag that holds bytes of whatever kind."""
    return Tag(_BYTE, data)


def _is_whole(file: IO[bytes], length: int) -> bool:
    """Whether a file goes on with deflated bytes that come to their end; a ``zlib.error`` if they are damaged."""
    stream = decompressobj()
    while length > 0 and not stream.eof and (piece := file.read(min(length, _PIECE))):
        length -= len(piece)
        while piece and not stream.eof:
            stream.decompress(piece, _PIECE)
            piece = stream.unconsumed_tail
    stream.flush()
    return stream.eof


def _read_directory(file: IO[bytes], size: int, order: str, large: bool, start: int, of: int | None) -> Tags:
    file.seek(min(start, size))
    (count,) = struct.unpack(f"{order}{'Q' if large else 'H'}", file.read(8 if large else 2))
    length, form = (20, f"{order}HHQ8s") if large else (12, f"{order}HHI4s")
    tags: Tags = {}
    rows = file.read(min(length * count, size))
    for tag, kind, number, data in struct.iter_unpack(form, rows[: len(rows) // length * length]):
        needed = _SIZES.get(kind, 0) * number
        if needed > len(data):
            (place,) = struct.unpack(f"{order}{'Q' if large else 'I'}", data)
            file.seek(min(place, size))
            data = file.read(min(needed, size))
        data = data[:needed]
        # A tag of an unknown type, or one that is damaged, is no reason to refuse a picture.
        if not data or len(data) < needed:
            continue
        if order == ">":
            data = np.frombuffer(data, f">u{_UNITS[kind]}").astype(f"<u{_UNITS[kind]}").tobytes()
        tags[tag] = Tag(kind, data)
        if tag in _POINTERS.get(of, ()):
            pointer = tags.pop(tag).number
            # As above, of a directory that is not there.
            with contextlib.suppress(struct.error):
                tags[tag] = Tag(_LONG, data, _read_directory(file, size, order, large, pointer, tag))
    return tags


def _directory(tags: Tags, start: int) -> bytes:
    """A directory that begins at this place in a file, with what does not fit into it."""
    rows, more = [struct.pack("<H", len(tags))], b""
    place = start + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        data = value.data if value.below is None else _directory(value.below, place + len(more))
        count = 1 if value.below is not None else len(data) // _SIZES[value.kind]
        if len(data) <= 4 and value.below is None:
            rows.append(struct.pack("<HHI4s", tag, value.kind, count, data))
        else:
            rows.append(struct.pack("<HHII", tag, value.kind, count, place + len(more)))
            more += data + bytes(len(data) % 2)
    return b"".join((*rows, bytes(4), more))
