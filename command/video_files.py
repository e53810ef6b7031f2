"""Read video files frame by frame, and write them with the timing, sound and color tags of the file they came from."""

import contextlib
import tempfile
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import torch
from av.codec import find_best_pix_fmt_of_list
from av.video.reformatter import Colorspace, Interpolation
from torch import Tensor

from .whole_files import hidden_prefix

# The encoder for what a decoder of this name reads, with settings at which the loss is hard to see.
_ENCODERS = {
    # Looking 20 frames ahead instead of 40 takes half the memory.
    "h264": ("libx264", {"crf": "16", "x264-params": "rc-lookahead=20"}),
    "hevc": ("libx265", {"crf": "18", "x265-params": "log-level=error"}),
    "vp8": ("libvpx-vp9", {"crf": "20", "b:v": "0"}),
    "vp9": ("libvpx-vp9", {"crf": "20", "b:v": "0"}),
    "av1": ("libsvtav1", {"crf": "22"}),
    "libdav1d": ("libsvtav1", {"crf": "22"}),
    "ffv1": ("ffv1", {}),
    "prores": ("prores_ks", {}),
}
# The scaler numbers matrix coefficients as ISO/IEC 23091-2 does, but has only the first of two equal ones.
_MATRICES = {matrix.value: matrix for matrix in Colorspace} | {6: Colorspace.ITU601}
_UNSPECIFIED = 2  # matrix coefficients
_LIMITED, _FULL = 1, 2  # ranges of values
# Without these, the scaler is faster and a level too dark.
_ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP


def read_frames(path: Path) -> Iterator[Tensor]:
    """Decode to upright frames, float32 ``[H, W, 3]`` in [0, 1]; an OSError for damage, a ValueError for no video or alpha."""
    with _opened(path) as (container, stream):
        for frame in container.decode(stream):
            yield _pixels(frame)


def count_frames(path: Path) -> int | None:
    """How many frames the file says it has; None if it does not say."""
    with _opened(path) as (container, stream):
        seconds = (container.duration or 0) / av.time_base
        return stream.frames or round(float(seconds * (stream.average_rate or 0))) or None


