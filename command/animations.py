"""Read and write animated PNG, GIF, WebP and AVIF frame by frame, with the times of the frames and the number of loops."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .color_profiles import check_profile
from .encoders import check_fits, fit, save_options, to_picture, with_palette
from .file_kinds import FileError, kind_of, plain_errors
from .image_files import in_colors, open_by_pillow, read_header, to_pixels, to_values
from .paths import IMAGE_KINDS
from .png_chunks import read_chunks, with_chunks
from .whole_files import write_whole_file

if TYPE_CHECKING:
    from torch import Tensor

_KINDS = ("PNG", "GIF", "WEBP", "AVIF")
SUFFIXES = tuple(suffix for suffix, kind in IMAGE_KINDS.items() if kind in _KINDS)
"""File name endings of formats that can be animated."""

_ANIMATION_FLAG = 0x02
_DEPTH = 24
# Those above are slower and hardly smaller.
_PNG: dict[str, Any] = {"compress_level": 3, "disposal": 0, "blend": 0}


def is_animation(path: Path) -> bool:
    """Whether a file is an animated picture, which its first bytes tell; False for what cannot be opened."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        kind = kind_of(path)
        if kind == "GIF":
            with plain_errors(kind), Image.open(path) as opened:
                return bool(getattr(opened, "is_animated", False))
        with open(path, "rb") as file:
            if kind == "PNG":
                names = (name for name, _ in read_chunks(file))
                return next((name for name in names if name in (b"acTL", b"IDAT")), None) == b"acTL"
            head = file.read(64)
    except OSError:
        # Whoever reads it as a picture says what is wrong with it.
        return False
    if kind == "WEBP":
        return head[12:16] == b"VP8X" and bool(head[20] & _ANIMATION_FLAG)
    return kind == "AVIF" and b"avis" in head[8 : int.from_bytes(head[:4], "big")]


def count_frames(path: Path) -> int:
    """How many frames an animation has; errors as of :func:`read_frames`."""
    kind = kind_of(path) or ""
    with plain_errors(kind), open_by_pillow(path, kind) as opened:
        return int(getattr(opened, "n_frames", 1))


def read_frames(path: Path) -> Iterator[Tensor]:
    """Decode an animation to whole frames, float32 ``[H, W, C]`` in [0, 1] with C from 1 to 4: gray or RGB, and alpha.

    Raises:
        OSError: there is no such file, it is damaged, or has more than 8 bits; the text does not name the file.
    """
    return (pixels for pixels, _ in _decode(path))


class AnimationRewriter:
    """A context manager that writes an animation anew: each frame is read, and all are written when the last of them is done.

    The times of the frames, the number of loops, alpha, color profile and metadata are kept. The target's ending decides on the
    format. A frame that is the same as the one before becomes one with it. The file appears whole or not at all. Errors are
    those of :func:`read_frames`, and a ValueError for a target that cannot be animated.
    """

    def __init__(self, source: Path, target: Path, quality: int | None = None) -> None:
        self._source, self._target, self._quality = source, target, quality
        self._written: list[Image.Image] = []
        self._durations: list[float] = []

    def __enter__(self) -> AnimationRewriter:
        suffix = self._target.suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(f"{self._target.name}: expected a name that ends in {', '.join(SUFFIXES)} for an animation")
        self._header = read_header(self._source)
        metadata = self._header.metadata
        if IMAGE_KINDS[suffix] == "AVIF" and metadata.orientation > 1:
            # Pillow's encoder ends the whole process.
            raise ValueError(
                f"{self._target.name}: expected PNG or WebP for an animation that EXIF turns, .avif cannot be written so"
            )
        with open_by_pillow(self._source, self._header.encoding.kind) as opened:
            check_fits(self._target.name, suffix, "uint8", False, max(opened.size), self._quality)
            check_profile(metadata.profile, 1 if opened.mode in ("1", "L", "LA") else 3)
            self._still_first, self._loops = bool(opened.info.get("default_image")), opened.info.get("loop")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            try:
                content = self._encode()
            except (ValueError, RuntimeError) as problem:
                raise ValueError(f"{self._target.name}: {problem}") from problem
            write_whole_file(self._target, content)

    @property
    def frame_count(self) -> int:
        """How many frames the source has."""
        return count_frames(self._source)

    def measured(self) -> Iterator[tuple[int, Tensor]]:
        """Yield what :meth:`frames` does, read again."""
        return enumerate(read_frames(self._source))

    def damage(self) -> None:
        """Nothing: what is damaged is an error."""

    def frames(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the source's frames as :func:`read_frames` does, numbered."""
        for place, (pixels, duration) in enumerate(_decode(self._source)):
            self._durations.append(duration)
            yield place, pixels

    def write(self, pixels: Tensor) -> None:
        """Write the next frame: floating point, shape ``[H, W, C]`` as it was read, values in [0, 1]."""
        kind = IMAGE_KINDS[self._target.suffix.lower()]
        fitted, self._metadata = fit(kind, pixels, self._header.metadata, self._source.name)
        self._written.append(to_picture(to_values(fitted, "uint8")))

    def _encode(self) -> bytes:
        kind, encoding, metadata = IMAGE_KINDS[self._target.suffix.lower()], self._header.encoding, self._metadata
        still_first, loops = self._still_first, self._loops
        options: dict[str, Any] = {"save_all": True, "duration": self._durations if kind == "PNG" else self._rounded(kind)}
        if kind == "GIF":
            # Without a number, a GIF plays once.
            options |= {} if loops is None or (loops == 1 and encoding.kind != kind) else {"loop": loops}
            # Else frames would be stacked where they are transparent.
            options["disposal"] = 2
            frames = list(map(with_palette, self._written))
        else:
            options["loop"] = 1 if loops is None and encoding.kind == "GIF" else loops or 0
            frames = self._written
        if kind == "PNG":
            options |= _PNG | {"default_image": still_first, "duration": self._durations[still_first:]}
        options |= save_options(kind, encoding, self._quality, frames[0].mode == "L") | metadata.options(kind)
        content = io.BytesIO()
        frames[0].save(content, kind, append_images=frames[1:], **options)
        return with_chunks(content.getvalue(), metadata.to_png()) if kind == "PNG" else content.getvalue()

    def _rounded(self, kind: str) -> list[int]:
        """The times of the frames in whole milliseconds, for GIF in hundredths of a second, whose sum does not drift."""
        unit = 10 if kind == "GIF" else 1
        ends = [round(end / unit) * unit for end in accumulate(self._durations, initial=0.0)]
        return [after - before for before, after in pairwise(ends)]


def _decode(path: Path) -> Iterator[tuple[Tensor, float]]:
    """The frames of an animation, and how long each is shown, in milliseconds."""
    kind = kind_of(path) or ""
    with plain_errors(kind), open_by_pillow(path, kind) as opened:
        if kind == "PNG":
            with open(path, "rb") as file:
                file.seek(_DEPTH)
                if (bits := file.read(1)[0]) > 8:
                    raise FileError(f"expected an animation of 8 bits, got {bits}")
        # Of a GIF, a later frame may be transparent or colored where the first is not.
        mode = "RGBA" if kind == "GIF" else in_colors(opened).mode
        for index in range(getattr(opened, "n_frames", 1)):
            opened.seek(index)
            values = np.asarray(opened.convert(mode))
            yield to_pixels(values.reshape(*values.shape[:2], -1)), opened.info.get("duration", 0)
