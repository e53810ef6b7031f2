"""Write a video anew, with the timing, sound and color tags of the file it came from."""

import contextlib
import tempfile
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from torch import Tensor

from ..command.whole_files import hidden_prefix
from .encoders import VideoEncoding
from .pixels import pixels_of
from .source import Decoder, VideoSource
from .survey import plain_errors
from .target import VideoTarget
from .threads import Behind, ahead


class VideoRewriter:
    """A context manager that writes a video anew: each frame is read, and written as soon as it is done.

    Timing, sound, subtitles, chapters, tags and color description are carried over; of a part of a video, times are counted
    from its first frame on, and chapters are left out. The frames are encoded with the source's codec and bit depth where there
    is an encoder, else as H.264 or H.265 (VP9 or AV1 in WebM), if ``encoding`` asks for nothing else. The target's ending
    decides on the container. The file appears whole or not at all. What cannot be read of a damaged file is left out.

    Raises:
        ValueError: the source holds no video, or one with alpha; or the target cannot hold what is in it.
        OSError: not even the first frames can be read, or the target cannot be written.
    """

    def __init__(self, source: VideoSource, target: Path, encoding: VideoEncoding | None = None) -> None:
        self._source, self._path, self._encoding = source, target, encoding or VideoEncoding()
        self._times: deque[Fraction] = deque()
        self._packets: deque[Any] = deque()

    @property
    def frame_count(self) -> int:
        """How many frames the source has."""
        return len(self._found.stamps)

    def __enter__(self) -> "VideoRewriter":
        with contextlib.ExitStack() as stack:
            found = self._found = self._source.survey()
            self._decoder = Decoder(found)
            _, first = next(self._decoded(), (0, None))
            if first is None:
                raise OSError(found.damage(range(len(found.stamps))))
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=hidden_prefix(), dir=self._path.parent))
            self._unfinished = Path(folder) / self._path.name
            self._input, self._video = stack.enter_context(self._source.opened())
            stack.enter_context(plain_errors(self._path))
            output = stack.enter_context(av.open(str(self._unfinished), "w"))
            if not self._source.trimmed and (chapters := self._input.chapters()):
                output.set_chapters(chapters)
            begin = found.stamps[0] * found.unit if self._source.trimmed else Fraction(0)
            self._target = VideoTarget(self._path, output, found, begin)
            self._target.open(self._input, self._video, first, self._encoding)
            self._behind, self._reading = Behind(), ahead(self._read())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack:
            # Both threads end before what they work on is closed.
            self._reading.close()
            self._behind.end(drop=kind is not None)
            if kind is None:
                self._copy_packets()
                self._target.finish()
                self._unfinished.replace(self._path)

    def measured(self) -> Iterator[tuple[int, Tensor]]:
        """Yield what :meth:`frames` does, before that or after."""
        return ahead((place, pixels_of(frame)) for place, frame in self._decoded())

    def frames(self) -> Iterator[tuple[int, Tensor]]:
        """Yield upright frames, float32 ``[H, W, 3]`` in [0, 1], each with its place; carry over what else is in the file."""
        return self._reading

    def write(self, pixels: Tensor) -> None:
        """Write the next frame, floating point, shape ``[H, W, 3]``, values in [0, 1]; later, in a thread of its own."""
        self._behind.call(self._write, pixels)

    def damage(self) -> str | None:
        """Once all frames are read: where the source is damaged, and what is left out for that; None for nowhere."""
        return self._decoder.damage()

    def _decoded(self) -> Iterator[tuple[int, Any]]:
        with self._source.opened() as (container, stream):
            yield from Decoder(self._found).frames(stream, self._source.packets(container, [stream]))

    def _read(self) -> Iterator[tuple[int, Tensor]]:
        with plain_errors(self._source.path):
            for place, frame in self._decoder.frames(self._video, self._demux()):
                self._times.append(self._found.stamps[place] * self._found.unit)
                yield place, pixels_of(frame)

    def _demux(self) -> Iterator[Any]:
        """Yield what belongs to the video, and keep what belongs to the other streams."""
        copied = (self._input.streams[index] for index in self._target.copied)
        for packet in self._source.packets(self._input, [self._video, *copied]):
            if packet.stream.index == self._video.index:
                yield packet
            elif packet.dts is not None:
                self._packets.append(packet)

    def _write(self, pixels: Tensor) -> None:
        self._copy_packets()
        self._target.encode(pixels, self._times.popleft())

    def _copy_packets(self) -> None:
        """Write what has come up of the other streams."""
        while self._packets:
            self._target.copy(self._packets.popleft())
