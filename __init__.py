"""Histogram matching for ComfyUI, for files and for training networks through it."""

from typing import TYPE_CHECKING, Any

from .histogram_matching import HistogramMatching, apply_transfer, cumulative_distribution, histogram, transfer_function
from .matching import match_images, specify_images
from .methods.color_space import COLOR_SPACES
from .methods.table import METHODS
from .methods.targets import LinearStretch, Normal, Specified, Uniform
from .pil_images import match_pil
from .reference_histogram import ReferenceHistogram
from .training.augmentation import HistogramMatchingTransform
from .training.color_matching import ColorMatching
from .training.distributed import pooled_histogram
from .training.parametric import ParametricHistogramMatching

if TYPE_CHECKING:
    from .nodes import HistogramMatchExtension
    from .training.losses import HistogramLoss, SlicedHistogramLoss, histogram_loss, sliced_histogram_loss

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


def __getattr__(name: str) -> Any:
    # Not at the top, since what losses need of torch's compiler takes long to import.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .training import losses

    return getattr(losses, name)


async def comfy_entrypoint() -> "HistogramMatchExtension":
    """Give ComfyUI the nodes of this pack. Only this needs ComfyUI."""
    from .nodes import HistogramMatchExtension

    return HistogramMatchExtension()
