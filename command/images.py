"""Match image files: each by itself, or as the frames of one clip."""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain, islice

from tqdm import tqdm

from ..clip.frames import Clip, Frame
from ..kernels.workers import map_frames
from .color_profiles import check_profile, same_colors
from .image_files import read_header, read_image, write_image
from .job import Job, ReferenceReader
from .paths import Pair

# A reference is kept for so many of the profiles that sources have.
_PROFILES = 2


def match_image_files(job: Job, pairs: list[Pair], mine: Sequence[int], chosen: Sequence[int]) -> int:
    """Match image files and say how many failed: of those of all ranks, this one measures ``mine`` and writes ``chosen``."""
    if job.settings.source_stats == "per_frame":
        return _match_each(job, pairs, chosen)
    with tqdm(unit="frame", disable=job.quiet) as bar:
        try:
            _match_sequence(job, pairs, mine, chosen, job.reference_readers, bar)
        except (OSError, ValueError) as error:
            bar.write(f"{pairs[0][0]} and the files after it: {error}", file=sys.stderr)
            job.ranks.fail()
            return len(chosen)
    return 0


def _match_each(job: Job, pairs: list[Pair], chosen: Sequence[int]) -> int:
    """Match image files each by itself, and say how many failed."""

    def match(item: tuple[int, list[ReferenceReader]]) -> str | None:
        index, readers = item
        try:
            _match_sequence(job, [pairs[index]], [0], [0], partial(iter, readers))
        except (OSError, ValueError) as error:
            return f"{pairs[index][0]}: {error}"
        return None

    def items() -> Iterator[tuple[int, list[ReferenceReader]]]:
        readers: list[ReferenceReader] = []
        for index, reader in _with_readers(chosen, job.reference_readers()):
            readers = readers if reader is None else [lru_cache(maxsize=_PROFILES)(reader)]
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
                    bar.write(message, file=sys.stderr)
                bar.update(1)
        except (OSError, ValueError) as error:
            # Of a video that serves as references one by one, each file needs the frames before its own.
            bar.write(f"{pairs[chosen[done]][0]} and the files after it: {error}", file=sys.stderr)
            failed += len(chosen) - done
    return failed


def _match_sequence(
    job: Job,
    pairs: list[Pair],
    mine: Sequence[int],
    chosen: Sequence[int],
    readers: Callable[[], Iterator[ReferenceReader]],
    bar: "tqdm[object] | None" = None,
) -> None:
    """Match image files as the frames of one clip; ``readers`` begins with the references."""
    for index in chosen:
        job.check_target(pairs[index][1])
    stats = job.settings.source_stats
    measured = mine if stats == "uniform" else range(len(pairs))
    # An average over frames takes them all.
    matched = range(len(pairs)) if stats == "smoothed" else chosen
    clip = Clip(
        lambda: _frames(job, pairs, matched, readers()),
        lambda: job.read_references(read_header(pairs[0][0]).metadata.profile),
        job.lengths(len(matched)) if stats != "uniform" or len(matched) == len(measured) else None,
        lambda: _frames(job, pairs, measured, readers()),
        together=len(pairs) > 1,
        combine=job.ranks.sum,
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
            write_image(target, result.frame.out.movedim(0, -1)[None], source, quality=job.quality)
            if source.header.note is not None:
                tqdm.write(f"{pairs[index][0]}: {source.header.note}", file=sys.stderr)


def _frames(job: Job, pairs: list[Pair], indices: Sequence[int], readers: Iterator[ReferenceReader]) -> Iterator[Frame]:
    profile = read_header(pairs[0][0]).metadata.profile if len(pairs) > 1 else None
    for index, reader in _with_readers(indices, readers):
        file = read_image(pairs[index][0])
        colors = 1 if file.pixels.shape[-1] == 1 else 3
        if reader is not None:
            check_profile(file.profile, colors)
        if len(pairs) > 1 and not same_colors(file.profile, profile, colors, pairs[index][0].name):
            raise ValueError(f"{pairs[index][0].name}: expected the color profile of {pairs[0][0].name}, got another")
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
