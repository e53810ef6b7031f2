"""A picture of the histograms of up to three images."""

from torch import Tensor

CHANNELS = ("rgb", "luminance", "all")
"""Which histograms are drawn, the default first."""
SCALES = ("linear", "log")
"""How the height of a bar goes with its number of pixels, the default first."""


def plot_histograms(images: dict[str, Tensor], channels: str, scale: str, width: int, height: int) -> Tensor:
    """Draw."""
    raise NotImplementedError
