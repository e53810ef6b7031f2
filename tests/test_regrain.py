"""Regraining: noise that stretching has made goes, edges and even areas keep their new color."""

from __future__ import annotations

import pytest
import torch
from comfyui_histogram_match.methods.regrain import regrain
from photos import photo
from torch import Tensor

COARSE, FINE = (0, 4, 8, 16, 16, 16), (3,)


@pytest.mark.parametrize("iterations", [COARSE, FINE])
def test_a_picture_that_has_not_changed_stays(iterations: tuple[int, ...]) -> None:
    original = photo("chelsea")[0].movedim(-1, 0)
    torch.testing.assert_close(regrain(original, original, 10.0, iterations), original, rtol=0, atol=1e-6)


@pytest.mark.parametrize("iterations", [COARSE, FINE])
def test_an_even_change_stays(iterations: tuple[int, ...]) -> None:
    original = photo("chelsea")[0].movedim(-1, 0)
    matched = original + torch.tensor([0.1, -0.2, 0.05])[:, None, None]
    torch.testing.assert_close(regrain(matched, original, 10.0, iterations), matched, rtol=0, atol=1e-5)


def test_noise_in_even_areas_goes_and_edges_keep_their_color() -> None:
    original = torch.full((3, 60, 80), 0.3)
    original[:, :, 40:] = 0.6
    original += torch.randn(original.shape) * 0.002
    wanted = torch.where(original < 0.45, 0.2, 0.9)
    matched = wanted + torch.randn(original.shape) * 0.05
    even = slice(5, 30)
    for strength, iterations, noise in ((10.0, (20, 20, 20), 0.3), (0.2, FINE, 0.6)):
        result = regrain(matched, original, strength, iterations)
        assert float(result[:, :, even].diff(dim=1).std()) <= noise * float(matched[:, :, even].diff(dim=1).std())
    # The last was the weaker one, which leaves an edge as sharp as it was: from 0.2 to 0.9 within a pixel.
    assert float(result[:, :, 40].mean() - result[:, :, 39].mean()) >= 0.55


def test_colors_that_count_nothing_come_from_around() -> None:
    original = torch.rand(3, 40, 40)
    matched = original + 0.1
    matched[:, 15:25, 15:25] -= 0.6
    weights = torch.ones(40, 40)
    weights[15:25, 15:25] = 0
    result = regrain(matched, original, 1.0, (50, 50), weights)
    assert float((result - original)[:, 15:25, 15:25].min()) >= 0.03


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (21, 25), (64, 41)])
def test_every_size(size: tuple[int, int]) -> None:
    original, matched = torch.rand(3, *size), torch.rand(3, *size)
    for iterations in (COARSE, FINE):
        result = regrain(matched, original, 10.0, iterations)
        assert result.shape == matched.shape
        assert bool(result.isfinite().all())


def test_gradcheck() -> None:
    matched, original = (torch.rand(1, 22, 21, dtype=torch.float64).requires_grad_() for _ in range(2))
    weights = torch.rand(22, 21, dtype=torch.float64).requires_grad_()

    def function(matched: Tensor, original: Tensor, weights: Tensor) -> Tensor:
        return regrain(matched, original, 2.0, (2, 2), weights)

    assert torch.autograd.gradcheck(function, (matched, original, weights), fast_mode=True)
