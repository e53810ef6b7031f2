"""Match files that hold frames: videos and animations."""

from collections.abc import Iterable, Iterator

from torch import Tensor
from tqdm import tqdm

from ..clip.frames import Clip, Frame
from .clips import read_clip, read_clip_header, rewrite_clip
from .file_kinds import NamedError, about
from .job import Job
from .messages import say
from .metadata import Metadata
from .paths import Pair


def match_video_file(job: Job, pair: Pair) -> int:
    """Match a video or an animation and say how many failed."""
    source, target = pair

    def frames(decoded: Iterable[Tensor], metadata: Metadata) -> Iterator[Frame]:
        references = job.read_references(metadata.profile)
        return (job.clip_frame(pixels, next(references, None), metadata.orientation) for pixels in decoded)

    with tqdm(desc=source.name, unit="frame", disable=job.quiet) as bar:
        try:
            with about(source, target):
                job.check_target(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                header = read_clip_header(source)
                metadata = header.metadata
                with rewrite_clip(source, target, job.quality_for(target), job.crf) as video:
                    clip = Clip(
                        lambda: frames(video.frames(), metadata),
                        lambda: job.read_references(metadata.profile),
                        job.lengths(video.frame_count),
                        lambda: frames(read_clip(source), metadata),
                    )
                    for matched in job.match(clip, bar):
                        video.write(matched.frame.source.movedim(0, -1))
            if header.note is not None:
                say(f"{source}: {header.note}")
        except NamedError as error:
            say(str(error))
            return 1
    return 0
