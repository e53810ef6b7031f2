"""Match batches of frames: the one function behind the ComfyUI node and the command."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from skimage.exposure import match_histograms
from torch import Tensor

from .histogram_matching import LEVELS, apply_transfer, cumulative_distribution, histogram, transfer_function

METHODS = ("pytorch", "skimage")
"""Names of the methods, the default first."""

_Result = TypeVar("_Result")


def match_images(
    image: Tensor,
    reference: Tensor,
    method: str = "pytorch",
    factor: float = 1.0,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Give each frame of a batch the histogram of its reference, channel by channel.

    One reference serves all frames. Of several, the first goes with the first frame, the second with the second, and the
    last with all that are left. A fourth channel is alpha: the image's comes back untouched, the reference's is ignored.
    A reference of one channel serves every channel of a colour image.

    Args:
        image: floating point, shape ``[B, H, W, C]`` with C of 1, 3 or 4, values in [0, 1]. Values outside count where the
            nearest end does and go where it goes.
        reference: floating point, shape ``[R, H', W', C']`` with C' of 1, or of 3 or 4 for a colour image, values in
            [0, 1].
        method: ``"pytorch"`` counts and looks up at 16-bit resolution on ``device``, and is differentiable in image and
            reference; ``"skimage"`` calls :func:`skimage.exposure.match_histograms` on the CPU, without gradients.
        factor: from 0, the image itself bit for bit, to 1, fully matched; between them
            ``factor * matched + (1 - factor) * image``.
        device: where frames are matched; by default where ``image`` is. A frame for which this device has too little
            memory is matched on the CPU, with a ``RuntimeWarning``.
        progress: called after each frame with the number of frames done and the number of all. What it raises ends the
            run.

    Returns:
        The image's shape, dtype and device, values in [0, 1] (but for a factor of 0). NaN and infinite values of both
        arguments are left out of the histograms; in the result a NaN of the image is 0 and an infinity the nearest end,
        and a ``RuntimeWarning`` says how many there were. float16 and bfloat16 are computed in float32.

    Raises:
        TypeError: ``image`` or ``reference`` is not a floating-point tensor, or ``factor`` is not a number.
        ValueError: a shape, ``method`` or ``factor`` is none of the above, or a channel of ``reference`` has no finite
            value.
    """
    _check_frames("image", image)
    _check_frames("reference", reference)
    colours = min(image.shape[-1], 3)
    if min(reference.shape[-1], 3) not in (1, colours):
        raise ValueError(f"reference: expected 1 channel to go with an image of 1, got {reference.shape[-1]} channels")
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    if isinstance(factor, bool) or not isinstance(factor, (int, float)):
        raise TypeError(f"factor: expected a number, got {type(factor).__name__}")
    if not (math.isfinite(factor) and 0 <= factor <= 1):
        raise ValueError(f"factor: expected a number from 0 to 1, got {factor}")
    if factor == 0:
        return image.clone()

    device = image.device if device is None else torch.device(device)
    references = reference.movedim(-1, 1)[:, :3]
    result = torch.empty_like(image, memory_format=torch.contiguous_format)
    result[..., colours:] = image[..., colours:]
    left_out = {"image": 0, "reference": 0}
    for index in range(len(image)):
        frame, matched = (batch[index].movedim(-1, 0)[:colours] for batch in (image, result))
        if index < len(references):
            if method == "pytorch":
                reference_cdf, missing = _with_memory_of(device, _measure, references[index])
                empty = reference_cdf[:, -1] == 0
            else:
                reference_values, missing = _finite_values(references[index])
                empty = torch.tensor([values.size == 0 for values in reference_values])
            if empty.any():
                raise ValueError(
                    f"reference: expected finite values, got none in channel {empty.nonzero()[0].item()} of frame {index}"
                )
            left_out["reference"] += missing
        if method == "pytorch":
            left_out["image"] += _with_memory_of(device, _match_with_torch, frame, reference_cdf, factor, matched)
        else:
            left_out["image"] += _match_with_skimage(frame, reference_values, factor, matched)
        if progress is not None:
            progress(index + 1, len(image))
    for name, number in left_out.items():
        if number:
            warnings.warn(f"{name}: left out {number} NaN or infinite values", RuntimeWarning, stacklevel=2)
    return result


