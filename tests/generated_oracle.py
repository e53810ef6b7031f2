"""What is right for a case: what is in files by readers that are not the pack's, and what has to become of it."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import decompress

import numpy as np
import tifffile
import torch
from comfyui_histogram_match.clip.frames import Clip, Frame, Reference
from comfyui_histogram_match.clip.run import match_clip
from comfyui_histogram_match.clip.settings import MatchSettings
from generated_cases import Case
from generated_decoding import chunks_of, unpacked, wide_png
from generated_files import REFERENCE_TURN, cmyk_profile, painted, reference_of, stored
from generated_profiles import convert, encoded, linear, profile
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin

# Where pixels are and how they are laid out, and what is looked at by a name of its own.
_LAYOUT = {
    *range(254, 260),
    262,
    266,
    273,
    277,
    278,
    279,
    282,
    283,
    284,
    296,
    317,
    *range(320, 326),
    338,
    339,
    347,
    *range(529, 533),
}
_NAMED = {274, 700, 33723, 34377, 34665, 34675, 34853, 40965}
_INSIDE = {"exif": 34665, "place": 34853}
_PLACES = {
    "PNG": {"exif", "place", "tag", "orientation", "icc", "xmp", "dpi", "text", "gAMA", "cHRM", "sRGB"},
    "JPEG": {"exif", "place", "tag", "orientation", "icc", "xmp", "dpi", "comment", "iptc"},
    "WEBP": {"exif", "place", "tag", "orientation", "icc", "xmp"},
    "AVIF": {"exif", "place", "tag", "orientation", "icc", "xmp"},
    "TIFF": {"exif", "place", "tag", "orientation", "icc", "xmp", "dpi", "iptc"},
    "GIF": {"comment"},
    "BMP": {"dpi"},
}


@dataclass
class Shown:
    """Frames ``[H, W, C]`` as integers or float32, where the last of an even number of channels is alpha, and all else."""

    format: str
    frames: list[np.ndarray]
    durations: list[float] = field(default_factory=list)
    loop: int | None = None
    told: dict[str, Any] = field(default_factory=dict)
    coding: dict[str, Any] = field(default_factory=dict)
    thumbnail: bytes | None = None

    @property
    def highest(self) -> int:
        return {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(self.frames[0].dtype, 1)

    @property
    def colors(self) -> list[np.ndarray]:
        """The colors of each frame as float32 in [0, 1]."""
        return [
            frame[..., : 1 if frame.shape[-1] < 3 else 3].astype(np.float32) / np.float32(self.highest) for frame in self.frames
        ]

    @property
    def alphas(self) -> list[np.ndarray | None]:
        return [None if frame.shape[-1] % 2 else frame[..., -1] for frame in self.frames]


def read(path: Path) -> Shown:
    """Read what is in a file: with Pillow, but by hand what it has no mode for, and TIFF, which it turns upright."""
    data = path.read_bytes()
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        shown = Shown("TIFF", [_tiff(path)])
        _tell(shown, {}, _tags(data), data)
        return shown
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as picture:
            shown = Shown(picture.format or "", [])
            count = getattr(picture, "n_frames", 1)
            for index in range(count):
                picture.seek(index)
                picture.load()
                shown.frames.append(_values(picture))
                if count > 1:
                    shown.durations.append(float(picture.info["duration"]))
            if count > 1 and all(frame.shape[-1] % 2 == 0 and frame[..., -1].min() == 255 for frame in shown.frames):
                # Whether an animation has an alpha that is full is for its encoder to choose.
                shown.frames = [frame[..., :-1] for frame in shown.frames]
            if shown.format == "PNG" and data[24] == 16:
                shown.frames = [wide_png(data)]
            shown.loop = picture.info.get("loop") if count > 1 else None
            picture.seek(0)
            _tell(shown, picture.info, picture.getexif(), data)
            if isinstance(picture, JpegImagePlugin.JpegImageFile):
                shown.coding = {"tables": picture.quantization, "progressive": bool(picture.info.get("progressive"))}
                shown.coding["sampling"] = JpegImagePlugin.get_sampling(picture) if picture.mode != "L" else None
    return shown


def _tags(data: bytes) -> Image.Exif:
    """The first directory of a TIFF."""
    exif = Image.Exif()
    exif.load(data)
    return exif


def _values(picture: Image.Image) -> np.ndarray:
    if picture.mode == "CMYK":
        return _from_cmyk(picture)
    gray = picture.mode in ("1", "L", "LA")
    mode = ("L" if gray else "RGB") + ("A" if picture.has_transparency_data else "")
    values = np.array(picture.convert(mode))
    return values.reshape(*values.shape[:2], -1)


def _from_cmyk(picture: Image.Image) -> np.ndarray:
    """CMYK as sRGB, by its own profile or by that of libvips."""
    inks = ImageCms.ImageCmsProfile(io.BytesIO(picture.info.get("icc_profile") or cmyk_profile()))
    screen = ImageCms.ImageCmsProfile(io.BytesIO(profile("srgb") or b""))
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    converted = ImageCms.profileToProfile(picture, inks, screen, ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB", flags=flags)
    assert converted is not None
    return np.array(converted)


def _tiff(path: Path) -> np.ndarray:
    """A TIFF as it is stored."""
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
        page: Any = file.pages[0]
        unpack = {1: bytes, 5: unpacked, 8: decompress, 32946: decompress}[int(page.compression)]
        data = path.read_bytes()
        parts = zip(page.dataoffsets, page.databytecounts, strict=True)
        content = b"".join(unpack(data[offset : offset + length]) for offset, length in parts)
        height, width, channels = shape = page.imagelength, page.imagewidth, page.samplesperpixel
        assert not page.is_tiled
        assert page.planarconfig == 1 or channels == 1
        if page.bitspersample == 1:
            bits = np.unpackbits(np.frombuffer(content, np.uint8).reshape(height, -1), axis=1)[:, :width, None]
            return (bits ^ (page.photometric == 0)) * np.uint8(255)
        if page.predictor == 3:
            rows = np.frombuffer(content, np.uint8).reshape(height, -1, channels).cumsum(1, dtype=np.uint8)
            planes = rows.reshape(height, page.dtype.itemsize, -1).swapaxes(1, 2)
            return np.ascontiguousarray(planes).view(">f4").reshape(shape).astype(page.dtype)
        values = np.frombuffer(content, page.dtype.newbyteorder(file.byteorder)).reshape(shape)
        values = (values.cumsum(1, dtype=page.dtype) if page.predictor == 2 else values).astype(page.dtype)
        if page.photometric == 3:
            return np.asarray(page.colormap >> 8).astype(np.uint8).T[values[..., 0]]
        if page.photometric == 5:
            inks = Image.fromarray(values, "CMYK")
            inks.info["icc_profile"] = None if page.iccprofile is None else bytes(page.iccprofile)
            return _from_cmyk(inks)
        return values


def _tell(shown: Shown, info: dict[Any, Any], exif: Image.Exif, data: bytes) -> None:
    """What a file tells beside its pixels, field by field."""
    told = shown.told
    # Upright is what there is without a word, too.
    told["orientation"] = {1: None}.get(exif.get(274), exif.get(274))
    told |= {f"tag {tag}": _plain(value) for tag, value in exif.items() if tag not in _LAYOUT | _NAMED}
    for name, pointer in _INSIDE.items():
        told |= {f"{name} {tag}": _plain(value) for tag, value in exif.get_ifd(pointer).items()}
    first = exif.get_ifd(ExifTags.IFD.IFD1)
    if 513 in first and shown.format != "TIFF":
        described = info["exif"].removeprefix(b"Exif\x00\x00")
        shown.thumbnail = described[first[513] : first[513] + first[514]]
    told |= {"icc": info.get("icc_profile"), "xmp": info.get("xmp"), "comment": info.get("comment")}
    # Pillow tells 72 where EXIF is there and tells nothing.
    if "dpi" in info and (shown.format != "JPEG" or info.get("jfif_unit", 0) or 282 in exif):
        told["dpi"] = tuple(round(float(number)) for number in info["dpi"])
    told["iptc"] = info.get("photoshop", {}).get(0x0404)
    if shown.format == "PNG":
        chunks = list(chunks_of(data))
        told |= {kind.decode(): content for kind, content in chunks if kind in (b"gAMA", b"cHRM", b"sRGB")}
        texts = [(kind, *_words(kind, content)) for kind, content in chunks if kind in (b"tEXt", b"zTXt", b"iTXt")]
        told["text"] = [text for text in texts if text[1] != b"XML:com.adobe.xmp"] or None
    elif shown.format == "TIFF":
        told |= {"icc": exif.get(34675), "xmp": exif.get(700), "iptc": exif.get(33723)}
        # Without a unit the two numbers are a ratio.
        told["dpi"] = tuple(round(float(exif[tag])) for tag in (282, 283)) if exif.get(296) == 2 and 282 in exif else None
        shown.coding = {"compression": {32946: 8}.get(exif[259], exif[259])}
    elif shown.format == "WEBP":
        shown.coding = {"lossless": b"VP8L" in data}
    if isinstance(told["iptc"], tuple):
        told["iptc"] = struct.pack(f"<{len(told['iptc'])}I", *told["iptc"])
    for name in ("icc", "iptc"):
        told[name] = told[name] and told[name].rstrip(b"\x00")
    shown.told = {name: value for name, value in told.items() if value is not None}


def _plain(value: Any) -> Any:
    """A value of EXIF by which two can be compared."""
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    if isinstance(value, bytes):
        return value.rstrip(b"\x00")
    return value.rstrip("\x00") if isinstance(value, str) else round(float(value), 6)


def _words(kind: bytes, content: bytes) -> tuple[bytes, ...]:
    """Keyword and text of a chunk, of iTXt with language and the keyword in it."""
    key, _, rest = content.partition(b"\x00")
    if kind == b"tEXt":
        return key, rest
    if kind == b"zTXt":
        return key, decompress(rest[1:])
    language, translated, text = rest[2:].split(b"\x00", 2)
    return key, language, translated, decompress(text) if rest[0] else text


def wrongly_told(source: Shown, result: Shown) -> dict[str, tuple[Any, Any]]:
    """What of the source's is not in the result though its format has a place for it, or was not in the source: both values."""
    kept = {name: value for name, value in source.told.items() if name.split()[0] in _PLACES[result.format]}
    if result.format != source.format:
        # The name of a page is of TIFF alone, but nobody forbids to say it elsewhere; PNG has comments among its texts.
        kept.pop("tag 285", None)
        allowed = {"tag 285": source.told.get("tag 285"), "text": [(b"tEXt", b"Comment", source.told.get("comment"))]}
        kept |= {name: value for name, value in allowed.items() if name in result.told and result.told[name] == value}
    told = {name: (kept.get(name), result.told.get(name)) for name in sorted({*kept, *result.told})}
    return {name: values for name, values in told.items() if values[0] != values[1]}


