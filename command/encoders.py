"""Turn pixels into files of each format, at the quality of the file they come from."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from .color_profiles import convert, is_gray
from .exr import write_exr
from .file_kinds import FileError
from .metadata import Metadata
from .orientation import upright
from .paths import IMAGE_KINDS, LOSSY_KINDS
from .png_chunks import with_chunks
from .tiff_tags import with_tags

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST = {"JPEG": 65500, "WEBP": 16383, "GIF": 65535}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    # Without exact, pixels that are transparent would lose their colors.
    "WEBP": {"quality": 95, "exact": True},
    "AVIF": {"quality": 90, "subsampling": "4:4:4", "advanced": {"alpha:lossless": "1"}},
    "HEIF": {"quality": 90},
}
# TIFF compressions without loss, by their numbers in the file and the names that libvips has for them.
_COMPRESSIONS = {1: "none", 5: "lzw", 8: "deflate", 32773: "packbits", 32946: "deflate", 50000: "zstd"}
_SPACES = {("uint8", 1): "b-w", ("uint16", 1): "grey16", ("uint16", 3): "rgb16", ("float32", 1): "b-w", ("float32", 3): "scrgb"}


@dataclass(frozen=True)
class Encoding:
    """How a file was encoded, as far as that can be told from it and done again: the format, and options for its encoder."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_opened(cls, kind: str, opened: Image.Image, lossless: bool) -> Encoding:
        """How a file was encoded that Pillow has opened."""
        if kind == "WEBP":
            return cls(kind, {"lossless": True} if lossless else {})
        if isinstance(opened, JpegImagePlugin.JpegImageFile) and opened.quantization and opened.mode != "CMYK":
            # What Pillow cannot say of the subsampling is less than that of half the pixels: nothing is lost in taking none.
            sampling = max(JpegImagePlugin.get_sampling(opened), 0)
            progressive = "progressive" in opened.info
            return cls(kind, {"qtables": opened.quantization, "subsampling": sampling, "progressive": progressive})
        return cls(kind)

    @classmethod
    def of_tiff(cls, compression: int) -> Encoding:
        """How a TIFF with this number of a compression was encoded."""
        return cls("TIFF", {"compression": _COMPRESSIONS.get(compression, "deflate")})


def check_fits(name: str, suffix: str, dtype: str, alpha: bool, longest: int, quality: int | None) -> None:
    """Raise a ValueError if a format cannot hold such pixels, ``longest`` of them a side, or has no quality to choose."""
    kind = IMAGE_KINDS[suffix]
    if longest > _LONGEST.get(kind, longest):
        raise ValueError(f"{name}: expected at most {_LONGEST[kind]} pixels a side for {suffix}, got {longest}")
    if dtype == "uint16" and kind not in ("PNG", "TIFF"):
        raise ValueError(f"{name}: expected PNG or TIFF for 16 bits, {suffix} holds 8")
    if dtype == "float32" and kind not in ("TIFF", "EXR"):
        raise ValueError(f"{name}: expected TIFF or EXR for floating-point values, {suffix} holds whole numbers")
    if kind == "EXR" and dtype != "float32":
        raise ValueError(f"{name}: expected PNG or TIFF for whole numbers, {suffix} holds linear light in floating point")
    if alpha and kind in ("JPEG", "BMP"):
        raise ValueError(f"{name}: expected PNG, TIFF or WebP for a picture with alpha, {suffix} has none")
    if quality is not None and kind not in LOSSY_KINDS:
        raise ValueError(f"argument --quality: expected JPEG, WebP or AVIF with it, got {name}, which is written without loss")


