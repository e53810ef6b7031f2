"""Makes the files of a case, without the pack: sources in all formats with their metadata and damage, references, masks."""

from __future__ import annotations

import io
import json
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import tifffile
from generated_cases import WEBPS, Case
from generated_profiles import profile
from photos import photo_8bit
from PIL import Image
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

DPI = 240
DURATIONS, LOOP = (100, 200, 50), 3
QUALITY, SUBSAMPLING = 88, 2
REFERENCE_TURN = {"srgb": 0, "p3": 6, "gray": 3, "cutout": 8}
_PHOTOS = {"srgb": "coffee", "p3": "immunohistochemistry", "gray": "moon", "cutout": "rocket"}
_SOURCES = {"rgb": ("astronaut", "chelsea"), "cmyk": ("astronaut", "chelsea"), "gray": ("camera", "coins")}
_XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="a picture"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
_WORKFLOW = {"nodes": [{"id": 1, "type": "KSampler", "widgets_values": [0.5, "größer"]}], "version": 0.4}
_IPTC = b"\x1c\x02\x05" + struct.pack(">H", 7) + b"A title" + b"\x1c\x02\x50" + struct.pack(">H", 6) + b"Author"
_PHOTOSHOP = b"Photoshop 3.0\x00" + b"8BIM\x04\x04\x00\x00" + struct.pack(">I", len(_IPTC)) + _IPTC + bytes(len(_IPTC) % 2)
_DESCRIBED = {
    270: "a picture",
    285: "page one",
    305: "a program",
    306: "2024:05:06 07:08:09",
    315: "someone",
    33432: "(c) someone",
}
_TAKEN = {
    33434: IFDRational(1, 250),
    33437: IFDRational(28, 10),
    34855: 400,
    36867: "2024:01:02 03:04:05",
    37500: b"a maker's own note",
    37510: b"ASCII\x00\x00\x00words",
}
_PLACE = {
    1: "N",
    2: (IFDRational(48), IFDRational(12), IFDRational(30)),
    3: "E",
    4: (IFDRational(16), IFDRational(22), IFDRational(0)),
}


def turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """The upright picture of what is stored ``[H, W, ...]`` with an orientation of 0 (none) to 8."""
    transposed = values.swapaxes(0, 1)
    ways = [values, values, values[:, ::-1], values[::-1, ::-1], values[::-1], transposed]
    ways += [transposed[:, ::-1], transposed[::-1, ::-1], transposed[::-1]]
    return np.ascontiguousarray(ways[orientation])


def stored(values: np.ndarray, orientation: int) -> np.ndarray:
    """What is stored of an upright picture ``[H, W, ...]``."""
    return turned(values, {6: 8, 8: 6}.get(orientation, orientation))


