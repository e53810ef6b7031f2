"""What a video file holds, found by reading it without decoding, and where it is damaged."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from math import gcd
from pathlib import Path
from typing import Any

import av

# Places of damage that are told in one line.
_TOLD = 5
_log = threading.Lock()


@dataclass(frozen=True)
class Survey:
    """Of the frames of a video: their times, sorted, in units of ``unit`` seconds, and how many bytes they take.

    ``numbered`` says that the file stores no times, but shows its frames one after the other: AVI. It has ``before`` frames
    before those that are wanted. ``breaks``: so many frames come before each place where the file is broken.
    """

    path: Path
    stamps: list[int]
    unit: Fraction
    size: int
    numbered: bool
    before: int
    breaks: tuple[int, ...]

    @property
    def seconds(self) -> Fraction:
        """How long the frames are shown, the last one as long as the others on average."""
        count = len(self.stamps)
        if count < 2:
            return Fraction(1, 25)
        return (self.stamps[-1] - self.stamps[0]) * self.unit * Fraction(count, count - 1)

    def step(self, rate: Fraction | None, first: Fraction) -> Fraction:
        """The seconds from frame to frame of a container that only counts frames; a ValueError if times are not of that kind.

        Times are counted from ``first`` on. Where some are left out, the step is the longest that leads to all of them.
        """
        steps = [1 / rate] if rate else []
        times = [at * self.unit - first for at in self.stamps]
        shared = gcd(*(round(time / self.unit) for time in times)) * self.unit
        if shared >= Fraction(1, 1000):
            steps.append(shared)
        # Containers that store times round them.
        slack = 0 if self.numbered else self.unit / 2
        for step in steps:
            if not times[0] and all(abs(round(time / step) * step - time) <= slack for time in times):
                return step
        raise ValueError(f"{self.path}: expected frames at a constant rate, from 0 s on, for a container without time stamps")

    def damage(self, lost: Sequence[int], broken: Sequence[int] = ()) -> str | None:
        """Where the file is damaged, None for nowhere: it is also ``broken`` before some frames, and ``lost`` are left out."""
        runs = [[place for _, place in run] for _, run in groupby(enumerate(lost), lambda pair: pair[1] - pair[0])]
        found = [(run[0], f"at {self._time(run[0])} ({len(run)} frame{'s' * (len(run) > 1)} left out)") for run in runs]
        places = {*self.breaks, *broken}.difference(lost, [len(self.stamps)])
        found += [(place, f"after {self._time(max(place - 1, 0))}") for place in places]
        texts = [text for _, text in sorted(found)]
        more = [f"{len(texts) - _TOLD} more places"] if len(texts) > _TOLD else []
        told = [f"damaged {', '.join([*texts[:_TOLD], *more])}"] if texts else []
        if len(self.stamps) in self.breaks:
            told.append(f"cut off at {self._time(len(self.stamps))} ({len(self.stamps)} frames)")
        return f"{self.path}: {', '.join(told)}" if told else None

    def _time(self, place: int) -> str:
        """When a frame is shown, or what would come after the last."""
        stamps = self.stamps
        end = stamps[0] * self.unit + self.seconds if stamps else 0
        return f"{float(stamps[place] * self.unit if place < len(stamps) else end):.2f} s"


def survey(path: Path, container: Any, stream: Any, start: int = 0, end: int | None = None) -> Survey:
    """Read a video stream without decoding it, for the frames that are shown from ``start`` until ``end``, in its own units."""
    numbered = container.format.name == "avi"
    stamps: list[int] = []
    breaks: list[int] = []
    size, before, counted, broken = 0, 0, 0, 0
    cut_off = _is_cut_off(path, container, stream)
    with complaints(container.format.name) as heard:
        for packet in container.demux(stream):
            if packet.is_corrupt or heard() > broken:
                breaks.append(len(stamps))
                broken = heard()
            stamp = packet.dts if numbered else packet.pts
            # What has no time is not shown, such as frames that need one before the first.
            if not packet.size or packet.is_discard or packet.is_corrupt or stamp is None:
                continue
            counted = max(counted, stamp + 1)
            before += stamp < start
            if start <= stamp and (end is None or stamp < end):
                stamps.append(stamp)
                size += packet.size
            elif end is not None and packet.dts is not None and packet.dts >= end:
                cut_off = False
                break
        if heard() > broken:
            breaks.append(len(stamps))
    found = Survey(path, sorted(stamps), stream.time_base, size, numbered, before, ())
    # Writers of AVI miscount by one or two frames.
    most = counted + 2 * found.seconds / found.unit / max(len(stamps), 1)
    if cut_off or (numbered and end is None and stream.frames > most):
        breaks.append(len(stamps))
    return replace(found, breaks=tuple(dict.fromkeys(breaks)))


@contextlib.contextmanager
def complaints(name: str) -> Iterator[Callable[[], int]]:
    """Count the errors that a part of FFmpeg of this name goes on after, and tells to its log only."""
    # One at a time, since there is one log for all, whose level is put back.
    with _log:
        level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(av.logging.ERROR)
        av.logging.set_skip_repeated(False)
        try:
            # Decoders have threads.
            with av.logging.Capture(local=False) as logs:
                yield lambda: sum(who == name for _, who, _ in logs)
        finally:
            av.logging.set_skip_repeated(skips)
            av.logging.set_level(level)


@contextlib.contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Raise an error of FFmpeg as one that names the file."""
    try:
        yield
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        raise OSError(f"{path}: damaged, or no video") from error
    except av.FFmpegError as error:
        raise OSError(f"{path}: {error.strerror or error}") from error


def _is_cut_off(path: Path, container: Any, stream: Any) -> bool:
    """Whether the file is shorter than it says: as its index says in MP4 and MOV, as its head says in Matroska and WebM."""
    if any(entry.pos + entry.size > container.size for entry in stream.index_entries):
        return True
    if not container.format.name.startswith("matroska"):
        return False
    with path.open("rb") as file:
        # The header and its size, what it holds, the segment and its size (RFC 8794).
        file.seek(4)
        size = _element_size(file)
        file.seek((size or 0) + 4, 1)
        size = _element_size(file)
        return size is not None and file.tell() + size > container.size


def _element_size(file: Any) -> int | None:
    """The size of an element of Matroska: the zeros that it begins with say how long it is, ones only that it is unknown."""
    first = file.read(1)[0]
    length = 8 - first.bit_length()
    size = int.from_bytes(bytes([first & (0x7F >> length)]) + file.read(length), "big")
    return None if size == (1 << 7 * (length + 1)) - 1 else size
