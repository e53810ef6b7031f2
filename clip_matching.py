"""Match the frames of a clip one after the other, whatever they come from: the one door for batches and for files."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from .frame_pool import FramePool
from .histogram_matching import (
    LEVELS,
    QuantileFunction,
    apply_transfer,
    cumulative_distribution,
    histogram,
    is_in_range,
)
from .skimage_matching import Values, channel_values, match_frame, pool_values
from .smoothing import FrameStatistics, TransferSmoothing, is_flat, watched_pixels

METHODS = ("pytorch", "skimage")
"""Names of the methods, the default first."""
SOURCE_STATS = ("per_frame", "uniform", "target_frame", "smoothed")
"""Whose histogram the transfer function starts from, the default first."""
REFERENCE_STATS = ("paired", "pooled")
"""What a batch of references means, the default first."""
WINDOW = 72
"""The default window of ``smoothed``, in frames: three seconds of film."""

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

    Raises:
        TypeError: a number is not one.
        ValueError: a value is none of the above.
    """

    method: str = METHODS[0]
    factor: float = 1.0
    source_stats: str = SOURCE_STATS[0]
    target_index: int = 0
    window: int = WINDOW
    reference_stats: str = REFERENCE_STATS[0]

    def __post_init__(self) -> None:
        _check_name("method", self.method, METHODS)
        _check_name("source_stats", self.source_stats, SOURCE_STATS)
        _check_name("reference_stats", self.reference_stats, REFERENCE_STATS)
        if isinstance(self.factor, bool) or not isinstance(self.factor, (int, float)):
            raise TypeError(f"factor: expected a number, got {type(self.factor).__name__}")
        if not (math.isfinite(self.factor) and 0 <= self.factor <= 1):
            raise ValueError(f"factor: expected a number from 0 to 1, got {self.factor}")
        _check_count("target_index", self.target_index, 0)
        _check_count("window", self.window, 1)
        if self.method == "skimage" and self.source_stats != "per_frame":
            raise ValueError(f"source_stats: expected per_frame with the method skimage, got {self.source_stats}")


@dataclass(frozen=True)
class Look:
    """A reference.

    Attributes:
        pixels: floating point, shape ``[C', H, W]``, values in [0, 1]; C' is the frames' or 1.
        mask: how much each pixel counts, 0 to 1, shape ``[H, W]``; None for all of them.
        name: what to call it in an error.
    """

    pixels: Tensor
    mask: Tensor | None
    name: str


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
) -> Iterator[Frame]:
    """Match a clip, and yield each frame with the result in its ``out``.

    Args:
        first_pass: begins to read the clip, for where something has to be known before the first frame is matched.
        frames: begins to read the clip.
        looks: begins to read the references; only for where they are pooled, and then they serve instead of those of the
            frames.
        settings: how to match.
        device: where the method pytorch computes. A frame for which it has too little memory is matched on the CPU, with a
            ``RuntimeWarning``.
        parallel: whether to work on several frames at a time where that is of use.
        lengths: how many frames and references there are, if that is known.
        note: called at the end with what the user should be told.
        progress: called after each step with the number of steps done and the number of all, 0 if that is not known.

    Raises:
        ValueError: the clip has no frame ``target_index``, or nothing to measure there; a channel of a reference has no finite
            value that counts; or the channels of frames and references do not fit.
    """
    with FramePool(parallel and device.type == "cpu") as pool:
        clip = ClipMatching(settings, device, pool)
        surveyed, expected = 0, clip.survey_length(*lengths) if lengths else 0
        for surveyed, _ in enumerate(clip.survey(first_pass(), looks()), start=1):
            if progress is not None:
                progress(surveyed, lengths[0] + max(surveyed, expected) if lengths else 0)
        for matched, frame in enumerate(clip.match(frames()), start=1):
            yield frame
            if progress is not None:
                progress(surveyed + matched, surveyed + lengths[0] if lengths else 0)
    for text in clip.notes():
        note(text)