def _crop(name: str, height: int, width: int, shift: int = 0) -> np.ndarray:
    """A small version of a photo, ``[H, W, 1 or 3]`` in [0, 1]."""
    values = photo_8bit(name)
    step = min(values.shape[0] // (height + 8), values.shape[1] // (width + 8))
    return values[::step, ::step][shift : height + shift, shift : width + shift].astype(np.float64) / 255


def _shape(kind: str, height: int, width: int) -> np.ndarray:
    """An alpha ``[H, W]`` in [0, 1], with the greater part of it visible."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    inside = 1.2 - np.hypot(x * 1.3 - 0.2, y * 1.1 + 0.1)
    return {
        "full": np.ones_like(inside),
        "clear": np.zeros_like(inside),
        "cutout": (inside > 0.3).astype(float),
        "soft": np.clip(inside * 2, 0, 1),
    }[kind]


@cache
def painted(kind: str, height: int, width: int) -> np.ndarray:
    """A mask as it is painted on the upright picture, uint8 ``[H, W]``, that no turn leaves as it is."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    levels = 1.3 - 1.8 * x - 0.5 * y if kind == "image" else 1.2 - 1.6 * y - 0.5 * x
    return np.round(np.clip(levels, 0, 1) * 255).astype(np.uint8)


def frames_of(case: Case) -> list[np.ndarray]:
    """What the source shows ``[H, W, C]``, as integers of its depth or as float32, before it is encoded."""
    names = _SOURCES[case.color]
    name = names[sum(map(ord, case.meta + case.reference)) % len(names)]
    made = []
    for shift in (0, 3, 6) if case.frames != "still" else (0,):
        values = _crop(name, 32, 48, shift)
        if case.depth in ("16", "float"):
            values = np.clip(values + np.random.default_rng(5).normal(0, 0.01, values.shape), 0, 1)
        if case.alpha != "none":
            alpha = _shape(case.alpha, 32, 48)[..., None]
            # What nobody sees is black, as in cut-outs that people have.
            values = np.concatenate([np.where(alpha > 0, values, 0), alpha], axis=-1)
        if case.color == "cmyk":
            black = 1 - values.max(axis=-1, keepdims=True)
            values = np.concatenate([(1 - values - black) / np.maximum(1 - black, 1e-3), black], axis=-1)
        if case.depth == "float":
            made.append(values.astype(np.float32))
        else:
            highest = 65535 if case.depth == "16" else 255
            made.append(np.round(values * highest).astype(np.uint16 if highest > 255 else np.uint8))
    return made


def has(case: Case, kind: str) -> bool:
    return case.meta in (kind, "all")


def exif(case: Case) -> bytes:
    """EXIF as cameras write it, with a thumbnail; or an orientation alone; or nothing."""
    ifd = ImageFileDirectory_v2()
    if case.orientation:
        ifd[274] = case.orientation
    if has(case, "exif"):
        for tag, value in {271: "a maker", 272: "a model", 315: "someone", 34665: _TAKEN, 34853: _PLACE}.items():
            ifd[tag] = value
    if not len(ifd):
        return b""
    content = bytearray(b"II*\x00\x08\x00\x00\x00" + ifd.tobytes(8))
    if has(case, "exif"):
        thumbnail = io.BytesIO()
        Image.fromarray(photo_8bit("rocket")[::8, ::8]).save(thumbnail, "JPEG")
        following = ImageFileDirectory_v2()
        following[259], following[513], following[514] = 6, 0, len(thumbnail.getvalue())
        # The place of the thumbnail, as a number of four bytes, once it is known.
        following.tagtype[513] = 4
        start = len(content)
        following[513] = start + len(following.tobytes(start))
        struct.pack_into("<I", content, 8 + 2 + 12 * len(ifd), start)
        content += following.tobytes(start) + thumbnail.getvalue()
    return bytes(content)


@cache
def cmyk_profile() -> bytes:
    return bytes(pyvips.Image.profile_load("cmyk"))


def _profile(case: Case) -> bytes | None:
    return cmyk_profile() if case.profile == "cmyk" else profile(case.profile)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_chunks(case: Case) -> bytes:
    """What is told of a PNG beside its pixels."""
    chunks = []
    icc, described = _profile(case), exif(case)
    if has(case, "chunks"):
        chunks += [(b"gAMA", struct.pack(">I", 45455))]
        chunks += [(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))]
        # At most one of these two may be there.
        chunks += [(b"sRGB", b"\x00")] if icc is None else []
    if icc is not None:
        chunks.append((b"iCCP", b"profile\x00\x00" + zlib.compress(icc)))
    if has(case, "dpi"):
        chunks.append((b"pHYs", struct.pack(">IIB", 9449, 9449, 1)))
    if described:
        chunks.append((b"eXIf", described))
    if has(case, "text"):
        chunks += [(b"tEXt", b"prompt\x00" + json.dumps(_WORKFLOW).encode())]
        chunks += [(b"zTXt", b"Comment\x00\x00" + zlib.compress(b"the same again, " * 20))]
        chunks += [(b"iTXt", "Title\x00\x00\x00de\x00Titel\x00Größe und Maß".encode())]
        chunks += [(b"iTXt", b"Long\x00\x01\x00\x00\x00" + zlib.compress("Ähnliches ".encode() * 20))]
        chunks += [(b"tEXt", b"workflow\x00" + json.dumps(_WORKFLOW).encode())]
    if has(case, "xmp"):
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + _XMP))
    return b"".join(_chunk(*chunk) for chunk in chunks)


