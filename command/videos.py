"""Match video files."""

import sys
from collections.abc import Iterable, Iterator

from torch import Tensor
from tqdm import tqdm

from ..clip.frames import Clip, Frame
from .job import Job
from .paths import Pair
from .video_files import VideoRewriter, read_frames


def match_video_file(job: Job, pair: Pair) -> int:
    """Match a video file and say how many failed."""
    source, target = pair

    def frames(decoded: Iterable[Tensor]) -> Iterator[Frame]:
        references = job.read_references()
        return (job.frame(pixels, next(references, None)) for pixels in decoded)

    with tqdm(desc=source.name, unit="frame", disable=job.quiet) as bar:
        try:
            job.check_target(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            with VideoRewriter(source, target) as video:
                clip = Clip(
                    lambda: frames(video.frames()),
                    job.read_references,
                    job.lengths(video.frame_count),
                    lambda: frames(read_frames(source)),
                )
                for matched in job.match(clip, bar):
                    video.write(matched.frame.out.movedim(0, -1))
        except (OSError, ValueError) as error:
            named = str(error).startswith((f"{source}: ", f"{target}: "))
            bar.write(str(error) if named else f"{source}: {error}", file=sys.stderr)
            return 1
    return 0
