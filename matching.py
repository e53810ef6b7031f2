"""Match batches of frames: the function behind the ComfyUI node."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import islice, zip_longest

import torch
from torch import Tensor

from .batches import check_frames, check_mask, mask_of
from .clip_matching import WINDOW, Frame, Look, MatchSettings, match_clip
from .histogram_matching import wants_gradient
from .methods import METHODS, ROTATIONS
from .reference_histogram import ReferenceHistogram


def match_images(
    image: Tensor,
    reference: Tensor | ReferenceHistogram,
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
    color_space: str = "rgb",
    rotations: int = ROTATIONS,
) -> Tensor:
    """Give each frame of a batch the colors of its reference.

    One reference serves all frames. Of several, the first goes with the first frame, the second with the second, and the
    last with all that are left. A fourth channel is alpha: the image's comes back untouched, the reference's is ignored.
    A reference of one channel serves every channel of a colour image.

    Args:
        image: floating point, shape ``[B, H, W, C]`` with C of 1, 3 or 4, values in [0, 1]. Values outside count where the
            nearest end does and go where it goes.
        reference: floating point, shape ``[R, H', W', C']`` with C' of 1, or of 3 or 4 for a colour image, values in
            [0, 1]; or a :class:`ReferenceHistogram`.
        method: one of :data:`METHODS`, which says what each does and whether it is differentiable, in image, reference and
            masks then.
        factor: from 0, the image itself bit for bit, to 1, fully matched; between them
            ``factor * matched + (1 - factor) * image``.
        device: where frames are matched; by default where ``image`` is. A frame for which this device has too little
            memory is matched on the CPU, with a ``RuntimeWarning``.
        progress: called after each frame with the number of steps done and the number of all; where a first pass measures
            the frames, its steps count too. What it raises ends the run.
        source_stats: whose histogram becomes the reference's. ``"per_frame"``: each frame's own. ``"uniform"``: that of all
            frames together, so that one transfer function serves the clip. ``"target_frame"``: that of the frame
            ``target_index``. ``"smoothed"``: each frame's own, but the transfer function is averaged over about ``window``
            frames, see :class:`TransferSmoothing`. Some methods have only ``"per_frame"``, as :data:`METHODS` says.
        target_index: a frame of ``image``, from 0.
        window: in frames, 1 or more.
        reference_stats: ``"paired"``: as above. ``"pooled"``: all references together are one, for all frames.
        image_mask: floating point, shape ``[1 or B, height, width]``, values in [0, 1]. A pixel counts as its weight, and the
            result is blended in by it; where it is 0, the image comes back bit for bit. Other sizes are resized bilinearly,
            as ComfyUI does. Where a mask is 0 throughout, its frame comes back as it is, with a ``RuntimeWarning``.
        reference_mask: floating point, shape ``[1 or R, height, width]``, values in [0, 1]: how much each pixel of the
            reference counts. Where it is 0 throughout, the frames of that reference come back as they are, likewise.
        color_space: one of :data:`COLOR_SPACES`, in which the method works. With ``"rgb"``, reinhard works in the space
            l-alpha-beta.
        rotations: of the method sliced, 2 or more.

    Returns:
        The image's shape, dtype and device, values in [0, 1] (but for a factor or a mask of 0). NaN and infinite values of
        both arguments are left out of what is measured, and where channels are matched together or in another color space,
        with them the other channels of their pixels; in the result a NaN of the image is 0 and an infinity the nearest end,
        and a ``RuntimeWarning`` says how many there were. float16 and bfloat16 are computed in float32. Where a gradient is
        asked of a method that has none, a ``RuntimeWarning`` says so.

    Raises:
        TypeError: a tensor is not a floating-point tensor, or a number is not one.
        ValueError: a shape or another argument is none of the above, a mask holds NaN, or a channel of ``reference`` has no
            finite value that counts.
    """
    check_frames("image", image)
    check_mask("image_mask", image_mask, len(image))
    colours = min(image.shape[-1], 3)
    if isinstance(reference, ReferenceHistogram):
        if reference_mask is not None:
            raise ValueError("reference_mask: expected None with a ReferenceHistogram, which has been measured already")
        references, given = 3, 1
    else:
        check_frames("reference", reference)
        check_mask("reference_mask", reference_mask, len(reference))
        references, given = min(reference.shape[-1], 3), len(reference)
    if references not in (1, colours):
        raise ValueError(f"reference: expected 1 channel to go with an image of 1, got {references} channels")
    settings = MatchSettings(
        method,
        factor,
        source_stats,
        target_index,
        window,
        reference_stats,
        color_space=color_space,
        rotations=rotations,
    )

    def looks() -> Iterator[Look]:
        if isinstance(reference, ReferenceHistogram):
            yield look_of(reference, "the ReferenceHistogram")
            return
        for index, pixels in enumerate(reference.movedim(-1, 1)[:, :3]):
            yield Look(pixels, mask_of("reference_mask", reference_mask, index, pixels), f"frame {index}")

    learning = [] if isinstance(reference, ReferenceHistogram) else [reference]
    learning += [mask for mask in (image_mask, reference_mask) if mask is not None]
    return _match_batch(image, looks, given, settings, device, progress, image_mask, wants_gradient(image, *learning))


def specify_images(
    image: Tensor,
    target: Callable[[Tensor], Tensor],
    factor: float = 1.0,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    color_space: str = "rgb",
    source_stats: str = "per_frame",
    target_index: int = 0,
    window: int = WINDOW,
    image_mask: Tensor | None = None,
) -> Tensor:
    """Give each frame of a batch a histogram that is specified without a picture.

    Args:
        image: as in :func:`match_images`.
        target: :class:`Uniform`, :class:`Normal`, :class:`LinearStretch` or :class:`Specified`; or any function that makes a
            transfer function of a cumulative distribution, both of shape ``[C, 65536]``.
        factor: as in :func:`match_images`.
        device: likewise.
        progress: likewise.
        color_space: in ``"rgb"`` each channel gets the histogram, in others of :data:`COLOR_SPACES` the lightness alone, and
            the color is kept.
        source_stats: as in :func:`match_images`.
        target_index: likewise.
        window: likewise.
        image_mask: likewise.

    Returns:
        As :func:`match_images`; differentiable in image and mask.

    Raises:
        TypeError: ``image`` or ``image_mask`` is not a floating-point tensor, a number is not one, or ``target`` is not a
            function.
        ValueError: a shape or another argument is none of the above, or the mask holds NaN.
    """
    check_frames("image", image)
    check_mask("image_mask", image_mask, len(image))
    if not callable(target):
        raise TypeError(f"target: expected a function of a cumulative distribution, got {type(target).__name__}")
    settings = MatchSettings(
        factor=factor,
        source_stats=source_stats,
        target_index=target_index,
        window=window,
        color_space=color_space,
        target=target,
    )
    wanted = wants_gradient(image, *([] if image_mask is None else [image_mask]))
    return _match_batch(image, lambda: iter(()), 0, settings, device, progress, image_mask, wanted)


def look_of(reference: ReferenceHistogram, name: str) -> Look:
    """A kept reference in the place of a picture."""
    sample = reference.sample
    return Look(sample.colors[:, None], sample.weights[None], name, reference.counts)


def _match_batch(
    image: Tensor,
    looks: Callable[[], Iterator[Look]],
    given: int,
    settings: MatchSettings,
    device: torch.device | str | None,
    progress: Callable[[int, int], None] | None,
    image_mask: Tensor | None,
    gradient: bool,
) -> Tensor:
    """Match a batch to ``given`` looks, with a gradient if one is wanted."""
    if settings.source_stats == "target_frame" and settings.target_index >= len(image):
        raise ValueError(f"target_index: expected 0 to {len(image) - 1}, the frames of the image, got {settings.target_index}")
    if settings.factor == 0:
        return image.clone()
    notes: list[str] = []
    if gradient and settings.target is None and not METHODS[settings.method].differentiable:
        notes.append(f"method: {settings.method} has no gradient, so the result has none")
        gradient = False
    colours = min(image.shape[-1], 3)
    device = image.device if device is None else torch.device(device)

    def frames() -> Iterator[Frame]:
        for index, look in zip_longest(range(len(image)), islice(looks(), len(image))):
            pixels, out = (batch[index].movedim(-1, 0)[:colours] for batch in (image, result))
            yield Frame(pixels, mask_of("image_mask", image_mask, index, pixels), look, out)

    with torch.set_grad_enabled(gradient):
        result = torch.empty_like(image, memory_format=torch.contiguous_format)
        result[..., colours:] = image[..., colours:]
        for _ in match_clip(
            frames,
            frames,
            looks,
            settings,
            device,
            parallel=len(image) > 1 and not gradient,
            lengths=(len(image), given),
            note=notes.append,
            progress=progress,
            gradient=gradient,
        ):
            pass
    for note in notes:
        warnings.warn(note, RuntimeWarning, stacklevel=3)
    return result
