"""Color spaces in which channels are matched, and the way there and back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ..kernels.affine import Affine, apply_affine, color_rows
from ..kernels.dtypes import precise_dtype, wants_gradient
from ..kernels.workers import by_stripes

COLOR_SPACES = ("rgb", "luminance", "lab", "oklab", "ycbcr")
"""Names of the color spaces, the default first."""
RUDERMAN_OPPONENTS = torch.tensor(
    ((3**-0.5, 3**-0.5, 3**-0.5), (6**-0.5, 6**-0.5, -2 * 6**-0.5), (2**-0.5, -(2**-0.5), 0.0)), dtype=torch.float64
)
"""Logarithms of cone responses to l-alpha-beta: Reinhard et al. 2001, "Color transfer between images"."""

# Rec. 709 luma, ITU-R BT.709-6, item 3.2.
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
# A gray has no opponents; of 256 levels, that is the one in the middle.
_MIDDLE = 128 / 255
_OKLAB_MIDDLE = (0.0, _MIDDLE, _MIDDLE)
# RGB to cone responses: Reinhard et al. 2001, "Color transfer between images".
_RUDERMAN_CONES = torch.tensor(
    ((0.3811, 0.5783, 0.0402), (0.1967, 0.7244, 0.0782), (0.0241, 0.1288, 0.8444)), dtype=torch.float64
)
# Added before a logarithm, so that black has one; the smallest difference in 8 bits.
_LOG_OFFSET = 1 / 255
# The slope of a cube root at 0 is infinite. Below this it is taken as 0.
_DARKEST = 1e-9
# Logarithms are kept where their exponentials are finite.
_LARGEST_LOG = 20.0


Pixelwise: TypeAlias = Callable[[Tensor], Tensor]
"""What makes of each pixel of ``[C, H, W]`` another one, whatever is around it."""


@dataclass(frozen=True)
class ColorSpace:
    """Where the channels of a picture are matched.

    Attributes:
        name: one of :data:`COLOR_SPACES`, or ``"log_cones"``, the logarithms of cone responses, of which the space
            l-alpha-beta of Reinhard et al. 2001 is a rotation.
        lightness_only: whether only the first channel is matched and the others are kept. RGB has no such channel.
    """

    name: str
    lightness_only: bool = False

    @property
    def span(self) -> tuple[float, ...]:
        """What a step of 1 is in each channel that is matched, in the space's own units."""
        if self.name == "luminance":
            return (1.0,)
        span = (100.0, 255.0, 255.0) if self.name == "lab" else (1.0, 1.0, 1.0)
        return span[:1] if self.lightness_only and self.name != "rgb" else span

    @property
    def axes(self) -> Tensor | None:
        """The axes along which the space was described, as the rows of a matrix; None if those are the channels."""
        return RUDERMAN_OPPONENTS if self.name == "log_cones" else None

    def split(self, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """Take a picture apart into channels to match and what is kept.

        Args:
            rgb: floating point, shape ``[3, H, W]``, values in [0, 1].

        Returns:
            The channels to match, shape ``[c, H, W]``, in [0, 1] but for ``log_cones``; and what :meth:`join` needs besides.
        """
        if self.name == "rgb":
            return rgb, None
        if self.name == "luminance":
            channels = _convert(lambda rgb: torch.cat([luma := _luma(rgb), rgb - luma]), rgb, 4)
            return channels[:1], channels[1:]
        channels = _convert(_CONVERSIONS[self.name][0](rgb), rgb, 3)
        return (channels[:1], channels[1:]) if self.lightness_only else (channels, None)

    def join(self, channels: Tensor, kept: Tensor | None) -> Tensor:
        """Put a picture together again, the inverse of :meth:`split`.

        Args:
            channels: floating point, shape ``[c, H, W]``.
            kept: what :meth:`split` has kept.

        Returns:
            RGB, shape ``[3, H, W]``; beyond [0, 1] for colors that RGB does not hold.
        """
        if self.name == "rgb":
            return channels
        channels = channels if kept is None else torch.cat([channels, kept])
        if self.name == "luminance":
            return _convert(lambda channels: channels[1:] + channels[:1], channels, 3)
        return _convert(_CONVERSIONS[self.name][1](channels), channels, 3)


def _lab(pixels: Tensor) -> Pixelwise:
    from kornia.color import rgb_to_lab

    scale, middle = (pixels.new_tensor(row).view(3, 1, 1) for row in ((100, 255, 255), (0, _MIDDLE, _MIDDLE)))
    return lambda rgb: rgb_to_lab(rgb) / scale + middle


def _lab_back(pixels: Tensor) -> Pixelwise:
    from kornia.color import lab_to_rgb

    scale, middle = (pixels.new_tensor(row).view(3, 1, 1) for row in ((100, 255, 255), (0, _MIDDLE, _MIDDLE)))
    return lambda channels: lab_to_rgb((channels - middle) * scale, clip=False)


def _ycbcr(pixels: Tensor) -> Pixelwise:
    from kornia.color import rgb_to_ycbcr

    return lambda rgb: rgb_to_ycbcr(rgb)


def _ycbcr_back(pixels: Tensor) -> Pixelwise:
    from kornia.color import ycbcr_to_rgb

    return lambda channels: ycbcr_to_rgb(channels)


def _luma(rgb: Tensor) -> Tensor:
    return sum((weight * channel for weight, channel in zip(_LUMA, rgb, strict=True)), torch.zeros_like(rgb[0]))[None]


def _oklab(pixels: Tensor) -> Pixelwise:
    # In double precision, since cubes, and the sRGB curve in the dark, make much of little.
    from kornia.color import rgb_to_linear_rgb

    precise = pixels[:, :1, :1].to(precise_dtype(pixels.device))
    to_cones = _mixing(_OKLAB_CONES, precise)
    to_opponents = _mixing(_OKLAB_OPPONENTS, precise, after=torch.tensor(_OKLAB_MIDDLE, dtype=torch.float64))

    def convert(rgb: Tensor) -> Tensor:
        cones = to_cones(rgb_to_linear_rgb(rgb).to(precise.dtype))
        return to_opponents(cones.clamp(min=_DARKEST).pow(1 / 3)).to(rgb.dtype)

    return convert


def _oklab_back(pixels: Tensor) -> Pixelwise:
    from kornia.color import linear_rgb_to_rgb

    precise = pixels[:, :1, :1].to(precise_dtype(pixels.device))
    inverse = torch.linalg.inv(_OKLAB_OPPONENTS)
    to_cones = _mixing(inverse, precise, after=-inverse @ torch.tensor(_OKLAB_MIDDLE, dtype=torch.float64))
    to_linear = _mixing(torch.linalg.inv(_OKLAB_CONES), precise)

    def convert(channels: Tensor) -> Tensor:
        linear = to_linear(to_cones(channels.to(precise.dtype)).pow(3)).to(channels.dtype)
        rgb: Tensor = linear_rgb_to_rgb(linear)
        return rgb

    return convert


def _log_cones(pixels: Tensor) -> Pixelwise:
    to_cones = _mixing(_RUDERMAN_CONES, pixels, after=_RUDERMAN_CONES.sum(dim=1) * _LOG_OFFSET)
    return lambda rgb: to_cones(rgb).log()


def _log_cones_back(pixels: Tensor) -> Pixelwise:
    to_rgb = _mixing(torch.linalg.inv(_RUDERMAN_CONES), pixels, after=torch.full((3,), -_LOG_OFFSET))
    return lambda channels: to_rgb(channels.clamp(max=_LARGEST_LOG).exp())


# The way there and the way back, each made ready for pixels like those given.
_CONVERSIONS = {
    "lab": (_lab, _lab_back),
    "oklab": (_oklab, _oklab_back),
    "ycbcr": (_ycbcr, _ycbcr_back),
    "log_cones": (_log_cones, _log_cones_back),
}


def _mixing(matrix: Tensor, pixels: Tensor, after: Tensor | None = None) -> Pixelwise:
    """What multiplies each color by ``matrix`` ``[3, 3]`` and adds ``after``, for colors like those of ``pixels``."""
    offset = torch.zeros(3, dtype=matrix.dtype) if after is None else after.to(matrix)
    affine = torch.cat([matrix, offset[:, None]], dim=1)
    many = Affine(affine, pixels)

    def mix(image: Tensor) -> Tensor:
        if wants_gradient(image):
            return apply_affine(image, affine)
        return many.map_rows(color_rows(image)).view(*image.shape[1:], 3).movedim(-1, 0)

    return mix


def _convert(convert: Pixelwise, image: Tensor, channels: int) -> Tensor:
    """Call ``convert`` on ``[C, H, W]``, on the CPU by stripes; the result has so many channels."""
    if wants_gradient(image) or image.device.type != "cpu":
        return convert(image)
    result = image.new_empty(*image.shape[1:], channels).movedim(-1, 0)

    def write(stripe: Tensor, target: Tensor) -> None:
        # In one order of memory: at the end of a row, the vector units of a processor round in another way.
        target.copy_(convert(stripe.movedim(0, -1).contiguous().movedim(-1, 0)))

    with torch.no_grad():
        by_stripes(write, image, result)
    return result
