"""Histogram matching between Pillow images."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .matching import match_images

_DEPTHS = {"L": 8, "LA": 8, "RGB": 8, "RGBA": 8, "I;16": 16}
_PLAIN = {"1": "L", "P": "RGB", "PA": "RGBA"}


def match_pil(
    source: Image.Image,
    reference: Image.Image,
    method: str = "pytorch",
    factor: float = 1.0,
    device: torch.device | str | None = None,
    *,
    color_space: str = "rgb",
    detail: float = 0.0,
    dither: bool = False,
    grid: int = 1,
    clip: float = 0.0,
) -> Image.Image:
    """Give a Pillow image the colors of another.

    Args:
        source: mode L, LA, RGB, RGBA or I;16, of any size. The palette modes P and PA are read as RGB or RGBA, 1 as L.
        reference: in one of these modes, of any size. A gray reference serves every channel of a color source,
            and of a color reference a gray source gets the brightness.
        method: as in :func:`match_images`.
        factor: 0 (unchanged) to 1 (matched).
        device: where to compute, by default the CPU.
        color_space: as in :func:`match_images`.
        detail: as in :func:`match_images`.
        dither: as in :func:`match_images`.
        grid: as in :func:`match_images`.
        clip: as in :func:`match_images`.

    Returns:
        The source's size, mode (palettes as above) and alpha.

    Raises:
        TypeError: ``source`` or ``reference`` is not a Pillow image.
        ValueError: a mode is none of the above, or another argument is not one that :func:`match_images` takes.

    >>> match_pil(Image.new("RGB", (4, 4), "navy"), Image.new("RGB", (9, 9), "gold")).getpixel((0, 0))
    (255, 215, 0)
    """
    source, reference = _plain("source", source), _plain("reference", reference)
    pixels, alpha = _pixels(source)
    look, _ = _pixels(reference)
    matched = match_images(
        pixels, look, method, factor, device, color_space=color_space, grid=grid, clip=clip, detail=detail, dither=dither
    )
    highest = 2 ** _DEPTHS[source.mode] - 1
    values = (torch.cat([matched, alpha], dim=-1) * highest).round()[0].cpu().numpy()
    values = values.astype(np.uint8 if highest == 255 else np.uint16)
    return Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)


def _plain(name: str, image: Image.Image) -> Image.Image:
    if not isinstance(image, Image.Image):
        raise TypeError(f"{name}: expected a PIL.Image.Image, got {type(image).__name__}")
    if image.mode in _PLAIN:
        image = image.convert("RGBA" if image.has_transparency_data else _PLAIN[image.mode])
    if image.mode not in _DEPTHS:
        raise ValueError(f"{name}: expected mode {', '.join([*_DEPTHS, *_PLAIN])}, got {image.mode}")
    return image


def _pixels(image: Image.Image) -> tuple[Tensor, Tensor]:
    """Colors ``[1, H, W, 1 or 3]`` and alpha ``[1, H, W, 0 or 1]``, float32 in [0, 1]."""
    values = torch.from_numpy(np.array(image).astype(np.float32)) / (2 ** _DEPTHS[image.mode] - 1)
    values = values.reshape(1, image.height, image.width, -1)
    colors = 1 if values.shape[-1] < 3 else 3
    return values[..., :colors], values[..., colors:]
