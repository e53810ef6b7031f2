"""What is done to one frame or to one reference: the only place that touches the device."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..histogram_matching import cumulative_distribution
from ..kernels.dtypes import nearest_end, working_dtype
from ..kernels.levels import LEVELS, count, value_range
from ..kernels.workers import by_stripes, stripe_size
from ..methods.chains import Chain
from ..methods.channels import ChannelStep
from ..methods.color_space import ColorSpace, luma
from ..methods.transform import PairStep, Part, Picture, Step, Transform, complete
from .frames import Frame, Matched, Reference, Report, fit_mask
from .histograms import FrameHistograms, frame_histograms, reference_histogram
from .smoothing import FrameStatistics, watched_pixels

# Beyond [0, 1] by more than this are not highlights or what a filter has overshot, but values in other units.
_FAR = 1.0
# Stripes of a picture that are in memory at a time where it is only counted.
_STRIPES = 2
# How far apart equal colors can be in another color space, where vector units and the rest of a row round differently.
_CONVERSION_ERROR = 2.0**-20


@dataclass(frozen=True)
class Measured:
    """What each step has measured of a reference, nothing where nothing counts, and which channels have values that count.

    ``shown`` is its histogram, where that is to be shown.
    """

    of_steps: dict[Step, Any]
    counted: list[bool]
    report: Report
    shown: Tensor | None = None


@dataclass(frozen=True)
class Prepared:
    """A reference that many frames can be matched to: what each step has prepared; None where nothing counts."""

    parts: Sequence[Any] | None
    report: Report
    shown: Tensor | None = None


Plan = tuple[Frame, Prepared, Transform]
"""A frame, its reference, and what is known of its transform before it is matched."""


@dataclass(frozen=True)
class Matcher:
    """Measures references and frames, solves for transforms, and applies them.

    ``channelwise``: channels are matched for themselves, as they are; values are left out one by one, and a gray reference is
    one channel. ``observed``: of how many frames histograms are to be shown.
    """

    space: ColorSpace
    steps: Chain
    factor: float
    device: torch.device
    gradient: bool
    channelwise: bool
    observed: int = 0

    def measure_reference(self, reference: Reference, colors: int) -> Measured:
        """Measure a reference for each step, its brightness for frames of one color."""
        _check_picture(reference, self.steps)
        if colors < len(reference.pixels[:3]):
            inside = reference.pixels[:3] if self.space.values else _clamped(reference.pixels[:3])
            reference = replace(reference, pixels=luma(inside), counts=None)
        pixels = reference.pixels[:3]
        mask = reference.weights if reference.mask is None else fit_mask("reference_mask", reference.mask, pixels)
        if mask is not None and not mask.any():
            return Measured({}, [], Report())
        known = reference.counts_at(self.space.values)
        picture = self._picture(pixels, mask, known)
        steps = [step for step in dict.fromkeys(self.steps) if isinstance(step, Step) and step.measures_reference]
        of_steps = {step: step.measure(picture) for step in steps}
        counted = _counted(picture, reference.counts is not None or (mask is None and not picture.missing))
        report = Report(reference_missing=picture.missing, reference_outside=int(picture.outside))
        counts = next(iter(of_steps.values())) if self.channelwise else known
        shown = reference_histogram(self.space.levels(pixels), mask, counts) if self.observed else None
        return Measured(of_steps, counted, report, shown)

    def prepare(self, reference: Reference, colors: int) -> Prepared:
        """Measure a reference for frames of 1 or 3 colors, and make ready what was measured."""
        return self.prepare_measured(self.measure_reference(reference, colors), reference.name)

    def prepare_measured(self, measured: Measured, name: str) -> Prepared:
        """Make ready what was measured of a reference, or of several together.

        Raises:
            ValueError: a channel has no finite value that counts.
        """
        if not measured.of_steps:
            return Prepared(None, measured.report)
        if not all(measured.counted):
            raise ValueError(
                f"reference: expected finite values, got none in channel {measured.counted.index(False)} of {name}"
            )
        prepared = {step: step.prepare(of_step) for step, of_step in measured.of_steps.items()}
        return Prepared([prepared.get(step) for step in self.steps], measured.report, measured.shown)  # type: ignore[arg-type]

    def measure(self, plan: Plan, index: int) -> Any:
        """Measure a frame for a step; None where there is nothing to measure, or no way to it since the reference is empty."""
        frame, reference, transform = plan
        step = self.steps[index]
        if not isinstance(step, Step) or len(transform.parts) < index:
            return None
        picture = self._picture(frame.pixels[:3], frame.fitted_mask())
        by_parts = isinstance(step, ChannelStep) and transform.parts and transform.pointwise
        if by_parts and not self.gradient and picture.weights is None:
            return _count_by_parts(step, transform, picture)
        _, pixels = complete(transform, (), picture, (), None if self.gradient else _new_memory(picture))
        now = picture if pixels is picture.pixels else Picture(pixels, picture.weights)
        if not isinstance(step, PairStep):
            return step.measure(now)
        return None if reference.parts is None else step.measure_pair(now, reference.parts[index])

    def follow(self, plan: Plan) -> tuple[Plan, FrameStatistics | None]:
        """Solve for the transform of a frame, and take what smoothing needs to know of it."""
        frame, reference, start = plan
        colors, mask = frame.pixels[:3], frame.fitted_mask()
        if reference.parts is None or (mask is not None and not mask.any()):
            return plan, None
        picture, step, levels = self._picture(colors, mask), self.steps[0], self.space.levels(colors)
        if self.channelwise and isinstance(step, Step):
            counts = step.measure(picture)
            transform = replace(start, parts=(step.solve(counts, reference.parts[0]),))
            # Of all cells of a grid together.
            counts = counts.flatten(1, -2).sum(dim=1) if counts.ndim > 2 else counts
        else:
            counts = count(levels, LEVELS, mask)
            memory = None if self.gradient else _new_memory(picture)
            transform, _ = complete(start, self.steps, picture, reference.parts, memory, to_the_end=False)
        cdf = cumulative_distribution(counts).cpu()
        return (frame, reference, transform), FrameStatistics(transform, cdf, watched_pixels(levels, mask).cpu())

    def match(self, plan: Plan) -> Matched:
        """Apply what is known of a frame's transform, solve for the rest, blend, and write to the frame's ``out``."""
        frame, reference, transform = plan
        mask = frame.fitted_mask()
        black = mask is not None and not mask.any()
        if reference.parts is None or black:
            frame.out.copy_(frame.pixels)
            report = reference.report + (Report(image_masked=1) if black else Report(reference_masked=1))
            return Matched(frame, report, _observed(self, frame, (None, None), reference))
        change = mask if frame.change is frame.mask else frame.fitted_change()
        colors, out = frame.pixels[:3], frame.out[:3]
        fits = (len(out), out.dtype, out.device) == (len(colors), working_dtype(colors), self.device)
        # Steps may write over what they are given, unless one looks back at it or it is the caller's, or one plane for three.
        kept = self.gradient or any(isinstance(part, Part) and part.looks_back for part in self.steps)
        picture = self._picture(colors, mask, room=out if fits and not kept and len(out) == 3 else None)
        memory = picture.pixels
        if kept or picture.pixels.data_ptr() == colors.data_ptr() or picture.pixels.stride(0) == 0:
            memory = out if fits and out.shape == picture.pixels.shape else _new_memory(picture)
        known = None
        if self.observed and self.channelwise and not transform.parts:
            transform, known = _counted_as_whole(self.steps[0], frame, picture, transform, reference.parts[0])
        _, pixels = complete(transform, self.steps, picture, reference.parts, None if self.gradient else memory)
        if pixels is not out or len(frame.pixels) > 3 or self.factor < 1 or change is not None or not self.channelwise:
            _write(self, frame, picture, pixels, change)
        report = reference.report + _report(picture, reference.parts)
        return Matched(frame, report, _observed(self, frame, (mask, change), reference, known))

    def _picture(
        self, pixels: Tensor, mask: Tensor | None, counts: Tensor | None = None, room: Tensor | None = None
    ) -> Picture:
        """Bring pixels ``[C, H, W]`` onto the device and into the color space, there in the memory ``room``, if they fit."""
        lowest, highest = value_range(pixels)
        missing = 0 if math.isfinite(lowest) and math.isfinite(highest) else int((~pixels.isfinite()).sum())
        if missing:
            lowest, highest = value_range(nearest_end(pixels))
        far = self.space.values is None and (lowest < -_FAR or highest > 1 + _FAR)
        # CUDA puts work behind a copy in its order; elsewhere that is not sure.
        pixels = pixels.to(self.device, working_dtype(pixels), non_blocking=self.device.type == "cuda")
        weights = None if mask is None else mask.to(pixels)
        if self.channelwise:
            return Picture(pixels, weights, None, counts, 0.0, missing, far, not missing and lowest >= 0 and highest <= 1)
        if missing or ((lowest < 0 or highest > 1) and self.space.values is None):
            finite = pixels.isfinite().all(dim=0).to(pixels.dtype)
            weights = finite if weights is None else weights * finite
            pixels = self.space.finite(pixels) if self.space.values else _clean(pixels, room)
        channels, kept = self.space.split(pixels if pixels.shape[0] == 3 else pixels.expand(3, -1, -1), room)
        known = (counts, 0.0) if self.space.name == "rgb" else (None, _CONVERSION_ERROR)
        return Picture(channels, weights, kept, *known, missing, far)


def _counted_as_whole(
    step: Step | Part, frame: Frame, picture: Picture, start: Transform, prepared: Any
) -> tuple[Transform, tuple[Tensor, Tensor] | None]:
    """Where all pixels go through tables that are solved for them: these, with the sums of what was counted for them."""
    whole = frame.mask is None and frame.change is None and len(picture.pixels) == 3 and not picture.missing
    if not whole or not isinstance(step, ChannelStep):
        return start, None
    counts = step.measure(picture)
    part = step.solve(counts, prepared)
    return replace(start, parts=(part,)), (counts.cumsum_(dim=1), part.values)


def _write(matcher: Matcher, frame: Frame, picture: Picture, matched: Tensor, change: Tensor | None) -> None:
    """Write ``factor * matched + (1 - factor) * pixels`` to the frame's ``out``, where it changes, and its alpha."""
    colors = len(frame.pixels[:3])
    others = {name: plane for name, plane in (("change", change), ("kept", picture.kept)) if plane is not None}

    def write(pixels: Tensor, matched: Tensor, out: Tensor, *given: Tensor) -> None:
        planes = dict(zip(others, given, strict=True))
        alpha = pixels[colors:]
        if not matcher.channelwise:
            matched = matcher.space.join(matched, planes.get("kept"))
        matched = matched.cpu() if out.device.type == "cpu" else matched
        # In one order of memory: at the end of a row, the vector units of a processor round in another way.
        pixels = pixels[:colors].movedim(0, -1).contiguous().movedim(-1, 0).to(matched.device, matched.dtype)
        clean = matcher.space.finite(pixels) if picture.missing else pixels
        if not matcher.channelwise:
            matched = matcher.space.inside(matched if colors == 3 else matched.mean(dim=0, keepdim=True))
            matched = torch.where(pixels.isfinite(), matched, clean) if picture.missing else matched
        if "change" in planes:
            weight = planes["change"].to(matched.device, matched.dtype) * matcher.factor
            matched = torch.where(weight > 0, matcher.space.inside(torch.lerp(clean, matched, weight)), pixels)
        elif matcher.factor < 1:
            matched = matcher.space.inside((matched * matcher.factor).add(clean, alpha=1 - matcher.factor))
        out.copy_(torch.cat([matched, alpha.to(matched)]) if len(alpha) else matched)

    planes = (frame.pixels, matched, frame.out, *others.values())
    write(*planes) if matcher.gradient else by_stripes(write, *planes)


