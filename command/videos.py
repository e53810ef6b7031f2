"""Match files that hold frames: videos and animations."""

from collections.abc import Iterator

from torch import Tensor
from tqdm import tqdm

from ..clip.frames import Frame
from ..clip.rewriting import Beside, rewrite
from .clips import read_clip_header, rewrite_clip
from .file_kinds import NamedError, about
from .job import Job
from .messages import say
from .metadata import Metadata
from .paths import Pair


def match_video_file(job: Job, pair: Pair) -> int:
    """Match a video or an animation and say how many failed, of which a damaged one is written as far as it can be read."""
    source, target = pair

    def frames(decoded: Iterator[tuple[int, Tensor]], metadata: Metadata) -> Iterator[Frame]:
        references = Beside(job.read_references(metadata.profile))
        return (job.clip_frame(pixels, references.at(place), metadata.orientation) for place, pixels in decoded)

    with tqdm(desc=source.name, unit="frame", disable=job.quiet) as bar:
        try:
            with about(source, target):
                job.check_target(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                header = read_clip_header(source)
                metadata = header.metadata
                with rewrite_clip(source, target, job.quality_for(target), job.codec, job.crf) as video:
                    rewrite(
                        video,
                        lambda decoded: frames(decoded, metadata),
                        lambda: job.read_references(metadata.profile),
                        job.lengths(video.frame_count),
                        lambda clip: job.match(clip, bar),
                    )
                    damage = video.damage()
            if header.note is not None:
                say(f"{source}: {header.note}")
            if damage is not None:
                say(damage)
        except NamedError as error:
            say(str(error))
            return 1
    return int(damage is not None)
