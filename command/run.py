"""One run of the command, from its arguments to its exit status."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ..clip.settings import MatchSettings
from ..methods.transform import Step
from ..reference_histogram import SUFFIX
from .arguments import make_parser, settings_of
from .clips import is_clip
from .images import match_image_files
from .job import Job
from .masks import read_mask
from .paths import Pair, is_histogram, is_video, name_files
from .ranks import RankError, Ranks, join_ranks


def main(arguments: Sequence[str] | None = None) -> int:
    """Match files as ``arguments`` or ``sys.argv[1:]`` say; return 0 if all are matched, else 1; exit with 2 for bad ones."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        with join_ranks() as ranks:
            return _run(parser, options, ranks)
    except RankError as error:
        print(f"stopped: {error}; the same command does the files that are missing", file=sys.stderr)
        return 1


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace, ranks: Ranks) -> int:
    """Match this rank's part of the files, and return the exit status."""
    message = None
    try:
        job, pairs = _prepare(options, ranks)
    except (OSError, ValueError) as error:
        message = str(error)
    failed_rank = ranks.first_with(message)
    if message is not None:
        # Once, and not by each rank that has found the same.
        if ranks.rank == failed_rank:
            parser.error(message)
        parser.exit(2)
    if failed_rank is not None:
        raise RankError(f"rank {failed_rank} has failed")
    # Files are shared by their numbers in the list.
    ranks.agree("\n".join(f"{source}\t{target}" for source, target in pairs))
    failed = ranks.finish(_match(job, pairs))
    if failed and ranks.first:
        print(f"{failed} of {len(pairs)} files failed", file=sys.stderr)
    elif options.demo:
        print(f"{pairs[0][0]} matched to {job.references[0]}: {pairs[0][1]}")
    return 1 if failed else 0


def _match(job: Job, pairs: list[Pair]) -> int:
    """Match this rank's part of the files, and say how many failed."""
    ranks = job.ranks
    images, videos = ([pair for pair in pairs if is_clip(pair[0]) == clip] for clip in (False, True))
    mine = ranks.share(range(len(images)))
    chosen = [index for index in mine if not (job.resume and images[index][1].exists())]
    videos = [pair for pair in ranks.share(videos) if not (job.resume and pair[1].exists())]
    # All ranks have listed the files before the first of them writes one.
    wanted = ranks.total(len(chosen))
    existing = len(pairs) - wanted - ranks.total(len(videos))
    if existing and ranks.first:
        print(f"{existing} of {len(pairs)} files exist and stay as they are; --overwrite replaces them", file=sys.stderr)
    failed = match_image_files(job, images, mine, chosen) if wanted else 0
    for pair in videos:
        from .videos import match_video_file

        failed += match_video_file(job, pair)
    return failed


def _prepare(options: argparse.Namespace, ranks: Ranks) -> tuple[Job, list[Pair]]:
    """Check the arguments, find the files, and do what there is to do before the first of them."""
    settings = settings_of(options)
    device = _device(options.device, ranks)
    if ranks.size > 1 and (options.demo or options.save_reference):
        name = "--demo" if options.demo else "--save-reference"
        raise ValueError(f"argument {name}: expected one process, got {ranks.size}")
    pairs, references = name_files(options)
    if ranks.size > 1 and not all(is_clip(source) for source, _ in pairs):
        _check_shared(settings, ranks.size)
    image_mask, reference_mask = (path and read_mask(Path(path)) for path in (options.image_mask, options.reference_mask))
    if reference_mask is not None and any(map(is_histogram, references)):
        raise ValueError(f"argument --reference-mask: expected no {SUFFIX} among the references with it")
    if any(map(is_video, [*references, *(source for source, _ in pairs)])):
        try:
            from . import video_files  # noqa: F401
        except ImportError as error:
            raise ValueError(f'videos need PyAV: pip install "comfyui-histogram-match[video]" ({error})') from error
    resume = (options.resume or ranks.launched) and not options.overwrite
    if resume and any(source == target for source, target in pairs):
        raise ValueError(f"argument --output: expected another place than the sources', or --overwrite, got {options.output}")
    job = Job(settings, device, references, image_mask, reference_mask, options.overwrite, resume, ranks)
    if settings.target is None and next(job.read_references(), None) is None:
        raise ValueError("argument --reference: expected a picture or a video with frames")
    if options.save_reference:
        job.save_reference(Path(options.save_reference))
    return job, pairs


def _check_shared(settings: MatchSettings, ranks: int) -> None:
    """Raise an error for what several ranks cannot do with image files together."""
    steps = [step for step in settings.recipe()[1] if isinstance(step, Step)]
    if settings.source_stats == "smoothed":
        reason = "--source-stats: smoothed follows image files in their order"
    elif settings.source_stats == "uniform" and not all(step.adds_in_any_order for step in steps):
        reason = f"--method: with uniform, what {settings.method} measures depends on the order of the files"
    else:
        return
    raise ValueError(f"argument {reason}, which takes one process, got {ranks}")


def _device(name: str, ranks: Ranks) -> torch.device:
    accelerator = None if name == "cpu" else torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        if name == "gpu":
            raise ValueError("argument --device: expected a GPU for gpu, torch finds none")
        return torch.device("cpu")
    if ranks.size == 1:
        return accelerator
    return torch.device(accelerator.type, ranks.local_rank % torch.accelerator.device_count())
