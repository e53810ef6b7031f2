"""One run of the command, from its arguments to its exit status. What computes is loaded once the arguments make sense."""

import argparse
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..clip.settings import MatchSettings
from ..luts.kinds import SUFFIXES
from ..methods.table import METHODS
from ..videos.requirement import missing_pyav
from .arguments import make_parser, settings_of
from .messages import say
from .paths import HISTOGRAM_SUFFIX, IMAGE_KINDS, LOSSY_KINDS, Files, is_histogram, is_video, name_files
from .ranks import RankError, Ranks, Terminated, join_ranks


def main(arguments: Sequence[str] | None = None) -> int:
    """Match files as ``arguments`` or ``sys.argv[1:]`` say.

    Returns:
        The exit status: 0 if all files are matched, 1 if not, 130 or 143 where Ctrl-C or SIGTERM has ended the run.

    Raises:
        SystemExit: with status 2 if the arguments make no sense, with 0 after ``--help`` and the like.
    """
    options = make_parser().parse_args(arguments)
    try:
        with join_ranks() as ranks:
            return _run(options, ranks)
    except RankError as error:
        say(f"stopped: {error}; the same command does the files that are missing")
        return 1
    except KeyboardInterrupt as stop:
        say("stopped; what is written is whole, and the same command with --resume does the rest")
        return 143 if isinstance(stop, Terminated) else 130


def _run(options: argparse.Namespace, ranks: Ranks) -> int:
    """Match this rank's part of the files, and return the exit status."""
    started = time.monotonic()
    options.resume = (options.resume or ranks.launched) and not options.overwrite
    message = None
    try:
        settings, files = settings_of(options), name_files(options)
        _check(options, settings, files, ranks)
        if ranks.first:
            for line in files.notes:
                say(line)
        if options.dry_run:
            return _show(options, files, ranks)
        if not _there(options, files, ranks):
            return 1
        from .work import match_files, prepare

        job = prepare(options, settings, files, ranks)
    except (OSError, ValueError) as error:
        message = str(error)
    failed_rank = ranks.first_with(message)
    if message is not None:
        # Once, and not by each rank that has found the same.
        if ranks.rank == failed_rank:
            say(message)
        raise SystemExit(2)
    if failed_rank is not None:
        raise RankError(f"rank {failed_rank} has failed")
    outcome = match_files(job, files.pairs, options.contact_sheet, options.plot)
    if ranks.first:
        _tell(options, files, outcome, time.monotonic() - started)
    return 0 if outcome["failed"] == 0 and (outcome["left"] == 0 or options.resume) else 1


def _check(options: argparse.Namespace, settings: MatchSettings, files: Files, ranks: Ranks) -> None:
    """Raise a ValueError for arguments that do not go together, or with these files."""
    images = [target for source, target in files.pairs if not is_video(source)]
    videos = len(files.pairs) > len(images)
    for name in ("demo", "save_reference", "contact_sheet", "plot"):
        if ranks.size > 1 and getattr(options, name):
            raise ValueError(f"argument --{name.replace('_', '-')}: expected one process, got {ranks.size}")
    if options.save_reference and not is_histogram(Path(options.save_reference)):
        ending = f"a name that ends in {HISTOGRAM_SUFFIX}"
        raise ValueError(f"argument --save-reference: expected {ending}, got {options.save_reference}")
    if options.reference_mask and any(map(is_histogram, files.references)):
        raise ValueError(f"argument --reference-mask: expected no {HISTOGRAM_SUFFIX} among the references with it")
    for argument, picture in (("contact-sheet", options.contact_sheet), ("plot", options.plot)):
        if picture and Path(picture).suffix.lower() not in IMAGE_KINDS:
            raise ValueError(f"argument --{argument}: expected a name that ends in {', '.join(IMAGE_KINDS)}, got {picture}")
    _check_transforms(options, settings, ranks)
    if options.quality is not None:
        if not 1 <= options.quality <= 100:
            raise ValueError(f"argument --quality: expected 1 to 100, got {options.quality}")
        if not any(IMAGE_KINDS.get(target.suffix.lower()) in LOSSY_KINDS for target in images):
            raise ValueError("argument --quality: expected JPEG, WebP or AVIF files to write, got none")
    for name in ("codec", "crf"):
        if getattr(options, name) is not None and not videos:
            raise ValueError(f"argument --{name}: expected videos among the sources, got none")
    if (videos or any(map(is_video, files.references))) and (missing := missing_pyav()):
        raise ValueError(missing)
    if options.resume and any(source == target for source, target in files.pairs):
        raise ValueError(f"argument --output: expected another place than the sources', or --overwrite, got {options.output}")


