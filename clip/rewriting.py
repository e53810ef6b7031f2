"""Match a clip from one file into another, frame by frame."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from torch import Tensor

from .frames import Clip, Frame, Matched, Reference, Report


class Rewriter(Protocol):
    """What reads frames ``[H, W, C]`` of a file and writes those of another."""

    def measured(self) -> Iterator[Tensor]:
        """Begin to read all frames, where they are only measured."""

    def frames(self) -> Iterator[Tensor]:
        """Begin to read all frames, of which each is written."""

    def write(self, pixels: Tensor) -> None:
        """Write the next frame."""


def rewrite(
    file: Rewriter,
    frames: Callable[[Iterator[Tensor]], Iterator[Frame]],
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