def _picture(case: Case, values: np.ndarray) -> Image.Image:
    """Pixels as Pillow holds them."""
    if case.depth == "1":
        return Image.fromarray(values[..., 0] > 110)
    if case.depth == "palette" and case.format != "gif":
        # Palettes of other formats are smaller.
        return Image.fromarray(values[..., :3]).quantize(60)
    if case.color == "cmyk":
        return Image.fromarray(values, "CMYK")
    return Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)


def _png(case: Case, frames: list[np.ndarray]) -> bytes:
    file, more = io.BytesIO(), {}
    if case.depth == "16":
        height, width, channels = frames[0].shape
        kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
        rows = frames[0].astype(">u2").reshape(height, -1).view(np.uint8)
        rows = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
        header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
        data = b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(rows.tobytes())) + _chunk(b"IEND", b"")
    else:
        pictures = [_picture(case, values) for values in frames]
        if case.depth == "palette" and case.alpha == "cutout":
            hidden = frames[0][..., 3] == 0
            indices = np.array(pictures[0])
            indices[hidden] = 60
            pictures = [Image.fromarray(indices, "P")]
            pictures[0].putpalette([*_picture(case, frames[0]).getpalette()[:180], 0, 0, 0])
            more = {"transparency": 60}
        if len(pictures) > 1:
            more = {"save_all": True, "append_images": pictures[1:], "duration": list(DURATIONS), "loop": LOOP}
        pictures[0].save(file, "PNG", **more)
        data = file.getvalue()
    return data[:33] + _png_chunks(case) + data[33:]