def fit(kind: str, pixels: Tensor, metadata: Metadata, name: str) -> tuple[Tensor, Metadata]:
    """Pixels ``[H, W, C]`` and metadata as a format takes them that may have no place for orientation, profile or gray.

    There they become upright and sRGB. GIF and BMP have neither orientation nor profile; WebP, and AVIF with alpha, no gray.

    Raises:
        ValueError: the profile cannot be used; the text begins with ``name``.
    """
    import torch

    if kind in ("GIF", "BMP"):
        pixels = upright(pixels, metadata.orientation)
    profile, channels = metadata.profile, pixels.shape[-1]
    if profile is None:
        return pixels, metadata
    colored = kind == "WEBP" or (kind == "AVIF" and channels == 2)
    if kind not in ("GIF", "BMP") and not (colored and is_gray(profile)):
        return pixels, metadata
    colors = 1 if channels < 3 else 3
    converted = convert(pixels[..., :colors], profile, None, name)
    if converted.shape[-1] > colors:
        converted = converted.mean(dim=-1, keepdim=True)
    return torch.cat([converted, pixels[..., colors:]], dim=-1), replace(metadata, profile=None)


def encode(suffix: str, values: NDArray[Any], metadata: Metadata, source: Encoding, quality: int | None = None) -> bytes:
    """A file with these values, uint8, uint16 or float32 of shape ``[H, W, C]``."""
    kind = IMAGE_KINDS[suffix]
    if kind == "PNG":
        return with_chunks(_picture(values).write_to_buffer(".png", keep="none"), metadata.to_png())
    if kind == "TIFF":
        options = {"compression": "deflate"} | (source.options if source.kind == kind else {})
        predictor = "float" if values.dtype == np.float32 else "horizontal"
        return with_tags(
            _picture(values).write_to_buffer(".tif", keep="none", predictor=predictor, **options), metadata.to_tiff()
        )
    if kind == "EXR":
        return write_exr(values, **(source.options if source.kind == kind else {}))
    if kind == "HEIF":
        register_heif()
    content = io.BytesIO()
    picture = to_picture(values)
    if kind == "GIF":
        picture = with_palette(picture)
    picture.save(content, kind, **save_options(kind, source, quality, picture.mode == "L"), **metadata.options(kind))
    return content.getvalue()


def register_heif() -> None:
    """Let Pillow read and write HEIC; a FileError if what does is not installed."""
    try:
        import pillow_heif
    except ImportError as error:
        raise FileError(f"HEIC takes pillow-heif: {sys.executable} -m pip install pillow-heif") from error
    pillow_heif.register_heif_opener()


def to_picture(values: NDArray[np.uint8]) -> Image.Image:
    """Values ``[H, W, C]``, gray or RGB with or without alpha, as Pillow has them."""
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)


def save_options(kind: str, source: Encoding, quality: int | None, gray: bool) -> dict[str, Any]:
    """What Pillow takes to encode as the source was, or at the quality that is asked for, or well."""
    if kind == source.kind and "qtables" in source.options and quality is None:
        return source.options
    options = _DEFAULTS.get(kind, {}) | ({"subsampling": "4:0:0"} if kind == "AVIF" and gray else {})
    if quality is not None:
        return options | {"quality": quality}
    return options | (source.options if kind == source.kind else {})


def with_palette(picture: Image.Image) -> Image.Image:
    """A picture of at most 256 colors, one of them transparent if any of it is.

    Raises:
        ValueError: it is transparent in part, which GIF cannot be.
    """
    if picture.mode == "L":
        return picture
    picture = picture.convert("RGBA") if picture.mode == "LA" else picture
    if picture.mode == "RGB":
        return picture.quantize(256, Image.Quantize.MEDIANCUT)
    alpha = picture.getchannel("A")
    if not {level for _, level in alpha.getcolors() or ()} <= {0, 255}:
        raise ValueError("expected PNG, TIFF or WebP for a picture that is transparent in part, GIF is so or not")
    if alpha.getextrema()[0] == 255:
        return with_palette(picture.convert("RGB"))
    colors = picture.convert("RGB").quantize(255, Image.Quantize.MEDIANCUT)
    transparent = 255
    colors.paste(transparent, mask=alpha.point([255] + [0] * 255))
    colors.info["transparency"] = transparent
    return colors


def _picture(values: NDArray[Any]) -> Any:
    space = _SPACES.get((values.dtype.name, 1 if values.shape[2] < 3 else 3), "srgb")
    return pyvips.Image.new_from_array(values, interpretation=space)