def _observed(
    matcher: Matcher,
    frame: Frame,
    weights: tuple[Tensor | None, Tensor | None],
    reference: Prepared,
    known: tuple[Tensor, Tensor] | None = None,
) -> FrameHistograms | None:
    """What is shown of a frame that is done, its pixels before and after each with weights; None if nothing is."""
    if not matcher.observed:
        return None
    pixels, out = (matcher.space.levels(plane) for plane in (frame.pixels, frame.out))
    return frame_histograms(pixels, out, weights, reference.shown, known, matcher.factor, matcher.observed)


def _check_picture(reference: Reference, steps: Chain) -> None:
    """Raise a ValueError for a kept reference where a step looks at a picture."""
    needs = next((step.needs_picture for step in steps if isinstance(step, Step) and step.needs_picture), "")
    if reference.counts is not None and needs:
        raise ValueError(f"reference: expected a picture, {needs}, got {reference.name}")


def _counted(picture: Picture, everywhere: bool) -> list[bool]:
    """Which channels have a finite value that counts; all have if all pixels do ``everywhere``."""
    if everywhere:
        return [True] * len(picture.pixels)
    weights = torch.ones(()) if picture.weights is None else picture.weights
    counted: list[bool] = (picture.pixels.isfinite() & (weights.to(picture.pixels.device) > 0)).flatten(1).any(1).tolist()
    return counted


