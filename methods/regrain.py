"""Give a recolored picture the texture of the picture it was made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..kernels.dtypes import wants_gradient
from ..kernels.workers import by_stripes, spread, stripe_size
from .transform import Part, Picture

# A difference between neighbors of this much, in 8-bit levels, is structure whose color has to be right.
_STRUCTURE = 5.0
# How fast the wish for the original's gradients fades as these get larger.
_FADE = 10.0
# Pictures are not made smaller than this.
_SMALLEST = 20
# Stripes that are worked on before those before them are written.
_TOGETHER = 8


@dataclass(frozen=True)
class Regrain(Part):
    """Move the result towards the gradients of the picture as it was, see :func:`regrain`."""

    strength: float
    iterations: tuple[int, ...]
    pointwise: ClassVar[bool] = False
    reason: ClassVar[str] = "restores the texture of a picture"
    looks_back: ClassVar[bool] = True

    def apply(self, pixels: Tensor, picture: Picture, out: Tensor | None) -> Tensor:
        """Smooth the change."""
        return regrain(pixels, picture.pixels, self.strength, self.iterations, picture.weights, out)


def regrain(
    matched: Tensor,
    original: Tensor,
    strength: float,
    iterations: Sequence[int],
    weights: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Move a recolored picture towards the gradients of its original.

    Stretching a histogram stretches the noise in it. This minimizes, over pictures u,
    ``phi |grad(u) - grad(original)|^2 + psi |u - matched|^2``, where phi is large in the even parts of the original and psi
    at its edges (Pitie, Kokaram and Dahyot 2007, "Automated colour grading using colour distribution transfer", sec. 4). The
    unknown is the change of color ``u - original``: it is found by Jacobi iterations, first on smaller pictures.

    Pictures are ``[C, H, W]``, ``strength`` is phi in an even area, and there are so many ``iterations`` at full size, at half
    of it, at a quarter and so on. A pixel of ``matched`` is worth its weight ``[H, W]``, 0 to 1; where that is 0, colors come
    from around it. Differentiable in all tensors. Where no gradient is wanted, ``out`` like ``matched``, or ``matched`` itself,
    can take the result.
    """
    if matched.device.type != "cpu" or wants_gradient(matched, original, weights):
        change = (matched - original).contiguous()
        return original + _smooth(change, original.contiguous(), strength, iterations, weights)
    # Without gradients, the change and then the result take the memory of the picture.
    result = torch.empty_like(matched) if out is None else out
    by_stripes(lambda target, *planes: torch.sub(*planes, out=target), result, matched, original)
    _smooth_in_place(result, original, strength, iterations, weights)
    by_stripes(lambda target, plane: target.add_(plane), result, original)
    return result


def _smooth(change: Tensor, original: Tensor, strength: float, iterations: Sequence[int], weights: Tensor | None) -> Tensor:
    """The smoothed ``change``, on the next smaller picture first."""
    size = change.shape[1:]
    smoothed = change
    if len(iterations) > 1 and min(size) > _SMALLEST:
        half = _half(size)
        # Half as many pixels to the same distance: half the strength.
        smoothed = _smooth(
            _resize(change, half), _resize(original, half), strength / 2, iterations[1:], _smaller(weights, half)
        )
        smoothed = _resize(smoothed, size)
    return _relax(smoothed, change, original, strength, iterations[0], weights) if iterations[0] else smoothed


def _smooth_in_place(
    change: Tensor, original: Tensor, strength: float, iterations: Sequence[int], weights: Tensor | None
) -> None:
    """As :func:`_smooth`, without gradients, into the memory of ``change``."""
    size = change.shape[1:]
    smoothed = change
    if len(iterations) > 1 and min(size) > _SMALLEST:
        half = _half(size)
        small = _resize_without_gradient(change, _interleaved(change, half))
        # Where the change itself is of no more use, its memory is.
        memory = change.movedim(0, -1)
        free = iterations[0] == 0 and memory.is_contiguous()
        room = memory.view(-1)[: small.numel()].view(*half, -1).movedim(-1, 0) if free else torch.empty_like(small)
        _resize_without_gradient(original, room)
        _smooth_in_place(small, room, strength / 2, iterations[1:], _smaller(weights, half))
        smoothed = _resize_without_gradient(small, change if iterations[0] == 0 else _interleaved(change, size))
    if iterations[0]:
        _relax_in_place(smoothed, change, original, strength, iterations[0], weights)


def _relax_in_place(
    smoothed: Tensor, change: Tensor, original: Tensor, strength: float, iterations: int, weights: Tensor | None
) -> None:
    """As :func:`_relax`, by stripes, into the memory of ``change``, which may be that of ``smoothed``."""
    # A row is reached by one more row at each iteration; one more is the width of a difference.
    reach = iterations + 2
    lines = max(reach, stripe_size(change.device) // change.shape[2])

    def relax(first: int) -> tuple[int, Tensor]:
        top = max(0, first - reach)
        rows = slice(top, first + lines + reach)
        start, wanted, texture = (plane[:, rows].contiguous() for plane in (smoothed, change, original))
        relaxed = _relax(start, wanted, texture, strength, iterations, None if weights is None else weights[rows])
        return first, relaxed[:, first - top : first - top + lines]

    def write(stripe: tuple[int, Tensor]) -> None:
        change[:, stripe[0] : stripe[0] + lines] = stripe[1]

    stripes = range(0, change.shape[1], lines)
    done: list[tuple[int, Tensor]] = []
    for first in range(0, len(stripes), _TOGETHER):
        # Stripes are written when those beside them have been read.
        relaxed = spread(relax, stripes[first : first + _TOGETHER])
        spread(write, done)
        done = relaxed
    spread(write, done)


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


def _half(size: Sequence[int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def _smaller(weights: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    return None if weights is None else _resize(weights[None], size)[0]


def _resize(image: Tensor, size: Sequence[int]) -> Tensor:
    return interpolate(image[None], size=tuple(size), mode="bilinear", align_corners=False)[0]


def _resize_without_gradient(image: Tensor, out: Tensor) -> Tensor:
    """As :func:`_resize`, which has no argument for memory; where channels are neighbors in both, nothing is copied."""
    torch.ops.aten.upsample_bilinear2d.out(image[None], out.shape[1:], False, None, None, out=out[None])
    return out


def _interleaved(image: Tensor, size: Sequence[int]) -> Tensor:
    """Memory for an image of another size, in which the channels of a pixel are neighbors."""
    return image.new_empty(*size, len(image)).movedim(-1, 0)
