"""What a file says of its picture: read from one file, written to another, in whatever place its format has for it."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image, JpegImagePlugin

from . import png_chunks, tiff_tags
from .png_chunks import Chunk
from .tiff_tags import Tags

_EXIF, _XMP, _LONG_XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_RESOURCE, _IPTC_RESOURCE, _THUMBNAILS = b"8BIM", 0x0404, (0x0409, 0x040C)
_SEGMENT = 65000
_MOST_DOTS = 65536
_APP1, _APP13, _COMMENT = 0xE1, 0xED, 0xFE
_PER_INCH, _PER_CENTIMETER = 1, 2


@dataclass(frozen=True)
class Metadata:
    """What a file says of its picture: bytes as the format has them, resolution in dots an inch, and what one format alone has.

    ``exif`` begins with its byte order and has no thumbnail, which would show the old colors. ``photoshop`` is a row of
    resources, among them that of ``iptc``. ``chunks`` are those of a PNG, ``tags`` those of a TIFF, and ``segments`` those of a
    JPEG.
    """

    profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    photoshop: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    dpi: tuple[float, float] | None = None
    chunks: tuple[Chunk, ...] = ()
    tags: Tags | None = None
    segments: tuple[tuple[int, bytes], ...] = ()

    @property
    def resolution(self) -> tuple[float, float] | None:
        """Dots an inch, if they are a number that every format has a place for."""
        return self.dpi if self.dpi is not None and all(0 < dots < _MOST_DOTS for dots in self.dpi) else None

    @cached_property
    def orientation(self) -> int:
        """How the picture is turned, as EXIF numbers it from 1 to 8."""
        return tiff_tags.orientation_of(self.tags if self.tags is not None else self._exif_tags())

    def options(self, kind: str) -> dict[str, Any]:
        """What Pillow takes to write this into a file of another kind than PNG and TIFF."""
        exif = None if self.exif is None else _EXIF + self.exif
        options: dict[str, Any] = {}
        if kind in ("JPEG", "WEBP", "AVIF", "HEIF"):
            options |= {"icc_profile": self.profile, "exif": exif, "xmp": self.xmp}
        if kind in ("JPEG", "GIF"):
            options["comment"] = self.comment
        options = {name: value for name, value in options.items() if value is not None}
        if kind in ("JPEG", "BMP"):
            # Pillow would take 96 for BMP.
            options["dpi"] = self.resolution or (0, 0)
        if kind == "JPEG":
            options["extra"] = self._segments()
        return options

    def to_png(self) -> list[Chunk]:
        """Chunks of a PNG with this."""
        chunks = list(self.chunks)
        if self.profile is not None:
            chunks.insert(0, png_chunks.profile_chunk(self.profile))
        if self.exif is not None:
            chunks.append((b"eXIf", self.exif))
        if self.chunks:
            return chunks
        if self.xmp is not None:
            chunks.append(png_chunks.xmp_chunk(self.xmp))
        if self.comment is not None:
            chunks.append(png_chunks.comment_chunk(self.comment))
        if self.resolution is not None:
            chunks.append(png_chunks.resolution_chunk(self.resolution))
        return chunks

    def to_tiff(self) -> Tags:
        """Tags of a TIFF with this."""
        tags = dict(self.tags) if self.tags is not None else self._exif_tags() | tiff_tags.resolution_tags(self.resolution)
        values = {
            tiff_tags.PROFILE: self.profile,
            tiff_tags.XMP: self.xmp,
            tiff_tags.IPTC: self.iptc,
            tiff_tags.PHOTOSHOP: self.photoshop,
        }
        kept = {tag: value for tag, value in tags.items() if tag not in values}
        return kept | {tag: tiff_tags.bytes_tag(data) for tag, data in values.items() if data is not None}

    def _segments(self) -> bytes:
        resources = self.photoshop or (b"" if self.iptc is None else _resource(_IPTC_RESOURCE, self.iptc))
        parts = (resources[start : start + _SEGMENT] for start in range(0, len(resources), _SEGMENT))
        segments = [*((_APP13, _PHOTOSHOP + part) for part in parts), *self.segments]
        return b"".join(struct.pack(">BBH", 0xFF, code, len(data) + 2) + data for code, data in segments)

    def _exif_tags(self) -> Tags:
        if self.exif is None:
            return {}
        try:
            return tiff_tags.describing(tiff_tags.read_tags(io.BytesIO(self.exif)))
        except struct.error:
            # Pictures with damaged EXIF are many.
            return {}


def read_png(path: Path) -> Metadata:
    """What a PNG says of its picture."""
    with open(path, "rb") as file:
        chunks = list(png_chunks.read_chunks(file))
    first = dict(reversed(chunks))
    profile = png_chunks.profile_of(first[b"iCCP"]) if b"iCCP" in first else None
    return Metadata(
        profile,
        _without_thumbnail(first[b"eXIf"].removeprefix(_EXIF)) if b"eXIf" in first else None,
        next(filter(None, map(png_chunks.xmp_of, chunks)), None),
        None,
        None,
        next(filter(None, map(png_chunks.comment_of, chunks)), None),
        png_chunks.resolution_of(first[b"pHYs"]) if b"pHYs" in first else None,
        tuple(chunk for chunk in chunks if chunk[0] in png_chunks.KEPT),
    )


def read_tiff(path: Path) -> tuple[Metadata, int]:
    """What a TIFF says of its picture, and the number of its compression."""
    with open(path, "rb") as file:
        tags = tiff_tags.read_tags(file)
    kept = tiff_tags.describing(tags)
    places = (tiff_tags.PROFILE, tiff_tags.XMP, tiff_tags.IPTC, tiff_tags.PHOTOSHOP)
    profile, xmp, iptc, resources = (kept[tag].data if tag in kept else None for tag in places)
    photoshop = b"".join(resource for _, _, resource in _resources(resources or b"")) or None
    exif, dpi = tiff_tags.exif_of(kept), tiff_tags.resolution_of(kept)
    metadata = Metadata(profile, exif, xmp, photoshop, iptc, dpi=dpi, tags=kept)
    return metadata, tags[tiff_tags.COMPRESSION].number if tiff_tags.COMPRESSION in tags else 1


def read_opened(opened: Image.Image) -> Metadata:
    """What another file says of its picture, as Pillow has opened it."""
    info = opened.info
    exif, comment, dpi = info.get("exif"), info.get("comment"), info.get("dpi")
    metadata = Metadata(
        info.get("icc_profile") or None,
        _without_thumbnail(exif.removeprefix(_EXIF)) if exif else None,
        info.get("xmp") or None,
        comment=comment.encode() if isinstance(comment, str) else comment,
        dpi=dpi if opened.format == "BMP" else None,
    )
    return _with_segments(metadata, opened) if isinstance(opened, JpegImagePlugin.JpegImageFile) else metadata


def is_lossless_webp(path: Path) -> bool:
    """Whether the first picture in a WebP is stored without loss."""
    with open(path, "rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name in (b"VP8 ", b"VP8L"):
                return bool(name == b"VP8L")
            # A frame of an animation holds the picture's chunks behind 16 bytes of its own.
            file.seek(16 if name == b"ANMF" else size + size % 2, io.SEEK_CUR)
    return False


def _with_segments(metadata: Metadata, opened: JpegImagePlugin.JpegImageFile) -> Metadata:
    """What a JPEG has beside; of several comments, Pillow itself writes one."""
    named = [(code, data) for code, data in opened.applist if data]
    joined = b"".join(data.removeprefix(_PHOTOSHOP) for _, data in named if data.startswith(_PHOTOSHOP))
    resources = list(_resources(joined))
    comments = [(_COMMENT, data) for code, data in named if code == "COM"]
    long_xmp = [(_APP1, data) for code, data in named if code == "APP1" and data.startswith(_LONG_XMP)]
    density, unit = opened.info.get("jfif_density"), opened.info.get("jfif_unit")
    scale = {_PER_INCH: 1.0, _PER_CENTIMETER: 2.54}.get(unit or 0) if density and all(density) else None
    return replace(
        metadata,
        photoshop=b"".join(resource for _, _, resource in resources) or None,
        iptc=next((data for number, data, _ in resources if number == _IPTC_RESOURCE), None),
        dpi=None if scale is None or density is None else (density[0] * scale, density[1] * scale),
        segments=(*long_xmp, *comments[:-1]),
    )


def _without_thumbnail(exif: bytes) -> bytes:
    """EXIF whose second directory, that of the thumbnail, is not there any more; all other bytes stay where they are.

    What is damaged is kept as it is: pictures with damaged EXIF are many, and nothing here depends on it.
    """
    order = "<" if exif[:2] == b"II" else ">"
    try:
        (first,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, first)
        pointer = first + 2 + 12 * count
        (second,) = struct.unpack_from(f"{order}I", exif, pointer)
        entries = dict(_entries(exif, order, second)) if second else {}
    except struct.error:
        return exif
    changed = exif[:pointer] + bytes(4) + exif[pointer + 4 :]
    start, size = entries.get(513, 0), entries.get(514, 0)
    return changed[:start] if start and start + size == len(exif) else changed


def _entries(exif: bytes, order: str, offset: int) -> list[tuple[int, int]]:
    (count,) = struct.unpack_from(f"{order}H", exif, offset)
    rows = (struct.unpack_from(f"{order}HHII", exif, offset + 2 + 12 * index) for index in range(count))
    return [(tag, value) for tag, _, _, value in rows]


def _resources(joined: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The number, the data and the whole of Photoshop's resources, but for its own thumbnails, up to the first damage."""
    start = 0
    while joined[start : start + 4] == _RESOURCE and len(joined) >= start + 12:
        (number,) = struct.unpack_from(">H", joined, start + 4)
        data = start + 6 + (joined[start + 6] + 2) // 2 * 2 + 4
        size = int.from_bytes(joined[data - 4 : data], "big")
        end = data + (size + 1) // 2 * 2
        if number not in _THUMBNAILS:
            yield number, joined[data : data + size], joined[start:end].ljust(end - start, b"\0")
        start = end


def _resource(number: int, data: bytes) -> bytes:
    return _RESOURCE + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)
