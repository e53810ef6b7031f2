"""What is kept in files: references, and transforms that are applied in place of a match."""

import argparse
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from ..clip.frames import Clip, Frame, Reference
from ..clip.run import fit_clip
from ..clip.settings import MatchSettings
from ..color_transform import ColorTransform, fit_settings
from ..luts.cube import difference
from ..luts.files import read_lut, write_lut
from ..reference_histogram import ReferenceHistogram
from .clips import is_clip, read_clip, read_clip_header
from .file_kinds import about
from .images import read_sequence, values_of
from .job import Job
from .messages import say
from .paths import is_histogram


def save_reference(job: Job, target: Path) -> None:
    """Pool all references into a file, in sRGB."""
    job.check_target(target)
    histograms = _histograms(job)
    first = next(histograms, None)
    if first is None:
        raise ValueError("argument --reference: expected a picture or a video with frames")
    sum(histograms, first).save(target)


def with_transform(job: Job, options: argparse.Namespace, sources: list[Path]) -> Job:
    """The job with the transform that all files go through, which is kept if that is asked for; as it is if there is none."""
    kept: ColorTransform | None = None
    for path in (Path(name) for name in (options.save_transform, options.save_lut) if name):
        job.check_target(path)
    if options.transform:
        kept = ColorTransform.load(options.transform)
    elif options.lut:
        kept = ColorTransform(read_lut(options.lut).transform())
    elif options.save_transform or options.save_lut:
        kept = _fit(job, options, sources)
    if kept is None:
        return job
    if options.save_transform:
        kept.save(options.save_transform)
    if options.save_lut:
        write_lut(options.save_lut, kept.transform, options.lut_size, Path(options.save_lut).stem)
        mean, largest = difference(kept.transform, read_lut(options.save_lut).transform())
        say(f"{options.save_lut}: {mean:.2f} levels of 255 from the transform in the mean, {largest:.2f} at most")
    return replace(job, settings=MatchSettings(factor=options.factor), transform=kept.transform, references=[])


def _fit(job: Job, options: argparse.Namespace, sources: list[Path]) -> ColorTransform:
    """Measure all files as the frames of one clip, and find their transform."""
    chosen = job.settings
    index = chosen.target_index if chosen.source_stats == "target_frame" else None
    names = ("method", "color_space", "rotations", "detail", "dither", "grid", "clip", "range")
    settings = fit_settings(target_index=index, **{name: getattr(chosen, name) for name in names})
    with about(sources[0]):
        metadata = read_clip_header(sources[0]).metadata
    clips = [source for source in sources if source.exists() and is_clip(source)]
    if clips and len(sources) > 1:
        raise ValueError(f"argument SOURCE: expected image files or one clip to measure together, got {len(sources)} files")

    def frames() -> Iterator[Frame]:
        if not clips:
            return read_sequence(job, sources)
        references = job.read_references(metadata.profile)
        return (job.clip_frame(pixels, next(references, None), metadata.orientation) for pixels in read_clip(clips[0]))

    if clips and chosen.range == "data":
        raise ValueError("argument --range: expected 0 to 1 for a clip, whose values are in it")

    def references() -> Iterator[Reference]:
        return job.read_references(metadata.profile)

    clip = Clip(frames, references, None, values=values_of(job, frames(), references))
    with tqdm(unit="frame", disable=job.quiet) as bar, about(clips[0]) if clips else nullcontext():
        transform, report = fit_clip(clip, settings, job.device, lambda done, _total: bar.update(done - bar.n))
    for note in report.notes():
        say(note)
    return ColorTransform(transform, chosen.method)


def _histograms(job: Job) -> Iterator[ReferenceHistogram]:
    for path in job.references:
        if is_histogram(path):
            yield ReferenceHistogram.load(path)
            continue
        for read in job.readers_of(path):
            reference = read(None)
            mask = None if reference.mask is None else reference.mask[None]
            yield ReferenceHistogram.of(reference.pixels.movedim(0, -1)[None], mask, range=job.settings.range)
