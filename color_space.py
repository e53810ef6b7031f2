"""Color spaces in which channels are matched, and the way there and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from .affine import Affine, apply_affine
from .histogram_matching import wants_gradient
from .soft_binning import precise_dtype

COLOR_SPACES = ("rgb", "luminance", "lab", "oklab", "ycbcr")
"""Names of the color spaces, the default first."""
RUDERMAN_OPPONENTS = torch.tensor(
    (
        (3**-0.5, 3**-0.5, 3**-0.5),
        (6**-0.5, 6**-0.5, -2 * 6**-0.5),
        (2**-0.5, -(2**-0.5), 0.0),
    ),
    dtype=torch.float64,
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
    ((0.3811, 0.5783, 0.0402), (0.1967, 0.7244, 0.0782), (0.0241, 0.1288, 0.8444)),
    dtype=torch.float64,
)
# Added before a logarithm, so that black has one; the smallest difference in 8 bits.
_LOG_OFFSET = 1 / 255
# The slope of a cube root at 0 is infinite. Below this it is taken as 0.
_DARKEST = 1e-9
# Pixels that are converted at a time.
_BLOCK = 1 << 16
# Logarithms are kept where their exponentials are finite.
_LARGEST_LOG = 20.0


Pixelwise: TypeAlias = Callable[[Tensor], Tensor]
"""What makes of each pixel of ``[C, H, W]`` another one, whatever is around it."""


@dataclass(frozen=True)
class _Conversion:
    """To a space and back, made for pixels like those given. There, ``span`` of its own units are 1 in each channel."""

    to: Callable[[Tensor], Pixelwise]
    back: Callable[[Tensor], Pixelwise]
    span: tuple[float, float, float]


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
    def is_rgb(self) -> bool:
        """Whether pixels are matched as they are."""
        return self.name == "rgb"

    @property
    def span(self) -> tuple[float, ...]:
        """What a step of 1 is in each channel that is matched, in the space's own units."""
        if self.name == "luminance":
            return (1.0,)
        span = _CONVERSIONS[self.name].span if self.name in _CONVERSIONS else (1.0, 1.0, 1.0)
        return span[:1] if self.lightness_only and not self.is_rgb else span

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
        if self.is_rgb:
            return rgb, None
        if self.name == "luminance":
            luma = _by_blocks(_luma, rgb)
            return luma, rgb - luma
        channels = _by_blocks(_CONVERSIONS[self.name].to(rgb), rgb)
        return (channels[:1], channels[1:]) if self.lightness_only else (channels, None)

    def join(self, channels: Tensor, kept: Tensor | None, *, in_place: bool = False) -> Tensor:
        """Put a picture together again, the inverse of :meth:`split`.

        Args:
            channels: floating point, shape ``[c, H, W]``.
            kept: what :meth:`split` has kept.
            in_place: whether the result may take the memory of ``channels``; where no gradient is wanted.

        Returns:
            RGB, shape ``[3, H, W]``; beyond [0, 1] for colors that RGB does not hold.
        """
        if self.is_rgb:
            return channels
        if self.name == "luminance":
            return channels if kept is None else kept + channels
        channels = channels if kept is None else torch.cat([channels, kept])
        return _by_blocks(_CONVERSIONS[self.name].back(channels), channels, in_place=in_place)


def _to_lab(rgb: Tensor) -> Tensor:
    from kornia.color import rgb_to_lab

    lab: Tensor = rgb_to_lab(rgb)
    return torch.cat([lab[:1] / 100, lab[1:] / 255 + _MIDDLE])


def _from_lab(channels: Tensor) -> Tensor:
    from kornia.color import lab_to_rgb

    rgb: Tensor = lab_to_rgb(torch.cat([channels[:1] * 100, (channels[1:] - _MIDDLE) * 255]), clip=False)
    return rgb


def _to_ycbcr(rgb: Tensor) -> Tensor:
    from kornia.color import rgb_to_ycbcr

    ycbcr: Tensor = rgb_to_ycbcr(rgb)
    return ycbcr


def _from_ycbcr(channels: Tensor) -> Tensor:
    from kornia.color import ycbcr_to_rgb

    rgb: Tensor = ycbcr_to_rgb(channels)
    return rgb


