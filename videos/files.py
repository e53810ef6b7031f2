"""Read video files frame by frame, and write them with the timing, sound and color tags of the file they came from."""

import contextlib
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import torch
from av.codec import PixFmtLoss, find_best_pix_fmt_of_list
from av.video.reformatter import Colorspace, Interpolation
from torch import Tensor

from ..command.whole_files import hidden_prefix
from . import svt_av1
from .rates import encoder_options
from .survey import Survey, complaints, damage, plain_errors, survey

# The encoder for what a decoder of this name reads.
_ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp8": "libvpx-vp9",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "libdav1d": "libsvtav1",
    "ffv1": "ffv1",
    "prores": "prores_ks",
}
# The scaler numbers matrix coefficients as ISO/IEC 23091-2 does, but has only the first of two equal ones.
_MATRICES = {matrix.value: matrix for matrix in Colorspace} | {6: Colorspace.ITU601}
_UNSPECIFIED = 2  # matrix coefficients
_LIMITED, _FULL = 1, 2  # ranges of values
# Without these, the scaler is faster and a level too dark.
_ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP


def read_frames(path: Path) -> Iterator[Tensor]:
    """Decode to upright frames, float32 ``[H, W, 3]`` in [0, 1]; an OSError for damage, a ValueError for no video or alpha."""
    found = _survey(path)
    with _opened(path) as (container, stream):
        for _, frame in _decode(found, stream, container.demux(stream)):
            yield _pixels(frame)


class VideoRewriter:
    """A context manager that writes a video anew: each frame is read, and written as soon as it is done.

    Timing, sound, subtitles, chapters, tags and color description are carried over; the frames are encoded with the source's
    codec and bit depth where there is an encoder, else as H.264 or H.265 (VP9 or AV1 in WebM). ``crf`` is the quality, lower is
    better, of the encoder's own scale; None lets the frames take about the room that they take in the source. The target's
    ending decides on the container. The file appears whole or not at all. Errors are those of :func:`read_frames`, and a
    ValueError for what the target cannot hold.
    """

    def __init__(self, source: Path, target: Path, crf: int | None = None) -> None:
        self._source, self._target, self._crf = source, target, crf
        self._waiting: deque[Fraction] = deque()

    @property
    def frame_count(self) -> int:
        """How many frames the source has."""
        return len(self._found.stamps)

    def __enter__(self) -> "VideoRewriter":
        with contextlib.ExitStack() as stack:
            self._found = _survey(self._source)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=hidden_prefix(), dir=self._target.parent))
            self._unfinished = Path(folder) / self._target.name
            with _opened(self._source) as (container, video):
                first = next(_decode(self._found, video, container.demux(video)), None)
            if first is None:
                raise ValueError(f"{self._source}: expected a video with frames, got one without")
            self._input, self._video = stack.enter_context(_opened(self._source))
            with plain_errors(self._target):
                self._output: Any = stack.enter_context(av.open(str(self._unfinished), "w"))
                self._output.metadata.update(self._input.metadata)
                self._encoder = self._open_encoder(first[1])
                self._copies: dict[int, Any] = {}
                for stream in self._input.streams:
                    if stream.type in ("audio", "subtitle"):
                        self._copies[stream.index] = self._copy(stream)
                if chapters := self._input.chapters():
                    self._output.set_chapters(chapters)
                self._begin()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack, plain_errors(self._target):
            if kind is None:
                self._output.mux(self._encoder.encode())
                self._output.close()
                self._unfinished.replace(self._target)

    def frames(self) -> Iterator[Tensor]:
        """Yield the source's frames as :func:`read_frames` does, and carry over what else is in the file as it comes up."""
        with plain_errors(self._source):
            for time, frame in _decode(self._found, self._video, self._demux()):
                self._waiting.append(time)
                yield _pixels(frame)

    def write(self, pixels: Tensor) -> None:
        """Write the next frame: floating point, shape ``[H, W, 3]``, values in [0, 1]."""
        name, dtype, highest = _rgb(self._encoder.format)
        values = (pixels * highest).round_().numpy().astype(dtype)
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format=name)
        limits = {"src_color_range": _FULL, "dst_color_range": self._encoder.color_range or _LIMITED}
        frame = _reformat(rgb, self._encoder.format.name, self._encoder, **limits)
        frame.time_base = self._encoder.time_base
        frame.pts = round(self._waiting.popleft() / frame.time_base)
        with plain_errors(self._target):
            self._output.mux(self._encoder.encode(frame))

    def _demux(self) -> Iterator[Any]:
        """Yield what belongs to the video, and write what belongs to the other streams."""
        for packet in self._input.demux([self._video, *(self._input.streams[index] for index in self._copies)]):
            if packet.stream.index == self._video.index:
                yield packet
            elif packet.dts is not None:
                packet.stream = self._copies[packet.stream.index]
                self._output.mux(packet)

    def _begin(self) -> None:
        """Open the encoder and write the head of the file, where it turns out whether the container holds what is in it."""
        try:
            with svt_av1.contained():
                self._output.start_encoding()
        except av.error.ArgumentError as error:
            held = ", ".join(stream.codec_context.codec.canonical_name for stream in self._output.streams)
            raise ValueError(f"{self._target}: {self._target.suffix} cannot hold {held} together; .mkv can") from error

    def _copy(self, stream: Any) -> Any:
        """A stream of the target with what is in this one."""
        try:
            copy = self._output.add_stream_from_template(stream)
        except ValueError as error:
            kind = {"audio": "sound", "subtitle": "subtitles"}[stream.type]
            held = f"{self._target.suffix} cannot hold {kind} in {stream.codec_context.codec.canonical_name}"
            raise ValueError(f"{self._target}: {held}; .mkv can") from error
        copy.metadata.update(stream.metadata)
        return copy

    def _open_encoder(self, frame: av.VideoFrame) -> Any:
        source, found = self._video.codec_context, self._found
        name, pixel_format = self._choose_encoder(frame)
        height, width = _pixels(frame).shape[:2]
        options = encoder_options(name, self._crf, Fraction(8 * found.size) / found.seconds, float(found.seconds), width)
        stream = self._output.add_stream(name, options=options)
        stream.metadata.update(self._video.metadata)
        encoder = stream.codec_context
        encoder.height, encoder.width = height, width
        encoder.pix_fmt = pixel_format
        encoder.framerate = Fraction(len(found.stamps)) / found.seconds
        stream.time_base = encoder.time_base = found.unit
        if self._output.format.name == "avi":
            # AVI shows frames in the order in which they are stored.
            encoder.max_b_frames = 0
            stream.time_base = encoder.time_base = found.step(self._video.base_rate)
        if ratio := source.sample_aspect_ratio:
            encoder.sample_aspect_ratio = 1 / ratio if frame.rotation % 180 else ratio
        encoder.color_primaries, encoder.color_trc = source.color_primaries, source.color_trc
        encoder.colorspace = _UNSPECIFIED if frame.format.is_rgb and not encoder.format.is_rgb else source.colorspace
        encoder.color_range = _FULL if frame.format.name.startswith("yuvj") else source.color_range
        return encoder

    def _choose_encoder(self, frame: av.VideoFrame) -> tuple[str, str]:
        """The names of the encoder and the pixel format: the source's codec if it can be, and no fewer bits."""
        others = ("libvpx-vp9", "libsvtav1") if self._target.suffix.lower() == ".webm" else ("libx264", "libx265")
        supported = self._output.supported_codecs
        if self._output.format.name == "mov":
            # FFmpeg lists these, but writes them into MP4 only.
            supported -= {"libvpx-vp9", "libsvtav1"}
        for name in (_ENCODERS.get(self._video.codec_context.name, others[0]), *others):
            # The formats named yuvj are those named yuv in full range, which is set with the encoder.
            known = [known.name for known in av.Codec(name, "w").video_formats or () if not known.name.startswith("yuvj")]
            best: Any = find_best_pix_fmt_of_list(known, frame.format.name.replace("yuvj", "yuv"))
            if name in supported and not best[1] & PixFmtLoss.DEPTH:
                return name, best[0].name
        bits = frame.format.components[0].bits
        raise ValueError(f"{self._target}: {self._target.suffix} cannot hold {bits} bits a channel here; .mkv can")


