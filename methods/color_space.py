"""Color spaces in which channels are matched, and the way there and back."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..kernels.affine import apply_affine
from ..kernels.dtypes import cast, nearest_end, precise_dtype, wants_gradient
from ..kernels.workers import by_stripes
from .value_range import ValueRange

RUDERMAN_OPPONENTS = torch.tensor(
    ((3**-0.5, 3**-0.5, 3**-0.5), (6**-0.5, 6**-0.5, -2 * 6**-0.5), (2**-0.5, -(2**-0.5), 0.0)), dtype=torch.float64
)
"""Logarithms of cone responses to l-alpha-beta: Reinhard et al. 2001, "Color transfer between images"."""

_LUMA = (0.2126, 0.7152, 0.0722)
# Linear sRGB to cone responses and their cube roots to Oklab: Ottosson 2020, "A perceptual color space for image processing".
_OKLAB_CONES = torch.tensor(
    (
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    ),
    dtype=torch.float64,
)
_OKLAB_OPPONENTS = torch.tensor(
    (
        (0.2104542553, 0.7936177850, -0.0040720468),
        (1.9779984951, -2.4285922050, 0.4505937099),
        (0.0259040371, 0.7827717662, -0.8086757660),
    ),
    dtype=torch.float64,
)
_OKLAB_LINEAR, _OKLAB_ROOTS = torch.linalg.inv(_OKLAB_CONES), torch.linalg.inv(_OKLAB_OPPONENTS)
# A gray has no opponents; of 256 levels, that is the one in the middle.
_MIDDLE = torch.tensor((0.0, 128 / 255, 128 / 255), dtype=torch.float64)
_LAB_SPAN = (100.0, 255.0, 255.0)
# RGB to cone responses: Reinhard et al. 2001, "Color transfer between images".
_RUDERMAN_CONES = torch.tensor(
    ((0.3811, 0.5783, 0.0402), (0.1967, 0.7244, 0.0782), (0.0241, 0.1288, 0.8444)), dtype=torch.float64
)
_RUDERMAN_RGB = torch.linalg.inv(_RUDERMAN_CONES)
# Added before a logarithm, so that black has one; the smallest difference in 8 bits.
_LOG_OFFSET = 1 / 255
# The slope of a cube root at 0 is infinite. Below this it is taken as 0.
_DARKEST = 1e-9
# Logarithms are kept where their exponentials are finite.
_LARGEST_LOG = 20.0


@dataclass(frozen=True)
class ColorSpace:
    """Where the channels of a picture are matched: all, or ``lightness_only`` the first, which RGB does not have.

    The name is one of :data:`COLOR_SPACES`, or ``"log_cones"``, the logarithms of cone responses, of which the space
    l-alpha-beta of Reinhard et al. 2001 is a rotation. RGB is in [0, 1], or in a range of ``values``, whose levels are taken
    for RGB then.
    """

    name: str
    lightness_only: bool = False
    values: ValueRange | None = None

    @property
    def span(self) -> tuple[float, ...]:
        """What a step of 1 is in each channel that is matched, in the space's own units."""
        if self.name == "luminance":
            return (1.0,)
        span = _LAB_SPAN if self.name == "lab" else (1.0, 1.0, 1.0)
        return span[:1] if self.lightness_only and self.name != "rgb" else span

    @property
    def as_stored(self) -> bool:
        """Whether channels are those of pictures, as they are."""
        return self.name == "rgb" and self.values is None

    def levels(self, rgb: Tensor) -> Tensor:
        """RGB in [0, 1], of values in the range if there is one."""
        return rgb if self.values is None else self.values.levels(rgb)

    def finite(self, rgb: Tensor) -> Tensor:
        """RGB without NaN, which become 0, and infinities, which become the nearest end."""
        return nearest_end(rgb) if self.values is None else self.values.finite(rgb)

    def inside(self, rgb: Tensor) -> Tensor:
        """RGB of which no value is beyond its ends; of a range, none is."""
        return rgb.clamp(0, 1) if self.values is None else rgb

    def split(self, rgb: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Take RGB ``[3, H, W]`` apart into channels to match, ``[c, H, W]``, and what :meth:`join` needs besides.

        The channels lie in [0, 1] but for those of ``log_cones``. Where no gradient is wanted, both can take the memory ``out``
        like ``rgb``, if they fit.
        """
        rgb = self.levels(rgb)
        if self.name == "rgb":
            return rgb, None
        number = 4 if self.name == "luminance" else 3
        channels = _convert(_CONVERSIONS[self.name][0], rgb, number, out if number == 3 else None)
        matched = len(self.span)
        return channels[:matched], channels[matched:] if matched < len(channels) else None

    def join(self, channels: Tensor, kept: Tensor | None) -> Tensor:
        """Put what :meth:`split` has made together to RGB ``[3, H, W]`` again; beyond [0, 1] for colors it does not hold."""
        if self.name != "rgb":
            channels = _convert(_CONVERSIONS[self.name][1], channels if kept is None else torch.cat([channels, kept]), 3)
        return channels if self.values is None else self.values.values(channels)


def _kornia(name: str, pixels: Tensor, **options: bool) -> Tensor:
    # Not at the top, since it takes long to import.
    from kornia import color

    converted: Tensor = getattr(color, name)(pixels, **options)
    return converted


def luma(rgb: Tensor) -> Tensor:
    """The brightness ``[1, H, W]`` of RGB ``[3, H, W]``, as Rec. 709 has it: ITU-R BT.709-6, item 3.2."""
    red, green, blue = rgb.split(1)
    brightness: Tensor = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return brightness


def _rgb_to_luminance(rgb: Tensor) -> Tensor:
    return torch.cat([brightness := luma(rgb), rgb - brightness])


def _rgb_to_lab(rgb: Tensor) -> Tensor:
    return _kornia("rgb_to_lab", rgb) / rgb.new_tensor(_LAB_SPAN).view(3, 1, 1) + cast(_MIDDLE, rgb).view(3, 1, 1)


def _lab_to_rgb(channels: Tensor) -> Tensor:
    lab = (channels - cast(_MIDDLE, channels).view(3, 1, 1)) * channels.new_tensor(_LAB_SPAN).view(3, 1, 1)
    return _kornia("lab_to_rgb", lab, clip=False)


# In double precision, since cubes, and the sRGB curve in the dark, make much of little.
def _rgb_to_oklab(rgb: Tensor) -> Tensor:
    cones = _mix(_OKLAB_CONES, _kornia("rgb_to_linear_rgb", rgb).to(precise_dtype(rgb.device)))
    return _mix(_OKLAB_OPPONENTS, cones.clamp(min=_DARKEST).pow(1 / 3), _MIDDLE).to(rgb.dtype)


def _oklab_to_rgb(channels: Tensor) -> Tensor:
    cones = _mix(_OKLAB_ROOTS, channels.to(precise_dtype(channels.device)), -_OKLAB_ROOTS @ _MIDDLE)
    return _kornia("linear_rgb_to_rgb", _mix(_OKLAB_LINEAR, cones.pow(3)).to(channels.dtype))


def _rgb_to_log_cones(rgb: Tensor) -> Tensor:
    # A negative number has no logarithm.
    return _mix(_RUDERMAN_CONES, rgb.clamp(min=0), _RUDERMAN_CONES.sum(dim=1) * _LOG_OFFSET).log()


def _log_cones_to_rgb(channels: Tensor) -> Tensor:
    return _mix(_RUDERMAN_RGB, channels.clamp(max=_LARGEST_LOG).exp(), torch.full((3,), -_LOG_OFFSET))


# The way there and the way back.
_CONVERSIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "luminance": (_rgb_to_luminance, lambda channels: channels[1:] + channels[:1]),
    "lab": (_rgb_to_lab, _lab_to_rgb),
    "oklab": (_rgb_to_oklab, _oklab_to_rgb),
    "ycbcr": (partial(_kornia, "rgb_to_ycbcr"), partial(_kornia, "ycbcr_to_rgb")),
    "log_cones": (_rgb_to_log_cones, _log_cones_to_rgb),
}


def _mix(matrix: Tensor, image: Tensor, offset: Tensor | None = None) -> Tensor:
    """Multiply each color by ``matrix`` ``[3, 3]`` and add ``offset``."""
    offset = matrix.new_zeros(3) if offset is None else offset.to(matrix)
    return apply_affine(image, torch.cat([matrix, offset[:, None]], dim=1))


def _convert(convert: Callable[[Tensor], Tensor], image: Tensor, channels: int, out: Tensor | None = None) -> Tensor:
    """Call ``convert``, which treats pixels one by one, on ``[C, H, W]``, on the CPU by stripes; it makes so many channels."""
    if wants_gradient(image) or image.device.type != "cpu":
        return convert(image)
    result = image.new_empty(*image.shape[1:], channels).movedim(-1, 0) if out is None else out

    def write(stripe: Tensor, target: Tensor) -> None:
        # In one order of memory: at the end of a row, the vector units of a processor round in another way.
        target.copy_(convert(stripe.movedim(0, -1).contiguous().movedim(-1, 0)))

    with torch.no_grad():
        by_stripes(write, image, result)
    return result
