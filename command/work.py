"""What is done once the arguments are known to make sense."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from ..clip.settings import MatchSettings
from ..methods.transform import Step
from .clips import is_clip
from .contact_sheet import ContactSheet
from .file_kinds import NamedError, about
from .histogram_plot import HistogramPlot
from .images import match_image_files
from .job import Job
from .kept import save_reference, with_transform
from .masks import read_mask
from .messages import say
from .paths import Files, Pair, is_video
from .ranks import Ranks
from .whole_files import remove_leftovers


def prepare(options: argparse.Namespace, settings: MatchSettings, files: Files, ranks: Ranks) -> Job:
    """Do what there is to do before the first file."""
    if ranks.size > 1 and not all(is_video(source) for source, _ in files.pairs):
        _check_shared(settings, ranks.size)
    device = _device(options.device, ranks)
    image_mask, reference_mask, change_mask = (
        None if name is None else read_mask(Path(name))
        for name in (options.image_mask, options.reference_mask, options.change_mask)
    )
    job = Job(
        settings=settings,
        device=device,
        references=files.references,
        image_mask=image_mask,
        reference_mask=reference_mask,
        overwrite=options.overwrite,
        resume=options.resume,
        skip_unreadable=options.skip_unreadable,
        ranks=ranks,
        ignore_alpha=options.ignore_alpha,
        quality=options.quality,
        codec=options.codec,
        crf=options.crf,
        change_mask=change_mask,
        plot=HistogramPlot(options.ignore_alpha) if options.plot else None,
    )
    if files.references and next(job.read_references(), None) is None:
        raise ValueError("argument --reference: expected a picture or a video with frames")
    if options.save_reference:
        save_reference(job, Path(options.save_reference))
    return with_transform(job, options, files.sources)


def match_files(job: Job, pairs: list[Pair], contact_sheet: str | None, plot: str | None) -> dict[str, int]:
    """Match this rank's part of the files, and say how many of all have been matched, left as they are, and failed."""
    ranks = job.ranks
    # Files are shared by their numbers in the list.
    ranks.agree("\n".join(f"{source}\t{target}" for source, target in pairs))
    sheet = ContactSheet(job, pairs) if contact_sheet else None
    clips = {source for source, _ in pairs if source.exists() and is_clip(source)}
    images, videos = ([pair for pair in pairs if (pair[0] in clips) == clip] for clip in (False, True))
    left = set() if job.overwrite else {target for _, target in pairs if target.exists()}
    mine = ranks.share(range(len(images)))
    chosen = [index for index in mine if images[index][1] not in left]
    # All ranks have listed the files before the first of them writes one.
    wanted = ranks.total(len(chosen))
    if ranks.first:
        for folder in {target.parent for _, target in pairs if target.parent.exists()}:
            remove_leftovers(folder)
    failed = 0
    if wanted and wanted < len(images) and job.settings.source_stats != "per_frame" and not job.resume:
        say("stopped: some frames of the clip exist; --overwrite replaces them, --resume leaves them and does the others")
        failed = len(chosen)
    elif wanted:
        failed = match_image_files(job, images, mine, chosen)
    for pair in ranks.share(videos):
        from .videos import match_video_file

        failed += match_video_file(job, pair) if pair[1] not in left else 0
    failed = ranks.finish(failed)
    outcome = {"matched": len(pairs) - len(left) - failed, "left": len(left), "failed": failed}
    if sheet is not None and contact_sheet is not None:
        outcome["failed"] += _failures(Path(contact_sheet), sheet.write)
    if job.plot is not None and plot is not None:
        outcome["failed"] += _failures(Path(plot), partial(job.plot.write, read_references=job.read_references))
    return outcome


def _failures(path: Path, write: Callable[[Path], None]) -> int:
    """Write a picture of the run, and return 1 where that fails, after saying why."""
    try:
        with about(path):
            write(path)
    except NamedError as error:
        say(str(error))
        return 1
    return 0


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
