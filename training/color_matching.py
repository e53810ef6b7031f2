"""All methods as a torch module, for training through them."""

import warnings
from collections.abc import Iterator
from itertools import cycle

import torch
from torch import Tensor

from ..checks import check_bins, check_choice, check_count, check_floating, check_pair
from ..kernels.dtypes import fitting, wants_gradient, widened
from ..kernels.workers import in_thread
from ..methods.chains import recipe
from ..methods.table import COLOR_SPACES, METHODS, ROTATIONS
from ..methods.transform import Part, Picture, Step, Transform, complete


class ColorMatching(torch.nn.Module):
    """Give each image of a batch the colors of a reference, by any method.

    :class:`HistogramMatching` is the method pytorch of this, with fewer options.

    Args:
        method: one of :data:`METHODS`. Those that are not differentiable there give results without gradient. The aligned ones
            take a reference of the image's size or of another scale, which is resized.
        color_space: one of :data:`COLOR_SPACES`.
        bins: of histograms, 2 to 65536; hm-mkl-hm keeps their width the second time round, sliced has 8192 at most, and methods
            without gradient have theirs. 256 makes smooth gradients, and for the method pytorch is exact on 8-bit content.
        rotations: of the method sliced, 2 or more.
        regrain: whether sliced restores the picture's texture.

    Raises:
        TypeError: ``bins`` or ``rotations`` is not an int.
        ValueError: an argument is none of the above.

    >>> image, reference = torch.rand(2, 3, 8, 8, requires_grad=True), torch.rand(1, 3, 9, 9)
    >>> ColorMatching("mkl")(image, reference).mean().backward()
    >>> image.grad.shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(
        self,
        method: str = "pytorch",
        color_space: str = "rgb",
        bins: int = 256,
        *,
        rotations: int = ROTATIONS,
        regrain: bool = True,
    ) -> None:
        super().__init__()
        check_choice("method", method, METHODS)
        check_choice("color_space", color_space, COLOR_SPACES)
        check_bins(bins)
        check_count("rotations", rotations, 2)
        self.method, self.color_space, self.bins = method, color_space, bins
        self._space, self._steps = recipe(method, color_space, bins=bins, rotations=rotations, regrain=regrain)

    def forward(
        self, image: Tensor, reference: Tensor, image_weights: Tensor | None = None, reference_weights: Tensor | None = None
    ) -> Tensor:
        """Match ``image`` to ``reference``.

        Args:
            image: floating point, shape ``[B, 3, H, W]``, finite values in [0, 1].
            reference: the same, shape ``[1 or B, 3, H', W']``. One reference serves the whole batch.
            image_weights: how much each pixel counts, not negative, shape ``[1 or B, H, W]`` or, as in
                :class:`HistogramMatching`, ``[1 or B, 1, H, W]``. All pixels are matched.
            reference_weights: the same for ``reference``.

        Returns:
            The image's shape and dtype. The linear methods, and all in other color spaces than RGB, can leave [0, 1]. What is
            beyond the dtype, in the result or in a gradient, is the greatest number that it holds, and through the rotations
            of sliced gradients stay within 1e12. A ``RuntimeWarning`` says where a gradient is asked of a method that has none.

        Raises:
            TypeError: an argument is not a floating-point tensor.
            ValueError: a shape does not fit, or nothing of a reference counts; for an aligned method also other proportions.
        """
        check_pair(image, reference, channels=3)
        image_weights = _planes("image_weights", image_weights, image)
        reference_weights = _planes("reference_weights", reference_weights, reference)
        arguments = (image, reference, image_weights, reference_weights)
        if wants_gradient(*arguments):
            if METHODS[self.method].differentiable:
                return self._match(*arguments)
            warnings.warn(f"method: {self.method} has no gradient, so the result has none", RuntimeWarning, stacklevel=2)
        with torch.no_grad():
            return in_thread(self._match, *arguments) if image.device.type == "cpu" else self._match(*arguments)

    def extra_repr(self) -> str:
        """Name the settings in the module's ``repr``."""
        return f"method={self.method}, color_space={self.color_space}, bins={self.bins}"

    def _match(
        self, image: Tensor, reference: Tensor, image_weights: Tensor | None, reference_weights: Tensor | None
    ) -> Tensor:
        prepared = [
            [_prepare(step, picture) for step in self._steps] for picture in self._pictures(reference, reference_weights)
        ]
        matched = []
        for picture, of_reference in zip(self._pictures(image, image_weights), cycle(prepared)):
            _, pixels = complete(Transform(self._space), self._steps, picture, of_reference)
            matched.append(self._space.join(pixels, picture.kept))
        return fitting(torch.stack(matched), image.dtype)

    def _pictures(self, batch: Tensor, weights: Tensor | None) -> Iterator[Picture]:
        every = [None] * len(batch) if weights is None else widened(weights).expand(len(batch), -1, -1)
        for frame, frame_weights in zip(widened(batch), every, strict=True):
            channels, kept = self._space.split(frame)
            yield Picture(channels, frame_weights, kept)


def _planes(name: str, weights: Tensor | None, batch: Tensor) -> Tensor | None:
    """Weights ``[1 or B, H, W]``, checked."""
    if weights is None:
        return None
    check_floating(name, weights)
    planes = weights[:, 0] if weights.ndim == 4 and weights.shape[1] == 1 else weights
    fitting = [[count, *batch.shape[2:]] for count in (1, len(batch))]
    if list(planes.shape) not in fitting:
        raise ValueError(f"{name}: expected shape {fitting[0]} or {fitting[1]}, got {list(weights.shape)}")
    return planes


def _prepare(step: Step | Part, reference: Picture) -> object:
    """What a step needs to know of a reference; None if that is nothing."""
    if not isinstance(step, Step) or not step.measures_reference:
        return None
    counted = reference.pixels.isfinite() & (True if reference.weights is None else reference.weights > 0)
    if not counted.flatten(1).any(1).all():
        raise ValueError("reference: expected pixels that count in every channel, got a channel with none")
    return step.prepare(step.measure(reference))