def _survey(path: Path) -> Survey:
    with _opened(path) as (container, stream):
        return survey(path, container, stream)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A file that is read, and its video stream."""
    with plain_errors(path), av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path}: holds no video")
        stream = container.streams.video[0]
        if stream.format is None:
            raise OSError(f"{path}: damaged, its first frames cannot be decoded")
        # Of VP8 and VP9, alpha is a second picture beside the one that is decoded.
        if any(component.is_alpha for component in stream.format.components) or stream.metadata.get("alpha_mode") == "1":
            raise ValueError(f"{path}: video with alpha cannot be matched; make one without, or pictures such as PNG")
        # Frames of FFV1 that are decoded ahead would tell of their damage when nobody listens.
        stream.thread_type = "SLICE" if stream.codec_context.name == "ffv1" else "AUTO"
        yield container, stream


def _decode(found: Survey, stream: Any, packets: Iterable[Any]) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """The frames and their times in seconds; an OSError where a frame is damaged, as far as that can be seen."""
    # What is wrong with the sum that is kept with each frame of FFV1 is told to the log only.
    listened = stream.codec_context.name == "ffv1"
    count = 0
    for packet in packets:
        try:
            with contextlib.ExitStack() as stack:
                heard = stack.enter_context(complaints("ffv1")) if listened else []
                frames = packet.decode()
        except av.error.InvalidDataError as error:
            raise damage(found, count) from error
        for frame in frames:
            stamp = found.stamps[count] if found.numbered and count < len(found.stamps) else frame.pts
            if frame.is_corrupt or heard:
                raise damage(found, count)
            if stamp is None:
                raise ValueError(f"{found.path}: expected a time stamp with each frame, got a frame without")
            yield stamp * found.unit, frame
            count += 1


def _pixels(frame: av.VideoFrame) -> Tensor:
    """A frame upright, float32, shape ``[H, W, 3]``."""
    name, _, highest = _rgb(frame.format)
    rgb = _reformat(frame, name, frame, dst_color_range=_FULL)
    # Where a display matrix turns the picture, PyAV gives degrees counterclockwise.
    values = np.rot90(rgb.to_ndarray(), frame.rotation // 90)
    return torch.from_numpy(values.astype(np.float32, order="C")).div_(highest)


def _rgb(known: Any) -> tuple[str, type[np.uint8 | np.uint16], int]:
    """The RGB that holds what a format does: its name, the type of its values and the highest of them."""
    return ("rgb48le", np.uint16, 65535) if known.components[0].bits > 8 else ("rgb24", np.uint8, 255)


def _reformat(frame: av.VideoFrame, name: str, described: Any, **ranges: int) -> av.VideoFrame:
    """Convert between YCbCr and RGB; where no matrix is given, by the one that players take for an image of this height."""
    matrix = _MATRICES.get(described.colorspace, Colorspace.ITU709 if described.height >= 720 else Colorspace.ITU601)
    return frame.reformat(format=name, src_colorspace=matrix, dst_colorspace=matrix, interpolation=_ACCURATE, **ranges)
