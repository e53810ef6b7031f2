"""Match batches of frames: the function behind the ComfyUI node."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import islice, zip_longest

import torch
from torch import Tensor

from .clip_matching import WINDOW, Frame, Look, MatchSettings, fit_mask, match_clip


def match_images(
    image: Tensor,
    reference: Tensor,
    method: str = "pytorch",
    factor: float = 1.0,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    source_stats: str = "per_frame",
    target_index: int = 0,
    window: int = WINDOW,
    reference_stats: str = "paired",
    image_mask: Tensor | None = None,
    reference_mask: Tensor | None = None,
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
        method: ``"pytorch"`` counts and looks up at 16-bit resolution on ``device``, and is differentiable in image,
            reference and masks; ``"skimage"`` calls :func:`skimage.exposure.match_histograms` on the CPU, frame by frame and
            without gradients.
        factor: from 0, the image itself bit for bit, to 1, fully matched; between them
            ``factor * matched + (1 - factor) * image``.
        device: where frames are matched; by default where ``image`` is. A frame for which this device has too little
            memory is matched on the CPU, with a ``RuntimeWarning``.
        progress: called after each frame with the number of steps done and the number of all; where a first pass measures
            the frames, its steps count too. What it raises ends the run.
        source_stats: whose histogram becomes the reference's. ``"per_frame"``: each frame's own. ``"uniform"``: that of all
            frames together, so that one transfer function serves the clip. ``"target_frame"``: that of the frame
            ``target_index``. ``"smoothed"``: each frame's own, but the transfer function is averaged over about ``window``
            frames, see :class:`TransferSmoothing`. The method skimage has only ``"per_frame"``.
        target_index: a frame of ``image``, from 0.
        window: in frames, 1 or more.
        reference_stats: ``"paired"``: as above. ``"pooled"``: all references together are one, for all frames.
        image_mask: floating point, shape ``[1 or B, height, width]``, values in [0, 1]. A pixel counts as its weight, and the
            result is blended in by it; where it is 0, the image comes back bit for bit. Other sizes are resized bilinearly,
            as ComfyUI does. Where a mask is 0 throughout, its frame comes back as it is, with a ``RuntimeWarning``.
        reference_mask: floating point, shape ``[1 or R, height, width]``, values in [0, 1]: how much each pixel of the
            reference counts. Where it is 0 throughout, the frames of that reference come back as they are, likewise.

    Returns:
        The image's shape, dtype and device, values in [0, 1] (but for a factor or a mask of 0). NaN and infinite values of
        both arguments are left out of the histograms; in the result a NaN of the image is 0 and an infinity the nearest end,
        and a ``RuntimeWarning`` says how many there were. float16 and bfloat16 are computed in float32.

    Raises:
        TypeError: a tensor is not a floating-point tensor, or a number is not one.
        ValueError: a shape or another argument is none of the above, a mask holds NaN, or a channel of ``reference`` has no
            finite value that counts.
    """
    _check_frames("image", image)
    _check_frames("reference", reference)
    _check_mask("image_mask", image_mask, len(image))
    _check_mask("reference_mask", reference_mask, len(reference))
    colours = min(image.shape[-1], 3)
    if min(reference.shape[-1], 3) not in (1, colours):
        raise ValueError(f"reference: expected 1 channel to go with an image of 1, got {reference.shape[-1]} channels")
    settings = MatchSettings(method, factor, source_stats, target_index, window, reference_stats)
    if source_stats == "target_frame" and target_index >= len(image):
        raise ValueError(f"target_index: expected 0 to {len(image) - 1}, the frames of the image, got {target_index}")
    if factor == 0:
        return image.clone()

    device = image.device if device is None else torch.device(device)
    result = torch.empty_like(image, memory_format=torch.contiguous_format)
    result[..., colours:] = image[..., colours:]

    def looks() -> Iterator[Look]:
        for index, pixels in enumerate(reference.movedim(-1, 1)[:, :3]):
            yield Look(pixels, _mask_of("reference_mask", reference_mask, index, pixels), f"frame {index}")

    def frames() -> Iterator[Frame]:
        for index, look in zip_longest(range(len(image)), islice(looks(), len(image))):
            pixels, out = (batch[index].movedim(-1, 0)[:colours] for batch in (image, result))
            yield Frame(pixels, _mask_of("image_mask", image_mask, index, pixels), look, out)

    masks = [mask for mask in (image_mask, reference_mask) if mask is not None]
    wants_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (image, reference, *masks))
    notes: list[str] = []
    for _ in match_clip(
        frames,
        frames,
        looks,
        settings,
        device,
        parallel=len(image) > 1 and not wants_gradient,
        lengths=(len(image), len(reference)),
        note=notes.append,
        progress=progress,
    ):
        pass
    for note in notes:
        warnings.warn(note, RuntimeWarning, stacklevel=2)
    return result


def _check_frames(name: str, frames: Tensor) -> None:
    if not isinstance(frames, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(frames).__name__}")
    if not frames.is_floating_point():
        raise TypeError(f"{name}: expected floating-point values in [0, 1], got {frames.dtype}")
    if frames.ndim != 4 or frames.numel() == 0 or frames.shape[-1] not in (1, 3, 4):
        raise ValueError(f"{name}: expected shape [B, H, W, C] with no side of 0 and C of 1, 3 or 4, got {list(frames.shape)}")


def _check_mask(name: str, mask: Tensor | None, frames: int) -> None:
    if mask is None:
        return
    if not isinstance(mask, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(mask).__name__}")
    if not mask.is_floating_point():
        raise TypeError(f"{name}: expected floating-point values in [0, 1], got {mask.dtype}")
    if mask.ndim != 3 or mask.numel() == 0 or mask.shape[0] not in (1, frames):
        raise ValueError(f"{name}: expected shape [1 or {frames}, H, W] with no side of 0, got {list(mask.shape)}")


def _mask_of(name: str, mask: Tensor | None, index: int, pixels: Tensor) -> Tensor | None:
    return None if mask is None else fit_mask(name, mask[index if len(mask) > 1 else 0], pixels)
