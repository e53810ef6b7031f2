"""Tables of colors: between their entries as a slow version has it, the same for all threads, memories and number formats."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from comfyui_histogram_match.luts.color_table import ColorTable, color_grid, look_up_colors
from comfyui_histogram_match.methods.color_space import ColorSpace
from comfyui_histogram_match.methods.transform import Picture, Transform
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import continuous_photo


def by_hand(color: tuple[float, float, float], table: np.ndarray) -> np.ndarray:
    """One color through a table, by walking from the darkest corner of its cell, the longest way first."""
    size = table.shape[-1]
    position = [min(max(value, 0.0), 1.0) * (size - 1) for value in color]
    corner = [min(int(value), size - 2) for value in position]
    inside = [value - whole for value, whole in zip(position, corner, strict=True)]
    result, here = table[:, corner[2], corner[1], corner[0]].copy(), list(corner)
    for axis in sorted(range(3), key=lambda axis: -inside[axis]):
        before = table[:, here[2], here[1], here[0]]
        here[axis] += 1
        result += inside[axis] * (table[:, here[2], here[1], here[0]] - before)
    return result


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("size", [2, 3, 17, 33, 65])
@pytest.mark.parametrize("gradient", [False, True])
def test_as_walked_by_hand(size: int, gradient: bool) -> None:
    table = torch.rand(3, size, size, size, dtype=torch.float64) * 3 - 1
    ends = torch.tensor(list(itertools.product((0.0, 1 / (size - 1), 0.5, 1.0), repeat=3)), dtype=torch.float64)
    beyond = torch.tensor([[-0.5, 0.3, 1.5], [2.0, 2.0, 2.0], [-1.0, -1.0, -1.0]], dtype=torch.float64)
    colors = torch.cat([torch.rand(500, 3, dtype=torch.float64), ends, beyond])
    expected = np.array([by_hand(tuple(color), table.numpy()) for color in colors.tolist()])
    pixels = colors.t()[:, None].clone().requires_grad_(gradient)
    found = look_up_colors(pixels, table).detach()[:, 0].t()
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-13)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 9), st.tuples(*[st.floats(-0.5, 1.5, width=32)] * 3), st.integers(0, 1000))
def test_any_color_as_walked_by_hand(size: int, color: tuple[float, float, float], seed: int) -> None:
    table = torch.rand(3, size, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = look_up_colors(torch.tensor(color, dtype=torch.float64).view(3, 1, 1), table)
    np.testing.assert_allclose(found.flatten().numpy(), by_hand(color, table.numpy()), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [2, 33, 256])
def test_exact_on_affine_maps(size: int, dtype: torch.dtype) -> None:
    matrix = torch.tensor([[0.8, 0.3, -0.2], [0.1, 0.6, 0.1], [-0.3, 0.2, 1.3]], dtype=torch.float64)
    table = torch.einsum("ij,jbgr->ibgr", matrix, color_grid(size)) + 0.05
    pixels = torch.rand(3, 40, 50, dtype=torch.float64).to(dtype)
    expected = torch.einsum("ij,jhw->ihw", matrix, pixels.double()) + 0.05
    found = look_up_colors(pixels, table)
    assert found.dtype == dtype
    tolerance = 1e-14 if dtype == torch.float64 else max(1e-6, torch.finfo(dtype).eps)
    assert float((found.double() - expected).abs().max()) <= tolerance


def test_both_evaluations_are_one_function() -> None:
    pixels = continuous_photo("astronaut")[0].movedim(-1, 0)
    table = torch.rand(3, 33, 33, 33)
    soft = look_up_colors(pixels.clone().requires_grad_(), table).detach()
    torch.testing.assert_close(look_up_colors(pixels, table), soft, rtol=0, atol=1e-6)


def test_gradients_of_image_and_table() -> None:
    size = 4
    # Off the kinks, which are where two values are equally far inside of their cells, or one at its end.
    inside = torch.tensor(list(itertools.permutations((0.2, 0.5, 0.8))), dtype=torch.float64).t()
    cell = torch.tensor([[0, 1, 2, 0, 2, 1], [1, 2, 0, 0, 1, 2], [2, 0, 1, 1, 0, 2]])
    pixels = ((cell + inside) / (size - 1))[:, None].requires_grad_()
    table = torch.rand(3, size, size, size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(look_up_colors, (pixels, table))
    assert torch.autograd.gradgradcheck(look_up_colors, (pixels, table))
    beyond = torch.tensor([-0.2, 1.2, 3.0], dtype=torch.float64).view(3, 1, 1).requires_grad_()
    look_up_colors(beyond, table).sum().backward()
    assert beyond.grad is not None
    assert not beyond.grad.any()


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_bits_for_any_threads_memory_and_neighbors(dtype: torch.dtype) -> None:
    pixels = continuous_photo("coffee")[0].movedim(-1, 0).to(dtype)[:, :399, :597]
    table = torch.rand(3, 33, 33, 33)
    expected = look_up_colors(pixels.contiguous(), table)
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        with torch.inference_mode():
            assert torch.equal(look_up_colors(pixels, table), expected)
    assert torch.equal(look_up_colors(pixels.transpose(1, 2), table).transpose(1, 2), expected)
    assert torch.equal(look_up_colors(pixels[:, 100:207, 3:450], table), expected[:, 100:207, 3:450])
    assert torch.equal(look_up_colors(pixels[:, 5:6, 7:8], table), expected[:, 5:6, 7:8])
    pieces = pixels.new_zeros(pixels.numel() + 1)[1:].view(pixels.shape).copy_(pixels)
    assert torch.equal(look_up_colors(pieces, table.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)), expected)
    assert torch.equal(look_up_colors(pieces, table, pieces), expected)
    assert torch.equal(pieces, expected)


def test_what_is_no_number_or_far_away_is_at_an_end() -> None:
    nan, infinity = float("nan"), float("inf")
    colors = torch.tensor([[nan, nan, nan], [infinity, -infinity, 0.5], [nan, 1e30, -1e30], [0.25, nan, 0.5]]).t()[:, None]
    expected = torch.tensor([[0, 0, 0], [1, 0, 0.5], [0, 1, 0], [0.25, 0, 0.5]]).t()[:, None]
    table = torch.rand(3, 5, 5, 5)
    clean = look_up_colors(expected, table)
    assert torch.equal(look_up_colors(colors, table), clean)
    torch.testing.assert_close(look_up_colors(colors.clone().requires_grad_(), table).detach(), clean)


def test_where_there_are_no_values() -> None:
    found = look_up_colors(torch.empty(3, 20, 30, device="meta"), torch.rand(3, 5, 5, 5))
    assert found.shape == (3, 20, 30)
    assert found.device.type == "meta"


def test_as_a_part_of_a_transform() -> None:
    table = torch.rand(3, 9, 9, 9)
    pixels = continuous_photo("chelsea")[0].movedim(-1, 0)
    transform = Transform(ColorSpace("rgb"), (ColorTable(table),))
    assert transform.pointwise
    assert torch.equal(transform.apply(pixels), look_up_colors(pixels, table))
    assert torch.equal(ColorTable(table).apply(pixels, Picture(pixels), None), look_up_colors(pixels, table))
    half = transform.averaged(Transform(ColorSpace("rgb"), (ColorTable(color_grid(9).float()),)), 0.5).apply(pixels)
    torch.testing.assert_close(half, (transform.apply(pixels) + pixels) / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 1, 1, 1), (3, 4, 4, 5), (1, 4, 4, 4), (4, 4, 4, 3), (3, 4)])
def test_tables_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^values: expected shape \[3, N, N, N\] with N of 2 or more, got \["):
        ColorTable(torch.zeros(shape))
