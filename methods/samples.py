"""Some of the colors of pictures, in the place of all."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLE = 1 << 17
"""Colors in a sample at most. Of a picture with more pixels, there are a third as many or more."""


@dataclass(frozen=True)
class ColorSample:
    """Some colors of one or of several pictures, and for how many pixels each stands.

    Attributes:
        colors: floating point, shape ``[C, n]``.
        weights: not negative, shape ``[n]``.
    """

    colors: Tensor
    weights: Tensor

    @classmethod
    def of(cls, pixels: Tensor, weights: Tensor | None = None) -> "ColorSample":
        """Take all pixels of a small picture ``[C, H, W]``, of a large one as many as tell its distribution."""
        height, width = pixels.shape[1:]
        if weights is not None:
            # Not on a grid, between the points of which a small mask could fall.
            flat = weights.flatten()
            counting = flat.detach().nonzero()[:, 0]
            chosen = counting[:: math.ceil(len(counting) / SAMPLE)] if len(counting) else counting.new_zeros(1)
            colors = pixels.flatten(1)[:, chosen]
            return cls(colors, flat[chosen].to(colors) * (len(counting) / len(chosen)))
        one_of = math.ceil(height * width / SAMPLE)
        across = min(width, math.ceil(math.sqrt(one_of)))
        down = min(height, math.ceil(one_of / across))
        colors = pixels[:, ::down, :: math.ceil(one_of / down)].flatten(1)
        return cls(colors, colors.new_full(colors.shape[1:], height * width / colors.shape[1]))

    def __add__(self, other: "ColorSample") -> "ColorSample":
        """The sample of both; where it gets larger than a sample of one picture, as many colors at even steps of the weight."""
        colors = torch.cat([self.colors, other.colors.to(self.colors)], dim=1)
        weights = torch.cat([self.weights, other.weights.to(self.weights)])
        if len(weights) <= SAMPLE or not weights.any():
            return ColorSample(colors[:, :SAMPLE], weights[:SAMPLE])
        return ColorSample(colors, weights).thinned(SAMPLE)

    def thinned(self, number: int) -> "ColorSample":
        """So many of the colors at even steps of the weight, which is more than 0; all of them count alike."""
        cumulative = self.weights.detach().cpu().double().cumsum(0)
        middle = (torch.arange(number, dtype=torch.float64) + 0.5) * (cumulative[-1].item() / number)
        index = torch.searchsorted(cumulative, middle).clamp_(max=len(cumulative) - 1).to(self.colors.device)
        return ColorSample(self.colors[:, index], (self.weights.sum() / number).expand(number))
