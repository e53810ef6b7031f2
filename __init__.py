"""Histogram matching for ComfyUI, for files and for training networks through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .augmentation import HistogramMatchingTransform
from .color_matching import ColorMatching
from .color_space import COLOR_SPACES
from .distributed import pooled_histogram
from .histogram_matching import (
    HistogramMatching,
    apply_transfer,
    cumulative_distribution,
    histogram,
    transfer_function,
)
from .losses import HistogramLoss, SlicedHistogramLoss, histogram_loss, sliced_histogram_loss
from .matching import match_images, specify_images
from .methods import METHODS
from .parametric import ParametricHistogramMatching
from .pil_images import match_pil
from .reference_histogram import ReferenceHistogram
from .specification import LinearStretch, Normal, Specified, Uniform

if TYPE_CHECKING:
    from .nodes import HistogramMatchExtension

__all__ = [
    "COLOR_SPACES",
    "METHODS",
    "ColorMatching",
    "HistogramLoss",
    "HistogramMatching",
    "HistogramMatchingTransform",
    "LinearStretch",
    "Normal",
    "ParametricHistogramMatching",
    "ReferenceHistogram",
    "SlicedHistogramLoss",
    "Specified",
    "Uniform",
    "apply_transfer",
    "comfy_entrypoint",
    "cumulative_distribution",
    "histogram",
    "histogram_loss",
    "match_images",
    "match_pil",
    "pooled_histogram",
    "sliced_histogram_loss",
    "specify_images",
    "transfer_function",
]


async def comfy_entrypoint() -> HistogramMatchExtension:
    """Give ComfyUI the nodes of this pack. Only this needs ComfyUI."""
    from .nodes import HistogramMatchExtension

    return HistogramMatchExtension()