@dataclass(frozen=True)
class _Measured:
    """A reference, measured: by the method pytorch as ``quantiles``, by skimage as ``values``, channel by channel.

    Neither is there where its mask is 0 throughout.
    """

    quantiles: QuantileFunction | None = None
    values: list[Values] | None = None


class _Reference:
    """A reference that is measured once, by the first thread that needs it."""

    def __init__(self, measure: Callable[[], _Measured]) -> None:
        self._measure = measure
        self._measured: _Measured | None = None
        self._table: Tensor | None = None
        self._lock = threading.Lock()

    @property
    def measured(self) -> _Measured:
        with self._lock:
            if self._measured is None:
                self._measured = self._measure()
            return self._measured

    def transfer(self, cdf: Tensor) -> Tensor | None:
        """The transfer function from a distribution ``[C, LEVELS]``; None where nothing of the reference counts."""
        quantiles = self.measured.quantiles
        return None if quantiles is None else quantiles(cdf.to(quantiles.device))

    def transfer_once(self, cdf: Tensor) -> Tensor | None:
        """The same, computed once, for a distribution that is the same each time."""
        if self._table is None:
            self._table = self.transfer(cdf)
        return self._table


@dataclass(frozen=True)
class _Plan:
    """A frame and what is to be done with it.

    Attributes:
        frame: the frame.
        table: its transfer function, shape ``[C, LEVELS]``; None for a frame that stays as it is.
        in_range: whether all its values are in [0, 1].
        statistics: for smoothing.
    """

    frame: Frame
    table: Tensor | None
    in_range: bool = False
    statistics: FrameStatistics | None = None


