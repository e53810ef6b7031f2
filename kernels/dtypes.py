"""In what to compute: number formats, devices and gradients of tensors."""

import torch
from torch import Tensor


def precise_dtype(device: torch.device) -> torch.dtype:
    """float64, float32 on devices without it."""
    # Apple's MPS, DirectML and many of Intel's GPUs have no float64.
    return torch.float64 if device.type in ("cpu", "cuda", "meta") else torch.float32


def working_dtype(pixels: Tensor) -> torch.dtype:
    """In what to compute on pixels: their own dtype, and nothing smaller than float32."""
    return torch.promote_types(pixels.dtype, torch.float32)


def nearest_end(pixels: Tensor) -> Tensor:
    """What pixels become that are not finite: 0 for NaN and minus infinity, 1 for infinity."""
    return torch.nan_to_num(pixels, nan=0.0, posinf=1.0, neginf=0.0)


def cast(tensor: Tensor, pixels: Tensor) -> Tensor:
    """``tensor`` in the dtype and on the device of ``pixels``: first the dtype, since some devices have no float64."""
    return tensor.to(pixels.dtype).to(pixels.device)


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Whether gradients are enabled and a tensor requires one."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
