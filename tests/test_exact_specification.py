"""Exact histogram specification against an order written down directly, and its histograms against the reference's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from comfyui_histogram_match import histogram, match_images
from comfyui_histogram_match.methods.exact import exact_specification
from measures import wasserstein_1
from photos import COLOR_PAIRS, GRAY_PHOTOS, continuous_photo, photo
from torch import Tensor

LEVELS = 65536


def ranks(channel: np.ndarray) -> np.ndarray:
    """The place of each pixel in the order of Coltuc et al., by sums over neighbourhoods and then by position."""
    height, width = channel.shape
    framed = np.pad(np.round(channel.astype(np.float32) * np.float32(LEVELS - 1)).astype(np.int64), 2, mode="edge")
    distances = [0, 1, 2, 4, 5, 8]
    keys = []
    for farthest in distances:
        total = np.zeros((height, width), dtype=np.int64)
        for down in range(-2, 3):
            for right in range(-2, 3):
                if down**2 + right**2 <= farthest:
                    total += framed[2 + down : 2 + down + height, 2 + right : 2 + right + width]
        keys.append(total.ravel())
    order = np.lexsort([np.arange(height * width), *reversed(keys)])
    places = np.empty(height * width, dtype=np.int64)
    places[order] = np.arange(height * width)
    return places.reshape(height, width)


def counts_of(channel: Tensor) -> Tensor:
    return histogram(channel[None], LEVELS)[0]


@pytest.mark.parametrize(("source", "target"), COLOR_PAIRS[::5])
def test_a_reference_of_the_same_size_comes_out_level_by_level(source: str, target: str) -> None:
    image, reference = photo(source), photo(target)
    height, width = (min(a, b) for a, b in zip(image.shape[1:3], reference.shape[1:3], strict=True))
    image, reference = image[:, :height, :width], reference[:, :height, :width]
    matched = match_images(image, reference, "exact")
    assert float(wasserstein_1(matched, reference).max()) == 0
    assert torch.equal(histogram(matched.movedim(-1, 1), 256), histogram(reference.movedim(-1, 1), 256))
    assert torch.equal(matched, match_images(image, reference, "exact"))


@pytest.mark.parametrize("content", ["8-bit", "continuous", "two levels", "even"])
def test_the_order_is_that_of_the_paper(content: str) -> None:
    channel = {
        "8-bit": photo("chelsea")[0, :60, :80, 0],
        "continuous": continuous_photo("chelsea")[0, :60, :80, 0],
        "two levels": (torch.rand(40, 50) > 0.4).float(),
        "even": torch.full((20, 30), 0.3),
    }[content]
    # A ramp with one pixel to a level, in which the order can be read.
    ramp = torch.zeros(LEVELS, dtype=torch.float64)
    ramp[: channel.numel()] = 1
    matched = exact_specification(channel, ramp)
    assert np.array_equal((matched * (LEVELS - 1)).round().long().numpy(), ranks(channel.numpy()))


@pytest.mark.parametrize("name", GRAY_PHOTOS[:4])
def test_brighter_pixels_stay_brighter(name: str) -> None:
    # At 16 bits: of pixels closer than that, the surroundings decide.
    channel = (continuous_photo(name)[0, ..., 0] * (LEVELS - 1)).round() / (LEVELS - 1)
    reference = photo("moon")[0, ..., 0]
    matched = exact_specification(channel, counts_of(reference)).flatten()
    darkest, brightest = (
        torch.full((LEVELS,), start).scatter_reduce(0, (channel.flatten() * (LEVELS - 1)).round().long(), matched, reduce)
        for start, reduce in ((2.0, "amin"), (-1.0, "amax"))
    )
    occurring = brightest >= 0
    assert bool((darkest[occurring][1:] >= brightest[occurring][:-1]).all())


def test_a_reference_of_another_size_comes_out_in_proportion() -> None:
    channel, reference = photo("camera")[0, ..., 0], photo("moon")[0, :301, :77, 0]
    matched = exact_specification(channel, counts_of(reference))
    expected = counts_of(reference).cumsum(0) * (channel.numel() / reference.numel())
    assert float((counts_of(matched).cumsum(0) - expected).abs().max()) <= 1


def test_only_what_counts_is_ordered() -> None:
    channel, reference = torch.rand(30, 40), photo("moon")[0, ..., 0]
    channel[3, 3], channel[4, 4] = float("nan"), float("inf")
    mask = torch.zeros(30, 40)
    mask[:20, 10:30] = 1
    matched = exact_specification(channel, counts_of(reference), mask)
    assert torch.equal(matched[mask == 0].nan_to_num(posinf=1), channel[mask == 0].nan_to_num(posinf=1))
    counted = (mask > 0) & channel.isfinite()
    counts = counts_of(matched[counted][None])
    expected = counts_of(reference).cumsum(0) * (int(counted.sum()) / reference.numel())
    assert float((counts.cumsum(0) - expected).abs().max()) <= 1
    assert torch.equal(exact_specification(channel, counts_of(reference), mask * 0), channel.nan_to_num(posinf=1))


def test_weights_count_in_proportion() -> None:
    channel, ramp = torch.rand(50, 60), torch.zeros(LEVELS, dtype=torch.float64)
    ramp[:1000] = 1
    weights = torch.where(channel > 0.5, 3.0, 1.0)
    matched = exact_specification(channel, ramp, weights) * (LEVELS - 1)
    # Half of the pixels have three quarters of the weight, and so of the reference's levels.
    assert float(matched[channel <= 0.5].max()) == pytest.approx(250, abs=15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_dtype_and_shape_come_out_again(dtype: torch.dtype) -> None:
    matched = exact_specification(torch.rand(7, 5, dtype=dtype), counts_of(torch.rand(4, 4)))
    assert matched.dtype == dtype
    assert matched.shape == (7, 5)
