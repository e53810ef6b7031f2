"""Give a recolored picture the texture of the picture it was made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..kernels.dtypes import wants_gradient
from ..kernels.workers import spread, stripe_size
from .transform import Part, Picture

# A difference between neighbors of this much, in 8-bit levels, is structure whose color has to be right.
_STRUCTURE = 5.0
# How fast the wish for the original's gradients fades as these get larger.
_FADE = 10.0
# Pictures are not made smaller than this.
_SMALLEST = 20


@dataclass(frozen=True)
class Regrain(Part):
    """Move the result towards the gradients of the picture as it was, see :func:`regrain`."""

    strength: float
    iterations: tuple[int, ...]
    pointwise: ClassVar[bool] = False

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Smooth the change."""
        return regrain(pixels, picture.pixels, self.strength, self.iterations, picture.weights)


def regrain(
    matched: Tensor, original: Tensor, strength: float, iterations: Sequence[int], weights: Tensor | None = None
) -> Tensor:
    """Move a recolored picture towards the gradients of its original.

    Stretching a histogram stretches the noise in it. This minimizes, over pictures u,
    ``phi |grad(u) - grad(original)|^2 + psi |u - matched|^2``, where phi is large in the even parts of the original and psi
    at its edges (Pitie, Kokaram and Dahyot 2007, "Automated colour grading using colour distribution transfer", sec. 4). The
    unknown is the change of color ``u - original``: it is found by Jacobi iterations, first on smaller pictures.

    Pictures are ``[C, H, W]``, ``strength`` is phi in an even area, and there are so many ``iterations`` at full size, at half
    of it, at a quarter and so on. A pixel of ``matched`` is worth its weight ``[H, W]``, 0 to 1; where that is 0, colors come
    from around it. Differentiable in all tensors.
    """
    change = (matched - original).contiguous()
    return original + _smooth(change, original.contiguous(), strength, iterations, weights)


def _smooth(change: Tensor, original: Tensor, strength: float, iterations: Sequence[int], weights: Tensor | None) -> Tensor:
    """The smoothed ``change``, on the next smaller picture first."""
    height, width = original.shape[1:]
    smoothed = change
    if len(iterations) > 1 and min(height, width) > _SMALLEST:
        half = ((height + 1) // 2, (width + 1) // 2)
        small_weights = None if weights is None else _resize(weights[None], half)[0]
        # Half as many pixels to the same distance: half the strength.
        smoothed = _smooth(_resize(change, half), _resize(original, half), strength / 2, iterations[1:], small_weights)
        smoothed = _resize(smoothed, (height, width))
    if iterations[0] == 0:
        return smoothed
    if change.device.type != "cpu" or wants_gradient(smoothed, change, original, weights):
        return _relax(smoothed, change, original, strength, iterations[0], weights)
    result = torch.empty_like(smoothed)
    lines = max(1, stripe_size(change.device) // width)
    # A row is reached by one more row at each iteration; one more is the width of a difference.
    reach = iterations[0] + 2

    def relax(first: int) -> None:
        top = max(0, first - reach)
        rows = slice(top, first + lines + reach)
        weight_rows = None if weights is None else weights[rows]
        relaxed = _relax(smoothed[:, rows], change[:, rows], original[:, rows], strength, iterations[0], weight_rows)
        result[:, first : first + lines] = relaxed[:, first - top : first - top + lines]

    spread(relax, range(0, height, lines))
    return result


def _relax(
    smoothed: Tensor, change: Tensor, original: Tensor, strength: float, iterations: int, weights: Tensor | None
) -> Tensor:
    """``iterations`` steps from ``smoothed`` towards the solution, at one size."""
    across = pad(original.diff(dim=2).square().sum(0), (0, 1, 0, 0))
    down = pad(original.diff(dim=1).square().sum(0), (0, 0, 0, 1))
    # The slope of a square root at 0 is infinite.
    gradient = (across + down).clamp(min=torch.finfo(original.dtype).tiny).sqrt()
    psi = (gradient * (255 / _STRUCTURE)).clamp(max=1)
    if weights is not None:
        psi = psi * weights
    phi = strength / (1 + _FADE * gradient)
    beside, below = (phi[:, 1:] + phi[:, :-1]) / 2, (phi[1:] + phi[:-1]) / 2
    total = psi + pad(beside, (1, 0, 0, 0)) + pad(beside, (0, 1, 0, 0)) + pad(below, (0, 0, 1, 0)) + pad(below, (0, 0, 0, 1))
    # 0 for a single pixel that counts nothing: it has no neighbors to take a change from.
    total = total.clamp(min=torch.finfo(total.dtype).tiny)
    wanted = change * (psi / total)
    from_left, from_right = beside / total[:, 1:], beside / total[:, :-1]
    from_above, from_below = below / total[1:], below / total[:-1]
    for _ in range(iterations):
        mean = wanted.clone()
        mean[:, :, 1:].addcmul_(from_left, smoothed[:, :, :-1])
        mean[:, :, :-1].addcmul_(from_right, smoothed[:, :, 1:])
        mean[:, 1:].addcmul_(from_above, smoothed[:, :-1])
        mean[:, :-1].addcmul_(from_below, smoothed[:, 1:])
        smoothed = mean
    return smoothed


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]
