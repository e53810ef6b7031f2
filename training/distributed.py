"""Histograms that several processes gather together.

Counts add, so that pictures can be counted wherever they are, and a sum over all processes makes them one. Whole numbers add
exactly and in any order up to 2^53 pixels in a level: the result does not depend on who has counted what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..checks import check_bins, check_colors, check_pixels
from ..histogram_matching import histogram
from ..kernels.levels import LEVELS, rebin


def sum_over_ranks(counts: Tensor | None, group: dist.ProcessGroup | None = None) -> Tensor | None:
    """Add up the counts of all processes of a group, on each of them; without any, one process is all there is.

    Counts are of one shape without a side of 0 and of one kind, fractions or whole numbers; None on a rank without. The sum,
    float64 or int64, is on the device of ``counts``, on the processor where that was None; None if all were. A ValueError says
    that shapes or kinds differ, or the sum is beyond 64 bits, a RuntimeError that another process has ended.
    """
    precise = None if counts is None else counts.detach().to(torch.float64 if counts.is_floating_point() else torch.int64)
    if not _has_ranks():
        return precise
    own = None if precise is None else (tuple(precise.shape), precise.dtype, float(precise.abs().max()))
    brought = [each for each in gather(own, group) if each is not None]
    kinds = {(shape, dtype) for shape, dtype, _largest in brought}
    if len(kinds) > 1:
        raise ValueError(f"counts: expected one shape and dtype on all ranks, got {', '.join(map(str, kinds))}")
    if not kinds:
        return None
    shape, dtype = kinds.pop()
    largest = sum(each[2] for each in brought)
    if dtype == torch.int64 and largest >= 2.0**63:
        raise ValueError(f"counts: expected a sum below 2^63, got one of up to {largest:.3g}")
    # On the processor if the backend of the group can add there.
    accelerator = None if "cpu:" in dist.get_backend_config(group) else torch.accelerator.current_accelerator()
    device = accelerator or torch.device("cpu")
    total = torch.zeros(shape, dtype=dtype, device=device) if precise is None else precise.to(device, copy=True)
    dist.all_reduce(total, group=group)
    return total.to("cpu" if counts is None else counts.device)


def pooled_histogram(images: Iterable[Tensor], bins: int = LEVELS, group: dist.ProcessGroup | None = None) -> Tensor:
    """Count the pixels of all images of all ranks together.

    Each rank brings its own share, perhaps of none, and all get what one process counts for all images, which
    ``ParametricHistogramMatching.from_histogram`` and ``specify_images`` with ``Specified`` take as it is.

    Args:
        images: floating point, each of shape ``[C, H, W]`` or ``[B, C, H, W]``, of any size, values in [0, 1], read one after
            the other and not kept. Values outside count at the nearest end, NaN and infinite ones not at all.
        bins: 2 to 65536, as in :func:`histogram`.
        group: as in ``torch.distributed``; by default all ranks, or the one process there is.

    Returns:
        Shape ``[C, bins]``, float64, on the processor.

    Raises:
        TypeError: an image is not a floating-point tensor.
        ValueError: an image has another shape or number of channels, or no rank has any.
        RuntimeError: counting has failed on another rank, or it has ended.

    >>> pooled_histogram([torch.zeros(1, 4, 4), torch.ones(1, 2, 2)], bins=3)
    tensor([[16.,  0.,  4.]], dtype=torch.float64)
    """
    check_bins(bins)
    counts: Tensor | None = None
    try:
        for one in level_counts("images", images):
            counts = one if counts is None else counts.add_(one)
    except Exception as error:
        # The others would wait for ever.
        gather(f"{type(error).__name__}: {error}", group)
        raise
    failed = [f"rank {rank}: {text}" for rank, text in enumerate(gather(None, group)) if text is not None]
    if failed:
        raise RuntimeError(f"images: counting has failed on {'; '.join(failed)}")
    total = sum_over_ranks(counts, group)
    if total is None:
        raise ValueError("images: expected at least one on some rank, got none")
    return rebin(total, bins)


def level_counts(name: str, images: Iterable[Tensor]) -> Iterator[Tensor]:
    """Count each image of each ``[C, H, W]`` or ``[B, C, H, W]`` at all levels: ``[C, LEVELS]``, float64, on the processor."""
    channels: int | None = None
    for batch in images:
        check_pixels(name, batch)
        check_colors(name, batch)
        if batch.ndim not in (3, 4):
            raise ValueError(f"{name}: expected shape [C, H, W] or [B, C, H, W], got {list(batch.shape)}")
        if channels not in (None, batch.shape[-3]):
            raise ValueError(f"{name}: expected {channels} channels as in the first, got {batch.shape[-3]}")
        channels = batch.shape[-3]
        for image in batch if batch.ndim == 4 else batch[None]:
            yield histogram(image.detach(), LEVELS).cpu().double()


def _has_ranks() -> bool:
    return dist.is_available() and dist.is_initialized()


def gather(own: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """What all ranks bring, in their order; without any, what is brought here."""
    if not _has_ranks():
        return [own]
    everyone: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everyone, own, group)
    return everyone
