"""Whose histogram counts: four ways from a stream of frames to a stream of frames with what is known of their transforms.

What is not known yet of a transform is solved for from the frame itself, when it is matched.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, zip_longest
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..kernels.workers import map_frames
from ..methods.samples import ColorSample
from ..methods.transform import PairStep, Part, Step, Transform
from .frames import Clip, Frame, Report
from .matcher import Matcher, Measured, Plan, Prepared
from .settings import MatchSettings
from .smoothing import FrameStatistics, TransferSmoothing, is_flat

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Sums of fractions are taken in this part of a pixel when they are added up over a clip: up to 2^43 pixels.
_GRID = 1 << 20
_LARGEST = 1 << 62


@dataclass
class Run:
    """One run over a clip: references, if ``pooled``, steps ``measured`` and ``matched``, and ``fallbacks`` not told yet.

    ``fits_only``: no frame is matched.
    """

    clip: Clip
    settings: MatchSettings
    matcher: Matcher
    progress: Callable[[int, int], None] | None = None
    pooled: Prepared | None = None
    measured: int = 0
    matched: int = 0
    fallbacks: int = 0
    fits_only: bool = False

    def tell(self) -> None:
        """Say how many steps are done."""
        if self.progress is None:
            return
        total = 0
        if self.clip.lengths is not None:
            frames, references = self.clip.lengths
            passes = sum(isinstance(step, Step) for step in self.matcher.steps)
            expected = {"uniform": frames * passes, "per_frame": 0}.get(self.settings.source_stats, 1)
            expected += references if self.settings.reference_stats == "pooled" else 0
            total = (self.measured if self.matched else max(self.measured, expected)) + (0 if self.fits_only else frames)
        self.progress(self.measured + self.matched, total)

    def step(self) -> None:
        """Count a step before the first frame is matched."""
        self.measured += 1
        self.tell()

    def map(self, verb: Callable[[Matcher, _Item], _Result], items: Iterable[_Item], *, together: bool) -> Iterator[_Result]:
        """Do something to items in order: in threads of the pack's own on the CPU, with a GPU or a gradient in the caller's."""
        if self.matcher.gradient or self.matcher.device.type != "cpu":
            return map(partial(self._or_on_cpu, verb), items)
        return map_frames(partial(verb, self.matcher), items, together=together)

    def _or_on_cpu(self, verb: Callable[[Matcher, _Item], _Result], item: _Item) -> _Result:
        """Do something to an item on the matcher's device, and on the CPU where that has too little memory."""
        try:
            return verb(self.matcher, item)
        except torch.cuda.OutOfMemoryError:
            self.fallbacks += 1
        # Outside of the except clause: there the exception would keep the failed attempt's tensors alive.
        return verb(replace(self.matcher, device=torch.device("cpu")), item)

    def call(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Call a function where :meth:`map` does."""
        (result,) = self.map(lambda _matcher, chosen: function(*chosen), [arguments], together=False)
        return result

    def solve(self, sources: Sequence[Any], reference: Prepared) -> Transform:
        """The transform from what was measured for the first steps to a reference; as it begins, where nothing counts there."""
        parts: list[Part] = []
        for step, source, prepared in zip(self.matcher.steps, sources, reference.parts or (), strict=False):
            parts.append(step if isinstance(step, Part) else step.solve(source, prepared))
        return Transform(self.matcher.space, tuple(parts))


def per_frame(run: Run, frames: Callable[[], Iterable[Frame]] | None = None) -> Iterator[Plan]:
    """Each frame by itself: nothing is known of its transform before it is matched.

    Raises:
        ValueError: the first frame has no reference, a reference nothing that counts, or a frame other channels.
    """
    nothing, prepared, colors = Transform(run.matcher.space), run.pooled, 0
    for frame in (frames or run.clip.frames)():
        colors = colors or len(frame.pixels[:3])
        if len(frame.pixels[:3]) != colors:
            raise ValueError(f"image: expected {colors} channels as in the first frame, got {len(frame.pixels[:3])}")
        if run.pooled is None and frame.reference is not None:
            (prepared,) = run.map(partial(Matcher.prepare, colors=colors), [frame.reference], together=False)
        if prepared is None:
            raise ValueError("reference: expected one for the first frame, got none")
        # A reference may take as much memory as a frame, and is not needed any more.
        frame = replace(frame, reference=None)
        yield frame, prepared, nothing
        # What there is to tell of a reference is told once.
        prepared = replace(prepared, report=Report()) if prepared.report != Report() else prepared


def uniform(run: Run) -> Iterator[Plan]:
    """All frames together: one transform for each reference."""
    yield from _from_sources(run, pooled_sources(run), run.clip.frames)


def target_frame(run: Run) -> Iterator[Plan]:
    """One frame, which decides for all.

    Raises:
        ValueError: the clip has no such frame, or there is nothing to measure in it.
    """
    sources, _ = target_sources(run)
    run.step()
    yield from _from_sources(run, sources, run.clip.frames)


def smoothed(run: Run) -> Iterator[Plan]:
    """Each frame, but slowly: a running average of their transforms."""
    opening = None
    for (_, _, transform), statistics in run.map(Matcher.follow, per_frame(run, run.clip.first_pass), together=False):
        run.step()
        if statistics is not None and not is_flat(statistics.cdf):
            opening = transform
            break
    smoothing = TransferSmoothing(run.settings.window, opening)

    def average(_matcher: Matcher, followed: tuple[Plan, FrameStatistics | None]) -> Plan:
        (frame, reference, transform), statistics = followed
        return frame, reference, transform if statistics is None else smoothing.follow(statistics)

    followed = run.map(Matcher.follow, per_frame(run), together=run.clip.together)
    yield from run.map(average, followed, together=False)


STATISTICS: dict[str, Callable[[Run], Iterator[Plan]]] = {
    way.__name__: way for way in (per_frame, uniform, target_frame, smoothed)
}


def pool_references(run: Run) -> Prepared | None:
    """All references as one; None if there is none."""
    total: Measured | None = None
    frame = next(iter((run.clip.first_pass or run.clip.frames)()), None)
    measure = partial(Matcher.measure_reference, colors=3 if frame is None else len(frame.pixels[:3]))
    for measured in run.map(measure, run.clip.references(), together=run.clip.together):
        total = measured if total is None else run.call(add_references, total, measured)
        run.step()
    return None if total is None else run.call(run.matcher.prepare_measured, total, "all references")


def pooled_sources(run: Run) -> list[Any]:
    """What each step measures of all frames together, as far as anything of the references counts."""
    sources: list[Any] = []
    for index, step in enumerate(run.matcher.steps):
        total = _sum(run, index, sources) if isinstance(step, Step) else None
        if isinstance(step, Step) and total is None:
            # Nothing of the references counts: all frames stay as they are.
            break
        sources.append(total)
    return sources


def target_sources(run: Run) -> tuple[list[Any], Prepared]:
    """What each step measures of one frame, and its reference; errors as :func:`target_frame` says."""
    target = run.settings.target_index
    plan = next(islice(per_frame(run, run.clip.first_pass), target, None), None)
    if plan is None:
        raise ValueError(f"target_index: expected the index of a frame of the image, got {target}")
    frame, reference, _ = plan
    sources: list[Any] = []
    for index, step in enumerate(run.matcher.steps):
        plan = frame, reference, run.call(run.solve, sources, reference)
        (source,) = run.map(partial(Matcher.measure, index=index), [plan], together=False)
        if isinstance(step, Step) and (source is None or not counts_anything(source)):
            missing = "a reference to go to" if source is None else "pixels to measure"
            raise ValueError(f"target_index: expected a frame with {missing}, got {target} with none")
        sources.append(source)
    return sources, reference


def counts_anything(measured: Any) -> bool:
    """Whether any pixel counts in what was measured."""
    return bool((measured.weights if isinstance(measured, ColorSample) else measured).any())


def add_references(total: Measured, measured: Measured) -> Measured:
    """What was measured of several references together."""
    of_steps = dict(total.of_steps)
    for step, of_step in measured.of_steps.items():
        of_steps[step] = add("reference", of_steps.get(step), of_step)
    counted = [any(pair) for pair in zip_longest(total.counted, measured.counted, fillvalue=False)]
    shown = [one for one in (total.shown, measured.shown) if one is not None]
    return Measured(of_steps, counted, total.report + measured.report, torch.stack(shown).sum(dim=0) if shown else None)


def add(name: str, total: Any, measured: Any) -> Any:
    """Add what was measured of a frame to what was of the frames before."""
    if total is None:
        return measured
    if not isinstance(total, Tensor):
        return total + measured
    if total.shape != measured.shape:
        raise ValueError(f"{name}: expected {total.shape[0]} channels as in the first frame, got {measured.shape[0]}")
    measured = measured.to(total.device)
    if total.dtype == torch.int64 and max(int(total.abs().max()), int(measured.abs().max())) > _LARGEST:
        raise ValueError(f"{name}: expected fewer than 2^42 pixels to be pooled with masks or by linear methods, got more")
    return total + measured if total.requires_grad or measured.requires_grad else total.add_(measured)


def _from_sources(run: Run, sources: Sequence[Any], frames: Callable[[], Iterable[Frame]]) -> Iterator[Plan]:
    """Frames with the transforms from what was measured for the first steps, one for each reference."""
    solved: tuple[Any, Transform] | None = None
    by_pairs = any(isinstance(step, PairStep) for step in run.matcher.steps)
    for frame, reference, _ in per_frame(run, frames):
        if solved is None or (solved[0] is not reference.parts and not by_pairs):
            solved = reference.parts, run.call(run.solve, sources, reference)
        yield frame, reference, solved[1]


def _sum(run: Run, index: int, sources: Sequence[Any]) -> Any:
    """What a step measures of all frames together, given what those before it have measured; None if nothing."""
    total: Any = None
    plans = _from_sources(run, sources, run.clip.first_pass or run.clip.frames)
    for measured in run.map(partial(_measure_for_sum, index), plans, together=run.clip.together):
        total = total if measured is None else run.call(add, "image", total, measured)
        run.step()
    total = total if run.clip.combine is None else run.clip.combine(total)
    # As fractions again, see below.
    return total.double().div_(_GRID) if isinstance(total, Tensor) and total.dtype == torch.int64 else total


def _measure_for_sum(index: int, matcher: Matcher, plan: Plan) -> Any:
    """Measure a frame, in whole numbers, so that sums over frames are exact, and the same in whatever order they are added.

    Sums of weights and of colors are fractions, unlike counts. A pixel that is not finite counts 0.
    """
    measured, step = matcher.measure(plan, index), matcher.steps[index]
    whole = plan[0].mask is None and isinstance(step, Step) and step.channelwise
    if whole or not isinstance(measured, Tensor) or measured.requires_grad:
        return measured
    return (measured * _GRID).round_().long()
