"""Read video files frame by frame, and write them with the timing, sound and colour tags of the file they came from."""

from __future__ import annotations

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
_OTHERWISE = {".webm": "vp9"}
# The matrix coefficients of ISO/IEC 23091-2 in the words of the scaler.
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
_UNSPECIFIED = 2
_LIMITED, _FULL = 1, 2  # ranges of values
# Without these, the scaler is faster and a level too dark.
_ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP


def read_frames(path: Path) -> Iterator[Tensor]:
    """Decode the video stream of a file.

    Yields:
        Each frame upright: float32, shape ``[H, W, 3]``, values in [0, 1].

    Raises:
        OSError: the file cannot be read, or is damaged.
        ValueError: it holds no video, or video with alpha.
    """
    with _errors(path), av.open(str(path)) as container:
        stream = _video_stream(path, container)
        for frame in container.decode(stream):
            yield _pixels(frame)


def count_frames(path: Path) -> int | None:
    """How many frames the file says it has; None if it does not say."""
    with _errors(path), av.open(str(path)) as container:
        stream = _video_stream(path, container)
        if stream.frames:
            return int(stream.frames)
        if container.duration and stream.average_rate:
            return round(float(container.duration / av.time_base * stream.average_rate))
        return None


class VideoRewriter:
    """A context manager that writes a video anew: each frame is read, and written as soon as it is done.

    Timing, sound, subtitles, chapters, tags and colour description are carried over; the frames are encoded with the
    source's codec and bit depth where there is an encoder, else as H.264 (VP9 in WebM). The file appears whole or not at
    all.

    Args:
        source: the video to read.
        target: the video to write; its ending decides on the container.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: the source holds no video, or video with alpha, or the target's container cannot hold its streams.
    """

    def __init__(self, source: Path, target: Path) -> None:
        self._source, self._target = source, target
        self._waiting: deque[tuple[int, Fraction]] = deque()

    def __enter__(self) -> VideoRewriter:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".", dir=self._target.parent))
            self._unfinished = Path(folder) / self._target.name
            with _errors(self._source):
                first = _first_frame(self._source)
                self._input: Any = stack.enter_context(av.open(str(self._source)))
                self._video = _video_stream(self._source, self._input)
            with _errors(self._target):
                self._output: Any = stack.enter_context(av.open(str(self._unfinished), "w"))
                self._output.metadata.update(self._input.metadata)
                self._encoder = self._open_encoder(first)
                self._copies = {
                    stream.index: self._copy_of(stream)
                    for stream in self._input.streams
                    if stream.type in ("audio", "subtitle")
                }
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
                        self._waiting.append((self._timestamp(frame), frame.time_base))
                        yield _pixels(frame)
                elif packet.dts is not None:
                    packet.stream = self._copies[packet.stream.index]
                    self._output.mux(packet)

    def write(self, pixels: Tensor) -> None:
        """Write the next frame: floating point, shape ``[H, W, 3]``, values in [0, 1]."""
        stamp, time_base = self._waiting.popleft()
        deep = self._encoder.format.components[0].bits > 8
        values = (pixels * (65535 if deep else 255)).round_().numpy().astype(np.uint16 if deep else np.uint8)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb48le" if deep else "rgb24")
        frame = frame.reformat(
            format=self._encoder.format.name,
            src_colorspace=_matrix(self._encoder),
            dst_colorspace=_matrix(self._encoder),
            src_color_range=_FULL,
            dst_color_range=self._encoder.color_range or _LIMITED,
            interpolation=_ACCURATE,
        )
        frame.pts, frame.time_base = stamp, time_base
        with _errors(self._target):
            self._output.mux(self._encoder.encode(frame))

    def _copy_of(self, stream: Any) -> Any:
        copy = self._output.add_stream_from_template(stream)
        copy.metadata.update(stream.metadata)
        return copy

    def _open_encoder(self, frame: av.VideoFrame) -> Any:
        source = self._video.codec_context
        name, options = _ENCODERS.get(source.name, _ENCODERS["h264"])
        if name not in self._output.supported_codecs:
            name, options = _ENCODERS[_OTHERWISE.get(self._target.suffix.lower(), "h264")]
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

    def _timestamp(self, frame: av.VideoFrame) -> int:
        if frame.pts is None:
            raise ValueError(f"{self._source.name}: expected a time stamp with each frame, got a frame without")
        return int(frame.pts)


def _first_frame(path: Path) -> av.VideoFrame:
    with av.open(str(path)) as container:
        first: av.VideoFrame | None = next(container.decode(_video_stream(path, container)), None)
    if first is None:
        raise ValueError(f"{path.name}: expected a video with frames, got one without")
    return first


def _video_stream(path: Path, container: Any) -> Any:
    if not container.streams.video:
        raise ValueError(f"{path.name}: expected a video, got none")
    stream = container.streams.video[0]
    if any(component.is_alpha for component in stream.format.components):
        raise ValueError(f"{path.name}: expected a video without alpha, got {stream.format.name}")
    stream.thread_type = "AUTO"
    return stream


def _pixels(frame: av.VideoFrame) -> Tensor:
    deep = frame.format.components[0].bits > 8
    rgb = frame.reformat(
        format="rgb48le" if deep else "rgb24",
        src_colorspace=_matrix(frame),
        dst_colorspace=_matrix(frame),
        dst_color_range=_FULL,
        interpolation=_ACCURATE,
    )
    values = np.rot90(rgb.to_ndarray(), _rotation(frame) // 90)
    return torch.from_numpy(values.astype(np.float32)).div_(65535 if deep else 255)


def _rotation(frame: av.VideoFrame) -> int:
    """How far the picture is to be turned counterclockwise to stand upright, in degrees."""
    return frame.rotation


def _matrix(described: Any) -> Colorspace:
    """The matrix between YCbCr and RGB; where nothing is said, what players take for a picture of this height."""
    return _MATRICES.get(described.colorspace, Colorspace.ITU709 if described.height >= 720 else Colorspace.ITU601)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(f"{path.name}: {error.strerror or error}") from error
