"""A match that is kept: fitted where two pictures show the same, and applied anywhere."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .checks import check_choice, check_number
from .clip.frames import Frame, Reference, Report, fit_mask
from .clip.histograms import FrameHistograms, count_colors, reference_histogram, sample_pixels
from .clip.run import apply_clip, fit_clip
from .clip.settings import RANGES, MatchSettings
from .kept.arrays import Arrays, read_kept, write_arrays
from .kept.parts import part_arrays, read_part
from .kept.ranges import kept_range, read_range
from .kernels.levels import missing_values
from .luts.cube_files import read_cube, write_cube
from .matching import Batch, Observe, warned
from .methods.color_space import ColorSpace
from .methods.table import COLOR_SPACES, METHODS, ROTATIONS
from .methods.transform import Transform
from .reference_histogram import ReferenceHistogram

_FORMAT = "comfyui-histogram-match transform 1"
# Of a range of values, which versions before 0.9 do not know.
_FORMAT_OF_RANGE = "comfyui-histogram-match transform 2"
_MOST_PARTS = 16
# Where methods are described and users cannot choose.
_SPACES = (*COLOR_SPACES, "log_cones")


@dataclass(frozen=True)
class ColorTransform:
    """A change of colors that can be applied to any picture, and kept in a file.

    Attributes:
        transform: what is done, in which color space.
        method: the one of :data:`METHODS` that it was fitted by; empty if it comes from elsewhere.

    >>> dark, bright = torch.full((1, 4, 4, 3), 0.2), torch.full((1, 4, 4, 3), 0.8)
    >>> fit_transform(dark, bright).apply(torch.full((1, 1, 1, 3), 0.2))
    tensor([[[[0.8000, 0.8000, 0.8000]]]])
    """

    transform: Transform
    method: str = ""

    @property
    def pointwise(self) -> bool:
        """Whether the same color always goes to the same color, whatever picture it is in."""
        return self.transform.pointwise

    def apply(
        self,
        image: Tensor,
        factor: float = 1.0,
        *,
        mask: Tensor | None = None,
        device: torch.device | str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Change the colors of a batch of frames, one frame after the other.

        Args:
            image: floating point, shape ``[B, H, W, C]`` with C of 1, 3 or 4, values in [0, 1]. A fourth channel is alpha, and
                comes back untouched. A gray image stays gray.
            factor: from 0, the image itself bit for bit, to 1, fully changed.
            mask: where to change, floating point, shape ``[1 or B, height, width]``, values in [0, 1]; where it is 0, the image
                comes back bit for bit. Other sizes are resized bilinearly.
            device: where frames are changed; by default where ``image`` is.
            progress: called after each frame with the number of frames done and of all. What it raises ends the run.

        Returns:
            As :func:`match_images`; differentiable in image, mask and, where the method is, in what it was fitted to.

        Raises:
            TypeError: a tensor is not a floating-point tensor, or the factor not a number.
            ValueError: a shape or the factor is none of the above, or the mask holds NaN.
        """
        return warned(*self.apply_batch(image, factor, mask, device, progress))

    def apply_batch(
        self,
        image: Tensor,
        factor: float,
        mask: Tensor | None,
        device: torch.device | str | None,
        progress: Callable[[int, int], None] | None,
    ) -> tuple[Tensor, list[str]]:
        """What :meth:`apply` does, with what there is to tell in place of warnings."""
        check_number("factor", factor, 0, 1)
        tensors = (part.values for part in self.transform.parts if hasattr(part, "values"))
        batch = Batch(image, None, mask, others=tuple(tensors), few=True)
        if factor == 0:
            return image.clone(), []
        run = partial(apply_clip, transform=self.transform, factor=factor)
        result, report = batch.changed(run, device, progress, differentiable=True)
        return result, report.notes()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file, which is complete or not there at all.

        Raises:
            OSError: it cannot be written.
            ValueError: a part of the transform is nothing without the picture that it was made for.
        """
        kinds, arrays = [], {}
        for index, part in enumerate(self.transform.parts):
            name, of_part = part_arrays(part)
            kinds.append(name)
            arrays.update({f"{index} {array}": values for array, values in of_part.items()})
        space = self.transform.space
        write_arrays(
            path,
            {"space": space.name, "lightness_only": space.lightness_only, "method": self.method, "parts": kinds}
            | kept_range(space.values, _FORMAT, _FORMAT_OF_RANGE)
            | arrays,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ColorTransform":
        """Read from a file.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not a file that :meth:`save` has written.
        """
        return read_kept(path, "ColorTransform", cls._of_arrays)

    def save_cube(self, path: str | os.PathLike[str], size: int = 33, title: str = "") -> None:
        """Write a LUT that other programs read: a ``.cube`` file, complete or not there at all.

        One curve for each channel where the transform treats channels apart, else a table of 17, 33 or 65 (``size``) points
        along each axis, which is near to the transform.

        Raises:
            OSError: it cannot be written.
            ValueError: the transform is not pointwise, ``size`` is none of these, or ``title`` is not a line without quotation
                marks.
        """
        write_cube(path, self.transform, size, title)

    @classmethod
    def _of_arrays(cls, arrays: Arrays) -> "ColorTransform":
        values = read_range(arrays, _FORMAT, _FORMAT_OF_RANGE)
        space, method = (str(arrays.read(name, ())) for name in ("space", "method"))
        if space not in _SPACES or method not in ("", *METHODS):
            raise ValueError(f"color space {space} and method {method}")
        kinds = arrays.read("parts", (_MOST_PARTS,)).tolist()
        parts = [read_part(kind, arrays, f"{index} ") for index, kind in enumerate(kinds)]
        transform = Transform(ColorSpace(space, bool(arrays.read("lightness_only", ())), values), tuple(parts))
        # Whether all parts fit together shows where a color goes through them.
        if not bool(transform.apply(torch.full((3, 1, 1), 0.5)).isfinite().all()):
            raise ValueError("parts that lead nowhere")
        return cls(transform, method)


def load_cube(path: str | os.PathLike[str]) -> ColorTransform:
    r"""Read a LUT of anyone, a ``.cube`` file with curves, a table or both, as a transform.

    Colors between the points of a table are interpolated in tetrahedra, those beyond its range taken as the nearest end.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not as the specification has it; the line that is wrong is named.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "negative.cube")
    ...     _ = path.write_text("LUT_1D_SIZE 2\n1 1 1\n0 0 0\n")
    ...     load_cube(path).apply(torch.full((1, 1, 1, 3), 0.25))
    tensor([[[[0.7500, 0.7500, 0.7500]]]])
    """
    return ColorTransform(read_cube(path).transform())


def fit_transform(
    image: Tensor,
    reference: Tensor | ReferenceHistogram,
    method: str = "pytorch",
    *,
    color_space: str = "rgb",
    image_mask: Tensor | None = None,
    reference_mask: Tensor | None = None,
    target_index: int | None = None,
    detail: float = 0.0,
    dither: bool = False,
    grid: int = 1,
    clip: float = 0.0,
    range: str = RANGES[0],
) -> ColorTransform:
    """Find the change of colors that a match is, to apply it elsewhere.

    On the same batch, what is found does what :func:`match_images` does with ``source_stats="uniform"`` and
    ``reference_stats="pooled"``, bit for bit; with the aligned methods ``"paired"``.

    Args:
        image: floating point, shape ``[B, H, W, C]`` with C of 1, 3 or 4, values in [0, 1]: all frames count together.
        reference: the same, shape ``[R, H', W', C']``, all together too; or a :class:`ReferenceHistogram`. For the aligned
            methods, the first goes with the first frame and so on, as in :func:`match_images`.
        method: one of :data:`METHODS` but for those that compare or rank the pixels of one picture.
        color_space: one of :data:`COLOR_SPACES`, in which the method works.
        image_mask: how much each pixel counts, floating point, shape ``[1 or B, height, width]``, values in [0, 1].
        reference_mask: the same for the reference, ``[1 or R, height, width]``.
        target_index: the frame of ``image`` that counts alone; by default all do.
        detail: as in :func:`match_images`; wherever the transform is applied, it keeps as much of that picture's detail.
        dither: as in :func:`match_images`, wherever the transform is applied.
        grid: as in :func:`match_images`: the transform varies over pictures, whatever their size.
        clip: as in :func:`match_images`.
        range: as in :func:`match_images`; with ``"data"``, the transform is for values of the range that both held.

    Returns:
        The transform; its :meth:`ColorTransform.apply` has a gradient to image, reference and masks where the method has.
        A ``RuntimeWarning`` says how many values were left out since they are NaN or infinite.

    Raises:
        TypeError: a tensor is not a floating-point tensor.
        ValueError: a shape or another argument is none of the above, the method finds nothing that could be applied to another
            picture, a mask holds NaN, or nothing counts.

    >>> before, after = torch.rand(1, 8, 8, 3), torch.rand(1, 8, 8, 3)
    >>> fit_transform(before, after, "mkl").apply(torch.rand(300, 8, 8, 3)).shape
    torch.Size([300, 8, 8, 3])
    """
    settings = fit_settings(method, color_space, target_index, detail=detail, dither=dither, grid=grid, clip=clip, range=range)
    return warned(*fit_batch(image, reference, settings, image_mask, reference_mask, None, None))


def fit_batch(
    image: Tensor,
    reference: Tensor | ReferenceHistogram,
    settings: MatchSettings,
    image_mask: Tensor | None,
    reference_mask: Tensor | None,
    device: torch.device | str | None,
    progress: Callable[[int, int], None] | None,
    observe: Observe | None = None,
) -> tuple[ColorTransform, list[str]]:
    """What :func:`fit_transform` does by :func:`fit_settings`, on a device, with what there is to tell in place of warnings.

    ``observe`` is told what is to be shown of all frames together.
    """
    batch = Batch(image, image_mask, None, reference, reference_mask, few=True, data_range=settings.range == "data")
    target = settings.target_index if settings.source_stats == "target_frame" else None
    if target is not None and target >= len(image):
        raise ValueError(f"target_index: expected 0 to {len(image) - 1}, the frames of the image, got {target}")
    gradient = batch.wants_gradient and settings.differentiable
    with torch.set_grad_enabled(gradient):
        found, report = fit_clip(batch.clip(), settings, batch.device(device), progress, gradient=gradient)
    report += Report(image_missing=sum(map(missing_values, image.detach().movedim(-1, 1)[:, :3])))
    if observe is not None:
        frames = list(batch.clip().frames())
        chosen = frames if target is None else frames[target : target + 1]
        observe(_observed(found, chosen, batch.references))
    return ColorTransform(found, settings.method), batch.notes(settings) + report.notes()


def _observed(transform: Transform, frames: list[Frame], references: list[Reference]) -> FrameHistograms:
    """What is shown of frames together, before and after the transform, and of references together: of some of the pixels."""
    before, after, beside = [], [], []
    space = transform.space
    for frame in frames:
        pixels, weights = sample_pixels(space.levels(frame.pixels), frame.fitted_mask())
        before.append(count_colors(pixels, weights))
        changed = transform.apply(pixels if space.values is None else space.values.values(pixels), weights)
        after.append(count_colors(space.inside(space.levels(changed)), weights))
    for reference in references:
        mask = reference.weights if reference.mask is None else fit_mask("reference_mask", reference.mask, reference.pixels)
        beside.append(reference_histogram(space.levels(reference.pixels), mask, reference.counts_at(space.values)))
    source, result, shown = (torch.stack(counts).sum(dim=0) for counts in (before, after, beside))
    return FrameHistograms(source, result, shown)


def fit_settings(
    method: str,
    color_space: str,
    target_index: int | None = None,
    rotations: int = ROTATIONS,
    detail: float = 0.0,
    dither: bool = False,
    grid: int = 1,
    clip: float = 0.0,
    range: str = RANGES[0],
) -> MatchSettings:
    """How a transform is fitted; a ValueError for a method that finds none."""
    check_choice("method", method, METHODS)
    if reason := METHODS[method].per_frame_only:
        raise ValueError(f"method: expected one whose change can be applied to another picture, got {method}: {reason}")
    return MatchSettings(
        method,
        color_space=color_space,
        source_stats="uniform" if target_index is None else "target_frame",
        target_index=target_index or 0,
        reference_stats="paired" if METHODS[method].aligned else "pooled",
        rotations=rotations,
        detail=detail,
        dither=dither,
        grid=grid,
        clip=clip,
        range=range,
    )
