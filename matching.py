"""Match batches of frames: the functions behind the ComfyUI nodes."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from .checks import check_frames, check_mask
from .clip.frames import Clip, Frame, Matched, Reference, Report, spanned
from .clip.histograms import FrameHistograms, frame_histograms
from .clip.run import match_clip
from .clip.settings import RANGES, WINDOW, MatchSettings
from .kernels.dtypes import wants_gradient
from .methods.table import ROTATIONS
from .reference_histogram import ReferenceHistogram

_Result = TypeVar("_Result")
Observe = Callable[[FrameHistograms], None]
"""Told what is to be shown of a frame."""

# Frames of so many pixels keep all threads busy with their stripes.
_LARGE = 1 << 19


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
    change_mask: Tensor | None = None,
    detail: float = 0.0,
    dither: bool = False,
    grid: int = 1,
    clip: float = 0.0,
    range: str = RANGES[0],
) -> Tensor:
    """Give each frame of a batch the colors of its reference.

    One reference serves all frames. Of several, the first goes with the first frame, the second with the second, and the
    last with all that are left. A fourth channel is alpha: the image's comes back untouched, the reference's is ignored.
    A reference of one channel serves every channel of a color image; of one in color, a gray image gets the brightness.

    Args:
        image: floating point, shape ``[B, H, W, C]`` with C of 1, 3 or 4, values in [0, 1]. Values outside count where the
            nearest end does and go where it goes.
        reference: floating point, shape ``[R, H', W', C']`` with C' of 1, 3 or 4, values in [0, 1]; or a
            :class:`ReferenceHistogram`.
        method: one of :data:`METHODS`, which says what each does and whether it is differentiable, in image, reference and
            masks then. The aligned ones compare pixels at the same place: they take a reference of the image's size, or one of
            another scale, which is resized, with a ``RuntimeWarning``, and neither pooled ones nor a
            :class:`ReferenceHistogram`.
        factor: from 0, the image itself bit for bit, to 1, fully matched; between them
            ``factor * matched + (1 - factor) * image``.
        device: where frames are matched; by default where ``image`` is. A frame for which this device has too little
            memory is matched on the CPU, with a ``RuntimeWarning``.
        progress: called after each frame with the number of steps done and the number of all; where a first pass measures
            the frames, its steps count too. What it raises ends the run.
        source_stats: whose histogram becomes the reference's. ``"per_frame"``: each frame's own. ``"uniform"``: that of all
            frames together, so that one transform serves the clip. ``"target_frame"``: that of the frame ``target_index``.
            ``"smoothed"``: each frame's own, but the transform is averaged over about ``window`` frames, see
            :class:`TransferSmoothing`. Some methods have only ``"per_frame"``, as :data:`METHODS` says.
        target_index: a frame of ``image``, from 0.
        window: in frames, 1 or more.
        reference_stats: ``"paired"``: as above. ``"pooled"``: all references together are one, for all frames.
        image_mask: floating point, shape ``[1 or B, height, width]``, values in [0, 1]. A pixel counts as its weight, and the
            result is blended in by it; where it is 0, the image comes back bit for bit. Other sizes are resized bilinearly,
            as ComfyUI does. Where a mask is 0 throughout, its frame comes back as it is, with a ``RuntimeWarning``.
        reference_mask: floating point, shape ``[1 or R, height, width]``, values in [0, 1]: how much each pixel of the
            reference counts. Where it is 0 throughout, the frames of that reference come back as they are, with a
            ``RuntimeWarning``.
        color_space: one of :data:`COLOR_SPACES`, in which the method works. With ``"rgb"``, reinhard works in the space
            l-alpha-beta.
        rotations: of the method sliced, 2 or more.
        change_mask: floating point, shape ``[1 or B, height, width]``, values in [0, 1]: how much of the result is blended in,
            in place of ``image_mask``, which then says only what is measured. 1 throughout changes everything.
        detail: from 0 to 1, how much of the image's own detail is kept: noise, the blocks of JPEG and bands, which a steep
            change amplifies, by :func:`smooth_change` and three more matches.
        dither: adds noise of half an 8-bit level to the image before it is measured, so that levels that are pulled apart
            leave no bands. It is the same at every run.
        grid: 1, or up to 32 for a change that varies over the picture: it is measured in ``grid * grid`` cells, and
            interpolated between their middles, for references that show the same scene. :data:`METHODS` says which methods have
            no cells.
        clip: 0, or the greatest slope of what is done to a channel, from 1 up, so that noise is not amplified; for the methods
            that treat channels by themselves.
        range: ``"0 to 1"``, or ``"data"``: levels span all that image and reference hold, for linear light, float EXR and HDR.
            Nothing is clamped then, negative values are values like others, and levels are spaced as :class:`ValueRange` says.

    Returns:
        The image's shape, dtype and device, values in [0, 1] (but for a factor or a mask of 0). NaN and infinite values of
        both arguments are left out of what is measured, and where channels are matched together or in another color space,
        with them the other channels of their pixels; in the result a NaN of the image is 0 and an infinity the nearest end,
        and a ``RuntimeWarning`` says how many there were. float16 and bfloat16 are computed in float32. Where a gradient is
        asked of a method that has none, a ``RuntimeWarning`` says so. On the CPU, the result is the same to the last bit for
        any number of threads, alone and in a batch.

    Raises:
        TypeError: a tensor is not a floating-point tensor, or a number is not one.
        ValueError: a shape or another argument is none of the above, a mask holds NaN, a channel of ``reference`` has no
            finite value that counts, or it has other proportions than the image, for an aligned method.

    >>> dark, bright = torch.full((1, 4, 4, 3), 0.2), torch.full((1, 6, 6, 3), 0.8)
    >>> match_images(dark, bright).mean()
    tensor(0.8000)
    """
    settings = MatchSettings(
        method=method,
        factor=factor,
        source_stats=source_stats,
        target_index=target_index,
        window=window,
        reference_stats=reference_stats,
        color_space=color_space,
        rotations=rotations,
        detail=detail,
        dither=dither,
        grid=grid,
        clip=clip,
        range=range,
    )
    return warned(*match_batch(image, reference, settings, device, progress, image_mask, reference_mask, change_mask))


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
    change_mask: Tensor | None = None,
    detail: float = 0.0,
    dither: bool = False,
    grid: int = 1,
    clip: float = 0.0,
    range: str = RANGES[0],
) -> Tensor:
    """Give each frame of a batch a histogram that is specified without a picture.

    Args:
        image: floating point, shape ``[B, H, W, C]`` with C of 1, 3 or 4, values in [0, 1].
        target: :class:`Uniform`, :class:`Normal`, :class:`LinearStretch` or :class:`Specified`; or any function that makes a
            transfer function of a cumulative distribution, both of shape ``[C, 65536]``.
        factor: this and the rest are those of :func:`match_images`, but for ``color_space``.
        device: see there.
        progress: see there.
        color_space: in ``"rgb"`` each channel gets the histogram, in others of :data:`COLOR_SPACES` the lightness alone, and
            the color is kept.
        source_stats: see there.
        target_index: see there.
        window: see there.
        image_mask: see there.
        change_mask: see there.
        detail: see there.
        dither: see there.
        grid: see there. With :class:`Uniform` and a ``clip`` this is CLAHE (Zuiderveld 1994); scikit-image's ``clip_limit``
            of 0.01 is a ``clip`` of 2.56, for 256 bins.
        clip: see there.
        range: see there.

    Returns:
        As :func:`match_images`; differentiable in image and mask.

    Raises:
        TypeError: ``image`` or a mask is not a floating-point tensor, a number is not one, or ``target`` is not a
            function.
        ValueError: a shape or another argument is none of the above, or the mask holds NaN.

    >>> from comfyui_histogram_match import Uniform
    >>> specify_images(torch.tensor([0.1, 0.2, 0.2, 0.3]).view(1, 2, 2, 1), Uniform()).flatten()
    tensor([0.2500, 0.7500, 0.7500, 1.0000])
    """
    if not callable(target):
        raise TypeError(f"target: expected a function of a cumulative distribution, got {type(target).__name__}")
    settings = MatchSettings(
        factor=factor,
        source_stats=source_stats,
        target_index=target_index,
        window=window,
        color_space=color_space,
        detail=detail,
        dither=dither,
        grid=grid,
        clip=clip,
        range=range,
        target=target,
    )
    return warned(*match_batch(image, None, settings, device, progress, image_mask, None, change_mask))


def match_batch(
    image: Tensor,
    reference: Tensor | ReferenceHistogram | None,
    settings: MatchSettings,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    image_mask: Tensor | None = None,
    reference_mask: Tensor | None = None,
    change_mask: Tensor | None = None,
    observe: Observe | None = None,
) -> tuple[Tensor, list[str]]:
    """What :func:`match_images` and :func:`specify_images` do, with settings that are checked, and notes in place of warnings.

    Returns:
        The result, and what the user should be told. ``observe`` is told of each frame what is to be shown.
    """
    change = image_mask if change_mask is None else change_mask
    batch = Batch(image, image_mask, change, reference, reference_mask, observe=observe, data_range=settings.range == "data")
    if settings.source_stats == "target_frame" and settings.target_index >= len(image):
        raise ValueError(f"target_index: expected 0 to {len(image) - 1}, the frames of the image, got {settings.target_index}")
    if settings.factor == 0:
        if observe is not None:
            for frame in image.movedim(-1, 1) if batch.values is None else batch.values.levels(image.movedim(-1, 1)):
                observe(frame_histograms(frame, frame, (None, None), None))
        return image.clone(), []
    notes = batch.notes(settings)
    run = partial(match_clip, settings=settings)
    result, report = batch.changed(run, device, progress, differentiable=settings.differentiable)
    return result, notes + report.notes()


class Batch:
    """A batch of frames, its masks and references, checked, and ``others`` of which a gradient may be wanted.

    ``few``: of large frames, one at a time is worked on. ``observe`` is told what is to be shown of each frame that is done.
    ``data_range``: levels span all that images and references hold, which are ``values`` then.

    Raises:
        TypeError: a tensor is not a floating-point tensor.
        ValueError: a shape does not fit.
    """

    def __init__(
        self,
        image: Tensor,
        image_mask: Tensor | None,
        change_mask: Tensor | None,
        reference: Tensor | ReferenceHistogram | None = None,
        reference_mask: Tensor | None = None,
        others: tuple[Tensor, ...] = (),
        few: bool = False,
        observe: Observe | None = None,
        data_range: bool = False,
    ) -> None:
        check_frames("image", image)
        for name, mask in (("image_mask", image_mask), ("change_mask", change_mask)):
            if mask is not None and (name == "image_mask" or mask is not image_mask):
                check_mask(name, mask, len(image))
        self.references = [] if reference is None else references_of(reference, reference_mask)
        self.values = spanned(image.movedim(-1, 1), self.references) if data_range else None
        self._together = len(image) > 1 and not (few and image[0, ..., 0].numel() >= _LARGE)
        self._image, self._image_mask, self._change_mask, self._observe = image, image_mask, change_mask, observe
        given = reference if isinstance(reference, Tensor) else None
        self._tensors = (image, image_mask, change_mask, reference_mask, given, *others)

    def notes(self, settings: MatchSettings) -> list[str]:
        """What of the arguments has no effect."""
        notes = left_out(len(self.references), len(self._image), settings)
        if self.wants_gradient and not settings.differentiable:
            notes.append(f"method: {settings.method} has no gradient, so the result has none")
        return notes

    @property
    def wants_gradient(self) -> bool:
        """Whether a gradient is wanted of anything."""
        return wants_gradient(*self._tensors)

    def clip(self, result: Tensor | None = None) -> Clip:
        """The batch as a clip, whose frames are written to ``result``; None for a clip that is only measured."""

        def frames() -> Iterator[Frame]:
            for index in range(len(self._image)):
                pixels = self._image[index].movedim(-1, 0)
                out = pixels if result is None else result[index].movedim(-1, 0)
                mask, change = (
                    None if masks is None else masks[index if len(masks) > 1 else 0]
                    for masks in (self._image_mask, self._change_mask)
                )
                change = mask if self._change_mask is self._image_mask else change
                yield Frame(pixels, out, self.references[index] if index < len(self.references) else None, mask, change)

        lengths = len(self._image), len(self.references)
        observed = 0 if self._observe is None else len(self._image)
        return Clip(frames, lambda: self.references, lengths, together=self._together, observed=observed, values=self.values)

    def changed(
        self,
        run: Callable[..., Iterator[Matched]],
        device: torch.device | str | None,
        progress: Callable[[int, int], None] | None,
        *,
        differentiable: bool,
    ) -> tuple[Tensor, Report]:
        """All frames as ``run`` changes them, in a tensor like the image, and what there is to tell."""
        result, report = torch.empty_like(self._image, memory_format=torch.contiguous_format), Report()
        gradient = self.wants_gradient and differentiable
        with torch.set_grad_enabled(gradient):
            for matched in run(self.clip(result), device=self.device(device), progress=progress, gradient=gradient):
                report += matched.report
                if self._observe is not None and matched.histograms is not None:
                    self._observe(matched.histograms)
        return result, report

    def device(self, device: torch.device | str | None) -> torch.device:
        """Where to compute; by default where the image is."""
        return self._image.device if device is None else torch.device(device)


def warned(result: _Result, notes: list[str]) -> _Result:
    """A result, after a ``RuntimeWarning`` for each note to the caller's caller."""
    for note in notes:
        warnings.warn(note, RuntimeWarning, stacklevel=3)
    return result


def left_out(references: int, frames: int, settings: MatchSettings) -> list[str]:
    """What there is to tell where there are more references than frames."""
    left = references - frames
    if left <= 0 or settings.reference_stats != "paired":
        return []
    return [f"reference: {left} of {references} have no frame and are left out; reference_stats pooled takes all"]


def references_of(reference: Tensor | ReferenceHistogram, mask: Tensor | None) -> list[Reference]:
    """The references one by one, checked."""
    if isinstance(reference, ReferenceHistogram):
        if mask is not None:
            raise ValueError("reference_mask: expected None with a ReferenceHistogram, which has been measured already")
        return [reference.as_reference("the ReferenceHistogram")]
    check_frames("reference", reference)
    if mask is not None:
        check_mask("reference_mask", mask, len(reference))
    masks = [None] * len(reference) if mask is None else mask.expand(len(reference), -1, -1)
    pairs = zip(reference.movedim(-1, 1)[:, :3], masks, strict=True)
    return [Reference(pixels, f"frame {index}", chosen) for index, (pixels, chosen) in enumerate(pairs)]
