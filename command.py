"""The command ``histogram-match``: histogram matching of image and video files, without ComfyUI."""

from __future__ import annotations

import argparse
import glob
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path

import torch
from PIL import Image
from skimage import data
from torch import Tensor
from tqdm import tqdm

from .batches import fit_mask
from .clip_matching import REFERENCE_STATS, SOURCE_STATS, WINDOW, Frame, Look, MatchSettings, match_clip
from .color_space import COLOR_SPACES
from .frame_pool import FramePool
from .image_files import SUFFIXES, ImageFile, read_image, write_image
from .matching import look_of
from .methods import METHODS, ROTATIONS
from .ranks import AGAIN, RankError, Ranks, join_ranks
from .reference_histogram import SUFFIX as REFERENCE_SUFFIX
from .reference_histogram import ReferenceHistogram
from .specification import LinearStretch, Normal, Uniform

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".m4v", ".avi")
"""Endings of the names of video files."""

_Pair = tuple[Path, Path]
_LookReader = Callable[[], Look]


@dataclass(frozen=True)
class _Job:
    """What all files of one call of the command have in common."""

    settings: MatchSettings
    device: torch.device
    references: list[Path]
    image_mask: Tensor | None
    reference_mask: Tensor | None
    overwrite: bool
    resume: bool
    ranks: Ranks

    @property
    def quiet(self) -> bool | None:
        """Whether there is no progress to show; None to show it on a terminal only."""
        return None if self.ranks.first else True