def _check_transforms(options: argparse.Namespace, settings: MatchSettings, ranks: Ranks) -> None:
    """Raise a ValueError for arguments that keep or apply a transform and make no sense."""
    for name, endings in (("transform", (HISTOGRAM_SUFFIX,)), ("lut", SUFFIXES)):
        for argument, value in ((f"--{name}", getattr(options, name)), (f"--save-{name}", getattr(options, f"save_{name}"))):
            if value and Path(value).suffix.lower() not in endings:
                raise ValueError(f"argument {argument}: expected a name that ends in {' or '.join(endings)}, got {value}")
            if value and Path(value).suffix.lower() == ".clf" and find_spec("PyOpenColorIO") is None:
                raise ValueError(f'CLF files need OpenColorIO: {sys.executable} -m pip install "opencolorio>=2.4"')
            if value and argument == f"--{name}" and not Path(value).exists():
                raise ValueError(f"{value}: no such file")
    keeps = next((f"--save-{name}" for name in ("transform", "lut") if getattr(options, f"save_{name}")), None)
    if keeps is None:
        return
    if ranks.size > 1:
        raise ValueError(f"argument {keeps}: expected one process, got {ranks.size}")
    reason = METHODS[settings.method].per_frame_only
    if settings.target is not None or reason:
        found = f"--target {options.target}" if settings.target is not None else f"--method {settings.method}: {reason}"
        raise ValueError(f"argument {keeps}: expected a method whose change can be applied to another picture, got {found}")
    if options.source_stats == "smoothed":
        raise ValueError(f"argument {keeps}: expected --source-stats uniform or target_frame, got smoothed")


def _show(options: argparse.Namespace, files: Files, ranks: Ranks) -> int:
    """Say what would be written."""
    if ranks.first:
        for source, target in files.pairs:
            exists = target.exists() and not options.overwrite
            print(f"{source} -> {target}{' (exists, would be left)' if exists else ''}")
    return 0


def _there(options: argparse.Namespace, files: Files, ranks: Ranks) -> bool:
    """Whether there is something to match, which is then found out in a moment; else say what is missing."""
    missing = [source for source, _ in files.pairs if not source.exists()]
    together = options.source_stats != "per_frame" and not options.skip_unreadable
    if not missing or (len(missing) < len(files.pairs) and not together):
        return True
    if ranks.first:
        for source in missing:
            say(f"{source}: no such file")
    return False


def _tell(options: argparse.Namespace, files: Files, outcome: dict[str, int], seconds: float) -> None:
    """Say what has been done: in a line for one file, in a summary for several."""
    several = len(files.pairs) > 1
    if outcome["left"] and not options.resume:
        what = f"{outcome['left']} of {len(files.pairs)} files exist" if several else f"{files.pairs[0][1]} exists"
        say(f"{what}; --overwrite replaces, --resume leaves what exists and does the rest")
    if several:
        counts = ", ".join(f"{number} {name}" for name, number in outcome.items())
        print(f"{counts} in {seconds:.1f} s: {options.output}")
    elif outcome["matched"]:
        ((source, target),) = files.pairs
        kept = options.transform or options.lut
        names = ", ".join(path.name for path in files.references)
        what = f"changed by {Path(kept).name}" if kept else f"matched to {options.target or names}"
        print(f"{target}: {source.name} {what} in {seconds:.1f} s")
    if options.save_reference:
        print(f"{options.save_reference}: {len(files.references)} reference{'s' * (len(files.references) > 1)} kept")
    for kept in (options.save_transform, options.save_lut):
        if kept:
            print(f"{kept}: written")
    if options.demo:
        print(f"next: histogram-match YOUR_PICTURE.jpg --reference {files.references[0]} --output result.jpg")
