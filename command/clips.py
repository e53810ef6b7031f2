"""Files that hold frames: videos by their names, and pictures that turn out to be animated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .animations import AnimationRewriter, is_animation, read_frames
from .encoders import Encoding
from .file_kinds import about
from .image_files import ImageHeader, read_header
from .metadata import Metadata
from .paths import is_video

if TYPE_CHECKING:
    from torch import Tensor


def is_clip(path: Path) -> bool:
    """Whether a file is a video or an animation."""
    return is_video(path) or is_animation(path)


def read_clip(path: Path) -> Iterator[Tensor]:
    """Decode to frames, float32 ``[H, W, C]`` in [0, 1] with C from 1 to 4: gray or RGB, and alpha; errors name the file."""
    if is_video(path):
        from ..videos.source import VideoSource
        from ..videos.source import read_frames as read_video

        yield from read_video(VideoSource(path))
    else:
        with about(path):
            yield from read_frames(path)


def read_clip_header(path: Path) -> ImageHeader:
    """What is known of a clip without decoding it: of videos, nothing, since they are read upright and as sRGB."""
    return ImageHeader(Metadata(), Encoding("video")) if is_video(path) else read_header(path)


def rewrite_clip(source: Path, target: Path, quality: int | None, codec: str | None, crf: int | None) -> Any:
    """A context manager that writes a clip anew, a ``VideoRewriter`` or an :class:`AnimationRewriter`."""
    if is_video(source):
        from ..videos.encoders import VideoEncoding
        from ..videos.rewriter import VideoRewriter
        from ..videos.source import VideoSource

        return VideoRewriter(VideoSource(source), target, VideoEncoding(codec, crf))
    return AnimationRewriter(source, target, quality)