def _match_with_torch(device: torch.device, frame: Tensor, reference_cdf: Tensor, factor: float, result: Tensor) -> int:
    """Match ``frame`` ``[C, H, W]`` on ``device`` into ``result``; return how many of its values are not finite."""
    pixels = frame.to(device, torch.promote_types(frame.dtype, torch.float32))
    cdf, missing = _measure(device, pixels)
    table = transfer_function(cdf, reference_cdf.to(cdf))
    wants_gradient = torch.is_grad_enabled() and (pixels.requires_grad or table.requires_grad)
    in_place = not wants_gradient and result.device == pixels.device and result.dtype == pixels.dtype
    matched = apply_transfer(pixels, table, out=result if in_place else None)
    if factor < 1:
        if missing:
            pixels = pixels.nan_to_num(nan=0, posinf=1, neginf=0)
        matched.mul_(factor).add_(pixels, alpha=1 - factor).clamp_(0, 1)
    if not in_place:
        result.copy_(matched)
    return missing


def _measure(device: torch.device, frame: Tensor) -> tuple[Tensor, int]:
    """The cumulative distribution of ``frame`` ``[C, H, W]`` and how many of its values are not finite."""
    counts = histogram(frame.to(device), LEVELS)
    return cumulative_distribution(counts), frame.numel() - round(counts.sum().item())


def _match_with_skimage(frame: Tensor, reference_values: list[np.ndarray], factor: float, result: Tensor) -> int:
    """Match ``frame`` ``[C, H, W]`` into ``result``; return how many of its values are not finite."""
    pixels = frame.detach().cpu().float().nan_to_num(nan=0, posinf=1, neginf=0)
    values, missing = _finite_values(frame)
    matched = pixels.clone()
    for channel, source in enumerate(values):
        target = reference_values[min(channel, len(reference_values) - 1)]
        finite = frame[channel].isfinite().cpu()
        if source.size:
            matched[channel][finite] = torch.from_numpy(match_histograms(source, target)).to(matched.dtype)
    result.copy_(matched.mul_(factor).add_(pixels, alpha=1 - factor).clamp_(0, 1))
    return missing


def _finite_values(frame: Tensor) -> tuple[list[np.ndarray], int]:
    """The finite values of each channel of ``frame`` ``[C, H, W]``, in [0, 1], and how many others there are."""
    values = [channel[channel.isfinite()].float().clamp(0, 1).cpu().numpy() for channel in frame.detach()]
    return values, frame.numel() - sum(value.size for value in values)


def _with_memory_of(device: torch.device, function: Callable[..., _Result], *arguments: object) -> _Result:
    """Call ``function`` with ``device`` and ``arguments``; with the CPU where the device has too little memory."""
    try:
        return function(device, *arguments)
    except torch.cuda.OutOfMemoryError:
        warnings.warn(f"{device} is out of memory, this frame is matched on the CPU", RuntimeWarning, stacklevel=3)
    # Outside of the except clause: there the exception would keep the failed attempt's tensors alive.
    return function(torch.device("cpu"), *arguments)


def _check_frames(name: str, frames: Tensor) -> None:
    if not isinstance(frames, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(frames).__name__}")
    if not frames.is_floating_point():
        raise TypeError(f"{name}: expected floating-point values in [0, 1], got {frames.dtype}")
    if frames.ndim != 4 or frames.numel() == 0 or frames.shape[-1] not in (1, 3, 4):
        raise ValueError(f"{name}: expected shape [B, H, W, C] with no side of 0 and C of 1, 3 or 4, got {list(frames.shape)}")
