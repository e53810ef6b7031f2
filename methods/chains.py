"""What the methods of the table are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from ..kernels.levels import LEVELS
from .aligned import AlignedCurve, AlignedLinear
from .channels import ChannelStep, NearestStep
from .color_space import RUDERMAN_OPPONENTS, ColorSpace
from .exact import ExactStep
from .grid import in_cells
from .linear import LinearStep, mean_and_deviation, monge_kantorovich
from .regrain import Regrain
from .scikit_image import SkimageStep
from .sliced import AXIS_BINS, RotatedStep, Rotations, spread_rotations
from .table import METHODS, ROTATIONS
from .transform import Part, Step

Chain: TypeAlias = tuple[Step | Part, ...]
"""Steps, and parts of a transform that there is nothing to solve for."""

# Half-way through the rotations the texture is restored from coarse to fine; that costs some of the distribution, which the
# other rotations restore; and at the end a little more of the texture, at full size.
_FIRST_SHARE = 1 / 3
_COARSE_REGRAIN = Regrain(10.0, (0, 4, 8, 16, 16, 16))
_FINE_REGRAIN = Regrain(0.2, (3,))


@dataclass(frozen=True)
class _Options:
    space: ColorSpace
    bins: int
    rotations: int
    regrain: bool
    grid: int
    clip: float


def recipe(
    method: str,
    color_space: str,
    *,
    bins: int = LEVELS,
    rotations: int = ROTATIONS,
    regrain: bool = True,
    grid: int = 1,
    clip: float = 0.0,
) -> tuple[ColorSpace, Chain]:
    """Where a method matches when the user has chosen ``color_space``, and what is done to each frame there.

    ``rotations`` of ``sliced``, and whether it restores the texture; ``grid`` and ``clip`` of those that have cells.
    """
    space = ColorSpace(METHODS[method].own_space if color_space == "rgb" and METHODS[method].own_space else color_space)
    return space, CHAINS[method](_Options(space, bins, rotations, regrain, grid, clip))


def _channels(options: _Options) -> Chain:
    return (in_cells(ChannelStep(options.bins), options.grid, options.clip),)


def _linear(options: _Options) -> Chain:
    return (LinearStep(partial(monge_kantorovich, span=options.space.span)),)


def _means_and_deviations(options: _Options) -> Chain:
    axes = RUDERMAN_OPPONENTS if options.space.name == "log_cones" else None
    return (LinearStep(partial(mean_and_deviation, axes=axes)),)


def _channels_linear_channels(options: _Options) -> Chain:
    # The second time, colors from -1 to 2 are counted, and at the same distance from bin to bin where that can be.
    bins = min(3 * (options.bins - 1) + 1, LEVELS)
    linear = LinearStep(partial(monge_kantorovich, span=options.space.span), widened=True)
    return ChannelStep(options.bins), linear, ChannelStep(bins)


def _sliced(options: _Options) -> Chain:
    span = options.space.span
    rotations = spread_rotations(options.rotations, len(span))
    bins = min(options.bins, AXIS_BINS)
    first = max(1, round(options.rotations * _FIRST_SHARE))
    coarse = RotatedStep(Rotations.of(rotations[:first], span, dithered=True, bins=bins))
    fine = RotatedStep(Rotations.of(rotations[first:], span, dithered=False, bins=bins))
    return (coarse, _COARSE_REGRAIN, fine, _FINE_REGRAIN) if options.regrain else (coarse, fine)


CHAINS: dict[str, Callable[[_Options], Chain]] = {
    "pytorch": _channels,
    "skimage": lambda _options: (SkimageStep(),),
    "nearest": lambda options: (in_cells(NearestStep(), options.grid, options.clip),),
    "exact": lambda _options: (ExactStep(),),
    "reinhard": _means_and_deviations,
    "mkl": _linear,
    "mvgd": _linear,
    "hm-mkl-hm": _channels_linear_channels,
    "hm-mvgd-hm": _channels_linear_channels,
    "sliced": _sliced,
    "aligned-curve": lambda options: (AlignedCurve(options.space.span, options.grid),),
    "aligned-linear": lambda options: (AlignedLinear(options.space.span, options.grid),),
}
"""What each method of :data:`METHODS` is made of."""