def _lzw(data: bytes) -> bytes:
    """LZW as TIFF has it, of literals alone: the table is cleared before codes get longer than 9 bits."""
    codes = [code for start in range(0, len(data), 250) for code in (256, *data[start : start + 250])] + [257]
    bits = "".join(f"{code:09b}" for code in codes)
    return int(bits + "0" * (-len(bits) % 8), 2).to_bytes((len(bits) + 7) // 8, "big")


def _tiff_tags(case: Case) -> dict[int, Any]:
    tags: dict[int, Any] = dict(_DESCRIBED) if has(case, "text") else {}
    if case.orientation:
        tags[274] = case.orientation
    if has(case, "exif"):
        tags |= {271: "a maker", 272: "a model", 34665: _TAKEN, 34853: _PLACE}
    if has(case, "dpi"):
        tags |= {282: IFDRational(DPI), 283: IFDRational(DPI), 296: 2}
    if has(case, "xmp"):
        tags[700] = _XMP
    if case.meta == "all":
        tags[33723] = _IPTC
    if _profile(case) is not None:
        tags[34675] = _profile(case)
    return tags


def _tiff(case: Case, frames: list[np.ndarray]) -> bytes:
    file = io.BytesIO()
    compression = case.format.removeprefix("tif-")
    if len(frames) > 1:
        pictures = [_picture(case, values) for values in frames]
        named = {"raw": None, "lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate"}[compression]
        pictures[0].save(file, "TIFF", save_all=True, append_images=pictures[1:], compression=named)
        return file.getvalue()
    values, ifd, bits = frames[0], ImageFileDirectory_v2(), {"1": 1, "16": 16, "float": 32}.get(case.depth, 8)
    height, width, channels = values.shape
    colors = channels - (case.alpha != "none")
    photometric = {1: 1, 3: 2, 4: 5}[colors]
    if case.depth == "1":
        values = np.packbits(values[..., 0] > 110, axis=1)
    elif case.depth == "palette":
        picture = _picture(case, values)
        palette = np.zeros((256, 3), np.uint16)
        palette[:60] = np.array(picture.getpalette()[:180]).reshape(60, 3) * 257
        values, channels, colors, photometric = np.array(picture), 1, 1, 3
        ifd[320] = tuple(palette.T.ravel().tolist())
    data = {"raw": bytes, "lzw": _lzw, "deflate": zlib.compress}[compression](np.ascontiguousarray(values).tobytes())
    ifd[256], ifd[257], ifd[258], ifd[262], ifd[277] = width, height, (bits,) * channels, photometric, channels
    ifd[259], ifd[273], ifd[278], ifd[279] = {"raw": 1, "lzw": 5, "deflate": 8}[compression], 0, height, len(data)
    ifd[339] = (3 if case.depth == "float" else 1,) * channels
    if channels > colors:
        ifd[338] = 2
    for tag, value in _tiff_tags(case).items():
        ifd[tag] = value
    ifd.save(file)
    return file.getvalue() + data


def _others(case: Case, frames: list[np.ndarray]) -> bytes:
    """JPEG, WebP, AVIF, GIF and BMP."""
    more: dict[str, Any] = {}
    if exif(case):
        more["exif"] = exif(case)
    if _profile(case) is not None:
        more["icc_profile"] = _profile(case)
    if has(case, "xmp"):
        more["xmp"] = _XMP
    if has(case, "dpi"):
        more["dpi"] = (DPI, DPI)
    if case.format == "jpg":
        more |= {"exif": b"Exif\x00\x00" + exif(case)} if exif(case) else {}
        more |= {"quality": QUALITY, "progressive": case.orientation % 2 == 1}
        more |= {"subsampling": SUBSAMPLING} if case.color == "rgb" and case.turn % 2 else {"subsampling": 0}
        more |= {"comment": b"a comment"} if has(case, "text") else {}
        more |= {"extra": b"\xff\xed" + struct.pack(">H", len(_PHOTOSHOP) + 2) + _PHOTOSHOP} if has(case, "iptc") else {}
    elif case.format in WEBPS:
        more |= {"lossless": case.format == "webp-lossless", "exact": True, "quality": 95}
    elif case.format == "avif":
        more |= {"quality": 90}
    elif case.format == "gif" and has(case, "text"):
        more["comment"] = b"a comment"
    if len(frames) > 1:
        more |= {"save_all": True, "duration": list(DURATIONS)} | ({} if case.format == "avif" else {"loop": LOOP})
        more |= {"append_images": [_picture(case, values) for values in frames[1:]]}
        more |= {"disposal": 2} if case.format == "gif" else {}
    file = io.BytesIO()
    name = {"jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "avif": "AVIF"}.get(case.format, "WEBP")
    _picture(case, frames[0]).save(file, name, **more)
    return file.getvalue()


def _damaged(case: Case, data: bytes) -> bytes:
    if case.damage == "truncated":
        return data[: len(data) // 2]
    if case.damage == "flipped":
        changed = bytearray(data)
        if case.format == "png":
            # The length is written before the name.
            place = data.find(b"IDAT") + 4 + struct.unpack_from(">I", data, data.find(b"IDAT") - 4)[0] // 2
        else:
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                place = file.pages[0].dataoffsets[0] + file.pages[0].databytecounts[0] // 2
        changed[place] ^= 0x10
        return bytes(changed)
    garbage = np.random.default_rng(3).bytes(700)
    return {"empty": b"", "garbage": garbage}.get(case.damage, data)


def write_source(path: Path, case: Case) -> None:
    """Write the source of a case."""
    if case.format == "heic":
        path.write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + np.random.default_rng(4).bytes(500))
        return
    make = {"png": _png}.get(case.format, _tiff if case.format.startswith("tif") else _others)
    path.write_bytes(_damaged(case, make(case, frames_of(case))))


def reference_of(kind: str) -> np.ndarray:
    """A reference as it is stored, uint8 ``[H, W, 1, 3 or 4]``."""
    values = np.round(_crop(_PHOTOS[kind], 40, 56) * 255).astype(np.uint8)
    if kind != "cutout":
        return values
    alpha = np.round(_shape("soft", 40, 56)[..., None] * 255).astype(np.uint8)
    return np.concatenate([np.where(alpha > 0, values, 0), alpha], axis=-1)


def write_reference(path: Path, kind: str) -> None:
    """Write a reference, with a profile and an orientation of its own."""
    values, more = reference_of(kind), Image.Exif()
    if REFERENCE_TURN[kind]:
        more[274] = REFERENCE_TURN[kind]
    picture = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
    picture.save(path, exif=more, icc_profile=profile("p3") if kind == "p3" else None)


def write_mask(path: Path, upright: np.ndarray, turn: int) -> None:
    """Write a mask, stored with an orientation."""
    more = Image.Exif()
    if turn:
        more[274] = turn
    Image.fromarray(stored(upright, turn)).save(path, exif=more)
