"""Soft binning under the transforms of torch; what it computes is tested with the functions that stand on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from comfyui_histogram_match.kernels.soft_binning import interpolate, soft_histogram
from compiling import BACKENDS, compiles, in_one_graph
from torch import Tensor
from torch.autograd import gradgradcheck

BINS = 7


def count(frames: Tensor, weights: Tensor, unused: Tensor) -> Tensor:
    return soft_histogram(frames, BINS, weights)


def read(frames: Tensor, unused: Tensor, tables: Tensor) -> Tensor:
    return interpolate(frames, tables)


def arguments() -> tuple[Tensor, Tensor, Tensor]:
    """Pixels, weights and tables for four batches of two frames with three channels; some pixels are not of a picture."""
    frames = torch.rand(4, 2, 3, 50, dtype=torch.float64)
    frames[0, 0, 0, :4] = torch.tensor([-1.0, 2.0, float("nan"), float("inf")])
    return frames, torch.rand_like(frames), torch.rand(4, 2, 3, BINS, dtype=torch.float64)


both = pytest.mark.parametrize("function", [count, read])


@both
def test_vmap_is_a_loop(function: Callable[..., Tensor]) -> None:
    frames, weights, tables = arguments()
    expected = torch.stack([function(*rows) for rows in zip(frames, weights, tables, strict=True)])
    assert torch.equal(torch.func.vmap(function)(frames, weights, tables), expected)
    shared = torch.stack([function(rows, weights[0], tables[0]) for rows in frames])
    assert torch.equal(torch.func.vmap(function, in_dims=(0, None, None))(frames, weights[0], tables[0]), shared)
    moved = torch.func.vmap(function, in_dims=(-1, 0, 0))(frames.movedim(0, -1), weights, tables)
    assert torch.equal(moved, expected)


@both
def test_vmap_of_gradients_is_a_loop(function: Callable[..., Tensor]) -> None:
    def loss(*rows: Tensor) -> Tensor:
        return function(*rows).square().sum()

    gradients = torch.func.grad(loss, argnums=(0, 1, 2))
    given = arguments()
    expected = [gradients(*rows) for rows in zip(*given, strict=True)]
    for index, gradient in enumerate(torch.func.vmap(gradients)(*given)):
        torch.testing.assert_close(gradient, torch.stack([rows[index] for rows in expected]), rtol=0, atol=1e-12)


@compiles
@pytest.mark.parametrize("backend", BACKENDS)
@both
def test_compiled_in_one_graph(function: Callable[..., Tensor], backend: str) -> None:
    plain, compiled = ([rows[0].clone().requires_grad_() for rows in arguments()] for _ in range(2))
    for one, other in zip(plain, compiled, strict=True):
        other.data.copy_(one.data)
    expected = function(*plain)
    result = in_one_graph(function, backend=backend)(*compiled)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    expected.square().sum().backward()
    result.square().sum().backward()
    for one, other in zip(plain, compiled, strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, rtol=0, atol=1e-12)


@both
def test_second_derivatives(function: Callable[..., Tensor]) -> None:
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(1, 2, 6, dtype=torch.float64, generator=generator).requires_grad_()
    weights = torch.rand(1, 2, 6, dtype=torch.float64, generator=generator).requires_grad_()
    tables = torch.rand(1, 2, BINS, dtype=torch.float64, generator=generator).requires_grad_()
    assert gradgradcheck(lambda *rows: function(*rows).square(), (frames, weights, tables))


@both
def test_on_meta_tensors(function: Callable[..., Tensor]) -> None:
    given = [rows[0] for rows in arguments()]
    on_meta = function(*(rows.to("meta") for rows in given))
    assert (on_meta.shape, on_meta.dtype) == (function(*given).shape, torch.float64)


@pytest.mark.parametrize("pixels", [1, 5, (1 << 16) - 1, (1 << 16) + 1, 150_001])
def test_blocks_leave_no_pixel_out(pixels: int) -> None:
    frames = torch.rand(3, 2, pixels)
    counts = soft_histogram(frames, BINS)
    torch.testing.assert_close(counts.sum(-1), torch.full((3, 2), pixels, dtype=torch.float64))
    table = torch.linspace(0, 1, BINS).expand(3, 2, -1)
    torch.testing.assert_close(interpolate(frames, table), frames, rtol=0, atol=1e-6)
