"""Match a clip from one file into another, frame by frame."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from .frames import Clip, Frame, Matched, Reference, Report

_Item = TypeVar("_Item")


class Beside(Generic[_Item]):
    """What goes with the frames of a clip, one to each, as far as there is any; that of missing frames is skipped."""

    def __init__(self, items: Iterable[_Item]) -> None:
        self._items, self._place = iter(items), 0

    def at(self, place: int) -> _Item | None:
        """What goes with the frame at a place, which is beyond those before; None where there is no more."""
        found = None
        for item in islice(self._items, place + 1 - self._place):
            found = item
        self._place = place + 1
        return found


class Rewriter(Protocol):
    """What reads frames ``[H, W, C]`` of a file, with their places, of which some may be missing, and writes another."""

    def measured(self) -> Iterator[tuple[int, Tensor]]:
        """Begin to read all frames, where they are only measured."""

    def frames(self) -> Iterator[tuple[int, Tensor]]:
        """Begin to read all frames, of which each is written."""

    def write(self, pixels: Tensor) -> None:
        """Write the next frame."""


def rewrite(
    file: Rewriter,
    frames: Callable[[Iterator[tuple[int, Tensor]]], Iterator[Frame]],
    references: Callable[[], Iterable[Reference]],
    lengths: tuple[int, int] | None,
    match: Callable[[Clip], Iterator[Matched]],
) -> Report:
    """Send all frames of a file through ``match``, write each as it is done, and say what there is to tell.

    ``frames`` makes of the pixels that are read what is to be matched, with the whole result as its ``source``; ``references``
    and ``lengths`` are those of :class:`Clip`.
    """
    report = Report()
    for matched in match(Clip(lambda: frames(file.frames()), references, lengths, lambda: frames(file.measured()))):
        file.write(matched.frame.source.movedim(0, -1))
        report += matched.report
    return report