class VideoRewriter:
    """A context manager that writes a video anew: each frame is read, and written as soon as it is done.

    Timing, sound, subtitles, chapters, tags and color description are carried over; the frames are encoded with the source's
    codec and bit depth where there is an encoder, else as H.264 (VP9 in WebM). The target's ending decides on the container.
    The file appears whole or not at all. Errors are those of :func:`read_frames`.
    """

    def __init__(self, source: Path, target: Path) -> None:
        self._source, self._target = source, target
        self._waiting: deque[tuple[int, Fraction]] = deque()

    def __enter__(self) -> "VideoRewriter":
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=hidden_prefix(), dir=self._target.parent))
            self._unfinished = Path(folder) / self._target.name
            with _opened(self._source) as (container, stream):
                first = next(container.decode(stream), None)
            if first is None:
                raise ValueError(f"{self._source.name}: expected a video with frames, got one without")
            self._input, self._video = stack.enter_context(_opened(self._source))
            with _errors(self._target):
                self._output: Any = stack.enter_context(av.open(str(self._unfinished), "w"))
                self._output.metadata.update(self._input.metadata)
                self._encoder = self._open_encoder(first)
                self._copies: dict[int, Any] = {}
                for stream in self._input.streams:
                    if stream.type in ("audio", "subtitle"):
                        self._copies[stream.index] = copy = self._output.add_stream_from_template(stream)
                        copy.metadata.update(stream.metadata)
                if chapters := self._input.chapters():
                    self._output.set_chapters(chapters)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack, _errors(self._target):
            if kind is None:
                self._output.mux(self._encoder.encode())
                self._output.close()
                self._unfinished.replace(self._target)

    def frames(self) -> Iterator[Tensor]:
        """Yield the source's frames as :func:`read_frames` does, and carry over what else is in the file as it comes up."""
        with _errors(self._source):
            streams = [self._video, *(self._input.streams[index] for index in self._copies)]
            for packet in self._input.demux(streams):
                if packet.stream.index == self._video.index:
                    for frame in packet.decode():
                        if frame.pts is None:
                            raise ValueError(f"{self._source.name}: expected a time stamp with each frame, got a frame without")
                        self._waiting.append((frame.pts, frame.time_base))
                        yield _pixels(frame)
                elif packet.dts is not None:
                    packet.stream = self._copies[packet.stream.index]
                    self._output.mux(packet)

    def write(self, pixels: Tensor) -> None:
        """Write the next frame: floating point, shape ``[H, W, 3]``, values in [0, 1]."""
        name, dtype, highest = _rgb(self._encoder.format)
        values = (pixels * highest).round_().numpy().astype(dtype)
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format=name)
        limits = {"src_color_range": _FULL, "dst_color_range": self._encoder.color_range or _LIMITED}
        frame = _reformat(rgb, self._encoder.format.name, self._encoder, **limits)
        frame.pts, frame.time_base = self._waiting.popleft()
        with _errors(self._target):
            self._output.mux(self._encoder.encode(frame))

    def _open_encoder(self, frame: av.VideoFrame) -> Any:
        source = self._video.codec_context
        name, options = _ENCODERS.get(source.name, _ENCODERS["h264"])
        if name not in self._output.supported_codecs:
            name, options = _ENCODERS["vp9" if self._target.suffix.lower() == ".webm" else "h264"]
        stream = self._output.add_stream(name, options=options)
        stream.metadata.update(self._video.metadata)
        encoder = stream.codec_context
        encoder.height, encoder.width = _pixels(frame).shape[:2]
        # The formats named yuvj are those named yuv in full range, which is set below.
        known = [known.name for known in encoder.codec.video_formats or () if not known.name.startswith("yuvj")]
        nearest: Any = find_best_pix_fmt_of_list(known, frame.format.name.replace("yuvj", "yuv"))[0]
        encoder.pix_fmt = nearest.name
        stream.time_base = encoder.time_base = self._video.time_base
        if self._video.average_rate:
            encoder.framerate = self._video.average_rate
        if source.sample_aspect_ratio:
            encoder.sample_aspect_ratio = source.sample_aspect_ratio
        encoder.color_primaries, encoder.color_trc = source.color_primaries, source.color_trc
        encoder.colorspace = _UNSPECIFIED if frame.format.is_rgb and not encoder.format.is_rgb else source.colorspace
        encoder.color_range = _FULL if frame.format.name.startswith("yuvj") else source.color_range
        return encoder


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A file that is read, and its video stream."""
    with _errors(path), av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path.name}: expected a video, got none")
        stream = container.streams.video[0]
        if any(component.is_alpha for component in stream.format.components):
            raise ValueError(f"{path.name}: expected a video without alpha, got {stream.format.name}")
        stream.thread_type = "AUTO"
        yield container, stream


def _pixels(frame: av.VideoFrame) -> Tensor:
    """A frame upright, float32, shape ``[H, W, 3]``."""
    name, _, highest = _rgb(frame.format)
    rgb = _reformat(frame, name, frame, dst_color_range=_FULL)
    # Where a display matrix turns the picture, PyAV gives degrees counterclockwise.
    values = np.rot90(rgb.to_ndarray(), frame.rotation // 90)
    return torch.from_numpy(values.astype(np.float32)).div_(highest)


def _rgb(known: Any) -> tuple[str, type[np.uint8 | np.uint16], int]:
    """The RGB that holds what a format does: its name, the type of its values and the highest of them."""
    return ("rgb48le", np.uint16, 65535) if known.components[0].bits > 8 else ("rgb24", np.uint8, 255)


def _reformat(frame: av.VideoFrame, name: str, described: Any, **ranges: int) -> av.VideoFrame:
    """Convert between YCbCr and RGB; where no matrix is given, by the one that players take for an image of this height."""
    matrix = _MATRICES.get(described.colorspace, Colorspace.ITU709 if described.height >= 720 else Colorspace.ITU601)
    return frame.reformat(format=name, src_colorspace=matrix, dst_colorspace=matrix, interpolation=_ACCURATE, **ranges)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Raise an error of FFmpeg as one that names the file."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(f"{path.name}: {error.strerror or error}") from error
