"""What generators do to the tone of a picture, made on real photos, so that the right answer is known.

People report a picture that comes back from a VAE or an edit a little brighter, flatter or warmer, and clips whose tone drifts
with each extension, since each is generated from the end of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from skimage import data
from torch import Tensor
from torch.nn.functional import avg_pool2d

PHOTOS = {"astronaut": data.astronaut, "chelsea": data.chelsea, "coffee": data.coffee, "rocket": data.rocket}
LEVELS = 255


@dataclass(frozen=True)
class Tone:
    """A drift of tone: ``gain * color ** gamma``, and then a cast that is added, in 8-bit levels for each channel."""

    gain: float
    gamma: float
    cast: tuple[float, float, float]

    def __call__(self, image: Tensor) -> Tensor:
        """Change ``[..., 3]`` in [0, 1]."""
        return (self.gain * image.clamp(0, 1) ** self.gamma + image.new_tensor(self.cast) / LEVELS).clamp(0, 1)


def drifts(count: int, seed: int) -> list[Tone]:
    """As many small drifts, each brighter and warmer than it was on the whole, as they add up over extensions."""
    random = torch.Generator().manual_seed(seed)
    tones = []
    for _ in range(count):
        gain, gamma, *cast = torch.randn(5, generator=random).tolist()
        tones.append(
            Tone(1.012 + 0.01 * gain, 0.985 + 0.015 * gamma, (0.8 + cast[0], 0.2 + 0.6 * cast[1], -0.8 + 0.8 * cast[2]))
        )
    return tones


def whole_photo(name: str) -> Tensor:
    """A photo ``[H, W, 3]`` in [0, 1]."""
    return torch.from_numpy(PHOTOS[name]()).float() / LEVELS


def round_trip(image: Tensor, noise: float, seed: int) -> Tensor:
    """What an autoencoder loses of ``[B, H, W, 3]`` beside tone: fine detail of colors, and noise of so many levels; 8 bits."""
    planes = image.movedim(-1, 1)
    luma = planes.mean(dim=1, keepdim=True)
    chroma = avg_pool2d(planes - luma, 3, stride=1, padding=1, count_include_pad=False)
    grain = torch.randn(planes.shape, generator=torch.Generator().manual_seed(seed)) * noise / LEVELS
    return ((luma + chroma + grain).movedim(1, -1).clamp(0, 1) * LEVELS).round() / LEVELS


def tone_error(image: Tensor, original: Tensor, weights: Tensor | None = None) -> float:
    """The mean difference of two batches ``[B, H, W, 3]`` in levels, each color averaged over 9 x 9 pixels.

    What is averaged away is grain and detail. ``weights`` ``[B, H, W]`` of 0 and 1 say where they are compared.
    """
    apart = avg_pool2d((image - original).movedim(-1, 1), 9, stride=1, padding=4, count_include_pad=False).abs().mean(dim=1)
    apart = apart.mean() if weights is None else apart[weights > 0].mean()
    return float(apart) * LEVELS
