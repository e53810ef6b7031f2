"""Histograms that several processes gather together.

Counts add, so that pictures can be counted wherever they are, and a sum over all processes makes them one. Whole numbers add
exactly and in any order up to 2^53 pixels in a level, 9e15 of them: the result does not depend on who has counted what.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from .histogram_matching import LEVELS, check_pixels, histogram


def sum_over_ranks(counts: Tensor | None, group: dist.ProcessGroup | None = None) -> Tensor | None:
    """Add up the counts of all processes of a group, on each of them.

    This is an all-reduce, after the shapes have been compared, in double precision and where the backend of the group wants it:
    on the processor for gloo and MPI, on the accelerator for NCCL and its kind.

    Args:
        counts: of any shape, the same on all ranks; None on one that has nothing.
        group: as in ``torch.distributed``; by default all ranks. Without a group, one process is all there is.

    Returns:
        The sum, float64, on the device of ``counts``, on the processor where that was None; None if all were.

    Raises:
        ValueError: the shapes differ.
        RuntimeError: another process has ended.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return None if counts is None else counts.double()
    shapes: list[tuple[int, ...] | None] = [None] * dist.get_world_size(group)
    dist.all_gather_object(shapes, None if counts is None else tuple(counts.shape), group)
    known = {shape for shape in shapes if shape is not None}
    if len(known) > 1:
        raise ValueError(f"counts: expected one shape on all ranks, got {', '.join(map(str, shapes))}")
    if not known:
        return None
    accelerator = torch.accelerator.current_accelerator()
    on_processor = accelerator is None or dist.get_backend(group) in ("gloo", "mpi", "undefined")
    device = torch.device("cpu") if on_processor else accelerator
    if counts is None:
        total = torch.zeros(known.pop(), dtype=torch.float64, device=device)
    else:
        total = counts.detach().to(device, torch.float64, copy=True)
    dist.all_reduce(total, group=group)
    return total.to("cpu" if counts is None else counts.device)


def pooled_histogram(images: Iterable[Tensor], bins: int = LEVELS, group: dist.ProcessGroup | None = None) -> Tensor:
    """Count the pixels of all images of all ranks together.

    Each rank brings its own share of the images, of any sizes; one that has none brings an empty list. They are read one after
    the other and not kept. What comes back is the same on all ranks, and the same as one process counts for all images:
    ``ParametricHistogramMatching.from_histogram`` and ``specify_images`` with ``Specified`` take it as it is.

    Args:
        images: floating point, each of shape ``[C, H, W]`` or ``[B, C, H, W]``, values in [0, 1]. Values outside count at the
            nearest end, NaN and infinite ones not at all.
        bins: 2 to 65536, as in :func:`histogram`.
        group: as in :func:`sum_over_ranks`.

    Returns:
        Shape ``[C, bins]``, float64, on the processor.

    Raises:
        TypeError: an image is not a floating-point tensor.
        ValueError: an image has another shape or number of channels, or no rank has any.
        RuntimeError: another process has ended.
    """
    total: Tensor | None = None
    for image in images:
        check_pixels("images", image)
        if image.ndim not in (3, 4):
            raise ValueError(f"images: expected shape [C, H, W] or [B, C, H, W], got {list(image.shape)}")
        counts = histogram(image.detach(), bins).cpu().double()
        counts = counts if image.ndim == 3 else counts.sum(0)
        if total is not None and len(total) != len(counts):
            raise ValueError(f"images: expected {len(total)} channels as in the first, got {len(counts)}")
        total = counts if total is None else total.add_(counts)
    total = sum_over_ranks(total, group)
    if total is None:
        raise ValueError("images: expected at least one on some rank, got none")
    return total