class ClipMatching:
    """One run over one clip: first :meth:`survey` to its end, then :meth:`match`.

    Args:
        settings: how to match.
        device: where the method pytorch computes.
        pool: what works on the frames.
    """

    def __init__(self, settings: MatchSettings, device: torch.device, pool: FramePool) -> None:
        self._settings, self._device, self._pool = settings, device, pool
        self._pooled: _Reference | None = None
        # The distribution that all frames share, and whether all their values are known to be in [0, 1].
        self._source_cdf: Tensor | None = None
        self._in_range = False
        self._opening: Tensor | None = None
        # One entry for each frame or reference that has any, appended by several threads.
        self._missing: dict[str, list[int]] = {"image": [], "reference": []}
        self._untouched: list[None] = []

    def survey_length(self, frames: int, looks: int) -> int:
        """How many steps :meth:`survey` takes with so many frames and references; more if the clip begins with flat frames."""
        steps = {"per_frame": 0, "uniform": frames, "target_frame": 1, "smoothed": 1}[self._settings.source_stats]
        return steps + (looks if self._settings.reference_stats == "pooled" else 0)

    def survey(self, frames: Iterable[Frame], looks: Iterable[Look]) -> Iterator[None]:
        """Take from the references and the clip what has to be known before the first frame is matched.

        Args:
            frames: the clip. No more of it is read than is needed.
            looks: all references. They are read only where they are pooled, and serve instead of those of the frames.

        Yields:
            After each step.

        Raises:
            ValueError: the clip has no frame ``target_index``, or nothing to measure there, or a channel of the references
                has no finite value that counts.
        """
        if self._settings.reference_stats == "pooled":
            yield from self._pool_looks(looks)
        stats = self._settings.source_stats
        if stats == "uniform":
            total: Tensor | None = None
            self._in_range = True
            for counts, in_range in self._pool.map(self._count_frame, frames):
                total = _add("image", total, counts)
                self._in_range = self._in_range and in_range
                yield
            if total is not None:
                self._source_cdf = cumulative_distribution(total)
        elif stats == "target_frame":
            index = self._settings.target_index
            target = next(islice(frames, index, None), None)
            if target is None:
                raise ValueError(f"target_index: expected the index of a frame of the image, got {index}")
            counts, _ = self._count_frame(target)
            if not counts.any():
                raise ValueError(f"target_index: expected a frame with pixels to measure, got {index} with none")
            self._source_cdf = cumulative_distribution(counts)
            yield
        elif stats == "smoothed":
            told = len(self._missing["reference"])
            for item in self._with_reference(frames):
                plan = self._plan(item)
                yield
                if plan.statistics is not None and not is_flat(plan.statistics.cdf):
                    self._opening = plan.table
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
        if self._settings.method == "skimage":
            yield from self._pool.map(self._match_with_skimage, items)
            return
        plans: Iterable[_Plan] = self._pool.map(self._plan, items)
        if self._settings.source_stats == "smoothed":
            plans = self._smooth(plans)
        yield from self._pool.map(self._apply, plans)

    def notes(self) -> list[str]:
        """What the user should be told after the run."""
        notes = [f"{name}: left out {sum(n)} NaN or infinite values" for name, n in self._missing.items() if sum(n)]
        if self._untouched:
            notes.append(f"mask: 0 throughout for {len(self._untouched)} frames, which are left as they are")
        return notes

    def _with_reference(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, _Reference]]:
        reference = self._pooled
        for frame in frames:
            if self._pooled is None and frame.look is not None:
                reference = _Reference(partial(self._measure, frame.look))
            if reference is None:
                raise ValueError("reference: expected one for the first frame, got none")
            if frame.look is not None and frame.look.pixels.shape[0] not in (1, frame.pixels.shape[0]):
                raise ValueError(
                    f"reference: expected 1 channel to go with an image of {frame.pixels.shape[0]}, "
                    f"got {frame.look.pixels.shape[0]} channels"
                )
            yield frame, reference

    def _measure(self, look: Look) -> _Measured:
        counted = self._count_look(look)
        return _Measured() if counted is None else _checked(counted, look.name)

    def _pool_looks(self, looks: Iterable[Look]) -> Iterator[None]:
        """Measure all references as one, frame by frame."""
        total: Tensor | list[Values] | None = None
        for counted in self._pool.map(self._count_look, looks):
            if isinstance(counted, Tensor):
                total = _add("reference", total if isinstance(total, Tensor) else None, counted)
            elif counted is not None:
                total = [pool_values(pair) for pair in zip(total, counted, strict=True)] if isinstance(total, list) else counted
            yield
        measured = _Measured() if total is None else _checked(total, "all references")
        self._pooled = _Reference(lambda: measured)

    def _count_look(self, look: Look) -> Tensor | list[Values] | None:
        """Count or collect the values of a reference; None if its mask is 0 throughout."""
        if look.mask is not None and not look.mask.any():
            return None
        in_range = is_in_range(look.pixels)
        self._missing["reference"].append(0 if in_range else _count_missing(look.pixels))
        if self._settings.method == "skimage":
            return [channel_values(channel, look.mask) for channel in look.pixels]
        return _with_memory_of(self._device, _count, look.pixels, look.mask, in_range)

    def _count_frame(self, frame: Frame) -> tuple[Tensor, bool]:
        """Count a frame, and say whether all its values are in [0, 1]."""
        in_range = is_in_range(frame.pixels)
        return _with_memory_of(self._device, _count, frame.pixels, frame.mask, in_range), in_range

    def _plan(self, item: tuple[Frame, _Reference]) -> _Plan:
        """Find the transfer function of a frame: its own, or the clip's where the survey has measured that."""
        frame, reference = item
        if frame.mask is not None and not frame.mask.any():
            return _Plan(frame, None)
        if self._source_cdf is not None:
            in_range = self._in_range or is_in_range(frame.pixels)
            return _Plan(frame, reference.transfer_once(self._source_cdf), in_range)
        counts, in_range = self._count_frame(frame)
        cdf = cumulative_distribution(counts)
        del counts
        table = reference.transfer(cdf)
        if table is None or self._settings.source_stats != "smoothed":
            return _Plan(frame, table, in_range)
        return _Plan(frame, table, in_range, FrameStatistics(table, cdf, watched_pixels(frame.pixels, frame.mask)))

    def _smooth(self, plans: Iterable[_Plan]) -> Iterator[_Plan]:
        smoothing = TransferSmoothing(self._settings.window, self._opening)
        for plan in plans:
            table = plan.table if plan.statistics is None else smoothing.follow(plan.statistics)
            yield _Plan(plan.frame, table, plan.in_range)

    def _apply(self, plan: _Plan) -> Frame:
        if plan.table is None:
            self._leave(plan.frame)
        else:
            missing = 0 if plan.in_range else _count_missing(plan.frame.pixels)
            _with_memory_of(self._device, _apply, plan.frame, plan.table, self._settings.factor, plan.in_range, missing)
            self._missing["image"].append(missing)
        return plan.frame

    def _match_with_skimage(self, item: tuple[Frame, _Reference]) -> Frame:
        frame, reference = item
        values = reference.measured.values
        if values is None or (frame.mask is not None and not frame.mask.any()):
            self._leave(frame)
        else:
            missing = _count_missing(frame.pixels)
            _blend(frame, match_frame(frame.pixels, frame.mask, values), self._settings.factor, missing)
            self._missing["image"].append(missing)
        return frame

    def _leave(self, frame: Frame) -> None:
        frame.out.copy_(frame.pixels)
        self._untouched.append(None)


