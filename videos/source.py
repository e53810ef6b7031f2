"""Read a video file, or a part of it, frame by frame."""

import contextlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
from torch import Tensor

from .pixels import pixels_of
from .survey import Survey, complaints, plain_errors, survey
from .threads import ahead


@dataclass(frozen=True)
class VideoSource:
    """What is shown of a video file from ``start`` s on, for ``duration`` s, of which 0 is to the end."""

    path: Path
    start: float = 0.0
    duration: float = 0.0

    @property
    def trimmed(self) -> bool:
        """Whether it is a part of the file."""
        return bool(self.start or self.duration)

    @property
    def end(self) -> Fraction | None:
        """The time that is no longer shown, in seconds; None for the end of the file."""
        return Fraction(self.start + self.duration) if self.duration else None

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[Any, Any]]:
        """The file, from the key frame before the start on, and its video stream; errors as :func:`read_frames`."""
        with plain_errors(self.path), av.open(str(self.path)) as container:
            if not container.streams.video:
                raise ValueError(f"{self.path}: holds no video")
            stream = container.streams.video[0]
            if stream.format is None:
                raise OSError(f"{self.path}: damaged, its first frames cannot be decoded")
            # Of VP8 and VP9, alpha is a second picture beside the one that is decoded.
            if any(component.is_alpha for component in stream.format.components) or stream.metadata.get("alpha_mode") == "1":
                raise ValueError(f"{self.path}: video with alpha cannot be matched; make one without, or pictures such as PNG")
            # Frames of FFV1 that are decoded ahead would tell of their damage when nobody listens.
            stream.thread_type = "SLICE" if stream.codec_context.name == "ffv1" else "AUTO"
            # Frames of AVI are counted from the first.
            if self.start and container.format.name != "avi":
                container.seek(_units(self.start, stream), stream=stream)
            try:
                yield container, stream
            finally:
                # Threads that still decode would wait for Python to tell of an error, and it for them when they are ended.
                stream.codec_context.flush_buffers()

    def packets(self, container: Any, streams: list[Any]) -> Iterator[Any]:
        """The packets of streams, until all have come to the end of what is shown."""
        reading = {stream.index for stream in streams if stream.type != "subtitle"}
        for packet in container.demux(streams):
            if self.end is None or packet.dts is None or packet.dts * packet.time_base < self.end:
                yield packet
            else:
                reading.discard(packet.stream.index)
                if not reading:
                    break

    def survey(self) -> Survey:
        """What is in the file; a ValueError where nothing is shown."""
        with self.opened() as (container, stream):
            end = None if self.end is None else _units(self.end, stream)
            found = survey(self.path, container, stream, _units(self.start, stream), end)
        if not found.stamps:
            part = f" from {self.start:.2f} s on" if self.trimmed else ""
            raise ValueError(f"{self.path}: expected a video with frames{part}, got one without")
        return found


def _units(seconds: float | Fraction, stream: Any) -> int:
    """A time in units of a stream."""
    return int(Fraction(seconds) / Fraction(stream.time_base))


class Decoder:
    """Decodes the frames of a video that are wanted, and knows which of them cannot be read."""

    def __init__(self, found: Survey) -> None:
        self._found, self._seen = found, bytearray(len(found.stamps))
        # The places of frames before which something could not be read.
        self._failures: list[int] = []
        self._hides = False

    def failure(self) -> str | None:
        """What could not be read so far."""
        return self._found.damage((), self._failures) if self._failures else None

    def damage(self) -> str | None:
        """Once all is decoded: where the file is damaged and which frames are left out for that; None for nowhere."""
        broken = self._failures or self._found.breaks or not any(self._seen)
        # Of a sound file that begins in the middle of a film, frames that need one before the first cannot be decoded.
        first = 0 if broken else self._seen.index(1)
        lost = [place for place in range(first, len(self._seen)) if not self._seen[place]]
        # Some frames of VP8 are never shown, and second fields of interlaced video can have packets of their own.
        known = lost if broken or not (self._hides or 3 * len(lost) > len(self._seen)) else []
        return self._found.damage(known, () if lost else self._failures)

    def frames(self, stream: Any, packets: Iterable[Any]) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames, each with its place among all; those are left out that are damaged, as far as that can be seen."""
        found, self._hides = self._found, stream.codec_context.name == "vp8"
        count = len(found.stamps)
        # A numbered file is decoded from its first frame on.
        place = -found.before if found.numbered else 0
        for frame, sound in self._decoded(stream, packets):
            if frame is not None and not found.numbered:
                if frame.pts is None:
                    raise ValueError(f"{found.path}: expected a time stamp with each frame, got a frame without")
                place = bisect_left(found.stamps, frame.pts)
                # Several may be shown at one time.
                while found.stamps[place : place + 2] == [frame.pts] * 2 and self._seen[place]:
                    place += 1
            shown = 0 <= place < count and (frame is None or found.numbered or found.stamps[place] == frame.pts)
            if shown and not sound:
                self._failures.append(place)
            elif shown and not self._seen[place]:
                self._seen[place] = True
                yield place, frame
            place += frame is not None or found.numbered

    def _decoded(self, stream: Any, packets: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
        """Each frame with whether it is sound, and None for what cannot be decoded."""
        # What is wrong with the sum that is kept with each frame of FFV1 is told to the log only.
        listened = stream.codec_context.name == "ffv1"
        # At the end, decoders give what they have kept back.
        for packet in chain((packet for packet in packets if packet.size), [None]):
            try:
                with complaints("ffv1") if listened else contextlib.nullcontext(int) as heard:
                    frames = stream.decode(packet)
                    sound = not heard()
            except av.error.InvalidDataError:
                yield None, False
                continue
            for frame in frames:
                yield frame, sound and not frame.is_corrupt


def read_frames(source: VideoSource) -> Iterator[Tensor]:
    """Decode to upright frames, float32 ``[H, W, 3]`` in [0, 1]; an OSError for damage, a ValueError for no video or alpha."""
    return ahead(_read(source))


def _read(source: VideoSource) -> Iterator[Tensor]:
    decoder = Decoder(source.survey())
    with source.opened() as (container, stream):
        for _, frame in decoder.frames(stream, source.packets(container, [stream])):
            if failure := decoder.failure():
                raise OSError(failure)
            yield pixels_of(frame)
    if damage := decoder.damage():
        raise OSError(damage)
