"""Iterative distribution transfer: matching histograms along the axes of one rotated space after the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..histogram_matching import cumulative_distribution
from ..kernels.affine import Affine, apply_affine, color_rows
from ..kernels.dtypes import cast, limited, precise_dtype, wants_gradient
from ..kernels.levels import count, look_up
from ..kernels.quantiles import quantile_function
from ..kernels.workers import by_stripes, spread
from .samples import ColorSample
from .transform import Picture, Step, TensorPart

AXIS_BINS = 8192
"""The default number of bins along each rotated axis."""

# How far beyond [0, 1] colors are followed.
_MARGIN = 0.1
# Among how many random rotations the one is taken whose axes are furthest from those of the rotations before.
_CANDIDATES = 256
_LOOK_BACK = 8
# Slopes of many steep functions one after the other are more than any number format holds.
_STEEPEST = 1e12
# Colors of a sample that are worked on at a time.
_CHUNK = 1 << 15


@dataclass(frozen=True, eq=False)
class Rotations:
    """The way of colors through rotated spaces, by affine maps ``[C, C + 1]``."""

    path: Sequence[Tensor]
    """Onto the first axes, from each to the next, and back from the last."""
    there: Sequence[Tensor]
    """Onto each of the axes."""
    dithered: bool
    bins: int

    @classmethod
    def of(cls, rotations: Tensor, span: Sequence[float], *, dithered: bool, bins: int = AXIS_BINS) -> "Rotations":
        """Make ready rotations ``[K, C, C]``, see :func:`spread_rotations`; ``span`` is what 1 is in units of the space.

        Values that many pixels share, in 8-bit pictures and above all in black and white areas, would stay together on every
        axis. ``dithered`` spreads them by noise of half a level at most before the first rotation, the same at each run.
        """
        units = torch.tensor(span, dtype=torch.float64)
        # Scaled so that no color of [0, 1]^C lands beyond [0, 1] on any axis.
        units = units / units.norm()
        center = torch.full((rotations.shape[1],), 0.5, dtype=torch.float64)
        forward = rotations.double() * units
        backward = rotations.double().transpose(1, 2) / units[:, None]
        there = [_around(center, matrix) for matrix in forward]
        between = [_around(center, forward[i + 1] @ backward[i]) for i in range(len(forward) - 1)]
        return cls([there[0], *between, _around(center, backward[-1])], there, dithered, bins)

    @property
    def beyond(self) -> int:
        """How many bins beyond [0, 1] on an axis colors can lie that lie in [0, 1] on all axes of another rotation."""
        return math.ceil(self.bins * ((1 + 2 * _MARGIN) * math.sqrt(len(self.there[0])) - 1) / 2)

    def to_entries(self, affine: Tensor) -> Tensor:
        """``affine`` followed by the way to an index into :meth:`entries`, to be rounded down."""
        channels = affine.shape[0]
        scaled = affine * (self.bins - 1)
        scaled[:, -1] += 0.5 + self.beyond + torch.arange(channels) * (self.bins + 2 * self.beyond)
        return scaled

    def entries(self, table: Tensor, pixels: Tensor) -> Tensor:
        """The values of a table ``[C, bins]`` in one row, with those at its ends repeated for colors beyond [0, 1]."""
        wider = torch.nn.functional.pad(table[None], (self.beyond, self.beyond), mode="replicate")
        return cast(wider, pixels).flatten()

    def noise(self, pixels: Tensor) -> Tensor:
        """What spreads the values of ``pixels`` ``[C, ...]``: up to half an 8-bit level, the same at each call."""
        if not self.dithered:
            return pixels.new_zeros(()).expand_as(pixels)
        noise = torch.rand(*pixels.shape[1:], len(pixels), generator=torch.Generator().manual_seed(0))
        return (noise.movedim(-1, 0).to(pixels) - 0.5) / 255


@dataclass(frozen=True, eq=False)
class RotatedTables(TensorPart):
    """Transfer functions ``values`` ``[K, C, bins]`` for the axes of each rotation."""

    rotations: Rotations
    # Where values are spread by noise, that is another one for each pixel.
    pointwise: ClassVar[bool] = False
    reason: ClassVar[str] = "spreads equal colors by noise"

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Rotate, look up, rotate on."""
        if out is not None:
            self._write(pixels, out)
            return out
        colors = pixels + self.rotations.noise(pixels)
        for affine, table in zip(self.rotations.path, cast(self.values, pixels), strict=False):
            colors = look_up(apply_affine(limited(colors, _STEEPEST), affine), table)
        return apply_affine(colors, self.rotations.path[-1])

    def _write(self, pixels: Tensor, out: Tensor) -> None:
        """Write the result without gradients, in whole bins."""
        rotations = self.rotations
        ways = [
            (Affine(rotations.to_entries(affine), pixels), rotations.entries(table, pixels))
            for affine, table in zip(rotations.path, self.values, strict=False)
        ]
        last = Affine(rotations.path[-1], pixels)
        noise = rotations.noise(pixels[:, : max(1, (1 << 16) // pixels.shape[2])])

        def write(stripe: Tensor, target: Tensor) -> None:
            # Far beyond [0, 1] there is no entry in a table.
            rows = color_rows((stripe + noise[:, : stripe.shape[1]]).clamp_(-_MARGIN, 1 + _MARGIN))
            for to_entries, entries in ways:
                index = to_entries.map_rows(rows).int()
                torch.index_select(entries, 0, index.view(-1), out=rows.view(-1))
            target.copy_(last.map_rows(rows).view(*stripe.shape[1:], -1).movedim(-1, 0))

        by_stripes(write, pixels, out)


@dataclass(frozen=True, eq=False)
class RotatedStep(Step):
    """Match histograms along the axes of rotated spaces.

    This is the method of Pitie, Kokaram and Dahyot 2007, "Automated colour grading using colour distribution transfer". What it
    measures of a picture is a sample of its colors.
    """

    rotations: Rotations
    adds_in_any_order: ClassVar[bool] = False

    def measure(self, picture: Picture) -> ColorSample:
        """Take a sample."""
        return ColorSample.of(picture.pixels, picture.weights)

    def prepare(self, measured: ColorSample) -> list[Tensor]:
        """The cumulative distributions along the axes of each rotation."""
        if wants_gradient(measured.colors, measured.weights):
            turned = (apply_affine(measured.colors[:, None], affine) for affine in self.rotations.there)
            return [cumulative_distribution(count(colors, self.rotations.bins, measured.weights[None])) for colors in turned]
        chunks = _chunks(measured)
        return [self._cdf(chunks, Affine(self.rotations.to_entries(affine), chunks[0][0])) for affine in self.rotations.there]

    def solve(self, source: ColorSample, prepared: Sequence[Tensor]) -> RotatedTables:
        """Match the sample, and keep the transfer functions."""
        dithered = replace(source, colors=source.colors + self.rotations.noise(source.colors))
        if wants_gradient(source.colors, source.weights, prepared[0]):
            return RotatedTables(self._soft_tables(dithered, prepared), self.rotations)
        # Far beyond [0, 1] there is no bin to count in.
        chunks = _chunks(replace(dithered, colors=dithered.colors.clamp(-_MARGIN, 1 + _MARGIN)))
        tables = []
        for affine, reference in zip(self.rotations.path, prepared, strict=False):
            cdf = self._cdf(chunks, to_entries := Affine(self.rotations.to_entries(affine), chunks[0][0]))
            tables.append(quantile_function(reference, cdf.to(reference.device)))
            entries = self.rotations.entries(tables[-1], chunks[0][0])

            def move(chunk: tuple[Tensor, Tensor], to_entries: Affine = to_entries, entries: Tensor = entries) -> None:
                index = to_entries.map_rows(chunk[0]).int().view(-1)
                torch.index_select(entries, 0, index, out=chunk[0].view(-1))

            spread(move, chunks)
        return RotatedTables(torch.stack(tables), self.rotations)

    def _cdf(self, chunks: Sequence[tuple[Tensor, Tensor]], to_entries: Affine) -> Tensor:
        """The distribution of a sample along the axes of a rotation, in whole bins."""
        beyond = self.rotations.beyond
        width = self.rotations.bins + 2 * beyond

        def counts(chunk: tuple[Tensor, Tensor]) -> Tensor:
            rows, weights = chunk
            index = to_entries.map_rows(rows).long().view(-1)
            return torch.bincount(index, weights[:, None].expand_as(rows).reshape(-1), rows.shape[1] * width)

        first, *others = spread(counts, chunks)
        for other in others:
            first += other
        total = first.view(-1, width)
        inside = total[:, beyond:-beyond]
        inside[:, 0] += total[:, :beyond].sum(1)
        inside[:, -1] += total[:, -beyond:].sum(1)
        return cumulative_distribution(inside)

    def _soft_tables(self, source: ColorSample, prepared: Sequence[Tensor]) -> Tensor:
        tables: list[Tensor] = []
        colors = source.colors[:, None]
        for affine, reference in zip(self.rotations.path, prepared, strict=False):
            colors = apply_affine(limited(colors, _STEEPEST), affine)
            cdf = cumulative_distribution(count(colors, self.rotations.bins, source.weights[None]))
            tables.append(quantile_function(reference, cdf.to(reference.device)))
            colors = look_up(colors, cast(tables[-1], colors))
        return torch.stack(tables)


def spread_rotations(number: int, channels: int, seed: int = 0) -> Tensor:
    """Rotations whose axes are spread over all directions, the first of them none.

    Each is the one among random ones whose axes are furthest from those of the few before it. Pitie et al. 2007 optimize the
    spread, which takes fewer rotations than random ones. ``[number, channels, channels]``, float64, the same at each call.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = [torch.eye(channels, dtype=torch.float64)]
    while len(chosen) < number:
        noise = torch.randn(_CANDIDATES, channels, channels, dtype=torch.float64, generator=generator)
        candidates = torch.linalg.qr(noise).Q
        nearness = (candidates @ torch.cat(chosen[-_LOOK_BACK:]).t()).abs().amax(dim=(1, 2))
        chosen.append(candidates[nearness.argmin()])
    return torch.stack(chosen[:number])


def _chunks(sample: ColorSample) -> list[tuple[Tensor, Tensor]]:
    """Colors ``[n, C]`` that may be written to, and their weights in double precision, in chunks."""
    rows = sample.colors.t().clone(memory_format=torch.contiguous_format)
    weights = sample.weights.to(precise_dtype(rows.device))
    return list(zip(rows.split(_CHUNK), weights.split(_CHUNK), strict=True))


def _around(center: Tensor, matrix: Tensor) -> Tensor:
    """``matrix`` as an affine map that leaves ``center`` where it is."""
    return torch.cat([matrix, (center - matrix @ center)[:, None]], dim=1)