def fit_mask(name: str, mask: Tensor, pixels: Tensor) -> Tensor:
    """A mask ``[H', W']`` for ``pixels`` ``[..., H, W]``, resized as ComfyUI does, in [0, 1].

    Raises:
        ValueError: it holds NaN.
    """
    mask = mask.to(torch.promote_types(mask.dtype, torch.float32))
    lowest, highest = torch.aminmax(mask.detach())
    if lowest.isnan():
        raise ValueError(f"{name}: expected values from 0 to 1, got NaN")
    if mask.shape != pixels.shape[-2:]:
        mask = torch.nn.functional.interpolate(mask[None, None], size=pixels.shape[-2:], mode="bilinear")[0, 0]
    return mask if lowest >= 0 and highest <= 1 else mask.clamp(0, 1)


def _add(name: str, total: Tensor | None, counts: Tensor) -> Tensor:
    """Add a frame's histogram to the clip's."""
    if total is None:
        return counts
    if total.shape != counts.shape:
        raise ValueError(f"{name}: expected {total.shape[0]} channels as in the first frame, got {counts.shape[0]}")
    counts = counts.to(total.device)
    return total + counts if total.requires_grad or counts.requires_grad else total.add_(counts)


def _checked(counted: Tensor | list[Values], name: str) -> _Measured:
    sizes = counted.sum(-1).tolist() if isinstance(counted, Tensor) else [channel.values.size for channel in counted]
    if not all(sizes):
        raise ValueError(f"reference: expected finite values, got none in channel {sizes.index(0)} of {name}")
    if isinstance(counted, Tensor):
        return _Measured(quantiles=QuantileFunction(cumulative_distribution(counted)))
    return _Measured(values=counted)


def _count(device: torch.device, pixels: Tensor, mask: Tensor | None, in_range: bool) -> Tensor:
    """The histogram of ``pixels`` ``[C, H, W]`` at 16-bit levels, float64."""
    pixels = pixels.to(device)
    counts = histogram(pixels, LEVELS, None if mask is None else mask.to(pixels)[None], in_range=in_range)
    # Where a device has no float64, sums over a clip are exact all the same.
    return counts if counts.dtype == torch.float64 else counts.cpu().double()


def _count_missing(pixels: Tensor) -> int:
    """How many values are NaN or infinite."""
    return int((~pixels.isfinite()).sum())


def _apply(device: torch.device, frame: Frame, table: Tensor, factor: float, in_range: bool, missing: int) -> None:
    """Send ``frame`` through ``table`` on ``device``, blend and write to its ``out``."""
    pixels = frame.pixels.to(device, torch.promote_types(frame.pixels.dtype, torch.float32))
    table = table.to(device)
    wants_gradient = torch.is_grad_enabled() and (pixels.requires_grad or table.requires_grad)
    in_place = not wants_gradient and frame.out.device == pixels.device and frame.out.dtype == pixels.dtype
    matched = apply_transfer(pixels, table, out=frame.out if in_place else None, in_range=in_range)
    _blend(frame, matched, factor, missing)


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


def _check_count(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name}: expected {least} or more, got {value}")
