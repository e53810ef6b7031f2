"""Write a video file whose frames are encoded, and whose other streams are those of another file."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from torch import Tensor

from . import svt_av1
from .encoders import ContainerError, VideoEncoding
from .pixels import FULL, frame_of
from .rates import encoder_options
from .survey import Survey

_RGB, _UNSPECIFIED = 0, 2  # matrix coefficients


class VideoTarget:
    """An opened container that becomes the file ``path``, with what is known of the video it is made of.

    Errors are a :class:`ContainerError` and those of FFmpeg.
    """

    def __init__(self, path: Path, output: Any, found: Survey, begin: Fraction) -> None:
        self._path, self._output, self._found, self._begin = path, output, found, begin
        self._copies: dict[int, Any] = {}

    def open(self, source: Any, video: Any, first: av.VideoFrame, encoding: VideoEncoding) -> None:
        """Take over tags and streams of an opened file, whose ``first`` frame is known, and write the head of this one."""
        self._output.metadata.update(source.metadata)
        self._encoder = self._open_encoder(video, first, encoding)
        for stream in source.streams:
            if stream.type in ("audio", "subtitle"):
                self._copies[stream.index] = self._copy(stream)
        # Here it turns out whether the container holds what is in it.
        try:
            with svt_av1.contained():
                self._output.start_encoding()
        except av.error.ArgumentError as error:
            held = ", ".join(stream.codec_context.codec.canonical_name for stream in self._output.streams)
            raise ContainerError(f"{self._path}: {self._path.suffix} cannot hold {held} together; .mkv can") from error

    @property
    def copied(self) -> list[int]:
        """The indices of the streams that are taken over as they are."""
        return list(self._copies)

    def encode(self, pixels: Tensor, time: Fraction) -> None:
        """Write a frame, floating point, shape ``[H, W, 3]``, values in [0, 1], that is shown at ``time`` s of the source."""
        frame = frame_of(pixels, self._encoder)
        frame.time_base = self._encoder.time_base
        frame.pts = round((time - self._begin) / frame.time_base)
        self._output.mux(self._encoder.encode(frame))

    def copy(self, packet: Any) -> None:
        """Write a packet of a stream that is taken over, unless it belongs to what is cut off before the first frame."""
        if self._begin:
            if packet.pts is None or packet.pts * packet.time_base < self._begin:
                return
            shift = round(self._begin / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = self._copies[packet.stream.index]
        self._output.mux(packet)

    def finish(self) -> None:
        """Write what the encoder has kept back, and the end of the file."""
        self._output.mux(self._encoder.encode())
        self._output.close()

    def _copy(self, stream: Any) -> Any:
        """A stream with what is in this one."""
        try:
            copy = self._output.add_stream_from_template(stream)
        except ValueError as error:
            kind = {"audio": "sound", "subtitle": "subtitles"}[stream.type]
            held = f"{self._path.suffix} cannot hold {kind} in {stream.codec_context.codec.canonical_name}"
            raise ContainerError(f"{self._path}: {held}; .mkv can") from error
        copy.metadata.update(stream.metadata)
        return copy

    def _open_encoder(self, video: Any, frame: av.VideoFrame, encoding: VideoEncoding) -> Any:
        source, found = video.codec_context, self._found
        name, pixel_format = encoding.choose(self._path, self._output, source.name, frame.format.name)
        width, height = (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)
        options = encoder_options(name, encoding.crf, Fraction(8 * found.size) / found.seconds, float(found.seconds), width)
        stream = self._output.add_stream(name, options=options)
        stream.metadata.update(video.metadata)
        encoder = stream.codec_context
        encoder.height, encoder.width = height, width
        encoder.pix_fmt = pixel_format
        encoder.framerate = Fraction(len(found.stamps)) / found.seconds
        stream.time_base = encoder.time_base = found.unit
        if self._output.format.name == "avi":
            # AVI shows frames in the order in which they are stored.
            encoder.max_b_frames = 0
            stream.time_base = encoder.time_base = found.step(video.base_rate, self._begin)
        if ratio := source.sample_aspect_ratio:
            encoder.sample_aspect_ratio = 1 / ratio if frame.rotation % 180 else ratio
        encoder.color_primaries, encoder.color_trc = source.color_primaries, source.color_trc
        encoder.colorspace, encoder.color_range = source.colorspace, source.color_range
        if encoder.format.is_rgb and not frame.format.is_rgb:
            encoder.colorspace, encoder.color_range = _RGB, FULL
        elif frame.format.is_rgb and not encoder.format.is_rgb:
            encoder.colorspace = _UNSPECIFIED
        if frame.format.name.startswith("yuvj"):
            encoder.color_range = FULL
        return encoder
