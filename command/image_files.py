"""Read and write image files without losing bits, alpha, color profile or metadata."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image

from . import metadata as of_file
from .color_profiles import check_profile
from .encoders import Encoding, check_fits, encode, fit, register_heif
from .exr import read_exr
from .file_kinds import FileError, kind_of, plain_errors
from .metadata import Metadata
from .paths import IMAGE_KINDS
from .tiff_tags import check_deflate
from .whole_files import write_whole_file

if TYPE_CHECKING:
    from torch import Tensor

_HIGHEST = {"uint8": 255, "uint16": 65535, "float32": 1}
_FORMATS = ("uchar", "ushort", "float")
_COLOR_SPACES = ("b-w", "srgb", "grey16", "rgb16", "scrgb")
# What libvips decodes; the others are left to Pillow.
_BY_VIPS = ("PNG", "JPEG", "TIFF", "WEBP")
_LONGEST_OF_WEBP = 16384

# Values that are converted at a time.
_STRIPE = 1 << 19
# Pillow refuses large pictures, in case that somebody else has sent them.
Image.MAX_IMAGE_PIXELS = None
# Of damaged EXIF, it prints lines that name no file.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


@dataclass(frozen=True)
class ImageHeader:
    """What is known of a file without decoding it; ``note`` is what its user should be told, if anything."""

    metadata: Metadata
    encoding: Encoding
    note: str | None = None


@dataclass(frozen=True)
class ImageFile:
    """Pixels, float32 ``[1, H, W, C]`` with C of 1, 3 or 4, in [0, 1] unless more is wanted, and what goes back with them.

    They are as the file stores them, not turned as its ``orientation`` from 1 to 8 says. ``alpha`` ``[1, H, W, 1]`` is that of
    a gray image; of a color image it is the fourth channel. ``dtype`` is how the file holds values: uint8, uint16 or float32.
    """

    pixels: Tensor
    alpha: Tensor | None
    dtype: str
    header: ImageHeader

    @property
    def orientation(self) -> int:
        """How the picture is turned, as EXIF numbers it from 1 to 8."""
        return self.header.metadata.orientation

    @property
    def profile(self) -> bytes | None:
        """The ICC profile of the colors; None means sRGB."""
        return self.header.metadata.profile

    @property
    def coverage(self) -> Tensor | None:
        """How opaque each pixel is, ``[H, W]`` in [0, 1]; None if all of them are throughout."""
        return coverage(self.pixels[0]) if self.alpha is None else _unless_full(self.alpha[0, ..., 0])


def coverage(pixels: Tensor) -> Tensor | None:
    """How opaque pixels ``[H, W, C]`` are, as the last of an even number of channels says; None if all of them are."""
    return None if pixels.shape[-1] % 2 else _unless_full(pixels[..., -1])


def colors_of(pixels: Tensor) -> Tensor:
    """The channels of ``[H, W, C]`` that are not alpha, 1 or 3."""
    return pixels[..., : 1 if pixels.shape[-1] < 3 else 3]


def read_header(path: Path) -> ImageHeader:
    """What is known of an image file without decoding it; errors as of :func:`read_image`."""
    kind = kind_of(path)
    if kind is None:
        raise FileError("not an image file")
    with plain_errors(kind):
        if kind == "PNG":
            return ImageHeader(of_file.read_png(path), Encoding(kind))
        if kind == "EXR":
            return ImageHeader(Metadata(), Encoding(kind))
        if kind == "TIFF":
            metadata, compression = of_file.read_tiff(path)
            return ImageHeader(metadata, Encoding.of_tiff(compression))
        with open_by_pillow(path, kind) as opened:
            encoding = Encoding.of_opened(kind, opened, kind == "WEBP" and of_file.is_lossless_webp(path))
            return ImageHeader(of_file.read_opened(opened), encoding, _note(path, opened))


def read_image(path: Path, *, any_values: bool = False) -> ImageFile:
    """Read an image, gray, RGB or CMYK, of 8 or 16 bits or of floats in [0, 1], with or without alpha.

    Palettes become the colors in them, and CMYK becomes sRGB. Floats can have ``any_values`` if that is so.

    Raises:
        OSError: there is no such file, it is damaged, or it holds something else; the text does not name the file.
    """
    header = read_header(path)
    kind = header.encoding.kind
    with plain_errors(kind):
        if kind == "TIFF":
            check_deflate(path)
        if kind == "EXR":
            values, options = read_exr(path)
            header = replace(header, encoding=Encoding(kind, options))
        elif kind in _BY_VIPS:
            values, header = _decode_by_vips(path, header)
        else:
            values = _decode_by_pillow(path, kind)
    return _as_file(values, header, any_values)


def write_image(path: Path, pixels: Tensor, like: ImageFile, *, quality: int | None = None) -> None:
    """Write ``pixels`` with the bit depth, alpha, color profile and metadata of the file they were read from.

    Into the same format they are written at the source's quality, as far as it can be told; else JPEG and WebP at 95, AVIF at
    90, where ``quality`` does not say otherwise; and the other formats without loss, GIF with up to 256 colors.

    Raises:
        ValueError: a format cannot hold the bits or has no quality to choose.
        OSError: the file cannot be written.
    """
    import torch

    suffix = path.suffix.lower()
    if suffix not in IMAGE_KINDS:
        raise ValueError(f"{path.name}: expected a name that ends in {', '.join(IMAGE_KINDS)}")
    alpha = like.alpha is not None or like.pixels.shape[-1] == 4
    check_fits(path.name, suffix, like.dtype, alpha, max(pixels.shape[1:3]), quality)
    if like.alpha is not None:
        pixels = torch.cat([pixels, like.alpha], dim=-1)
    fitted, metadata = fit(IMAGE_KINDS[suffix], pixels[0], like.header.metadata, path.name)
    try:
        content = encode(suffix, to_values(fitted, like.dtype), metadata, like.header.encoding, quality)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    except pyvips.Error as error:
        raise OSError(f"{path.name}: {' '.join(str(error).split())}") from error
    write_whole_file(path, content)


def to_values(pixels: Tensor, dtype: str) -> NDArray[Any]:
    """Pixels in [0, 1] as a file holds them."""
    if dtype == "float32":
        return np.ascontiguousarray(pixels.float().numpy())
    values, plane = np.empty(pixels.shape, dtype), pixels.float().numpy()

    def convert(stripe: slice) -> None:
        scaled = plane[stripe] * np.float32(_HIGHEST[dtype])
        values[stripe] = np.rint(scaled, out=scaled)

    # A stripe at a time, which is faster and takes no memory of the picture's size.
    _by_stripes(convert, pixels.shape)
    return values


def to_pixels(values: NDArray[Any]) -> Tensor:
    """What a file holds as float32 in [0, 1]."""
    import torch

    pixels = np.empty(values.shape, np.float32)

    def convert(stripe: slice) -> None:
        pixels[stripe] = values[stripe]
        pixels[stripe] /= _HIGHEST[values.dtype.name]

    _by_stripes(convert, values.shape)
    return torch.from_numpy(pixels)


def _by_stripes(function: Callable[[slice], None], shape: Sequence[int]) -> None:
    """Call ``function`` with parts of the rows of a picture ``[H, W, C]``, several at a time where there are threads for it."""
    from ..kernels.workers import spread

    lines = max(1, _STRIPE // (shape[1] * shape[2]))
    spread(function, [slice(start, start + lines) for start in range(0, shape[0], lines)])


def open_by_pillow(path: Path, kind: str) -> Image.Image:
    """Open a file of a known format with Pillow; the file is not left open."""
    if kind == "HEIF":
        register_heif()
    if kind == "WEBP":
        _check_canvas(path)
    return Image.open(path)


def _check_canvas(path: Path) -> None:
    """Refuse a WebP that claims to be larger than any picture in it can be: for an animation, Pillow would take the memory."""
    with open(path, "rb") as file:
        head = file.read(30)
    longest = 1 + max(int.from_bytes(head[24:27], "little"), int.from_bytes(head[27:], "little"))
    if head[12:16] == b"VP8X" and longest > _LONGEST_OF_WEBP:
        raise FileError(f"expected a WebP of at most {_LONGEST_OF_WEBP} pixels a side, got {longest}")


def _unless_full(alpha: Tensor) -> Tensor | None:
    return alpha.contiguous() if bool((alpha < 1).any()) else None


def _note(path: Path, opened: Image.Image) -> str | None:
    """What becomes of a file that holds more than is read of it."""
    if opened.format == "MPO":
        return f"{getattr(opened, 'n_frames', 1)} pictures, the first of which is written"
    if opened.format == "AVIF":
        # Pillow does not say that it reads 8 bits of 10. The third byte of the codec's configuration has a flag for each depth.
        _, _, configuration = path.read_bytes().partition(b"av1C")
        flags = configuration[2] if len(configuration) > 2 else 0
        return f"{12 if flags & 0x20 else 10} bits, written as 8" if flags & 0x40 else None
    bits = opened.info.get("bit_depth", 8)
    return f"{bits} bits, written as 8" if opened.format == "HEIF" and bits > 8 else None


def _decode_by_vips(path: Path, header: ImageHeader) -> tuple[NDArray[Any], ImageHeader]:
    # libvips remembers files by name; revalidate reads a file that has changed since.
    opened = pyvips.Image.new_from_file(str(path), fail_on="error", revalidate=True, access="sequential")
    pages = opened.get("n-pages") if opened.get_typeof("n-pages") else 1
    if pages > 1:
        raise FileError(f"expected one picture, got {pages} {'pages' if header.encoding.kind == 'TIFF' else 'frames'}")
    if opened.interpretation == "cmyk":
        try:
            check_profile(header.metadata.profile, 4)
        except ValueError as error:
            raise FileError(str(error)) from error
        options = {"embedded": True, "input_profile": "cmyk", "intent": "relative", "black_point_compensation": True}
        opened = opened.icc_transform("srgb", depth=16 if opened.format == "ushort" else 8, **options)
        metadata = replace(header.metadata, profile=None)
        header = ImageHeader(metadata, Encoding(header.encoding.kind), "CMYK, written as RGB")
    if opened.interpretation not in _COLOR_SPACES or opened.bands > 4 or opened.format not in _FORMATS:
        got = f"{opened.bands} channels of {opened.interpretation} as {opened.format}"
        raise FileError(f"expected gray, RGB or CMYK of 8 or 16 bits or 32-bit floats, got {got}")
    return opened.numpy().reshape(opened.height, opened.width, opened.bands), header


def _decode_by_pillow(path: Path, kind: str) -> NDArray[Any]:
    with open_by_pillow(path, kind) as opened:
        frames = getattr(opened, "n_frames", 1)
        if frames > 1:
            raise FileError(f"expected one picture, got {frames} frames")
        values = np.asarray(in_colors(opened))
    return values.reshape(*values.shape[:2], -1)


def in_colors(picture: Image.Image) -> Image.Image:
    """A picture of 8 bits in gray or RGB, with alpha if any of it is transparent."""
    if picture.mode in ("L", "LA", "RGB", "RGBA"):
        return picture.convert(f"{picture.mode}A") if "transparency" in picture.info else picture
    if picture.mode in ("1", "P"):
        palette = picture.getpalette() or []
        gray = picture.mode == "1" or all(
            palette[first] == palette[first + 1] == palette[first + 2] for first in range(0, len(palette), 3)
        )
        return picture.convert(("L" if gray else "RGB") + ("A" if "transparency" in picture.info else ""))
    raise FileError(f"expected gray or RGB of 8 bits, got {picture.mode}")


def _as_file(values: NDArray[Any], header: ImageHeader, any_values: bool) -> ImageFile:
    if values.dtype == np.float32 and not any_values:
        lowest, highest = float(values.min()), float(values.max())
        # Not the other way round: of NaN, no comparison is true.
        if not (lowest >= 0 and highest <= 1):
            raise FileError(f"expected values from 0 to 1, got {lowest:g} to {highest:g}; --range data takes them")
    pixels = to_pixels(values)[None]
    if pixels.shape[-1] == 2:
        return ImageFile(pixels[..., :1], pixels[..., 1:], values.dtype.name, header)
    return ImageFile(pixels, None, values.dtype.name, header)
