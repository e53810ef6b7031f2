"""Histogram matching for ComfyUI, for files and for training networks through it."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .nodes import HistogramMatchExtension

WEB_DIRECTORY = "./web"
"""Where ComfyUI finds what the page loads."""
__version__ = "0.10.0"
# What __init__.pyi lists is loaded where it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["comfy_entrypoint"]


async def comfy_entrypoint() -> "HistogramMatchExtension":
    """Give ComfyUI the nodes of this pack. Only this needs ComfyUI."""
    from .nodes import HistogramMatchExtension

    return HistogramMatchExtension()
