"""Match the frames of a clip one after the other, whatever they come from: the one door for batches and for files."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from .affine import like
from .color_space import COLOR_SPACES, ColorSpace
from .frame_pool import FramePool
from .histogram_matching import LEVELS, check_count, cumulative_distribution, histogram, is_in_range
from .methods import METHODS, ROTATIONS, MethodOptions
from .smoothing import FrameStatistics, TransferSmoothing, is_flat, watched_pixels
from .steps import Picture, Step, TargetStep, match_picture, stage

SOURCE_STATS = ("per_frame", "uniform", "target_frame", "smoothed")
"""Whose histogram the transfer function starts from, the default first."""
REFERENCE_STATS = ("paired", "pooled")
"""What a batch of references means, the default first."""
WINDOW = 72
"""The default window of ``smoothed``, in frames: three seconds of film."""

# Sums of fractions are taken in this part of a pixel when they are added up over a clip: up to 2^43 pixels.
_GRID = 1 << 20
_LARGEST = 1 << 62
# How far apart equal colors can be in another color space, where vector units and the rest of a row round differently.
_CONVERSION_ERROR = 2.0**-20

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class MatchSettings:
    """How a clip is matched, checked.

    Attributes:
        method: one of :data:`METHODS`.
        factor: how much of the match is blended in, 0 to 1.
        source_stats: one of :data:`SOURCE_STATS`.
        target_index: the frame that decides for all with ``target_frame``.
        window: in frames, for ``smoothed``.
        reference_stats: one of :data:`REFERENCE_STATS`.
        color_space: one of :data:`COLOR_SPACES`.
        rotations: of the method sliced, 2 or more.
        target: makes a transfer function of the cumulative distribution ``[C, LEVELS]`` of a source, in place of method and
            reference. In color spaces other than RGB, only the lightness is matched then.

    Raises:
        TypeError: a number is not one.
        ValueError: a value is none of the above, or the method has no such ``source_stats``.
    """

    method: str = next(iter(METHODS))
    factor: float = 1.0
    source_stats: str = SOURCE_STATS[0]
    target_index: int = 0
    window: int = WINDOW
    reference_stats: str = REFERENCE_STATS[0]
    color_space: str = COLOR_SPACES[0]
    rotations: int = ROTATIONS
    target: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        _check_name("method", self.method, tuple(METHODS))
        _check_name("color_space", self.color_space, COLOR_SPACES)
        _check_name("source_stats", self.source_stats, SOURCE_STATS)
        _check_name("reference_stats", self.reference_stats, REFERENCE_STATS)
        if isinstance(self.factor, bool) or not isinstance(self.factor, (int, float)):
            raise TypeError(f"factor: expected a number, got {type(self.factor).__name__}")
        if not (math.isfinite(self.factor) and 0 <= self.factor <= 1):
            raise ValueError(f"factor: expected a number from 0 to 1, got {self.factor}")
        check_count("target_index", self.target_index, 0)
        check_count("window", self.window, 1)
        check_count("rotations", self.rotations, 2)
        reason = METHODS[self.method].per_frame_only
        if self.target is None and reason and self.source_stats != "per_frame":
            raise ValueError(
                f"source_stats: expected per_frame with the method {self.method}, since {reason}, got {self.source_stats}"
            )

    def space(self) -> ColorSpace:
        """Where channels are matched."""
        if self.target is not None:
            return ColorSpace(self.color_space, lightness_only=True)
        return METHODS[self.method].color_space(self.color_space)

    def steps(self) -> tuple[Step, ...]:
        """What is done to each frame."""
        if self.target is not None:
            return (TargetStep(target=self.target),)
        space = self.space()
        return METHODS[self.method].steps(MethodOptions(span=space.span, axes=space.axes, rotations=self.rotations))


@dataclass(frozen=True)
class Look:
    """A reference.

    Attributes:
        pixels: floating point, shape ``[C', H, W]``, values in [0, 1]; C' is the frames' or 1.
        mask: how much each pixel counts, not negative, shape ``[H, W]``; None for all of them.
        name: what to call it in an error.
        counts: its histogram ``[C', LEVELS]``, where the pixels are only a sample of it.
    """

    pixels: Tensor
    mask: Tensor | None
    name: str
    counts: Tensor | None = None


@dataclass(frozen=True)
class Frame:
    """A frame to match.

    Attributes:
        pixels: the colours, floating point, shape ``[C, H, W]``, values in [0, 1].
        mask: where and how much it is measured and changed, 0 to 1, shape ``[H, W]``; None for all of it.
        look: its reference; None for that of the frame before.
        out: where the result goes, of the shape of ``pixels``.
    """

    pixels: Tensor
    mask: Tensor | None
    look: Look | None
    out: Tensor


def match_clip(
    first_pass: Callable[[], Iterable[Frame]],
    frames: Callable[[], Iterable[Frame]],
    looks: Callable[[], Iterable[Look]],
    settings: MatchSettings,
    device: torch.device,
    *,
    parallel: bool,
    lengths: tuple[int, int] | None,
    note: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
    gradient: bool = False,
    combine: Callable[[Any], Any] = lambda measured: measured,
) -> Iterator[Frame]:
    """Match a clip, and yield each frame with the result in its ``out``.

    Args:
        first_pass: begins to read the clip, for where something has to be known before the first frame is matched; some
            methods do so several times.
        frames: begins to read the clip.
        looks: begins to read the references; only for where they are pooled, and then they serve instead of those of the
            frames.
        settings: how to match.
        device: where to compute. A frame for which it has too little memory is matched on the CPU, with a
            ``RuntimeWarning``.
        parallel: whether to work on several frames at a time where that is of use.
        lengths: how many frames and references there are, if that is known.
        note: called at the end with what the user should be told.
        progress: called after each step with the number of steps done and the number of all, 0 if that is not known.
        gradient: whether the results are to have one.
        combine: makes what was measured of all frames together, None for no frames, what all machines have measured that work
            on parts of the same clip.

    Raises:
        ValueError: the clip has no frame ``target_index``, or nothing to measure there; a channel of a reference has no finite
            value that counts; or the channels of frames and references do not fit.
    """
    with FramePool(parallel and device.type == "cpu") as pool:
        clip = ClipMatching(settings, device, pool, gradient=gradient, combine=combine)
        surveyed, expected = 0, clip.survey_length(*lengths) if lengths else 0
        for surveyed, _ in enumerate(clip.survey(first_pass, looks), start=1):
            if progress is not None:
                progress(surveyed, lengths[0] + max(surveyed, expected) if lengths else 0)
        for matched, frame in enumerate(clip.match(frames()), start=1):
            yield frame
            if progress is not None:
                progress(surveyed + matched, surveyed + lengths[0] if lengths else 0)
    for text in clip.notes():
        note(text)


class _Reference:
    """What each step has prepared of a reference: measured once, by the first thread that needs it."""

    def __init__(self, prepare: Callable[[], list[Any] | None]) -> None:
        self._prepare = prepare
        self._done = False
        self._prepared: list[Any] | None = None
        self._transfers: list[Any] = []
        self._lock = threading.Lock()

    @property
    def prepared(self) -> list[Any] | None:
        """One for each step; None where the reference's mask is 0 throughout."""
        with self._lock:
            if not self._done:
                self._prepared, self._done = self._prepare(), True
            return self._prepared

    def transfers(self, steps: Sequence[Step], sources: Sequence[Any]) -> list[Any]:
        """The transfers from sources that are the same each time, computed once."""
        prepared = self.prepared
        with self._lock:
            if prepared is not None:
                for index in range(len(self._transfers), len(sources)):
                    self._transfers.append(steps[index].solve(sources[index], prepared[index]))
            return self._transfers[: len(sources)]


@dataclass(frozen=True)
class _Plan:
    """A frame and what is to be done with it.

    Attributes:
        frame: the frame.
        reference: its reference.
        transfers: of all steps; None for a frame that stays as it is.
        statistics: for smoothing.
    """

    frame: Frame
    reference: _Reference
    transfers: tuple[Any, ...] | None
    statistics: FrameStatistics | None = None


class ClipMatching:
    """One run over one clip: first :meth:`survey` to its end, then :meth:`match`.

    Args:
        settings: how to match.
        device: where to compute.
        pool: what works on the frames.
        gradient: whether the results are to have one.
        combine: as in :func:`match_clip`.
    """

    def __init__(
        self,
        settings: MatchSettings,
        device: torch.device,
        pool: FramePool,
        *,
        gradient: bool = False,
        combine: Callable[[Any], Any] = lambda measured: measured,
    ) -> None:
        self._settings, self._device, self._pool, self._gradient = settings, device, pool, gradient
        self._combine = combine
        self._space, self._steps = settings.space(), settings.steps()
        # Channels that are matched for themselves, as they are: values are left out one by one, and a gray reference is one.
        self._apart = self._space.is_rgb and len(self._steps) == 1 and self._steps[0].channels_apart
        self._needs_reference = any(step.needs_reference for step in self._steps)
        self._pooled: _Reference | None = None
        # What has been measured for the clip, for one step after the other, and whether all values are known to be in [0, 1].
        self._sources: list[Any] = []
        self._in_range = False
        self._opening: tuple[Any, ...] | None = None
        # One entry for each frame or reference that has any, appended by several threads.
        self._missing: dict[str, list[int]] = {"image": [], "reference": []}
        self._untouched: list[None] = []

    def survey_length(self, frames: int, looks: int) -> int:
        """How many steps :meth:`survey` takes with so many frames and references; more if the clip begins with flat frames."""
        passes = sum(step.needs_source for step in self._steps)
        steps = {"per_frame": 0, "uniform": frames * passes, "target_frame": 1, "smoothed": 1}[self._settings.source_stats]
        return steps + (looks if self._settings.reference_stats == "pooled" else 0)

    def survey(self, frames: Callable[[], Iterable[Frame]], looks: Callable[[], Iterable[Look]]) -> Iterator[None]:
        """Take from the references and the clip what has to be known before the first frame is matched.

        Args:
            frames: begins to read the clip, once for each step that measures it. No more of it is read than is needed.
            looks: begins to read the references. They are read only where they are pooled, and serve instead of those of the
                frames.

        Yields:
            After each step.

        Raises:
            ValueError: the clip has no frame ``target_index``, or nothing to measure there, or a channel of the references
                has no finite value that counts.
        """
        if self._settings.reference_stats == "pooled" and self._needs_reference:
            yield from self._pool_looks(looks())
        stats = self._settings.source_stats
        told = len(self._missing["reference"])
        if stats == "uniform":
            self._in_range = True
            for index, step in enumerate(self._steps):
                if not step.needs_source:
                    self._sources.append(None)
                    continue
                total: Any = None
                measure = partial(self._measure_frame, before=index, summed=True)
                for of_frame, in_range in self._pool.map(measure, self._with_reference(frames())):
                    total = total if of_frame is None else _add("image", total, of_frame)
                    self._in_range = self._in_range and in_range
                    yield
                total = self._combine(total)
                if total is None:
                    return
                self._sources.append(_as_measured(total))
        elif stats == "target_frame":
            index = self._settings.target_index
            target = next(islice(self._with_reference(frames()), index, None), None)
            if target is None:
                raise ValueError(f"target_index: expected the index of a frame of the image, got {index}")
            for before, step in enumerate(self._steps):
                measured, _ = self._measure_frame(target, before) if step.needs_source else (None, False)
                if step.needs_source and (measured is None or not any(step.totals(measured))):
                    missing = "a reference to go to" if measured is None else "pixels to measure"
                    raise ValueError(f"target_index: expected a frame with {missing}, got {index} with none")
                self._sources.append(measured)
            yield
        elif stats == "smoothed":
            for item in self._with_reference(frames()):
                plan = self._plan(item)
                yield
                if plan.statistics is not None and not is_flat(plan.statistics.cdf):
                    self._opening = plan.transfers
                    break
        # The references of these frames are measured again when the frames are matched.
        del self._missing["reference"][told:]

    def match(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Match the clip.

        Args:
            frames: the same clip from its first frame.

        Yields:
            Each frame, in order, with the result in its ``out``.

        Raises:
            ValueError: a channel of a reference has no finite value that counts.
        """
        items = self._with_reference(frames)
        if self._settings.source_stats == "smoothed":
            plans = self._smooth(self._pool.map(self._plan, items))
            yield from self._pool.map(self._match_planned, plans)
        else:
            yield from self._pool.map(self._match, items)

    def notes(self) -> list[str]:
        """What the user should be told after the run."""
        notes = [f"{name}: left out {sum(n)} NaN or infinite values" for name, n in self._missing.items() if sum(n)]
        if self._untouched:
            notes.append(f"mask: 0 throughout for {len(self._untouched)} frames, which are left as they are")
        return notes

    def _with_reference(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, _Reference]]:
        reference = self._pooled
        if not self._needs_reference:
            nothing: list[Any] = [None] * len(self._steps)
            reference = _Reference(lambda: nothing)
        for frame in frames:
            if self._needs_reference and self._pooled is None and frame.look is not None:
                reference = _Reference(partial(self._prepare, frame.look))
            if reference is None:
                raise ValueError("reference: expected one for the first frame, got none")
            if frame.look is not None and frame.look.pixels.shape[0] not in (1, frame.pixels.shape[0]):
                raise ValueError(
                    f"reference: expected 1 channel to go with an image of {frame.pixels.shape[0]}, "
                    f"got {frame.look.pixels.shape[0]} channels"
                )
            yield frame, reference

    def _prepare(self, look: Look) -> list[Any] | None:
        measured = self._measure_look(look)
        return None if measured is None else self._prepared(measured, look.name)

    def _pool_looks(self, looks: Iterable[Look]) -> Iterator[None]:
        """Measure all references as one, frame by frame."""
        total: dict[Step, Any] = {}
        for measured in self._pool.map(self._measure_look, looks):
            for step, of_step in (measured or {}).items():
                total[step] = _add("reference", total.get(step), of_step)
            yield
        prepared = self._prepared(total, "all references") if total else None
        self._pooled = _Reference(lambda: prepared)

    def _prepared(self, measured: dict[Step, Any], name: str) -> list[Any]:
        """Make ready for each step what was measured for it."""
        prepared: dict[Step, Any] = {}
        for step, of_step in measured.items():
            totals = step.totals(of_step)
            if not all(totals):
                raise ValueError(f"reference: expected finite values, got none in channel {totals.index(0)} of {name}")
            prepared[step] = step.prepare(of_step)
        return [prepared.get(step) for step in self._steps]

    def _measure_look(self, look: Look) -> dict[Step, Any] | None:
        """Measure a reference for each step, once for equal ones; None if its mask is 0 throughout."""
        if look.mask is not None and not look.mask.any():
            return None
        in_range = is_in_range(look.pixels)
        self._missing["reference"].append(0 if in_range else _count_missing(look.pixels))
        return _with_memory_of(self._device, self._measure_look_on, look, in_range)

    def _measure_look_on(self, device: torch.device, look: Look, in_range: bool) -> dict[Step, Any]:
        picture, _ = self._picture(device, look.pixels, look.mask, in_range, look.counts)
        return {step: step.measure(picture) for step in dict.fromkeys(self._steps) if step.needs_reference}

    def _picture(
        self, device: torch.device, pixels: Tensor, mask: Tensor | None, in_range: bool, counts: Tensor | None = None
    ) -> tuple[Picture, Tensor | None]:
        """Bring pixels ``[C, H, W]`` onto the device and into the color space; and what the color space keeps besides."""
        pixels = pixels.to(device, torch.promote_types(pixels.dtype, torch.float32))
        weights = None if mask is None else mask.to(pixels)
        if self._apart:
            return Picture(pixels, weights, in_range, counts), None
        if not in_range:
            finite = pixels.isfinite().all(dim=0).to(pixels.dtype)
            weights = finite if weights is None else weights * finite
            pixels = pixels.nan_to_num(nan=0.0, posinf=1.0, neginf=0.0).clamp(0, 1)
        channels, kept = self._space.split(pixels if pixels.shape[0] == 3 else pixels.expand(3, -1, -1))
        if self._space.is_rgb:
            return Picture(channels, weights, True, counts), kept
        return Picture(channels, weights, rounding=_CONVERSION_ERROR), kept

    def _measure_frame(self, item: tuple[Frame, _Reference], before: int, *, summed: bool = False) -> tuple[Any, bool]:
        """Measure a frame for the step ``before`` which those known are applied; and say whether its values are in [0, 1].

        None in place of a measurement where there is no way to that step, since nothing of the frame's reference counts. What
        is to be summed over frames comes as whole numbers, where it is fractions.
        """
        frame, reference = item
        in_range = is_in_range(frame.pixels)
        if before and reference.prepared is None:
            return None, in_range
        transfers = reference.transfers(self._steps, self._sources[:before]) if before else []
        measured = _with_memory_of(self._device, self._measure_frame_on, frame, in_range, transfers, before)
        # Without a mask, counts are whole numbers as they are; a pixel that is not finite counts 0.
        fractions = frame.mask is not None or not self._steps[before].channels_apart
        return _in_any_order(measured) if summed and fractions else measured, in_range

    def _measure_frame_on(self, device: torch.device, frame: Frame, in_range: bool, transfers: list[Any], before: int) -> Any:
        picture, _ = self._picture(device, frame.pixels, frame.mask, in_range)
        if before:
            pixels, _ = match_picture(self._steps, picture, [], transfers, self._memory(picture), upto=before)
            picture = stage(picture, pixels)
        return self._steps[before].measure(picture)

    def _plan(self, item: tuple[Frame, _Reference]) -> _Plan:
        """Find the transfers of a frame, and what smoothing needs to know of it."""
        frame, reference = item
        prepared = reference.prepared
        if prepared is None or (frame.mask is not None and not frame.mask.any()):
            return _Plan(frame, reference, None)
        transfers, cdf = _with_memory_of(self._device, self._plan_on, frame, is_in_range(frame.pixels), prepared)
        # A frame for which the device has too little memory was measured elsewhere than the frame before.
        transfers = tuple(transfer.cpu() for transfer in transfers)
        statistics = FrameStatistics(transfers, cdf.cpu(), watched_pixels(frame.pixels, frame.mask).cpu())
        return _Plan(frame, reference, transfers, statistics)

    def _plan_on(
        self, device: torch.device, frame: Frame, in_range: bool, prepared: list[Any]
    ) -> tuple[tuple[Any, ...], Tensor]:
        picture, _ = self._picture(device, frame.pixels, frame.mask, in_range)
        if self._apart:
            counts = self._steps[0].measure(picture)
            return (self._steps[0].solve(counts, prepared[0]),), cumulative_distribution(counts)
        last = max(index for index, step in enumerate(self._steps) if step.needs_source)
        pixels, transfers = match_picture(self._steps, picture, prepared, out=self._memory(picture), upto=last)
        transfers.append(self._steps[last].solve(self._steps[last].measure(stage(picture, pixels)), prepared[last]))
        transfers += [
            step.solve(None, of_step) for step, of_step in zip(self._steps[last + 1 :], prepared[last + 1 :], strict=True)
        ]
        weights = None if frame.mask is None else frame.mask[None]
        return tuple(transfers), cumulative_distribution(histogram(frame.pixels, LEVELS, weights, in_range=in_range))

    def _smooth(self, plans: Iterable[_Plan]) -> Iterator[_Plan]:
        smoothing = TransferSmoothing(self._settings.window, self._opening)
        for plan in plans:
            transfers = plan.transfers if plan.statistics is None else smoothing.follow(plan.statistics)
            yield _Plan(plan.frame, plan.reference, transfers)

    def _match_planned(self, plan: _Plan) -> Frame:
        if plan.transfers is None:
            self._leave(plan.frame)
        else:
            self._match_with(plan.frame, plan.reference, list(plan.transfers))
        return plan.frame

    def _match(self, item: tuple[Frame, _Reference]) -> Frame:
        frame, reference = item
        if reference.prepared is None or (frame.mask is not None and not frame.mask.any()):
            self._leave(frame)
        else:
            self._match_with(frame, reference, reference.transfers(self._steps, self._sources))
        return frame

    def _match_with(self, frame: Frame, reference: _Reference, transfers: list[Any]) -> None:
        in_range = self._in_range or is_in_range(frame.pixels)
        missing = 0 if in_range else _count_missing(frame.pixels)
        _with_memory_of(self._device, self._match_on, frame, in_range, missing, reference.prepared, transfers)
        self._missing["image"].append(missing)

    def _match_on(
        self,
        device: torch.device,
        frame: Frame,
        in_range: bool,
        missing: int,
        prepared: list[Any],
        transfers: list[Any],
    ) -> None:
        """Match ``frame`` on ``device``, blend and write to its ``out``."""
        picture, kept = self._picture(device, frame.pixels, frame.mask, in_range)
        fits = (frame.out.shape, frame.out.dtype, frame.out.device) == _kind(picture.pixels)
        out = frame.out if fits and not self._gradient else self._memory(picture)
        matched, _ = match_picture(self._steps, picture, prepared, transfers, out)
        if not self._apart:
            matched = self._space.join(matched, kept, in_place=out is not None)
            matched = matched if frame.pixels.shape[0] == 3 else matched.mean(dim=0, keepdim=True)
            matched = matched.clamp(0, 1) if out is None else matched.clamp_(0, 1)
            if missing:
                ends = frame.pixels.nan_to_num(nan=0.0, posinf=1.0, neginf=0.0)
                matched = torch.where(frame.pixels.isfinite().to(device), matched, like(ends, matched))
        _blend(frame, matched, self._settings.factor, missing)

    def _memory(self, picture: Picture) -> Tensor | None:
        """New memory for the results of steps, in which the channels of a pixel are neighbours; None with a gradient."""
        channels, height, width = picture.pixels.shape
        return None if self._gradient else picture.pixels.new_empty(height, width, channels).movedim(-1, 0)

    def _leave(self, frame: Frame) -> None:
        frame.out.copy_(frame.pixels)
        self._untouched.append(None)


def _add(name: str, total: Any, measured: Any) -> Any:
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


def _in_any_order(measured: Any) -> Any:
    """Sums of one frame as whole numbers, so that sums over frames are exact, and the same in whatever order they are added.

    Sums of weights and of colors are fractions, unlike counts.
    """
    if not isinstance(measured, Tensor) or measured.requires_grad:
        return measured
    return (measured * _GRID).round_().long()


def _as_measured(total: Any) -> Any:
    """What :func:`_in_any_order` has made whole numbers of, as fractions again."""
    return total.double().div_(_GRID) if isinstance(total, Tensor) and total.dtype == torch.int64 else total


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return tensor.shape, tensor.dtype, tensor.device


def _count_missing(pixels: Tensor) -> int:
    """How many values are NaN or infinite."""
    return int((~pixels.isfinite()).sum())


def _blend(frame: Frame, matched: Tensor, factor: float, missing: int) -> None:
    """Write ``factor * matched + (1 - factor) * pixels`` to the frame's ``out``, inside of its mask."""
    if factor < 1 or frame.mask is not None:
        pixels = frame.pixels.to(matched.device, matched.dtype)
        clean = pixels.nan_to_num(nan=0, posinf=1, neginf=0) if missing else pixels
        # Without a gradient to keep, the frame is blended where it is.
        in_place = None if matched.requires_grad or pixels.requires_grad else matched
        if frame.mask is None:
            matched = matched.mul_(factor).add_(clean, alpha=1 - factor).clamp_(0, 1)
        else:
            weight = frame.mask.to(matched.device, matched.dtype) * factor
            in_place = None if weight.requires_grad else in_place
            blended = torch.lerp(clean, matched, weight, out=in_place).clamp_(0, 1)
            matched = torch.where(weight > 0, blended, pixels, out=in_place)
    if matched is not frame.out:
        frame.out.copy_(matched)


def _with_memory_of(device: torch.device, function: Callable[..., _Result], *arguments: object) -> _Result:
    """Call ``function`` with ``device`` and ``arguments``; with the CPU where the device has too little memory."""
    try:
        return function(device, *arguments)
    except torch.cuda.OutOfMemoryError:
        warnings.warn(f"{device} is out of memory, this frame is matched on the CPU", RuntimeWarning, stacklevel=3)
    # Outside of the except clause: there the exception would keep the failed attempt's tensors alive.
    return function(torch.device("cpu"), *arguments)


def _check_name(name: str, value: str, expected: tuple[str, ...]) -> None:
    if value not in expected:
        raise ValueError(f"{name}: expected one of {', '.join(expected)}, got {value!r}")
