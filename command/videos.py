"""Match files that hold frames: videos and animations."""

import sys
from collections.abc import Iterable, Iterator

from torch import Tensor
from tqdm import tqdm

from ..clip.frames import Clip, Frame
from .clips import count_clip, profile_of, read_clip, rewrite_clip
from .job import Job
from .paths import Pair


def match_video_file(job: Job, pair: Pair) -> int:
    """Match a video or an animation and say how many failed."""
    source, target = pair
    profile: bytes | None = None

    def frames(decoded: Iterable[Tensor]) -> Iterator[Frame]:
        references = job.read_references(profile)
        return (job.frame(pixels, next(references, None)) for pixels in decoded)

    with tqdm(desc=source.name, unit="frame", disable=job.quiet) as bar:
        try:
            job.check_target(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            length, profile = count_clip(source), profile_of(source)
            with rewrite_clip(source, target, job.quality) as video:
                clip = Clip(
                    lambda: frames(video.frames()),
                    lambda: job.read_references(profile),
                    None if length is None else job.lengths(length),
                    lambda: frames(read_clip(source)),
                )
                for matched in job.match(clip, bar):
                    video.write(matched.frame.out.movedim(0, -1))
        except (OSError, ValueError) as error:
            bar.write(f"{source}: {error}", file=sys.stderr)
            return 1
    return 0
