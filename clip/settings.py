"""How a clip is matched: the one object that every door makes, checked once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..checks import check_choice, check_count, check_number
from ..methods.table import COLOR_SPACES, METHODS, ROTATIONS
from ..methods.targets import Specified

if TYPE_CHECKING:
    from torch import Tensor

    from ..methods.chains import Chain
    from ..methods.color_space import ColorSpace

SOURCE_STATS = ("per_frame", "uniform", "target_frame", "smoothed")
"""Whose histogram the transform starts from, the default first."""
REFERENCE_STATS = ("paired", "pooled")
"""What a batch of references means, the default first."""
RANGES = ("0 to 1", "data")
"""What values levels span, the default first: those from 0 to 1, or all that image and reference hold."""
WINDOW = 72
"""The default window of ``smoothed``, in frames: three seconds of film."""

MOST_CELLS = 32
"""Of a grid, along each side of a picture, at most."""

# How often a change is smoothed where detail is kept.
_TIMES = 3


@dataclass(frozen=True)
class MatchSettings:
    """How a clip is matched: as :func:`match_images` tells, or to a target as :func:`specify_images` does.

    Raises:
        TypeError: a number is not one.
        ValueError: a value is none of the above, or the method has no such ``source_stats`` or ``reference_stats``.
    """

    method: str = next(iter(METHODS))
    factor: float = 1.0
    source_stats: str = SOURCE_STATS[0]
    target_index: int = 0
    window: int = WINDOW
    reference_stats: str = REFERENCE_STATS[0]
    color_space: str = COLOR_SPACES[0]
    rotations: int = ROTATIONS
    detail: float = 0.0
    dither: bool = False
    grid: int = 1
    clip: float = 0.0
    range: str = RANGES[0]
    target: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        check_choice("color_space", self.color_space, COLOR_SPACES)
        check_choice("source_stats", self.source_stats, SOURCE_STATS)
        check_choice("reference_stats", self.reference_stats, REFERENCE_STATS)
        check_choice("range", self.range, RANGES)
        check_number("factor", self.factor, 0, 1)
        check_number("detail", self.detail, 0, 1)
        for name, least in (("target_index", 0), ("window", 1), ("rotations", 2)):
            check_count(name, getattr(self, name), least)
        self._check_cells()
        rows = len(self.target.counts) if isinstance(self.target, Specified) else 1
        if rows > 1 and self.color_space != "rgb":
            reason = f"the color_space {self.color_space}, where only the lightness changes"
            raise ValueError(f"histogram: expected one for {reason}, got {rows}")
        reason = METHODS[self.method].per_frame_only
        if self.target is None and reason and self.source_stats != "per_frame":
            raise ValueError(
                f"source_stats: expected per_frame with the method {self.method}, since {reason}, got {self.source_stats}"
            )

        if self.target is None and METHODS[self.method].aligned and self.reference_stats != "paired":
            reason = "which compares each image with its own reference"
            raise ValueError(f"reference_stats: expected paired with {self.method}, {reason}, got {self.reference_stats}")

    def _check_cells(self) -> None:
        """Raise an error where a method has no cells, or no slopes to limit."""
        check_count("grid", self.grid, 1, MOST_CELLS)
        check_number("clip", self.clip, 0, math.inf)
        if 0 < self.clip < 1:
            raise ValueError(f"clip: expected 0 for no limit, or a slope from 1 up, got {self.clip}")
        method = METHODS[self.method]
        if self.target is None and method.whole and (self.grid > 1 or self.clip):
            name, expected = ("grid", 1) if self.grid > 1 else ("clip", 0)
            raise ValueError(f"{name}: expected {expected} with {self.method}, since {method.whole}, got {getattr(self, name)}")
        if self.target is None and method.aligned and self.clip:
            raise ValueError(f"clip: expected 0 with {self.method}, which is smooth by itself, got {self.clip}")

    @property
    def differentiable(self) -> bool:
        """Whether results have a gradient."""
        return self.target is not None or METHODS[self.method].differentiable

    def recipe(self) -> tuple[ColorSpace, Chain]:
        """Where channels are matched, and what is done to each frame."""
        # Where it is needed: settings are checked before torch is there.
        from ..methods.chains import recipe
        from ..methods.channels import TargetStep
        from ..methods.color_space import ColorSpace
        from ..methods.detail import SmoothChange
        from ..methods.dither import Dither
        from ..methods.grid import in_cells

        if self.target is None:
            space, steps = recipe(self.method, self.color_space, rotations=self.rotations, grid=self.grid, clip=self.clip)
        else:
            space = ColorSpace(self.color_space, lightness_only=True)
            steps = (in_cells(TargetStep(target=self.target), self.grid, self.clip),)
        # Where a smoother change has moved the colors away from their target, they are matched again.
        again = (SmoothChange(self.detail), *steps) * _TIMES if self.detail else ()
        return space, (*((Dither(),) if self.dither else ()), *steps, *again)
