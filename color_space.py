"""Color spaces in which channels are matched, and the way there and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

COLOR_SPACES = ("rgb", "luminance", "lab", "oklab", "ycbcr")
"""Names of the color spaces, the default first."""

# Rec. 709 luma, ITU-R BT.709-6, item 3.2.
_LUMA = (0.2126, 0.7152, 0.0722)
# Linear sRGB to cone responses and their cube roots to Oklab: Ottosson 2020, "A perceptual color space for image processing".
_OKLAB_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_OKLAB_OPPONENTS = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
# RGB to cone responses and their logarithms to l-alpha-beta: Reinhard et al. 2001, "Color transfer between images".
_RUDERMAN_CONES = ((0.3811, 0.5783, 0.0402), (0.1967, 0.7244, 0.0782), (0.0241, 0.1288, 0.8444))
_RUDERMAN_OPPONENTS = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (6**-0.5, 6**-0.5, -2 * 6**-0.5),
    (2**-0.5, -(2**-0.5), 0.0),
)
# Added before a logarithm, so that black has one; the smallest difference in 8 bits.
_LOG_OFFSET = 1 / 255
# The slope of a cube root at 0 is infinite. Below this it is taken as 0.
_DARKEST = 1e-9
# Logarithms are kept where their exponentials are finite.
_LARGEST_LOG = 20.0


@dataclass(frozen=True)
class _Conversion:
    """To a space and back, on ``[3, H, W]``. There, ``span`` of its own units are 1 in each channel."""

    to: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]
    span: tuple[float, float, float]


@dataclass(frozen=True)
class ColorSpace:
    """Where the channels of a picture are matched.

    Attributes:
        name: one of :data:`COLOR_SPACES`, or ``"l_alpha_beta"``, the logarithmic space of Reinhard et al. 2001.
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

    def split(self, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """Take a picture apart into channels to match and what is kept.

        Args:
            rgb: floating point, shape ``[3, H, W]``, values in [0, 1].

        Returns:
            The channels to match, shape ``[c, H, W]``, in [0, 1] but for ``l_alpha_beta``; and what :meth:`join` needs besides.
        """
        if self.is_rgb:
            return rgb, None
        if self.name == "luminance":
            luma = _mix((_LUMA,), rgb)
            return luma, rgb - luma
        channels = _CONVERSIONS[self.name].to(rgb)
        return (channels[:1], channels[1:]) if self.lightness_only else (channels, None)

    def join(self, channels: Tensor, kept: Tensor | None) -> Tensor:
        """Put a picture together again, the inverse of :meth:`split`.

        Returns:
            RGB, shape ``[3, H, W]``; beyond [0, 1] for colors that RGB does not hold.
        """
        if self.is_rgb:
            return channels
        if self.name == "luminance":
            return channels if kept is None else kept + channels
        return _CONVERSIONS[self.name].back(channels if kept is None else torch.cat([channels, kept]))


def _to_lab(rgb: Tensor) -> Tensor:
    from kornia.color import rgb_to_lab

    lab: Tensor = rgb_to_lab(rgb)
    return torch.cat([lab[:1] / 100, lab[1:] / 255 + 0.5])


def _from_lab(channels: Tensor) -> Tensor:
    from kornia.color import lab_to_rgb

    rgb: Tensor = lab_to_rgb(torch.cat([channels[:1] * 100, (channels[1:] - 0.5) * 255]), clip=False)
    return rgb


def _to_oklab(rgb: Tensor) -> Tensor:
    from kornia.color import rgb_to_linear_rgb

    cones = _mix(_OKLAB_CONES, rgb_to_linear_rgb(rgb)).clamp(min=_DARKEST).pow(1 / 3)
    lab = _mix(_OKLAB_OPPONENTS, cones)
    return torch.cat([lab[:1], lab[1:] + 0.5])


def _from_oklab(channels: Tensor) -> Tensor:
    from kornia.color import linear_rgb_to_rgb

    cones = _unmix(_OKLAB_OPPONENTS, torch.cat([channels[:1], channels[1:] - 0.5])).pow(3)
    rgb: Tensor = linear_rgb_to_rgb(_unmix(_OKLAB_CONES, cones))
    return rgb


def _to_ycbcr(rgb: Tensor) -> Tensor:
    from kornia.color import rgb_to_ycbcr

    ycbcr: Tensor = rgb_to_ycbcr(rgb)
    return ycbcr


def _from_ycbcr(channels: Tensor) -> Tensor:
    from kornia.color import ycbcr_to_rgb

    rgb: Tensor = ycbcr_to_rgb(channels)
    return rgb


def _to_l_alpha_beta(rgb: Tensor) -> Tensor:
    return _mix(_RUDERMAN_OPPONENTS, _mix(_RUDERMAN_CONES, rgb + _LOG_OFFSET).log())


def _from_l_alpha_beta(channels: Tensor) -> Tensor:
    cones = _unmix(_RUDERMAN_OPPONENTS, channels).clamp(max=_LARGEST_LOG).exp()
    return _unmix(_RUDERMAN_CONES, cones) - _LOG_OFFSET


_CONVERSIONS = {
    "lab": _Conversion(_to_lab, _from_lab, (100.0, 255.0, 255.0)),
    "oklab": _Conversion(_to_oklab, _from_oklab, (1.0, 1.0, 1.0)),
    "ycbcr": _Conversion(_to_ycbcr, _from_ycbcr, (1.0, 1.0, 1.0)),
    "l_alpha_beta": _Conversion(_to_l_alpha_beta, _from_l_alpha_beta, (1.0, 1.0, 1.0)),
}


def _mix(matrix: tuple[tuple[float, ...], ...], image: Tensor) -> Tensor:
    """Multiply the color of each pixel of ``[C, H, W]`` by ``matrix``."""
    mixed: Tensor = torch.tensordot(image.new_tensor(matrix), image, dims=1)
    return mixed


def _unmix(matrix: tuple[tuple[float, ...], ...], image: Tensor) -> Tensor:
    """Multiply the color of each pixel by the inverse of ``matrix``."""
    inverse = torch.linalg.inv(torch.tensor(matrix, dtype=torch.float64))
    unmixed: Tensor = torch.tensordot(inverse.to(image), image, dims=1)
    return unmixed
