"""What a video file holds, found by reading it without decoding, and where it is damaged."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from pathlib import Path
from typing import Any

import av


@dataclass(frozen=True)
class Survey:
    """Of the frames of a video: their times, sorted, in units of ``unit`` seconds, and how many bytes they take.

    ``numbered`` says that the file stores no times, but shows its frames one after the other: AVI.
    """

    path: Path
    stamps: list[int]
    unit: Fraction
    size: int
    numbered: bool

    @property
    def seconds(self) -> Fraction:
        """How long the frames are shown, the last one as long as the others on average."""
        count = len(self.stamps)
        if count < 2:
            return Fraction(1, 25)
        return (self.stamps[-1] - self.stamps[0]) * self.unit * Fraction(count, count - 1)

    def step(self, rate: Fraction | None) -> Fraction:
        """The seconds from frame to frame of a container that only counts frames; a ValueError if times are not of that kind.

        Where some times are left out, the step is the longest that leads to all of them.
        """
        steps = [1 / rate] if rate else []
        shared = gcd(*self.stamps) * self.unit
        if shared >= Fraction(1, 1000):
            steps.append(shared)
        # Containers that store times round them.
        slack = 0 if self.numbered else self.unit / 2
        times = [at * self.unit for at in self.stamps]
        for step in steps:
            if not times[0] and all(abs(round(time / step) * step - time) <= slack for time in times):
                return step
        raise ValueError(f"{self.path}: expected frames at a constant rate, from 0 s on, for a container without time stamps")


def survey(path: Path, container: Any, stream: Any) -> Survey:
    """Read all of a video stream without decoding it; an OSError that says from where on the file is damaged or cut off."""
    numbered = container.format.name == "avi"
    stamps: list[int] = []
    size, whole, counted = 0, not _is_cut_off(path, container, stream), 0
    with complaints(container.format.name) as heard:
        for packet in container.demux(stream):
            whole = whole and not packet.is_corrupt
            stamp = packet.dts if numbered else packet.pts
            # What has no time is not shown, such as frames that need one before the first.
            if packet.size and not packet.is_discard and not packet.is_corrupt and stamp is not None:
                stamps.append(stamp)
                size += packet.size
                counted = max(counted, stamp + 1)
    stamps.sort()
    found = Survey(path, stamps, stream.time_base, size, numbered)
    # Writers of AVI miscount by one or two frames.
    most = counted + 2 * found.seconds / found.unit / max(len(stamps), 1)
    if heard or not whole or (numbered and stream.frames > most):
        raise damage(found, len(stamps))
    return found


def damage(found: Survey, count: int) -> OSError:
    """The error for a file of which the first ``count`` frames are sound."""
    stamps = found.stamps
    seconds = stamps[count] * found.unit if count < len(stamps) else (stamps[0] * found.unit + found.seconds if stamps else 0)
    return OSError(f"{found.path}: damaged after {float(seconds):.1f} s ({count} frames)")


@contextlib.contextmanager
def complaints(name: str) -> Iterator[list[str]]:
    """Collect the errors that a part of FFmpeg of this name goes on after, and tells to its log only."""
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    heard: list[str] = []
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        # Decoders have threads.
        with av.logging.Capture(local=False) as logs:
            yield heard
        heard += [text for _, who, text in logs if who == name]
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
