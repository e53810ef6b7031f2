"""All methods as a torch module, for training through them."""

from __future__ import annotations

import torch
from torch import Tensor

from .color_space import COLOR_SPACES
from .histogram_matching import check_bins
from .methods import METHODS, ROTATIONS, MethodOptions
from .steps import Picture, match_picture


class ColorMatching(torch.nn.Module):
    """Give each image of a batch the colors of a reference, by any method.

    :class:`HistogramMatching` is the method pytorch of this, with fewer options.

    Args:
        method: one of :data:`METHODS`. Those that are not differentiable there give results without gradient.
        color_space: one of :data:`COLOR_SPACES`.
        bins: of histograms, 2 to 65536: those of hm-mkl-hm are as far apart the second time round, and sliced has 8192 at most.
            256 makes smooth gradients, and for the method pytorch is exact on 8-bit content. Methods without gradient have
            theirs.
        rotations: of the method sliced, 2 or more.
        regrain: whether sliced restores the picture's texture.

    Raises:
        TypeError: ``bins`` is not an int.
        ValueError: an argument is none of the above.
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
        if method not in METHODS:
            raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
        if color_space not in COLOR_SPACES:
            raise ValueError(f"color_space: expected one of {', '.join(COLOR_SPACES)}, got {color_space!r}")
        check_bins(bins)
        if rotations < 2:
            raise ValueError(f"rotations: expected 2 or more, got {rotations}")
        self.method, self.color_space, self.bins = method, color_space, bins
        self._space = METHODS[method].color_space(color_space)
        self._steps = METHODS[method].steps(MethodOptions(bins, self._space.span, self._space.axes, rotations, regrain))

    def forward(
        self,
        image: Tensor,
        reference: Tensor,
        image_weights: Tensor | None = None,
        reference_weights: Tensor | None = None,
    ) -> Tensor:
        """Match ``image`` to ``reference``.

        Args:
            image: floating point, shape ``[B, 3, H, W]``, finite values in [0, 1].
            reference: likewise, shape ``[1 or B, 3, H', W']``. One reference serves the whole batch.
            image_weights: how much each pixel of ``image`` counts, not negative, shape ``[1 or B, H, W]``. All pixels are
                matched, whatever their weight.
            reference_weights: likewise for ``reference``.

        Returns:
            The image's shape and dtype. The linear methods, and all in other color spaces than RGB, can leave [0, 1]; clamp
            where that matters.

        Raises:
            TypeError: an argument is not a floating-point tensor.
            ValueError: a shape does not fit, or nothing of a reference counts.
        """
        for name, batch in (("image", image), ("reference", reference)):
            if not isinstance(batch, Tensor) or not batch.is_floating_point():
                raise TypeError(
                    f"{name}: expected a floating-point tensor, got {getattr(batch, 'dtype', type(batch).__name__)}"
                )
            if batch.ndim != 4 or batch.shape[1] != 3 or batch.numel() == 0:
                raise ValueError(f"{name}: expected shape [B, 3, H, W] with no side of 0, got {list(batch.shape)}")
        if len(reference) not in (1, len(image)):
            raise ValueError(f"reference: expected 1 or {len(image)} to go with the images, got {len(reference)}")
        for name, weights, batch in (
            ("image_weights", image_weights, image),
            ("reference_weights", reference_weights, reference),
        ):
            fitting = [(count, *batch.shape[2:]) for count in (1, len(batch))]
            if weights is not None and tuple(weights.shape) not in fitting:
                raise ValueError(f"{name}: expected shape {list(fitting[0])} or {list(fitting[1])}, got {list(weights.shape)}")
        dtype = image.dtype
        image, reference = (batch.to(torch.promote_types(batch.dtype, torch.float32)) for batch in (image, reference))
        prepared = [self._prepare(frame, _of(reference_weights, index)) for index, frame in enumerate(reference)]
        matched = []
        for index, frame in enumerate(image):
            channels, kept = self._space.split(frame)
            picture = Picture(channels, _of(image_weights, index))
            pixels, _ = match_picture(self._steps, picture, prepared[index if len(prepared) > 1 else 0])
            matched.append(self._space.join(pixels, kept))
        return torch.stack(matched).to(dtype)

    def extra_repr(self) -> str:
        """Name the settings in the module's ``repr``."""
        return f"method={self.method}, color_space={self.color_space}, bins={self.bins}"

    def _prepare(self, reference: Tensor, weights: Tensor | None) -> list[object]:
        picture = Picture(self._space.split(reference)[0], weights)
        prepared: list[object] = []
        for step in self._steps:
            measured = step.measure(picture) if step.needs_reference else None
            if step.needs_reference and not all(step.totals(measured)):
                raise ValueError("reference: expected pixels that count in every channel, got a channel with none")
            prepared.append(step.prepare(measured) if step.needs_reference else None)
        return prepared


def _of(weights: Tensor | None, index: int) -> Tensor | None:
    return None if weights is None else weights[index if len(weights) > 1 else 0]