def main(arguments: Sequence[str] | None = None) -> int:
    """Match image and video files to a reference.

    Args:
        arguments: what follows the command's name; ``sys.argv[1:]`` by default.

    Returns:
        The exit status: 0 if all files were matched, 1 if some were not. Arguments that make no sense exit with 2.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        with join_ranks() as ranks:
            return _run(parser, options, ranks)
    except RankError as error:
        print(f"stopped: {error}; {AGAIN}", file=sys.stderr)
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
    images, videos = ([pair for pair in pairs if _is_video(pair[0]) == video] for video in (False, True))
    mine = ranks.share(range(len(images)))
    chosen = [index for index in mine if not (job.resume and images[index][1].exists())]
    videos = [pair for pair in ranks.share(videos) if not (job.resume and pair[1].exists())]
    # All ranks have listed the files before the first of them writes one.
    wanted = ranks.total(len(chosen))
    existing = len(pairs) - wanted - ranks.total(len(videos))
    if existing and ranks.first:
        print(f"{existing} of {len(pairs)} files exist and stay as they are; --overwrite replaces them", file=sys.stderr)
    failed = _match_pictures(job, images, mine, chosen) if wanted else 0
    for source, target in videos:
        failed += _match_video(job, source, target)
    failed = ranks.finish(failed)
    if failed and ranks.first:
        print(f"{failed} of {len(pairs)} files failed", file=sys.stderr)
    elif options.demo:
        print(f"{pairs[0][0]} matched to {job.references[0]}: {pairs[0][1]}")
    return 1 if failed else 0


def _prepare(options: argparse.Namespace, ranks: Ranks) -> tuple[_Job, list[_Pair]]:
    """Check the arguments, find the files, and do what there is to do before the first of them."""
    settings = MatchSettings(
        options.method,
        options.factor,
        options.source_stats,
        options.target_index,
        options.window,
        options.reference_stats,
        color_space=options.color_space,
        rotations=options.rotations,
        target=_target(options),
    )
    device = _device(options.device, ranks)
    if ranks.size > 1 and (options.demo or options.save_reference):
        name = "--demo" if options.demo else "--save-reference"
        raise ValueError(f"argument {name}: expected one process, got {ranks.size}")
    pairs, references = _demo(options) if options.demo else _paths(options)
    _check_shared(settings, ranks, pairs)
    image_mask, reference_mask = (_read_mask(path) for path in (options.image_mask, options.reference_mask))
    if reference_mask is not None and any(path.suffix.lower() == REFERENCE_SUFFIX for path in references):
        raise ValueError(f"argument --reference-mask: expected no {REFERENCE_SUFFIX} among the references with it")
    if any(map(_is_video, [*references, *(source for source, _ in pairs)])):
        _check_pyav()
    resume = (options.resume or ranks.launched) and not options.overwrite
    if resume and any(source == target for source, target in pairs):
        raise ValueError(f"argument --output: expected another place than the sources', or --overwrite, got {options.output}")
    job = _Job(settings, device, references, image_mask, reference_mask, options.overwrite, resume, ranks)
    if settings.target is None and next(_looks(job), None) is None:
        raise ValueError("argument --reference: expected a picture or a video with frames")
    if options.save_reference:
        _save_reference(job, Path(options.save_reference))
    return job, pairs


def _check_shared(settings: MatchSettings, ranks: Ranks, pairs: list[_Pair]) -> None:
    """Raise an error for what several ranks cannot do together."""
    if ranks.size == 1 or all(_is_video(source) for source, _ in pairs):
        return
    if settings.source_stats == "smoothed":
        raise ValueError(
            f"argument --source-stats: smoothed follows image files in their order, which takes one process, got {ranks.size}"
        )
    if settings.source_stats == "uniform" and not all(step.adds_in_any_order for step in settings.steps()):
        raise ValueError(
            f"argument --method: with uniform, what {settings.method} measures depends on the order of the files, which takes "
            f"one process, got {ranks.size}"
        )


def _match_pictures(job: _Job, pairs: list[_Pair], mine: Sequence[int], chosen: Sequence[int]) -> int:
    """Match image files and say how many failed.

    Frame by frame, a file that fails does not concern the others. Otherwise the files are the frames of one clip.

    Args:
        job: what all files have in common.
        pairs: the files of all ranks.
        mine: which of them this one measures, where all are measured together.
        chosen: which of them it writes.
    """
    if job.settings.source_stats == "per_frame":
        return _match_each(job, pairs, chosen)
    with tqdm(unit="frame", disable=job.quiet) as bar:
        try:
            _match_sequence(job, pairs, mine, chosen, lambda: _look_readers(job), bar)
        except (OSError, ValueError) as error:
            bar.write(f"{pairs[0][0]} and the files after it: {error}", file=sys.stderr)
            job.ranks.fail()
            return len(chosen)
    return 0


def _match_each(job: _Job, pairs: list[_Pair], chosen: Sequence[int]) -> int:
    """Match image files each by itself, and say how many failed."""

    def match(item: tuple[int, list[_LookReader]]) -> str | None:
        index, look = item
        try:
            _match_sequence(job, [pairs[index]], [0], [0], partial(iter, look))
        except (OSError, ValueError) as error:
            return f"{pairs[index][0]}: {error}"
        return None

    def items() -> Iterator[tuple[int, list[_LookReader]]]:
        look: list[_LookReader] = []
        for index, reader in _with_readers(chosen, _look_readers(job)):
            look = look if reader is None else [cache(reader)]
            yield index, look

    done = failed = 0
    # As long as there are several, each is worked on by one thread, so that the same comes out whoever has how many.
    several = len(pairs) > 1
    parallel = several and job.device.type == "cpu"
    with FramePool(parallel) as pool, tqdm(total=len(chosen), unit="file", disable=job.quiet if several else True) as bar:
        try:
            for message in pool.map(match, items()):
                job.ranks.check()
                done += 1
                if message is not None:
                    failed += 1
                    bar.write(message, file=sys.stderr)
                bar.update(1)
        except (OSError, ValueError) as error:
            # Of a video that serves as references one by one, each file needs the frames before its own.
            bar.write(f"{pairs[chosen[done]][0]} and the files after it: {error}", file=sys.stderr)
            failed += len(chosen) - done
    return failed


def _match_sequence(
    job: _Job,
    pairs: list[_Pair],
    mine: Sequence[int],
    chosen: Sequence[int],
    readers: Callable[[], Iterator[_LookReader]],
    bar: tqdm[object] | None = None,
) -> None:
    """Match image files as the frames of one clip.

    Args:
        job: what all files have in common.
        pairs: the files.
        mine: which of them are measured, where all are measured together.
        chosen: which of them are written.
        readers: begins with the references.
        bar: shows the progress.
    """
    for index in chosen:
        _check_target(job, pairs[index][1])
    stats = job.settings.source_stats
    measured = mine if stats == "uniform" else range(len(pairs))
    # An average over frames takes them all.
    matched = range(len(pairs)) if stats == "smoothed" else chosen
    opened: deque[ImageFile] = deque()

    def frames(indices: Sequence[int]) -> Iterator[Frame]:
        for index, reader in _with_readers(indices, readers()):
            file = read_image(pairs[index][0])
            opened.append(file)
            pixels = file.pixels[0].movedim(-1, 0)[:3]
            out = torch.empty_like(file.pixels[0]).movedim(-1, 0)[: len(pixels)]
            look = None if reader is None else reader()
            yield Frame(pixels, _fit(job.image_mask, pixels, "--image-mask"), look, out)

    def first_pass() -> Iterator[Frame]:
        for frame in frames(measured):
            opened.clear()
            yield frame

    results = match_clip(
        first_pass,
        lambda: frames(matched),
        lambda: _looks(job),
        job.settings,
        job.device,
        parallel=len(pairs) > 1,
        lengths=_lengths(job, len(matched)) if stats != "uniform" or len(matched) == len(measured) else None,
        note=lambda text: print(text, file=sys.stderr),
        progress=None if bar is None else _shown_in(bar, job.ranks),
        combine=job.ranks.sum,
    )
    if stats == "target_frame":
        # Where files are replaced, all ranks have to have seen that frame before one of them is.
        results = _begun(results)
        job.ranks.total(0)
    remaining, written = iter(matched), set(chosen)
    for frame in results:
        index, file = next(remaining), opened.popleft()
        if index not in written:
            continue
        target = pairs[index][1]
        # What was read is not needed any more, but for its alpha.
        file.pixels[0].movedim(-1, 0)[: len(frame.out)] = frame.out
        target.parent.mkdir(parents=True, exist_ok=True)
        write_image(target, file.pixels, file)


def _begun(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The same frames, the first of them already matched."""
    first = list(islice(frames, 1))
    return chain(first, frames)


