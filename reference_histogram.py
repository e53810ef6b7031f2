"""Any number of pictures as one reference that can be kept in a file."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import check_choice, check_frames, check_mask
from .clip.frames import Reference, fit_mask
from .clip.histograms import reference_histogram
from .clip.settings import RANGES
from .command.paths import HISTOGRAM_SUFFIX
from .histogram_matching import histogram
from .kept.arrays import Arrays, read_kept, write_arrays
from .kept.ranges import kept_range, read_range
from .kernels.levels import LEVELS
from .kernels.workers import map_frames
from .methods.color_space import ColorSpace
from .methods.samples import SAMPLE, ColorSample
from .methods.value_range import ValueRange, moved_counts

SUFFIX = HISTOGRAM_SUFFIX
"""The ending of a file's name."""

# How large the arrays in a file can be.
_LARGEST = {"counts": (3, LEVELS), "colors": (3, SAMPLE), "weights": (SAMPLE,)}
_FORMAT = "comfyui-histogram-match reference 1"
# Of a range of values, which versions before 0.9 do not know.
_FORMAT_OF_RANGE = "comfyui-histogram-match reference 2"


@dataclass(frozen=True)
class ReferenceHistogram:
    """What all methods need to know of a set of pictures.

    The histogram of each channel is complete. Of the joint distribution of colors, from which other color spaces and the joint
    methods are served, there is a sample of up to 131072 colors. ``a + b`` is both sets together.

    Attributes:
        counts: how many pixels have each of the 65536 levels, shape ``[3, 65536]``, float64.
        sample: some of the colors, float32, with the number of pixels that each stands for.
        pictures: how many there are.
        values: what the levels span, if that is not [0, 1].

    >>> reference = ReferenceHistogram.of(torch.rand(2, 4, 4, 3)) + ReferenceHistogram.of(torch.rand(1, 8, 8, 3))
    >>> reference.pictures, reference.counts.sum(dim=1)
    (3, tensor([96., 96., 96.], dtype=torch.float64))
    """

    counts: Tensor
    sample: ColorSample
    pictures: int
    values: ValueRange | None = None

    @classmethod
    def of(
        cls,
        image: Tensor,
        mask: Tensor | None = None,
        progress: Callable[[int, int], None] | None = None,
        *,
        range: str = RANGES[0],
    ) -> "ReferenceHistogram":
        """Pool a batch of pictures.

        Args:
            image: floating point, shape ``[B, H, W, C]`` with C of 1, 3 or 4, values in [0, 1]; a fourth channel is ignored.
                Values outside count at the nearest end, and pixels with a value that is not finite do not count.
            mask: how much each pixel counts, 0 to 1, shape ``[1 or B, H, W]``; by default each counts as 1.
            progress: called after each picture with the number of those done and of all. What it raises ends the run.
            range: ``"data"``: levels span all values that there are, as in :func:`match_images`.

        Raises:
            TypeError: an argument is not a floating-point tensor.
            ValueError: a shape does not fit, the mask holds NaN, or nothing counts.
        """
        check_frames("images", image)
        check_choice("range", range, RANGES)
        if mask is not None:
            check_mask("mask", mask, len(image))
        masks = [None] * len(image) if mask is None else mask.expand(len(image), -1, -1)
        frames = image.detach().movedim(-1, 1)[:, :3]
        pairs = list(zip(frames, masks, strict=True))
        values = ValueRange.of([frames]) if range == "data" else None
        pooled: ReferenceHistogram | None = None
        for done, one in enumerate(map_frames(lambda pair: cls._of_frame(*pair, values), pairs, together=len(pairs) > 1), 1):
            pooled = one if pooled is None else pooled + one
            if progress is not None:
                progress(done, len(pairs))
        if mask is not None and not bool(mask.any()):
            raise ValueError("mask: expected pixels that count, got 0 throughout; paint where to measure, or leave it out")
        if pooled is None or not bool(pooled.counts.any()):
            raise ValueError("images: expected finite pixels that count, got none")
        return pooled

    @classmethod
    def _of_frame(cls, pixels: Tensor, mask: Tensor | None, values: ValueRange | None) -> "ReferenceHistogram":
        pixels = pixels.to("cpu", torch.float32).expand(3, -1, -1)
        weights = None if mask is None else fit_mask("mask", mask, pixels).cpu()
        finite = pixels.isfinite().all(dim=0)
        if not finite.all():
            weights = finite.float() if weights is None else weights * finite
        space = ColorSpace("rgb", values=values)
        pixels = space.inside(space.finite(pixels))
        counts = histogram(space.levels(pixels), LEVELS, None if weights is None else weights[None])
        return cls(counts, ColorSample.of(pixels, weights), 1, values)

    def as_reference(self, name: str) -> Reference:
        """In the place of a picture, for a run over a clip."""
        return Reference(self.sample.colors[:, None], name, None, self.counts, self.sample.weights[None], self.values)

    def shown(self) -> Tensor:
        """What is shown of it, ``[4, 256]``: red, green, blue and luminance at 8-bit levels."""
        colors = ColorSpace("rgb", values=self.values).levels(self.sample.colors)
        return reference_histogram(colors[:, None], self.sample.weights[None], self.counts)

    def __add__(self, other: "ReferenceHistogram") -> "ReferenceHistogram":
        both = self.values
        if self.values != other.values:
            both = (self.values or ValueRange(0.0, 1.0)) | (other.values or ValueRange(0.0, 1.0))
        own, others = (moved_counts(one.counts, one.values, both) for one in (self, other))
        return ReferenceHistogram(own + others, self.sample + other.sample, self.pictures + other.pictures, both)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file, which is complete or not there at all.

        Raises:
            OSError: it cannot be written.
        """
        arrays = {
            **kept_range(self.values, _FORMAT, _FORMAT_OF_RANGE),
            "counts": self.counts.numpy(),
            "colors": self.sample.colors.numpy(),
            "weights": self.sample.weights.numpy(),
            "pictures": self.pictures,
        }
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ReferenceHistogram":
        """Read from a file.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not a file that :meth:`save` has written.
        """
        return read_kept(path, "Reference Histogram", cls._of_arrays)

    @classmethod
    def _of_arrays(cls, arrays: Arrays) -> "ReferenceHistogram":
        values = read_range(arrays, _FORMAT, _FORMAT_OF_RANGE)
        counts, colors, weights = (torch.from_numpy(arrays.read(name, most)) for name, most in _LARGEST.items())
        shapes = [tuple(array.shape) for array in (counts, colors, weights) if array.is_floating_point()]
        if shapes != [(3, LEVELS), (3, weights.numel()), (weights.numel(),)]:
            raise ValueError("arrays of other shapes")
        for name, array in {"counts": counts, "colors": colors, "weights": weights}.items():
            negative = values is None or name != "colors"
            if not bool((array.isfinite() & (array >= (0 if negative else -math.inf))).all()):
                raise ValueError(f"{name} that are not finite or below 0")
        if not bool(counts.sum(1).all()) or not bool(weights.any()):
            raise ValueError("no pixel that counts")
        return cls(counts.double(), ColorSample(colors.float(), weights.float()), int(arrays.read("pictures", ())), values)
