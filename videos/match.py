"""Match a video to pictures, to another video, or as a transform says: what the node does, with files."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import torch
from torch import Tensor

from ..checks import check_mask
from ..clip.frames import Frame, Reference
from ..clip.rewriting import Beside, rewrite
from ..clip.run import Progress, apply_clip, match_clip
from ..clip.settings import MatchSettings
from ..color_transform import ColorTransform
from ..matching import left_out, references_of
from ..methods.color_space import luma
from ..reference_histogram import ReferenceHistogram
from .rewriter import VideoRewriter
from .source import VideoSource, read_frames

VideoMask = Tensor | VideoSource
"""A mask for all frames ``[1, H, W]``, one for each ``[B, H, W]``, values in [0, 1], or a video whose brightness is one."""


@dataclass(frozen=True)
class VideoMatch:
    """How a video is matched, frame by frame, as :func:`match_images` does a batch.

    ``reference``: images ``[R, H, W, C]`` in [0, 1], a video, a :class:`ReferenceHistogram`, or a :class:`ColorTransform`, for
    which only ``factor`` counts of the settings, and masks say where to change.

    Raises:
        TypeError: a tensor is not a floating-point tensor.
        ValueError: a shape does not fit, or there are not as many masks as frames.
    """

    reference: Tensor | VideoSource | ReferenceHistogram | ColorTransform
    settings: MatchSettings
    device: torch.device
    image_mask: VideoMask | None = None
    reference_mask: Tensor | None = None
    change_mask: VideoMask | None = None

    def run(self, video: VideoRewriter, progress: Progress | None = None) -> list[str]:
        """Match all frames, and say what the user should be told."""
        count, settings = video.frame_count, self.settings
        for name, mask in (("image_mask", self.image_mask), ("change_mask", self.change_mask)):
            _check(name, mask, count)
        if settings.source_stats == "target_frame" and settings.target_index >= count:
            raise ValueError(f"target_index: expected 0 to {count - 1}, the frames of the video, got {settings.target_index}")
        references = self._reference_count()
        if isinstance(self.reference, ColorTransform):
            run = partial(apply_clip, transform=self.reference.transform, factor=settings.factor)
        else:
            run = partial(match_clip, settings=settings)
        match = partial(run, device=self.device, progress=progress)
        notes = left_out(references, count, settings)
        notes += rewrite(video, self._frames, self._references, (count, references), match).notes()
        damage = video.damage()
        return notes if damage is None else [*notes, f"video: {damage}"]

    def _frames(self, decoded: Iterator[tuple[int, Tensor]]) -> Iterator[Frame]:
        references = Beside(self._references())
        measured, changed = Beside(_masks(self.image_mask)), Beside(_masks(self.change_mask))
        for place, pixels in decoded:
            planes, out = pixels.movedim(-1, 0), torch.empty_like(pixels).movedim(-1, 0)
            mask = measured.at(place)
            change = mask if self.change_mask is None else changed.at(place)
            # Nothing is measured where the transform is known.
            mask = None if isinstance(self.reference, ColorTransform) else mask
            yield Frame(planes, out, references.at(place), mask, change, out)

    def _reference_count(self) -> int:
        """How many references there are; errors as of the class."""
        if isinstance(self.reference, ColorTransform):
            return 0
        if not isinstance(self.reference, VideoSource):
            return len(references_of(self.reference, self.reference_mask))
        count = len(self.reference.survey().stamps)
        if self.reference_mask is not None:
            check_mask("reference_mask", self.reference_mask, count)
        return count

    def _references(self) -> Iterator[Reference]:
        if isinstance(self.reference, VideoSource):
            masks = _masks(self.reference_mask)
            for index, (pixels, mask) in enumerate(zip(read_frames(self.reference), masks, strict=False)):
                yield Reference(pixels.movedim(-1, 0), f"frame {index}", mask)
        elif not isinstance(self.reference, ColorTransform):
            yield from references_of(self.reference, self.reference_mask)


def _check(name: str, mask: VideoMask | None, count: int) -> None:
    """Raise an error for a mask that does not go with so many frames."""
    if isinstance(mask, VideoSource):
        found = len(mask.survey().stamps)
        if found not in (1, count):
            raise ValueError(f"{name}: expected a video of 1 or {count} frames, as many as are matched, got {found}")
    elif mask is not None:
        check_mask(name, mask, count)


def _masks(mask: VideoMask | None) -> Iterator[Tensor | None]:
    """The masks ``[H, W]`` of the frames, one by one."""
    last = None
    frames = read_frames(mask) if isinstance(mask, VideoSource) else () if mask is None else mask
    for frame in frames:
        last = luma(frame.movedim(-1, 0))[0] if isinstance(mask, VideoSource) else frame
        yield last
    # One is for all.
    yield from repeat(last)