def _with_readers(indices: Sequence[int], readers: Iterator[_LookReader]) -> Iterator[tuple[int, _LookReader | None]]:
    """Some files, in their order, with the references of all: None for the one that the file before has had."""
    reader: _LookReader | None = None
    chosen = set(indices)
    for index in range(max(chosen, default=-1) + 1):
        reader = next(readers, reader)
        if index in chosen:
            yield index, reader
            reader = None


def _match_video(job: _Job, source: Path, target: Path) -> int:
    """Match a video file and say how many failed."""
    from . import video_files

    looks = _looks(job)

    def frames(pictures: Iterable[Tensor], looks: Iterator[Look]) -> Iterator[Frame]:
        for picture in pictures:
            pixels = picture.movedim(-1, 0)
            out = torch.empty_like(picture).movedim(-1, 0)
            yield Frame(pixels, _fit(job.image_mask, pixels, "--image-mask"), next(looks, None), out)

    with tqdm(desc=source.name, unit="frame", disable=job.quiet) as bar:
        try:
            _check_target(job, target)
            target.parent.mkdir(parents=True, exist_ok=True)
            length = video_files.count_frames(source)
            with video_files.VideoRewriter(source, target) as video:
                for frame in match_clip(
                    lambda: frames(video_files.read_frames(source), _looks(job)),
                    lambda: frames(video.frames(), looks),
                    lambda: _looks(job),
                    job.settings,
                    job.device,
                    parallel=True,
                    lengths=None if length is None else _lengths(job, length),
                    note=lambda text: bar.write(text, file=sys.stderr),
                    progress=_shown_in(bar, job.ranks),
                ):
                    video.write(frame.out.movedim(0, -1))
        except (OSError, ValueError) as error:
            bar.write(f"{source}: {error}", file=sys.stderr)
            return 1
    return 0