def weights_of(case: Case, source: Shown, index: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """How much each pixel ``[H, W]`` of a frame is measured, and how much it is changed."""
    height, width = source.frames[index].shape[:2]
    upright = (width, height) if case.orientation > 4 else (height, width)
    change = stored(painted("image", *upright), case.orientation).astype(np.float32) / 255 if case.mask == "image" else None
    alpha = source.alphas[index]
    if alpha is None or (alpha == source.highest).all():
        return change, change
    visible = alpha.astype(np.float32) / np.float32(source.highest)
    return visible if change is None else visible * change, change


def references_of(case: Case) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """The reference ``[H, W, C]`` in the source's space, with its weights; where two answers are right, both."""
    values = reference_of(case.reference)
    pixels, weights = values[..., : 1 if values.shape[-1] < 3 else 3].astype(np.float32) / np.float32(255), None
    if case.mask == "reference":
        turn = REFERENCE_TURN[case.reference]
        upright = pixels.shape[1::-1] if turn > 4 else pixels.shape[:2]
        weights = stored(painted("reference", *upright), turn).astype(np.float32) / 255
    if values.shape[-1] == 4:
        visible = values[..., 3].astype(np.float32) / np.float32(255)
        weights = visible if weights is None else weights * visible
    own = "p3" if case.reference == "p3" else "srgb"
    if case.color == "gray":
        pixels = convert(pixels, own, "srgb") if pixels.shape[-1] == 3 else pixels
        if case.profile != "gray22":
            return [(pixels, weights)]
        curved = encoded("gray22", linear("srgb", pixels)).astype(np.float32)
        return [(curved, weights)] if pixels.shape[-1] == 1 else [(pixels, weights), (curved, weights)]
    target = case.profile if case.profile in ("p3", "adobe") else "srgb"
    if own != target and pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    return [(convert(pixels, own, target), weights)]


def match(
    case: Case, source: Shown, reference: tuple[np.ndarray, np.ndarray | None], turn: bool = True, visible: bool = True
) -> list[np.ndarray]:
    """The colors ``[H, W, C]`` in [0, 1] of each frame of the result; for tests of this oracle, without turn or alpha."""
    pixels, weights = reference
    masks = [weights_of(case, source, index) for index in range(len(source.frames))]
    if not turn and case.mask == "image":
        masks = [(painted("image", *frame.shape[:2]).astype(np.float32) / 255,) * 2 for frame in source.frames]
    if not visible:
        masks = [(change, change) for _, change in masks]
    frames = []
    for colors, (mask, change) in zip(source.colors, masks, strict=True):
        given = torch.from_numpy(np.ascontiguousarray(colors))
        measured = None if mask is None else torch.from_numpy(mask)
        changed = measured if change is mask or change is None else torch.from_numpy(change)
        changed = None if change is None else changed
        frames.append(Frame(given.movedim(-1, 0), torch.empty_like(given).movedim(-1, 0), None, measured, changed))
    chosen = torch.from_numpy(np.ascontiguousarray(pixels, np.float32)).movedim(-1, 0)
    picture = Reference(chosen, "reference", None if weights is None else torch.from_numpy(np.ascontiguousarray(weights)))
    frames[0] = Frame(frames[0].pixels, frames[0].out, picture, frames[0].mask, frames[0].change)
    clip = Clip(lambda: frames, lambda: [picture], (len(frames), 1))
    results = match_clip(clip, MatchSettings(method=case.method), torch.device("cpu"))
    return [result.frame.out.movedim(0, -1).numpy() for result in results]


COLORED = ("WEBP", "GIF", "AVIF")
"""Formats that have no gray, or none with alpha."""


def _encoded(values: np.ndarray, like: Shown) -> np.ndarray:
    """Colors as the format of a result shows them."""
    file, levels = io.BytesIO(), np.round(values * 255).astype(np.uint8)
    picture = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
    if like.format == "JPEG":
        sampling = {} if like.coding["sampling"] is None else {"subsampling": like.coding["sampling"]}
        picture.save(file, "JPEG", qtables=like.coding["tables"], **sampling)
    elif like.format == "GIF":
        picture.quantize(256).save(file, "GIF")
    else:
        picture.save(file, like.format, quality=95 if like.format == "WEBP" else 90)
    with Image.open(file) as read_again:
        shown = np.array(read_again.convert(picture.mode)).astype(np.float32) / 255
    return shown.reshape(values.shape)


def difference(expected: np.ndarray, result: Shown, index: int, unsteady: tuple[float, float] | None = None) -> str | None:
    """How a frame of the result differs from what is expected by more than its coding explains, in levels of 255.

    ``unsteady``: by how much at most and on average it may differ besides, since colors were converted.
    """
    got, alpha = result.colors[index], result.alphas[index]
    if result.format in COLORED and got.shape[-1] == 3 and (result.format != "AVIF" or alpha is not None):
        expected = np.broadcast_to(expected, got.shape)
    if got.shape != expected.shape:
        return f"expected the shape {expected.shape}, got {got.shape}"
    apart = np.abs(got - expected) * 255
    lossy = result.format in ("JPEG", "GIF", "AVIF") or (result.format == "WEBP" and not result.coding["lossless"])
    coding = np.abs(_encoded(expected, result) - expected) * 255 if lossy else np.zeros_like(apart)
    if alpha is not None and (lossy or (result.format == "WEBP" and len(result.frames) > 1)):
        # These do not keep what nobody sees.
        apart, coding = apart[alpha > 0], coding[alpha > 0]
    if not apart.size:
        return None
    step = 255 / result.highest if result.highest > 1 else 0.001
    at_most, on_average = (step * 1.01, step) if unsteady is None else (max(3.0, unsteady[0]), 0.6 + unsteady[1])
    if lossy:
        at_most, on_average = 255, coding.mean() * 1.25 + (0.75 if unsteady is None else on_average)
    # Where colors are converted, single pixels may be moved far by what another one has been rounded to.
    most = float(apart.max() if unsteady is None else np.percentile(apart, 99))
    if most <= at_most and apart.mean() <= on_average:
        return None
    wanted = f"{at_most:.4f} levels apart at most and {on_average:.4f} on average"
    return f"expected {wanted}, got {most:.4f} and {apart.mean():.4f}"


def unsteadiness(case: Case, source: Shown, reference: tuple[np.ndarray, np.ndarray | None]) -> tuple[float, float]:
    """How far apart results are, at most and on average, of references that are as far apart as conversions are."""
    pixels, weights = reference
    apart, steady = [], match(case, source, reference)
    # Of few colors, sliced makes jumps.
    for deviation in (1e-6, 1e-5, 1e-4, 1e-3) if case.method == "sliced" else (1e-3,):
        noise = np.random.default_rng(7).normal(0, deviation, pixels.shape).astype(np.float32)
        moved = match(case, source, (np.clip(pixels + noise, 0, 1), weights))
        apart += [np.abs(one - other) * 255 for one, other in zip(steady, moved, strict=True)]
    return 2 * max(float(frame.max()) for frame in apart), 2 * max(float(frame.mean()) for frame in apart)
