"""Checks of arguments: each error names the argument, what it should be and what came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def check_floating(name: str, tensor: Tensor, expected: str = "a floating-point tensor") -> None:
    """Raise an error unless ``tensor`` is a floating-point tensor."""
    # Where it is needed: numbers and choices are checked before torch is there.
    from torch import Tensor

    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name}: expected {expected}, got {tensor.dtype}")


def check_pixels(name: str, image: Tensor) -> None:
    """Raise an error unless ``image`` is floating point, of shape ``[..., C, H, W]`` with some pixels."""
    check_floating(name, image)
    if image.ndim < 3 or image.numel() == 0:
        raise ValueError(f"{name}: expected shape [..., C, H, W] with no side of 0, got {list(image.shape)}")


def check_colors(name: str, image: Tensor) -> None:
    """Raise an error if a picture ``[..., C, H, W]`` has more channels than pictures have, as one of shape ``[H, W, C]``."""
    if image.shape[-3] > 4:
        raise ValueError(f"{name}: expected shape [..., C, H, W] with C of 1 to 4, got {list(image.shape)}")


def check_rows(name: str, rows: Tensor) -> None:
    """Raise an error unless ``rows`` is floating point, of shape ``[..., bins]`` with two bins or more."""
    check_floating(name, rows)
    if rows.ndim < 1 or rows.shape[-1] < 2:
        raise ValueError(f"{name}: expected shape [..., bins] with 2 bins or more, got {list(rows.shape)}")


def check_pair(image: Tensor, reference: Tensor, channels: int | None = None) -> None:
    """Raise an error unless ``image`` is a batch ``[B, C, H, W]`` and ``reference`` goes with it, ``[1 or B, C, H', W']``."""
    for name, picture in (("image", image), ("reference", reference)):
        check_pixels(name, picture)
        check_colors(name, picture)
    if image.ndim != 4 or channels not in (None, image.shape[1]):
        raise ValueError(f"image: expected shape [B, {channels or 'C'}, H, W], got {list(image.shape)}")
    if reference.ndim != 4 or reference.shape[0] not in (1, image.shape[0]) or reference.shape[1] != image.shape[1]:
        raise ValueError(
            f"reference: expected shape [1 or {image.shape[0]}, {image.shape[1]}, H, W] to go with an image of "
            f"{list(image.shape)}, got {list(reference.shape)}"
        )


def check_frames(name: str, frames: Tensor) -> None:
    """Raise an error unless ``frames`` is a batch of images as ComfyUI holds them, ``[B, H, W, C]``."""
    check_floating(name, frames, "floating-point values in [0, 1]")
    if frames.ndim != 4 or frames.numel() == 0 or frames.shape[-1] not in (1, 3, 4):
        raise ValueError(f"{name}: expected shape [B, H, W, C] with no side of 0 and C of 1, 3 or 4, got {list(frames.shape)}")


def check_mask(name: str, mask: Tensor, frames: int) -> None:
    """Raise an error unless ``mask`` goes with so many frames, ``[1 or B, H, W]``."""
    check_floating(name, mask, "floating-point values in [0, 1]")
    if mask.ndim != 3 or mask.numel() == 0 or mask.shape[0] not in (1, frames):
        raise ValueError(f"{name}: expected shape [1 or {frames}, H, W] with no side of 0, got {list(mask.shape)}")


def checked_weights(weights: Tensor, image: Tensor) -> Tensor:
    """``weights`` in the shape of ``image``; an error unless they broadcast to it, and are finite and not negative.

    In single precision at least, so that the gradients of all values that share a weight are added up in that.
    """
    from .kernels.dtypes import widened

    check_floating("weights", weights)
    try:
        expanded = widened(weights).expand(image.shape)
    except RuntimeError:
        raise ValueError(
            f"weights: expected a shape that broadcasts to image's {list(image.shape)}, got {list(weights.shape)}"
        ) from None
    lowest, highest = weights.detach().aminmax()
    if not (lowest >= 0 and highest < float("inf")):
        raise ValueError(f"weights: expected finite numbers from 0 up, got {lowest.item()} to {highest.item()}")
    return expanded


def check_choice(name: str, value: str, expected: Iterable[str]) -> None:
    """Raise an error unless ``value`` is one of those expected."""
    if value not in (expected := tuple(expected)):
        raise ValueError(f"{name}: expected one of {', '.join(expected)}, got {value!r}")


def check_count(name: str, count: int, least: int, most: int | None = None) -> None:
    """Raise an error unless ``count`` is an int from ``least`` to ``most``."""
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name}: expected an int, got {type(count).__name__}")
    if count < least or (most is not None and count > most):
        raise ValueError(f"{name}: expected {least} {'or more' if most is None else f'to {most}'}, got {count}")


def check_bins(bins: int) -> None:
    """Raise an error unless ``bins`` is a number of bins."""
    from .kernels.levels import LEVELS

    check_count("bins", bins, 2, LEVELS)


def check_number(name: str, value: float, least: float, most: float) -> None:
    """Raise an error unless ``value`` is a number from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name}: expected a number from {least} to {most}, got {value}")
