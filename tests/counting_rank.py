"""A rank that counts its share of some images, for torchrun to start; the argument is a file with what one process counts."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.distributed as dist
from comfyui_histogram_match import pooled_histogram
from comfyui_histogram_match.training.distributed import sum_over_ranks


def images() -> list[torch.Tensor]:
    """The same on all ranks."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 5 + index, 7, generator=generator) for index in range(3)]


if __name__ == "__main__":
    expected = torch.load(sys.argv[1])
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    # With more ranks than images, some have none.
    assert torch.equal(pooled_histogram(images()[rank::size]), expected)
    assert torch.equal(pooled_histogram([torch.stack([image, image]) for image in images()[rank::size]]), 2 * expected)
    assert sum_over_ranks(None) is None
    only_first = torch.tensor([1.5, 2.0]) if rank == 0 else None
    total = sum_over_ranks(only_first)
    assert total is not None
    assert total.tolist() == [1.5, 2.0]
    assert total.dtype == torch.float64
    with pytest.raises(ValueError, match="expected one shape and dtype on all ranks"):
        sum_over_ranks(torch.zeros(2 + min(rank, 1)))
    with pytest.raises(ValueError, match="expected one shape and dtype on all ranks"):
        sum_over_ranks(torch.zeros(2, dtype=(torch.float32, torch.int32)[min(rank, 1)]))
    # Exact where single precision is not.
    total = sum_over_ranks(torch.tensor([2.0**40 + rank], dtype=torch.float64))
    assert total is not None
    assert total.item() == size * 2**40 + sum(range(size))
    total = sum_over_ranks(torch.tensor([2**60 // size + rank]))
    assert total is not None
    assert total.tolist() == [2**60 + sum(range(size))]
    with pytest.raises(ValueError, match="expected a sum below"):
        sum_over_ranks(torch.tensor([2**62 + 2**61]))
    bad = [torch.rand(3, 4, 4, dtype=torch.float64), torch.zeros(3, 4, 4, dtype=torch.uint8)] if rank == 1 else []
    with pytest.raises(TypeError if rank == 1 else RuntimeError, match=r"got torch\.uint8"):
        pooled_histogram(bad)
    with pytest.raises(ValueError, match="expected at least one on some rank"):
        pooled_histogram([])
    dist.destroy_process_group()
