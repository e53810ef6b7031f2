"""Histograms that several processes gather together.

Counts add, so that pictures can be counted wherever they are, and a sum over all processes makes them one. Whole numbers add
exactly and in any order up to 2^53 pixels in a level, 9e15 of them: the result does not depend on who has counted what.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .histogram_matching import LEVELS, check_bins, check_pixels, histogram, soften


def sum_over_ranks(counts: Tensor | None, group: dist.ProcessGroup | None = None) -> Tensor | None:
    """Add up the counts of all processes of a group, on each of them.

    This is an all-reduce, after the shapes have been compared, in double precision or in whole numbers of 64 bits. It is done
    on the processor if the backend of the group can do so there, else on the accelerator.

    Args:
        counts: of any shape without a side of 0, the same on all ranks, and either fractions or whole numbers on all; None on
            one that has nothing.
        group: as in ``torch.distributed``; by default all ranks. Without a group, one process is all there is.

    Returns:
        The sum, float64 or int64, on the device of ``counts``, on the processor where that was None; None if all were.

    Raises:
        ValueError: the shapes differ, fractions meet whole numbers, or the sum of these is beyond 64 bits.
        RuntimeError: another process has ended.
    """
    precise = None if counts is None else counts.detach().to(torch.float64 if counts.is_floating_point() else torch.int64)
    if not _has_ranks():
        return precise
    own = None if precise is None else (tuple(precise.shape), precise.dtype, float(precise.abs().max()))
    brought = [each for each in _gather(own, group) if each is not None]
    kinds = {(shape, dtype) for shape, dtype, _largest in brought}
    if len(kinds) > 1:
        raise ValueError(f"counts: expected one shape and dtype on all ranks, got {', '.join(map(str, kinds))}")
    if not kinds:
        return None
    shape, dtype = kinds.pop()
    largest = sum(each[2] for each in brought)
    if dtype == torch.int64 and largest >= 2.0**63:
        raise ValueError(f"counts: expected a sum below 2^63, got one of up to {largest:.3g}")
    accelerator = None if "cpu:" in dist.get_backend_config(group) else torch.accelerator.current_accelerator()
    device = accelerator or torch.device("cpu")
    total = torch.zeros(shape, dtype=dtype, device=device) if precise is None else precise.to(device, copy=True)
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
        RuntimeError: counting has failed on another rank, or it has ended.
    """
    check_bins(bins)
    failure: Exception | None = None
    counts: Tensor | None = None
    try:
        counts = _counted(images)
    except Exception as error:
        # Not before the others know, who would wait for ever.
        failure = error
    if _has_ranks():
        failures = _gather(None if failure is None else f"{type(failure).__name__}: {failure}", group)
        failed = [f"rank {rank}: {text}" for rank, text in enumerate(failures) if text is not None]
        if failed and failure is None:
            raise RuntimeError(f"images: counting has failed on {'; '.join(failed)}")
    if failure is not None:
        raise failure
    total = sum_over_ranks(counts, group)
    if total is None:
        raise ValueError("images: expected at least one on some rank, got none")
    return soften(total, bins)


def _counted(images: Iterable[Tensor]) -> Tensor | None:
    """Count at all levels, in whole numbers, shape ``[C, LEVELS]``; None for no images."""
    total: Tensor | None = None
    for image in images:
        check_pixels("images", image)
        if image.ndim not in (3, 4):
            raise ValueError(f"images: expected shape [C, H, W] or [B, C, H, W], got {list(image.shape)}")
        counts = histogram(image.detach(), LEVELS).cpu().double()
        counts = counts if image.ndim == 3 else counts.sum(0)
        if total is not None and len(total) != len(counts):
            raise ValueError(f"images: expected {len(total)} channels as in the first, got {len(counts)}")
        total = counts if total is None else total.add_(counts)
    return total


def _has_ranks() -> bool:
    return dist.is_available() and dist.is_initialized()


def _gather(own: Any, group: dist.ProcessGroup | None) -> list[Any]:
    """What all ranks bring, in their order."""
    everyone: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everyone, own, group)
    return everyone
