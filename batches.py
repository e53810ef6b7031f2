"""Batches of frames and masks as ComfyUI holds them: what they have to be, and how a mask is fitted to its frame."""

from __future__ import annotations

import torch
from torch import Tensor


def check_frames(name: str, frames: Tensor) -> None:
    """Raise an error unless ``frames`` is a batch of pictures."""
    if not isinstance(frames, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(frames).__name__}")
    if not frames.is_floating_point():
        raise TypeError(f"{name}: expected floating-point values in [0, 1], got {frames.dtype}")
    if frames.ndim != 4 or frames.numel() == 0 or frames.shape[-1] not in (1, 3, 4):
        raise ValueError(f"{name}: expected shape [B, H, W, C] with no side of 0 and C of 1, 3 or 4, got {list(frames.shape)}")


def check_mask(name: str, mask: Tensor | None, frames: int) -> None:
    """Raise an error unless ``mask`` is None or goes with so many frames."""
    if mask is None:
        return
    if not isinstance(mask, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(mask).__name__}")
    if not mask.is_floating_point():
        raise TypeError(f"{name}: expected floating-point values in [0, 1], got {mask.dtype}")
    if mask.ndim != 3 or mask.numel() == 0 or mask.shape[0] not in (1, frames):
        raise ValueError(f"{name}: expected shape [1 or {frames}, H, W] with no side of 0, got {list(mask.shape)}")


def mask_of(name: str, mask: Tensor | None, index: int, pixels: Tensor) -> Tensor | None:
    """The mask ``[H, W]`` of the frame ``index`` with ``pixels`` ``[C, H, W]``, None for none."""
    return None if mask is None else fit_mask(name, mask[index if len(mask) > 1 else 0], pixels)


def fit_mask(name: str, mask: Tensor, pixels: Tensor) -> Tensor:
    """A mask ``[H', W']`` for ``pixels`` ``[..., H, W]``, resized as ComfyUI does, in [0, 1].

    Raises:
        ValueError: it holds NaN.
    """
    mask = mask.to(torch.promote_types(mask.dtype, torch.float32))
    lowest, highest = torch.aminmax(mask.detach())
    if lowest.isnan():
        raise ValueError(f"{name}: expected values from 0 to 1, got NaN")
    if mask.shape != pixels.shape[-2:]:
        mask = torch.nn.functional.interpolate(mask[None, None], size=pixels.shape[-2:], mode="bilinear")[0, 0]
    return mask if lowest >= 0 and highest <= 1 else mask.clamp(0, 1)
