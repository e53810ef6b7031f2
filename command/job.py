"""What all files of one call of the command have in common, and the references that they are matched to."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..clip.frames import Clip, Frame, Matched, Reference, Report
from ..clip.run import match_clip
from ..clip.settings import MatchSettings
from ..reference_histogram import ReferenceHistogram
from .image_files import read_image
from .paths import is_histogram, is_video
from .ranks import Ranks

ReferenceReader = Callable[[], Reference]


@dataclass(frozen=True)
class Job:
    """How to match, where to compute, which references and masks ``[H, W]``, and what becomes of files that exist."""

    settings: MatchSettings
    device: torch.device
    references: list[Path]
    image_mask: Tensor | None
    reference_mask: Tensor | None
    overwrite: bool
    resume: bool
    skip_unreadable: bool
    ranks: Ranks

    @property
    def quiet(self) -> bool | None:
        """As ``disable`` of tqdm: progress is shown by the first rank, on a terminal."""
        return None if self.ranks.first else True

    def check_target(self, target: Path) -> None:
        """Raise an error if a file exists that is not to be replaced."""
        if target.exists() and not self.overwrite:
            raise ValueError(f"{target} exists; --overwrite replaces it")

    def match(self, clip: Clip, bar: "tqdm[object] | None" = None) -> Iterator[Matched]:
        """Match a clip, show steps in a bar, end where another rank has ended, and say at last what there is to tell."""

        def show(done: int, total: int) -> None:
            if bar is not None:
                self.ranks.check()
                bar.total = total or None
                bar.update(done - bar.n)

        report = Report()
        for matched in match_clip(clip, self.settings, self.device, show):
            report += matched.report
            yield matched
        for note in report.notes():
            tqdm.write(note, file=sys.stderr)

    def frame(self, pixels: Tensor, reference: Reference | None, source: Any = None) -> Frame:
        """A frame of pixels ``[H, W, C]``, with memory for the result."""
        out = torch.empty_like(pixels)
        return Frame(pixels.movedim(-1, 0), out.movedim(-1, 0), reference, self.image_mask, self.image_mask, source)

    def lengths(self, frames: int) -> tuple[int, int] | None:
        """The number of frames and references, if the references are images."""
        videos = any(map(is_video, self.references))
        return None if videos and self.settings.reference_stats == "pooled" else (frames, len(self.references))

    def read_references(self) -> Iterator[Reference]:
        """Read the references one by one: images, the frames of videos, and what was saved."""
        return (read() for read in self.reference_readers())

    def reference_readers(self) -> Iterator[ReferenceReader]:
        """What reads the references, each when it is called: who passes one over need not read it."""
        for path in self.references:
            if is_video(path):
                for pixels in pictures(path):
                    yield partial(self._reference, path, pixels)
            else:
                yield partial(self._read_reference, path)

    def save_reference(self, target: Path) -> None:
        """Pool all references into a file."""
        self.check_target(target)
        histograms = (histogram for path in self.references for histogram in self._histograms(path))
        first = next(histograms, None)
        if first is None:
            raise ValueError("argument --reference: expected a picture or a video with frames")
        pooled = sum(histograms, first)
        pooled.save(target)

    def _read_reference(self, path: Path) -> Reference:
        if is_histogram(path):
            return ReferenceHistogram.load(path).as_reference(path.name)
        return self._reference(path, read_image(path).pixels[0])

    def _reference(self, path: Path, pixels: Tensor) -> Reference:
        return Reference(pixels.movedim(-1, 0)[:3], path.name, self.reference_mask)

    def _histograms(self, path: Path) -> Iterable[ReferenceHistogram]:
        if is_histogram(path):
            return [ReferenceHistogram.load(path)]
        mask = None if self.reference_mask is None else self.reference_mask[None]
        return (ReferenceHistogram.of(pixels[None], mask) for pixels in pictures(path))


def pictures(path: Path) -> Iterable[Tensor]:
    """What is in a file, ``[H, W, C]``: an image, or the frames of a video."""
    if not is_video(path):
        return [read_image(path).pixels[0]]
    from .video_files import read_frames

    return read_frames(path)
