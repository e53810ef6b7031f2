"""Noise that fills the gaps between the levels of an 8-bit picture."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .transform import Part, Picture

# The steps of Roberts 2018, "The unreasonable effectiveness of quasirandom sequences", along both axes: 1 / p and 1 / p^2,
# where p^3 = p + 1, in 16 bits.
_ALONG, _DOWN = 49471, 37345
_PERIOD = 1 << 16
# Of 8-bit levels.
_HALF_LEVEL = 0.5 / 255


@dataclass(frozen=True)
class Dither(Part):
    """Add noise before anything is measured, see :func:`noise`."""

    pointwise: ClassVar[bool] = False
    reason: ClassVar[str] = "adds noise"

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Add the same noise to all channels, so that gray stays gray."""
        return (pixels + noise(pixels.shape[1], pixels.shape[2], pixels)).clamp(0, 1)


def noise(height: int, width: int, like: Tensor) -> Tensor:
    """Noise ``[height, width]`` of a triangular distribution between minus and plus half an 8-bit level.

    Its values follow a lattice of low discrepancy, so that they cancel out over a few pixels, and are the same at every run.
    """
    down, along = (torch.arange(side, dtype=torch.int64, device=like.device) for side in (height, width))
    uniform = ((down[:, None] * _DOWN + along * _ALONG) % _PERIOD).to(like.dtype).add_(0.5).div_(_PERIOD)
    nearer = 1 - (2 * torch.minimum(uniform, 1 - uniform)).sqrt()
    return torch.where(uniform < 0.5, -nearer, nearer) * _HALF_LEVEL
