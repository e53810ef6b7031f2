"""Histogram matching for ComfyUI, for files and for training networks through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .histogram_matching import (
    HistogramMatching,
    apply_transfer,
    cumulative_distribution,
    histogram,
    transfer_function,
)
from .matching import match_images
from .pil_images import match_pil

if TYPE_CHECKING:
    from .nodes import HistogramMatchExtension

__all__ = [
    "HistogramMatching",
    "apply_transfer",
    "comfy_entrypoint",
    "cumulative_distribution",
    "histogram",
    "match_images",
    "match_pil",
    "transfer_function",
]


async def comfy_entrypoint() -> HistogramMatchExtension:
    """Give ComfyUI the nodes of this pack. Only this needs ComfyUI."""
    from .nodes import HistogramMatchExtension

    return HistogramMatchExtension()
