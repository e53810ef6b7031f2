"""Match the frames of a clip one after the other, whatever they come from: the one door for batches and for files."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from ..kernels.workers import in_thread
from ..methods.transform import Step
from .frames import Clip, Matched, Report
from .matcher import Matcher, Prepared
from .settings import MatchSettings
from .statistics import STATISTICS, Run, pool_references


def match_clip(
    clip: Clip,
    settings: MatchSettings,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
    *,
    gradient: bool = False,
) -> Iterator[Matched]:
    """Match a clip, and yield each frame that is done.

    A frame for which ``device`` has too little memory is matched on the CPU. ``progress`` is called after each step with the
    number of steps done and the number of all, 0 if that is not known.

    Raises:
        ValueError: the clip has no frame ``target_index``, or nothing to measure there; a channel of a reference has no finite
            value that counts; or frames have different numbers of channels.
    """
    # Not by torch's own threads, which a forked process does not have.
    space, steps = in_thread(settings.recipe)
    first = steps[0]
    channelwise = space.name == "rgb" and len(steps) == 1 and isinstance(first, Step) and first.channelwise
    run = Run(clip, settings, Matcher(space, steps, settings.factor, device, gradient, channelwise), progress)
    if settings.target is not None:
        run.pooled = Prepared([None] * len(steps), Report())
    elif settings.reference_stats == "pooled":
        run.pooled = pool_references(run)
    for matched in run.map(Matcher.match, STATISTICS[settings.source_stats](run), together=clip.together):
        yield replace(matched, report=matched.report + Report(fallbacks=run.fallbacks))
        run.fallbacks = 0
        run.matched += 1
        run.tell()
