"""ComfyUI's videos as files: where they are, or written to one, and what becomes of them."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from uuid import uuid4

import comfy.model_management
from comfy_api.latest import Input

from ..videos.codecs import suffixes_for
from ..videos.encoders import ContainerError, VideoEncoding
from ..videos.lossless import write_lossless
from ..videos.rewriter import VideoRewriter
from ..videos.source import VideoSource

# Of frames that are in memory, by their bits.
_PIXEL_FORMATS = {8: "yuv420p", 10: "yuv420p10le"}


def video_source(video: Input.Video, folder: Path) -> VideoSource:
    """The part of a file that a video is; one that is in memory is written to a folder, encoded or as frames."""
    if not _is_stream(video):
        parts, path = video.get_components(), folder / f"{uuid4().hex}.mkv"
        sound = None if parts.audio is None else (parts.audio["waveform"][0], int(parts.audio["sample_rate"]))
        rate = Fraction(parts.frame_rate).limit_denominator(1 << 20)
        write_lossless(path, parts.images, rate, sound, comfy.model_management.throw_exception_if_processing_interrupted)
        return VideoSource(path)
    # ComfyUI before 2026 cuts nothing off without decoding.
    window = video.get_active_trim_window() if hasattr(video, "get_active_trim_window") else ()
    stream = video.get_stream_source()
    if isinstance(stream, str):
        return VideoSource(Path(stream), *window)
    path = folder / uuid4().hex
    path.write_bytes(stream.getbuffer())
    return VideoSource(path, *window)


@contextlib.contextmanager
def opened_rewriter(
    video: Input.Video, folder: Path, name: Path, codec: str | None, crf: int | None
) -> Iterator[tuple[VideoRewriter, Path]]:
    """A context with what writes a video anew, and the file that is there after it, which is called ``name`` with an ending.

    The container is that of the video, if it can hold the codec and the sound, and otherwise one that can. Files that must be
    written to read the video go to ``folder``.
    """
    source, pixel_format, like = video_source(video, folder), None, Path("video.mp4")
    if _is_stream(video):
        like = source.path
    elif codec != "ffv1":
        bits = video.get_bit_depth() if hasattr(video, "get_bit_depth") else 8
        codec, pixel_format = codec or "h264", _PIXEL_FORMATS[8 if bits <= 8 else 10]
    encoding, paths = VideoEncoding(codec, crf, pixel_format), [name.with_suffix(end) for end in suffixes_for(like, codec)]
    with contextlib.ExitStack() as stack:
        for path in paths:
            try:
                rewriter = stack.enter_context(VideoRewriter(source, path, encoding))
                break
            except ContainerError:
                if path == paths[-1]:
                    raise
        yield rewriter, path


def _is_stream(video: Input.Video) -> bool:
    """Whether there is a stream to read: otherwise what ComfyUI gives as one is encoded with loss."""
    return type(video).get_stream_source is not Input.Video.get_stream_source