def _luma(rgb: Tensor) -> Tensor:
    return sum((weight * channel for weight, channel in zip(_LUMA, rgb, strict=True)), torch.zeros_like(rgb[0]))[None]


def _oklab(like: Tensor) -> Pixelwise:
    # In double precision, since cubes, and the sRGB curve in the dark, make much of little.
    from kornia.color import rgb_to_linear_rgb

    precise = like[:, :1, :1].to(precise_dtype(like.device))
    to_cones = _mixing(_OKLAB_CONES, precise)
    to_opponents = _mixing(_OKLAB_OPPONENTS, precise, after=torch.tensor(_OKLAB_MIDDLE, dtype=torch.float64))

    def convert(rgb: Tensor) -> Tensor:
        cones = to_cones(rgb_to_linear_rgb(rgb).to(precise.dtype))
        return to_opponents(cones.clamp(min=_DARKEST).pow(1 / 3)).to(rgb.dtype)

    return convert


def _oklab_back(like: Tensor) -> Pixelwise:
    from kornia.color import linear_rgb_to_rgb

    precise = like[:, :1, :1].to(precise_dtype(like.device))
    inverse = torch.linalg.inv(_OKLAB_OPPONENTS)
    to_cones = _mixing(inverse, precise, after=-inverse @ torch.tensor(_OKLAB_MIDDLE, dtype=torch.float64))
    to_linear = _mixing(torch.linalg.inv(_OKLAB_CONES), precise)

    def convert(channels: Tensor) -> Tensor:
        linear = to_linear(to_cones(channels.to(precise.dtype)).pow(3)).to(channels.dtype)
        rgb: Tensor = linear_rgb_to_rgb(linear)
        return rgb

    return convert


def _log_cones(like: Tensor) -> Pixelwise:
    to_cones = _mixing(_RUDERMAN_CONES, like, after=_RUDERMAN_CONES.sum(dim=1) * _LOG_OFFSET)
    return lambda rgb: to_cones(rgb).log()


def _log_cones_back(like: Tensor) -> Pixelwise:
    to_rgb = _mixing(torch.linalg.inv(_RUDERMAN_CONES), like, after=torch.full((3,), -_LOG_OFFSET))
    return lambda channels: to_rgb(channels.clamp(max=_LARGEST_LOG).exp())


_CONVERSIONS = {
    "lab": _Conversion(lambda like: _to_lab, lambda like: _from_lab, (100.0, 255.0, 255.0)),
    "oklab": _Conversion(_oklab, _oklab_back, (1.0, 1.0, 1.0)),
    "ycbcr": _Conversion(lambda like: _to_ycbcr, lambda like: _from_ycbcr, (1.0, 1.0, 1.0)),
    "log_cones": _Conversion(_log_cones, _log_cones_back, (1.0, 1.0, 1.0)),
}


def _mixing(matrix: Tensor, like: Tensor, after: Tensor | None = None) -> Pixelwise:
    """What multiplies each color by ``matrix`` ``[3, 3]`` and adds ``after``, for pixels that are like ``like``."""
    offset = torch.zeros(3, dtype=matrix.dtype) if after is None else after.to(matrix)
    affine = torch.cat([matrix, offset[:, None]], dim=1)
    many = Affine(affine, like)

    def mix(image: Tensor) -> Tensor:
        if wants_gradient(image):
            return apply_affine(image, affine)
        rows = image.flatten(1).t().contiguous()
        mixed = torch.empty_like(rows)
        many.write(rows, mixed)
        return mixed.view(*image.shape[1:], 3).movedim(-1, 0)

    return mix


def _by_blocks(convert: Pixelwise, image: Tensor, *, in_place: bool = False) -> Tensor:
    """Call ``convert`` on ``[C, H, W]``, on the CPU in blocks that stay in its caches."""
    lines = max(1, _BLOCK // image.shape[2])
    if wants_gradient(image) or image.device.type != "cpu" or image.shape[1] <= lines:
        return convert(image)
    blocks = map(convert, image.split(lines, dim=1))
    block = next(blocks)
    result = image if in_place else block.new_empty(*image.shape[1:], len(block)).movedim(-1, 0)
    result[:, :lines] = block
    for index, block in enumerate(blocks, start=1):
        result[:, index * lines : (index + 1) * lines] = block
    return result
