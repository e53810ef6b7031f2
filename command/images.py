"""Match image files: each by itself, or as the frames of one clip."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path

from tqdm import tqdm

from ..clip.frames import Clip, Frame, Reference, spanned
from ..kernels.workers import map_frames
from ..methods.value_range import ValueRange
from .color_profiles import check_profile, same_colors
from .file_kinds import NamedError, about
from .image_files import ImageFile, colors_of, read_header, read_image, write_image
from .job import Job, ReferenceReader
from .messages import say
from .paths import Pair

# A reference is kept for so many of the profiles that sources have.
_PROFILES = 2


def match_image_files(job: Job, pairs: list[Pair], mine: Sequence[int], chosen: Sequence[int]) -> int:
    """Match image files and say how many failed: of those of all ranks, this one measures ``mine`` and writes ``chosen``."""
    if job.settings.source_stats == "per_frame":
        return _match_each(job, pairs, chosen)
    try:
        job, frames = _readable(job, [source for source, _ in pairs], mine)
        if not frames:
            return len(chosen)
        written = [index for index in chosen if index in frames]
        with tqdm(unit="frame", disable=job.quiet) as bar:
            _match_sequence(
                job, pairs, frames, [index for index in mine if index in frames], written, job.reference_readers, bar
            )
    except (OSError, ValueError) as error:
        say(str(error) if isinstance(error, NamedError) else f"{pairs[0][0]} and the files after it: {error}")
        job.ranks.fail()
        return len(chosen)
    return len(chosen) - len(written)


def _readable(job: Job, sources: list[Path], mine: Sequence[int]) -> tuple[Job, list[int]]:
    """The files that can be frames of one clip, none if nothing is to be matched, and the job for them.

    Those that cannot are named. Where the transform is not known before the first file is written, they are found here.
    """
    if job.settings.source_stats == "uniform" and not job.skip_unreadable:
        return job, list(range(len(sources)))

    def look(index: int) -> tuple[int, _Look | str]:
        try:
            with about(sources[index]):
                return index, _look(sources[index], read_image(sources[index], any_values=job.any_values))
        except NamedError as error:
            return index, str(error)

    found = job.ranks.gather(list(map_frames(look, mine, together=True)))
    looks = sorted(pair for pairs in found for pair in pairs)
    first = next((seen for _, seen in looks if not isinstance(seen, str)), None)
    good = []
    for index, seen in looks:
        try:
            if isinstance(seen, str):
                raise NamedError(seen)
            with about(sources[index]):
                _check_alike(seen, first)
            good.append(index)
        except NamedError as error:
            if job.ranks.first:
                say(str(error))
    if len(good) < len(sources) and not job.skip_unreadable:
        if job.ranks.first:
            say("stopped before anything was written; --skip-unreadable goes on without such files")
        return job, []
    target = job.settings.target_index
    if job.settings.source_stats == "target_frame" and target < len(sources):
        if target not in good:
            raise NamedError(f"{sources[target]}: expected a file that can be read for --target-index {target}")
        job = replace(job, settings=replace(job.settings, target_index=good.index(target)))
    return job, good


@dataclass(frozen=True)
class _Look:
    """What all frames of a clip have in common: 1 or 3 colors and an ICC profile; and the file that it is of."""

    path: Path
    colors: int
    profile: bytes | None


def _look(path: Path, file: ImageFile) -> _Look:
    return _Look(path, colors_of(file.pixels[0]).shape[-1], file.profile)


def _check_alike(look: _Look, first: _Look | None) -> None:
    """Raise a ValueError unless a file can be in one clip with the first."""
    if first is None or look is first:
        return
    if look.colors != first.colors:
        raise ValueError(f"expected {first.colors} channels as in {first.path.name}, got {look.colors}")
    if not same_colors(look.profile, first.profile, look.colors, look.path.name):
        raise ValueError(f"expected the color profile of {first.path.name}, got another")


def _match_each(job: Job, pairs: list[Pair], chosen: Sequence[int]) -> int:
    """Match image files each by itself, and say how many failed."""

    def match(item: tuple[int, list[ReferenceReader]]) -> str | None:
        index, readers = item
        try:
            with about(*pairs[index]):
                _match_sequence(job, [pairs[index]], [0], [0], [0], partial(iter, readers))
        except NamedError as error:
            return str(error)
        return None

    def items() -> Iterator[tuple[int, list[ReferenceReader]]]:
        readers: list[ReferenceReader] = []
        for index, reader in _with_readers(chosen, job.reference_readers()):
            readers = readers if reader is None else [lru_cache(maxsize=_PROFILES)(reader) if len(chosen) > 1 else reader]
            yield index, readers

    done = failed = 0
    # As long as there are several, each is worked on by one thread.
    several = len(pairs) > 1
    messages = map_frames(match, items(), together=True) if several and job.device.type == "cpu" else map(match, items())
    with tqdm(total=len(chosen), unit="file", disable=job.quiet if several else True) as bar:
        try:
            for message in messages:
                job.ranks.check()
                done += 1
                if message is not None:
                    failed += 1
                    say(message)
                bar.update(1)
        except (OSError, ValueError) as error:
            # Of a video that serves as references one by one, each file needs the frames before its own.
            say(f"{pairs[chosen[done]][0]} and the files after it: {error}")
            failed += len(chosen) - done
    return failed


def _match_sequence(
    job: Job,
    pairs: list[Pair],
    frames: Sequence[int],
    mine: Sequence[int],
    chosen: Sequence[int],
    readers: Callable[[], Iterator[ReferenceReader]],
    bar: "tqdm[object] | None" = None,
) -> None:
    """Match image files as the ``frames`` of one clip; ``readers`` begins with the references."""
    for index in chosen:
        job.check_target(pairs[index][1])
    stats, sources = job.settings.source_stats, [source for source, _ in pairs]
    measured = mine if stats == "uniform" else frames
    # An average over frames takes them all.
    matched = frames if stats == "smoothed" else chosen

    clip = Clip(
        lambda: _frames(job, sources, matched, readers()),
        partial(_references, job, sources[frames[0]]),
        job.lengths(len(matched)) if stats != "uniform" or len(matched) == len(measured) else None,
        lambda: _frames(job, sources, measured, readers()),
        together=len(pairs) > 1,
        combine=job.ranks.sum,
        values=values_of(job, _frames(job, sources, frames, readers()), partial(_references, job, sources[frames[0]])),
    )
    results = job.match(clip, bar)
    if stats == "target_frame":
        # Where files are replaced, all ranks have to have seen that frame before one of them is.
        results = chain(list(islice(results, 1)), results)
        job.ranks.total(0)
    written = set(chosen)
    for index, result in zip(matched, results, strict=True):
        target = pairs[index][1]
        if index in written:
            source = result.frame.source
            write_image(target, result.frame.out.movedim(0, -1)[None], source, quality=job.quality_for(target))
            if source.header.note is not None:
                say(f"{pairs[index][0]}: {source.header.note}")


def _references(job: Job, first: Path) -> Iterator[Reference]:
    """The references that are pooled, in the colors of a clip's first file."""
    return job.read_references(read_header(first).metadata.profile)


