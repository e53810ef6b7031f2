"""Match the frames of a clip one after the other, whatever they come from: the one door for batches and for files."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain

import torch

from ..kernels.workers import in_thread
from ..methods.channels import ChannelTables
from ..methods.grid import CellTables
from ..methods.transform import Step, Transform
from .frames import Clip, Matched, Report
from .matcher import Matcher, Plan, Prepared
from .settings import MatchSettings
from .statistics import STATISTICS, Run, counts_anything, per_frame, pool_references, pooled_sources, target_sources

Progress = Callable[[int, int], None]
"""Called after each step with the number of steps done and the number of all, 0 if that is not known."""


def match_clip(
    clip: Clip, settings: MatchSettings, device: torch.device, progress: Progress | None = None, *, gradient: bool = False
) -> Iterator[Matched]:
    """Match a clip, and yield each frame that is done.

    A frame for which ``device`` has too little memory is matched on the CPU.

    Raises:
        ValueError: the clip has no frame ``target_index``, or nothing to measure there; a channel of a reference has no finite
            value that counts; or frames have different numbers of channels.
    """
    run = _begin(clip, settings, device, progress, gradient)
    yield from _matched(run, STATISTICS[settings.source_stats](run))


def fit_clip(
    clip: Clip, settings: MatchSettings, device: torch.device, progress: Progress | None = None, *, gradient: bool = False
) -> tuple[Transform, Report]:
    """Find the transform that :func:`match_clip` would apply to all frames, by ``uniform`` or by ``target_frame``.

    The first reference is that of all frames, unless they are pooled.

    Raises:
        ValueError: as :func:`match_clip`; or nothing counts, in the frames or in the reference.
    """
    run = _begin(clip, settings, device, progress, gradient)
    run.fits_only = True
    if settings.source_stats == "target_frame":
        sources, reference = target_sources(run)
    else:
        sources, first = pooled_sources(run), run.pooled
        reference = next(per_frame(run, clip.first_pass))[1] if first is None else first
    if reference.parts is None or len(sources) < len(run.matcher.steps):
        raise ValueError("reference_mask: expected pixels that count, got 0 throughout; paint where to measure, or unplug it")
    for source, step in zip(sources, run.matcher.steps, strict=True):
        if isinstance(step, Step) and step.measures_source and not counts_anything(source):
            raise ValueError("image: expected finite pixels that count, got none; paint where to measure, or unplug image_mask")
    return run.call(run.solve, sources, reference), reference.report + Report(fallbacks=run.fallbacks)


def apply_clip(
    clip: Clip,
    transform: Transform,
    factor: float,
    device: torch.device,
    progress: Progress | None = None,
    *,
    gradient: bool = False,
) -> Iterator[Matched]:
    """Send each frame of a clip through a transform that is known, blend, and yield it.

    Raises:
        ValueError: frames have different numbers of channels.
    """
    frames = iter(clip.frames())
    first = next(frames, None)
    if first is None:
        return
    parts = transform.parts
    channelwise = _is_channelwise(transform, len(first.pixels[:3]))
    matcher = Matcher(transform.space, parts, factor, device, gradient, channelwise)
    run = Run(clip, MatchSettings(factor=factor), matcher, progress, Prepared([None] * len(parts), Report()))
    plans = per_frame(run, lambda: chain([first], frames))
    yield from _matched(run, ((frame, reference, transform) for frame, reference, _ in plans))


def _is_channelwise(transform: Transform, colors: int) -> bool:
    """Whether pictures of 1 or 3 colors can be sent through channel by channel, as they are, with nothing to cut off."""
    if not transform.space.as_stored or len(transform.parts) != 1:
        return False
    if not isinstance(transform.parts[0], (ChannelTables, CellTables)):
        return False
    table = transform.parts[0].values
    # A gray picture goes through the curves of colors as a color.
    return len(table) <= colors and bool(((table >= 0) & (table <= 1)).all())


def _begin(clip: Clip, settings: MatchSettings, device: torch.device, progress: Progress | None, gradient: bool) -> Run:
    """A run that knows its references, if they are pooled."""
    # Not by torch's own threads, which a forked process does not have.
    space, steps = in_thread(settings.recipe)
    space = replace(space, values=clip.values)
    first = steps[0]
    channelwise = space.as_stored and len(steps) == 1 and isinstance(first, Step) and first.channelwise
    run = Run(clip, settings, Matcher(space, steps, settings.factor, device, gradient, channelwise, clip.observed), progress)
    if settings.target is not None:
        run.pooled = Prepared([None] * len(steps), Report())
    elif settings.reference_stats == "pooled":
        run.pooled = pool_references(run)
    return run


def _matched(run: Run, plans: Iterable[Plan]) -> Iterator[Matched]:
    """Match frames as planned, and tell of each."""
    for matched in run.map(Matcher.match, plans, together=run.clip.together):
        yield replace(matched, report=matched.report + Report(fallbacks=run.fallbacks))
        run.fallbacks = 0
        run.matched += 1
        run.tell()