def _check_pyav() -> None:
    try:
        from . import video_files  # noqa: F401
    except ImportError as error:
        extra = "comfyui-histogram-match[video]"
        raise ValueError(f'videos need PyAV: pip install "{extra}" ({error})') from error


def _looks(job: _Job) -> Iterator[Look]:
    """Read the references one by one: pictures, the frames of videos, and what was saved."""
    for read in _look_readers(job):
        yield read()


def _look_readers(job: _Job) -> Iterator[_LookReader]:
    """What reads the references, each when it is called: who passes one over need not read it."""
    for path in job.references:
        if path.suffix.lower() == REFERENCE_SUFFIX:
            yield partial(_kept_look, path)
        elif _is_video(path):
            for picture in _pictures(path):
                yield partial(_look, job, path, picture)
        else:
            yield partial(_picture_look, job, path)


def _kept_look(path: Path) -> Look:
    return look_of(ReferenceHistogram.load(path), path.name)


def _picture_look(job: _Job, path: Path) -> Look:
    return _look(job, path, read_image(path).pixels[0])


def _look(job: _Job, path: Path, picture: Tensor) -> Look:
    pixels = picture.movedim(-1, 0)[:3]
    return Look(pixels, _fit(job.reference_mask, pixels, "--reference-mask"), path.name)


def _pictures(path: Path) -> Iterable[Tensor]:
    """The pictures in a file, ``[H, W, C]``: one, or the frames of a video."""
    if not _is_video(path):
        return [read_image(path).pixels[0]]
    from .video_files import read_frames

    return read_frames(path)


def _lengths(job: _Job, frames: int) -> tuple[int, int] | None:
    """The number of frames and references, if the references are pictures."""
    videos = any(map(_is_video, job.references))
    return None if videos and job.settings.reference_stats == "pooled" else (frames, len(job.references))


def _shown_in(bar: tqdm[object], ranks: Ranks) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        ranks.check()
        bar.total = total or None
        bar.update(done - bar.n)

    return progress


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _read_mask(path: str | None) -> Tensor | None:
    """A picture as a mask ``[H, W]``: its brightness, whatever its alpha."""
    return None if path is None else read_image(Path(path)).pixels[0, ..., :3].mean(dim=-1)


def _fit(mask: Tensor | None, pixels: Tensor, name: str) -> Tensor | None:
    return None if mask is None else fit_mask(name, mask, pixels)