def _report(picture: Picture, prepared: Sequence[Any]) -> Report:
    """What there is to tell of a frame, and of how it goes with its reference."""
    compared = (part.pixels for part in prepared if isinstance(part, Picture))
    resized = any(pixels.shape[1:] != picture.pixels.shape[1:] for pixels in compared)
    return Report(image_missing=picture.missing, image_outside=int(picture.outside), reference_resized=int(resized))


def _count_by_parts(step: Step, transform: Transform, picture: Picture) -> Any:
    """Measure what becomes of a picture a part at a time: counts are whole numbers, which add to the same in any parts."""
    # As many lines as are worked on at a time make a stripe, so that the stripes are those of the whole picture.
    lines = _STRIPES * max(1, stripe_size(picture.pixels.device) // picture.pixels.shape[2])
    total: Any = None
    for pixels in picture.pixels.split(lines, dim=1):
        part = Picture(pixels)
        _, changed = complete(transform, (), part, (), _new_memory(part))
        counts = step.measure(Picture(changed))
        total = counts if total is None else total.add_(counts)
    return total


def _new_memory(picture: Picture) -> Tensor:
    """Memory for the results of steps, in which the channels of a pixel are neighbors."""
    channels, height, width = picture.pixels.shape
    return picture.pixels.new_empty(height, width, channels).movedim(-1, 0)


def _clean(pixels: Tensor, room: Tensor | None) -> Tensor:
    """``pixels`` in [0, 1], those that are not finite at the nearest end; in the memory ``room``, if there is any."""
    if room is None:
        return nearest_end(pixels).clamp(0, 1)
    by_stripes(lambda stripe, target: target.copy_(nearest_end(stripe).clamp_(0, 1)), pixels, room)
    return room


def _clamped(pixels: Tensor) -> Tensor:
    return torch.where(pixels.isfinite(), pixels.clamp(0, 1), pixels)
