"""In what to compute: number formats, devices and gradients of tensors."""

from typing import Any

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


def fitting(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """``tensor`` in a number format, what is beyond its greatest number at that: slopes between 65536 bins, in float16."""
    if tensor.dtype == dtype:
        return tensor
    greatest = torch.finfo(dtype).max
    return tensor.clamp(-greatest, greatest).to(dtype) if greatest < torch.finfo(tensor.dtype).max else tensor.to(dtype)


def widened(tensor: Tensor) -> Tensor:
    """``tensor`` in its :func:`working_dtype`, with a gradient that is :func:`fitting`."""
    return limited(tensor, torch.finfo(tensor.dtype).max) if tensor.dtype != working_dtype(tensor) else tensor


def limited(tensor: Tensor, greatest: float) -> Tensor:
    """``tensor`` in its :func:`working_dtype`, whose gradient goes no further than that from 0."""
    same: Tensor = _Limited.apply(tensor, greatest)
    return same


class _Limited(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(tensor: Tensor, greatest: float) -> Tensor:
        return tensor.to(working_dtype(tensor)).view_as(tensor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.dtype, ctx.greatest = inputs[0].dtype, inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.clamp(-ctx.greatest, ctx.greatest).to(ctx.dtype), None


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Whether gradients are enabled and a tensor requires one."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
