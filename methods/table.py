"""The table of methods: what each is for, what it is made of and what it supports. Everything else reads it here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from ..kernels.levels import LEVELS
from .channels import ChannelStep, NearestStep
from .color_space import RUDERMAN_OPPONENTS, ColorSpace
from .exact import ExactStep
from .linear import LinearStep, mean_and_deviation, monge_kantorovich
from .regrain import Regrain
from .scikit_image import SkimageStep
from .sliced import AXIS_BINS, RotatedStep, Rotations, spread_rotations
from .transform import Part, Step

Chain: TypeAlias = tuple[Step | Part, ...]
"""What a method is made of: steps, and parts of a transform that there is nothing to solve for."""
ROTATIONS = 30
"""The default number of rotations of ``sliced``."""

# Half-way through the rotations the texture is restored from coarse to fine; that costs some of the distribution, which the
# other rotations restore; and at the end a little more of the texture, at full size.
_FIRST_SHARE = 1 / 3
_COARSE_REGRAIN = Regrain(10.0, (0, 4, 8, 16, 16, 16))
_FINE_REGRAIN = Regrain(0.2, (3,))


@dataclass(frozen=True)
class MethodOptions:
    """What the steps of a method are made for: of ``sliced``, how many rotations, and whether it restores the texture."""

    space: ColorSpace
    bins: int = LEVELS
    rotations: int = ROTATIONS
    regrain: bool = True


@dataclass(frozen=True)
class Method:
    """A way to match: what it does and when to ``use`` it, what makes its ``steps``, and the ``source`` that describes it.

    ``differentiable`` says whether its result has a gradient, ``per_frame_only`` why it can measure each frame only by itself,
    empty if it can pool and smooth, and ``own_space`` in which color space it was described, empty if that is RGB.
    """

    use: str
    steps: Callable[[MethodOptions], Chain]
    source: str
    differentiable: bool = True
    per_frame_only: str = ""
    own_space: str = ""

    def space(self, name: str) -> ColorSpace:
        """Where it matches when the user has chosen the color space ``name``."""
        return ColorSpace(self.own_space if name == "rgb" and self.own_space else name)


def _channels(options: MethodOptions) -> Chain:
    return (ChannelStep(options.bins),)


def _linear(options: MethodOptions) -> Chain:
    return (LinearStep(partial(monge_kantorovich, span=options.space.span)),)


def _means_and_deviations(options: MethodOptions) -> Chain:
    axes = RUDERMAN_OPPONENTS if options.space.name == "log_cones" else None
    return (LinearStep(partial(mean_and_deviation, axes=axes)),)


def _channels_linear_channels(options: MethodOptions) -> Chain:
    # The second time, colors from -1 to 2 are counted, and at the same distance from bin to bin where that can be.
    bins = min(3 * (options.bins - 1) + 1, LEVELS)
    linear = LinearStep(partial(monge_kantorovich, span=options.space.span), widened=True)
    return ChannelStep(options.bins), linear, ChannelStep(bins)


def _sliced(options: MethodOptions) -> Chain:
    span = options.space.span
    rotations = spread_rotations(options.rotations, len(span))
    bins = min(options.bins, AXIS_BINS)
    first = max(1, round(options.rotations * _FIRST_SHARE))
    coarse = RotatedStep(Rotations.of(rotations[:first], span, dithered=True, bins=bins))
    fine = RotatedStep(Rotations.of(rotations[first:], span, dithered=False, bins=bins))
    return (coarse, _COARSE_REGRAIN, fine, _FINE_REGRAIN) if options.regrain else (coarse, fine)


METHODS = {
    "pytorch": Method(
        "each channel gets the reference's histogram, at 16 bits; the one to start with.",
        _channels,
        "Gonzalez and Woods, Digital Image Processing, ch. 3",
    ),
    "skimage": Method(
        "the same by scikit-image's match_histograms on the CPU; slower, to compare with.",
        lambda _options: (SkimageStep(),),
        "scikit-image",
        differentiable=False,
        per_frame_only="scikit-image compares two pictures",
    ),
    "nearest": Method(
        "the textbook's: 256 levels, each goes to the one of nearest rank; a baseline for comparisons.",
        lambda _options: (NearestStep(),),
        "Otsuka et al. 2025, Algorithm 1",
        differentiable=False,
    ),
    "exact": Method(
        "the reference's histogram exactly, level by level; equal pixels are told apart by their surroundings. "
        "For measurements and for stretching pictures of few levels.",
        lambda _options: (ExactStep(),),
        "Coltuc, Bolon and Chassery 2006",
        differentiable=False,
        per_frame_only="it ranks the pixels of one frame",
    ),
    "reinhard": Method(
        "mean and spread of each channel, in a color space made for it; a gentle change of mood.",
        _means_and_deviations,
        "Reinhard et al. 2001",
        own_space="log_cones",
    ),
    "mkl": Method(
        "mean and covariance of the colors by the smallest linear change; smooth, never bands, good for video.",
        _linear,
        "Pitie and Kokaram 2007",
    ),
    "mvgd": Method("the same map as mkl, under the other name that Color Match has for it.", _linear, "Hahne and Aggoun 2021"),
    "hm-mkl-hm": Method(
        "channels, then mkl, then channels again: every channel right, and the colors nearer.",
        _channels_linear_channels,
        "Hahne and Aggoun 2021",
    ),
    "hm-mvgd-hm": Method(
        "the same as hm-mkl-hm, under the other name that Color Match has for it.",
        _channels_linear_channels,
        "Hahne and Aggoun 2021",
    ),
    "sliced": Method(
        "the colors themselves, not channel by channel, and the picture's own texture; the closest match.",
        _sliced,
        "Pitie, Kokaram and Dahyot 2007",
    ),
}
"""All methods by their names, the default first."""