def _check_target(job: _Job, target: Path) -> None:
    if target.exists() and not job.overwrite:
        raise ValueError(f"{target} exists; --overwrite replaces it")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="histogram-match",
        description="Give image and video files the colors of a reference.",
        epilog=(
            "An 8-bit file stays 8-bit, a 16-bit file 16-bit; alpha, colour profile and metadata are kept. A video keeps its "
            "sound and the time of each frame. With --source-stats other than per_frame, all image files together are the "
            "frames of one clip, in the order of their names. Started by torchrun, processes share the files."
        ),
    )
    parser.add_argument("sources", metavar="SOURCE", nargs="*", help="a file, a folder or a pattern such as 'shots/*.png'")
    parser.add_argument(
        "--reference",
        metavar="REF",
        action="append",
        default=[],
        help="the file whose colors are wanted, an image, a video or what --save-reference has written; several are given by "
        "repeating this, or as a pattern",
    )
    parser.add_argument(
        "--output",
        metavar="OUT",
        help="a file for one source file, else a folder, made if missing; the format follows the name",
    )
    parser.add_argument(
        "--method",
        choices=tuple(METHODS),
        default=MatchSettings.method,
        metavar="METHOD",
        help="; ".join(f"{name}: {method.use.rstrip('.')}" for name, method in METHODS.items()) + "; default: %(default)s",
    )
    parser.add_argument(
        "--color-space",
        choices=COLOR_SPACES,
        default=COLOR_SPACES[0],
        help="in which channels are matched; luminance changes brightness only; default: %(default)s",
    )
    parser.add_argument(
        "--rotations",
        type=int,
        default=ROTATIONS,
        metavar="N",
        help="of sliced: more are slower and nearer; default: %(default)s",
    )
    parser.add_argument("--factor", type=_factor, default=1.0, help="0 (unchanged) to 1 (matched); default: %(default)s")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="where to compute; auto takes the GPU if there is one; default: %(default)s",
    )
    target = parser.add_argument_group("histograms without a reference")
    target.add_argument(
        "--target",
        choices=("uniform", "normal", "linear_stretch"),
        help="what to give each channel in place of a reference's histogram, in color spaces other than rgb to the lightness "
        "alone: all levels equally often (equalization), a normal distribution, or the full range",
    )
    target.add_argument("--mean", type=float, default=Normal.mean, help="of normal; default: %(default)s")
    target.add_argument("--deviation", type=float, default=Normal.deviation, help="of normal; default: %(default)s")
    target.add_argument(
        "--clip-low",
        type=float,
        default=LinearStretch.low,
        metavar="PERCENT",
        help="of linear_stretch: pixels that may become black; default: %(default)s",
    )
    target.add_argument(
        "--clip-high", type=float, default=LinearStretch.high, metavar="PERCENT", help="likewise white; default: %(default)s"
    )
    clip = parser.add_argument_group("video and image sequences")
    clip.add_argument(
        "--source-stats",
        choices=SOURCE_STATS,
        default=SOURCE_STATS[0],
        help="what the change is computed from: each frame by itself, all frames pooled, one frame for all, or each frame but "
        "slowly, with a new start at cuts; default: %(default)s",
    )
    clip.add_argument(
        "--target-index", type=int, default=0, metavar="N", help="the frame for target_frame, counted from 0; default: 0"
    )
    clip.add_argument(
        "--window", type=int, default=WINDOW, metavar="N", help="how slow smoothed is, in frames; default: %(default)s"
    )
    clip.add_argument(
        "--reference-stats",
        choices=REFERENCE_STATS,
        default=REFERENCE_STATS[0],
        help="of several references: the first for the first frame and so on, or all as one look; default: %(default)s",
    )
    region = parser.add_argument_group("regions")
    region.add_argument(
        "--image-mask", metavar="FILE", help="a picture, white where the files are measured and changed; gray blends"
    )
    region.add_argument("--reference-mask", metavar="FILE", help="a picture, white where the references are measured")
    parser.add_argument(
        "--save-reference",
        metavar="FILE.npz",
        help="pool all references, write them to this file, which serves as --reference later; SOURCE may be left out then",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="leave files that exist, and do the others as if all were done; under torchrun, this is so without asking",
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="match a photo of scikit-image's to another and write source, reference and result to OUT (demo by default)",
    )
    return parser