def values_of(job: Job, frames: Iterator[Frame], references: Callable[[], Iterable[Reference]]) -> ValueRange | None:
    """What values frames and references hold, which are read for that; None for those in [0, 1]."""
    return spanned((frame.pixels for frame in frames), references()) if job.settings.range == "data" else None


def read_sequence(job: Job, sources: list[Path]) -> Iterator[Frame]:
    """Read image files as the frames of one clip, with their references; errors name the file."""
    return _frames(job, sources, range(len(sources)), job.reference_readers())


def _frames(job: Job, sources: list[Path], indices: Sequence[int], readers: Iterator[ReferenceReader]) -> Iterator[Frame]:
    first: _Look | None = None
    for index, reader in _with_readers(indices, readers):
        path = sources[index]
        with about(path):
            file = read_image(path, any_values=job.any_values)
            first = first or _look(path, file)
            _check_alike(_look(path, file), first)
            if reader is not None:
                check_profile(file.profile, first.colors)
        yield job.frame(file.pixels[0], None if reader is None else reader(file.profile), file)


def _with_readers(indices: Sequence[int], readers: Iterator[ReferenceReader]) -> Iterator[tuple[int, ReferenceReader | None]]:
    """Some files, in their order, with the references of all: None for the one that the file before has had."""
    reader: ReferenceReader | None = None
    chosen = set(indices)
    for index in range(max(chosen, default=-1) + 1):
        reader = next(readers, reader)
        if index in chosen:
            yield index, reader
            reader = None
