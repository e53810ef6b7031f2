"""What all files of one call of the command have in common, and the references that they are matched to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..clip.frames import Clip, Frame, Matched, Reference, Report, fit_mask
from ..clip.run import apply_clip, match_clip
from ..clip.settings import MatchSettings
from ..methods.transform import Transform
from ..reference_histogram import ReferenceHistogram
from .clips import is_clip, read_clip, read_clip_header
from .color_profiles import convert
from .file_kinds import about
from .histogram_plot import HistogramPlot
from .image_files import ImageFile, colors_of, coverage, read_image
from .messages import say
from .orientation import as_stored
from .paths import IMAGE_KINDS, LOSSY_KINDS, is_histogram
from .ranks import Ranks

ReferenceReader = Callable[[bytes | None], Reference]
"""Reads a reference, in the colors of an ICC profile; None means sRGB."""


@dataclass(frozen=True)
class Job:
    """How to match, where to compute, which references and upright masks ``[H, W]``, and what becomes of files that exist.

    All files go through a ``transform``, if there is one. Unless ``ignore_alpha``, transparent pixels are not measured. A
    ``plot`` is shown all that is matched. ``quality``, 1 to 100, is of lossy image files, ``codec`` and ``crf`` are of videos.
    """

    settings: MatchSettings
    device: torch.device
    references: list[Path]
    image_mask: Tensor | None
    reference_mask: Tensor | None
    overwrite: bool
    resume: bool
    skip_unreadable: bool
    ranks: Ranks
    ignore_alpha: bool = False
    quality: int | None = None
    codec: str | None = None
    crf: int | None = None
    change_mask: Tensor | None = None
    transform: Transform | None = None
    plot: HistogramPlot | None = None

    @property
    def any_values(self) -> bool:
        """Whether pictures can have values beyond [0, 1]."""
        return self.settings.range == "data" or (self.transform is not None and self.transform.space.values is not None)

    @property
    def quiet(self) -> bool | None:
        """As ``disable`` of tqdm: progress is shown by the first rank, on a terminal."""
        return None if self.ranks.first else True

    def quality_for(self, target: Path) -> int | None:
        """The quality that is asked for, if the format of ``target`` has one."""
        return self.quality if IMAGE_KINDS.get(target.suffix.lower()) in LOSSY_KINDS else None

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

        if self.settings.range == "data" and clip.values is None:
            raise ValueError("argument --range: expected 0 to 1 for a clip, whose values are in it")
        report, transparent = Report(), 0
        if self.transform is None:
            results = match_clip(clip, self.settings, self.device, show)
        else:
            results = apply_clip(clip, self.transform, self.settings.factor, self.device, show)
        for matched in results:
            if matched.report.image_masked and not self._is_masked(matched.frame):
                transparent += 1
                report += replace(matched.report, image_masked=0)
            else:
                report += matched.report
            if self.plot is not None:
                self.plot.add(matched.frame)
            yield matched
        for note in report.notes():
            say(note)
        if transparent:
            say(f"image: transparent throughout in {transparent} frames, which are left as they are")

    def frame(self, pixels: Tensor, reference: Reference | None, file: ImageFile) -> Frame:
        """An image file of pixels ``[H, W, C]`` as a frame, with memory for the result; the file is its ``source``."""
        out = torch.empty_like(pixels).movedim(-1, 0)
        change, mask = self._masks(file.orientation, file.coverage)
        return Frame(pixels.movedim(-1, 0), out, reference, mask, change, file)

    def clip_frame(self, pixels: Tensor, reference: Reference | None, orientation: int) -> Frame:
        """A frame ``[H, W, C]`` of a clip; its ``source`` is the whole result, of which ``out`` is what has to be matched."""
        planes, result = pixels.movedim(-1, 0), torch.empty_like(pixels).movedim(-1, 0)
        change, mask = self._masks(orientation, coverage(pixels))
        if len(planes) != 2:
            return Frame(planes, result, reference, mask, change, result)
        result[1] = planes[1]
        return Frame(planes[:1], result[:1], reference, mask, change, result)

    def lengths(self, frames: int) -> tuple[int, int] | None:
        """The number of frames and references, if the references are images."""
        clips = any(map(is_clip, self.references))
        return None if clips and self.settings.reference_stats == "pooled" else (frames, len(self.references))

    def read_references(self, profile: bytes | None = None) -> Iterator[Reference]:
        """Read the references one by one, in the colors of a profile: images, the frames of clips, and what was saved."""
        return (read(profile) for read in self.reference_readers())

    def reference_readers(self) -> Iterator[ReferenceReader]:
        """What reads the references, each when it is called: who passes one over need not read it."""
        return (reader for path in self.references for reader in self.readers_of(path))

    def readers_of(self, path: Path) -> Iterator[ReferenceReader]:
        """What reads the references in a file."""
        if not is_clip(path):
            yield partial(self._read_reference, path)
            return
        metadata = read_clip_header(path).metadata
        for pixels in read_clip(path):
            yield partial(self._reference, path.name, pixels, coverage(pixels), metadata.profile, metadata.orientation)

    def _read_reference(self, path: Path, profile: bytes | None) -> Reference:
        with about(path):
            return self._read(path, profile)

    def _read(self, path: Path, profile: bytes | None) -> Reference:
        if is_histogram(path):
            reference = ReferenceHistogram.load(path).as_reference(path.name)
            colors = convert(reference.pixels.movedim(0, -1), None, profile, path.name).movedim(-1, 0)
            # The histograms of single channels cannot be converted; the sample of colors that is kept with them can.
            return reference if colors.equal(reference.pixels) else replace(reference, pixels=colors, counts=None)
        file = read_image(path, any_values=self.any_values)
        return self._reference(path.name, file.pixels[0], file.coverage, file.profile, file.orientation, profile)

    def _reference(
        self, name: str, pixels: Tensor, alpha: Tensor | None, own: bytes | None, orientation: int, profile: bytes | None
    ) -> Reference:
        """What was read of a file, as a reference in the colors of a profile."""
        colors = convert(colors_of(pixels), own, profile, name).movedim(-1, 0)
        mask = None if self.reference_mask is None else as_stored(self.reference_mask, orientation)
        if alpha is None or self.ignore_alpha:
            return Reference(colors, name, mask)
        if not alpha.any():
            raise ValueError(f"{name}: expected pixels that are not transparent, got none")
        return Reference(colors, name, _weighed("reference_mask", mask, alpha))

    def _masks(self, orientation: int, alpha: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """How much each stored pixel of a picture is changed, and how much it is measured."""
        painted, change = (
            None if mask is None else as_stored(mask, orientation) for mask in (self.image_mask, self.change_mask)
        )
        change = painted if self.change_mask is None else change
        if self.transform is not None:
            return change, None
        return change, painted if alpha is None or self.ignore_alpha else _weighed("image_mask", painted, alpha)

    def _is_masked(self, frame: Frame) -> bool:
        """Whether nothing of a frame is to be measured, rather than everything in it being transparent."""
        if self.change_mask is not None:
            return self.image_mask is not None and not self.image_mask.any()
        return frame.mask is frame.change or (frame.change is not None and not frame.change.any())


def _weighed(name: str, mask: Tensor | None, alpha: Tensor) -> Tensor:
    """How much each pixel counts: as much as mask and alpha say together."""
    return alpha if mask is None else fit_mask(name, mask, alpha) * alpha
