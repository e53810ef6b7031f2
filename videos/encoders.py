"""Which encoder a video gets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.codec import PixFmtLoss, find_best_pix_fmt_of_list

from .codecs import CODECS

# The encoder for what a decoder of this name reads.
_SAME = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp8": "libvpx-vp9",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "libdav1d": "libsvtav1",
    "ffv1": "ffv1",
    "prores": "prores_ks",
}


class ContainerError(ValueError):
    """A container of some kind cannot hold what is to be in it; another may."""


@dataclass(frozen=True)
class VideoEncoding:
    """How a video is encoded: with one of :data:`CODECS`, or None for the source's, and in a quality.

    ``crf`` is of the encoder's own scale, lower is better; None lets the frames take about the room that they take in the
    source. ``pixel_format``: one of FFmpeg's, which the result is to be like in place of the source's.
    """

    codec: str | None = None
    crf: int | None = None
    pixel_format: str | None = None

    def __post_init__(self) -> None:
        if self.codec is not None and self.codec not in CODECS:
            raise ValueError(f"codec: expected one of {', '.join(CODECS)}, got {self.codec!r}")

    def choose(self, target: Path, output: Any, decoder: str, source_format: str) -> tuple[str, str]:
        """The names of encoder and pixel format for an opened ``output``: of the codec, if it can be, and of no fewer bits.

        Raises:
            ContainerError: the container cannot hold it.
            ValueError: the codec that is asked for has fewer bits.
        """
        others = ("libvpx-vp9", "libsvtav1") if target.suffix.lower() == ".webm" else ("libx264", "libx265")
        names = (_SAME.get(decoder, others[0]), *others) if self.codec is None else (CODECS[self.codec],)
        like = av.VideoFormat(self.pixel_format or source_format)
        if self.codec == "ffv1":
            # What is asked for is no loss, which fewer samples of color would be.
            bits = like.components[0].bits
            like = av.VideoFormat("gbrp" if bits <= 8 else f"gbrp{min(bits + bits % 2, 16)}le")
        supported = output.supported_codecs
        if output.format.name == "mov":
            # FFmpeg lists these, but writes them into MP4 only.
            supported -= {"libvpx-vp9", "libsvtav1"}
        for name in names:
            # The formats named yuvj are those named yuv in full range, which is set with the encoder.
            known = [known.name for known in av.Codec(name, "w").video_formats or () if not known.name.startswith("yuvj")]
            best: Any = find_best_pix_fmt_of_list(known, like.name.replace("yuvj", "yuv"))
            if name in supported and not best[1] & PixFmtLoss.DEPTH:
                return name, best[0].name
        held = f"{like.components[0].bits} bits a channel"
        if self.codec is None:
            raise ContainerError(f"{target}: {target.suffix} cannot hold {held} here; .mkv can")
        if CODECS[self.codec] not in supported:
            raise ContainerError(f"{target}: {target.suffix} cannot hold {self.codec}; .mkv can")
        raise ValueError(f"codec: expected one that holds {held}, as ffv1 does, got {self.codec}")