def _factor(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")
    return value


def _device(name: str, ranks: Ranks) -> torch.device:
    accelerator = None if name == "cpu" else torch.accelerator.current_accelerator(check_available=True)
    if name == "gpu" and accelerator is None:
        raise ValueError("argument --device: expected a GPU for gpu, torch finds none")
    if accelerator is None:
        return torch.device("cpu")
    if ranks.size == 1:
        return accelerator
    return torch.device(accelerator.type, ranks.local_rank % torch.accelerator.device_count())


def _demo(options: argparse.Namespace) -> tuple[list[_Pair], list[Path]]:
    """Write two photos, and return what to match to what."""
    if options.sources or options.reference:
        raise ValueError("argument --demo: expected neither SOURCE nor --reference with it")
    folder = Path(options.output or "demo")
    source, reference, result = (folder / f"{name}.png" for name in ("source", "reference", "result"))
    for path in (source, reference, result):
        if path.exists() and not options.overwrite:
            raise ValueError(f"argument --demo: {path} exists; --overwrite replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.chelsea()).save(source)
    Image.fromarray(data.coffee()).save(reference)
    return [(source, result)], [reference]


def _paths(options: argparse.Namespace) -> tuple[list[_Pair], list[Path]]:
    """Name an output file for each source file, and the files of references."""
    if options.target and options.reference:
        raise ValueError("argument --target: expected no --reference with it")
    required = {"SOURCE": options.sources, "--reference": options.reference or options.target, "--output": options.output}
    saves_only = options.save_reference and not options.sources and not options.output
    for name in ["--reference"] if saves_only else required:
        if not required[name]:
            raise ValueError(f"the following arguments are required: {name}")
    references = list(_files(options.reference, "--reference"))
    if saves_only:
        return [], references
    output = Path(options.output)
    sources = list(_files(options.sources, "SOURCE"))
    single = len(options.sources) == 1 and sources == [Path(options.sources[0])]
    if output.suffix.lower() in SUFFIXES + VIDEO_SUFFIXES and not output.is_dir():
        if not single:
            raise ValueError(f"argument --output: expected a folder for more than one source file, got {output}")
        return [(sources[0], output)], references
    pairs: dict[Path, Path] = {}
    for source in sources:
        target = output / source.name
        if target in pairs:
            raise ValueError(f"argument SOURCE: {pairs[target]} and {source} would both become {target}")
        pairs[target] = source
    return [(source, target) for target, source in pairs.items()], references


def _target(options: argparse.Namespace) -> Callable[[Tensor], Tensor] | None:
    """The histogram that is wanted without a reference, if one is."""
    if options.target == "uniform":
        return Uniform()
    if options.target == "normal":
        return Normal(options.mean, options.deviation)
    if options.target == "linear_stretch":
        return LinearStretch(options.clip_low, options.clip_high)
    return None


def _save_reference(job: _Job, target: Path) -> None:
    """Pool all references into a file."""
    if target.suffix.lower() != REFERENCE_SUFFIX:
        raise ValueError(f"argument --save-reference: expected a name that ends in {REFERENCE_SUFFIX}, got {target}")
    _check_target(job, target)
    pooled: ReferenceHistogram | None = None
    for path in job.references:
        for part in _reference_histograms(job, path):
            pooled = part if pooled is None else pooled + part
    if pooled is None:
        raise ValueError("argument --reference: expected a picture or a video with frames")
    target.parent.mkdir(parents=True, exist_ok=True)
    pooled.save(target)


def _reference_histograms(job: _Job, path: Path) -> Iterator[ReferenceHistogram]:
    if path.suffix.lower() == REFERENCE_SUFFIX:
        yield ReferenceHistogram.load(path)
        return
    for picture in _pictures(path):
        mask = _fit(job.reference_mask, picture.movedim(-1, 0), "--reference-mask")
        yield ReferenceHistogram.of(picture[None], None if mask is None else mask[None])


def _files(sources: Iterable[str], argument: str) -> Iterable[Path]:
    """Resolve files, folders and patterns into files."""
    suffixes = SUFFIXES + VIDEO_SUFFIXES
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in suffixes)
        elif path.exists() or not glob.has_magic(source):
            found = [path]
        else:
            found = sorted(entry for entry in map(Path, glob.glob(source, recursive=True)) if entry.is_file())
        if not found:
            raise ValueError(f"argument {argument}: expected {', '.join(suffixes)} files in {source}, found none")
        yield from found
