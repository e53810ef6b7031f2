"""Histograms without a picture: equalization, normal, stretch, and given ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from clips import crossing
from comfyui_histogram_match import match_images, specify_images
from comfyui_histogram_match.methods.color_space import ColorSpace
from comfyui_histogram_match.methods.table import COLOR_SPACES
from comfyui_histogram_match.methods.targets import LinearStretch, Normal, Specified, Uniform
from photos import COLOR_PHOTOS, GRAY_PHOTOS, continuous_photo, photo, photo_8bit
from skimage.exposure import equalize_hist, rescale_intensity
from torch import Tensor

TARGETS = {
    "uniform": Uniform(),
    "normal": Normal(0.4, 0.15),
    "linear stretch": LinearStretch(1, 2),
    "histogram": Specified(list(range(1, 257))),
}


@pytest.mark.parametrize("name", COLOR_PHOTOS + GRAY_PHOTOS)
def test_uniform_is_scikit_image_s_equalization(name: str) -> None:
    matched = specify_images(photo(name), Uniform())[0].numpy()
    for channel in range(matched.shape[-1]):
        assert np.abs(matched[..., channel] - equalize_hist(photo_8bit(name)[..., channel])).max() <= 1 / 255


def test_uniform_spreads_continuous_content_evenly() -> None:
    quantiles = specify_images(continuous_photo("chelsea"), Uniform())[0].flatten(0, 1).sort(dim=0).values
    expected = torch.linspace(0, 1, len(quantiles))[:, None].expand_as(quantiles)
    assert float((quantiles - expected).abs().max()) <= 1e-3


@pytest.mark.parametrize(("mean", "deviation"), [(0.5, 0.1), (0.4, 0.05), (0.7, 0.08)])
def test_normal_has_its_mean_and_deviation(mean: float, deviation: float) -> None:
    matched = specify_images(continuous_photo("chelsea"), Normal(mean, deviation))[0].flatten(0, 1)
    torch.testing.assert_close(matched.mean(0), torch.full((3,), mean), rtol=0, atol=0.002)
    torch.testing.assert_close(matched.std(0), torch.full((3,), deviation), rtol=0.02, atol=0)
    within = ((matched - mean).abs() < deviation).float().mean(0)
    torch.testing.assert_close(within, torch.full((3,), 0.6827), rtol=0, atol=0.005)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (2, 5), (0.5, 0)])
def test_linear_stretch_is_that_of_scikit_image(low: float, high: float) -> None:
    image = continuous_photo("chelsea")
    matched = specify_images(image, LinearStretch(low, high))[0].numpy()
    for channel in range(3):
        values = image[0, ..., channel].double().numpy()
        ends = tuple(np.percentile(values, (low, 100 - high)))
        assert np.abs(matched[..., channel] - rescale_intensity(values, ends, (0, 1))).max() <= 2e-4


@pytest.mark.parametrize("name", COLOR_PHOTOS)
def test_a_histogram_does_what_the_picture_does_that_has_it(name: str) -> None:
    image = continuous_photo("chelsea")
    counts = [np.bincount(photo_8bit(name)[..., channel].ravel(), minlength=256).tolist() for channel in range(3)]
    matched = specify_images(image, Specified(counts))
    torch.testing.assert_close(matched, match_images(image, photo(name)), rtol=0, atol=1e-6)
    for channel in range(3):
        one = specify_images(image, Specified(counts[channel]))[..., channel]
        assert torch.equal(one, matched[..., channel])


def test_histograms_may_have_other_numbers_of_levels() -> None:
    image = continuous_photo("chelsea")
    two = specify_images(image, Specified([3, 1]))
    assert set(specify_images(photo("chelsea"), Specified([1, 0])).unique().tolist()) == {0.0}
    # Three quarters are black, and above a line rises to white, as between any two levels that occur.
    torch.testing.assert_close((two == 0).float().mean((0, 1, 2)), torch.full((3,), 0.75), rtol=0, atol=0.01)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("color_space", COLOR_SPACES[1:])
def test_other_color_spaces_change_the_lightness_alone(target: str, color_space: str) -> None:
    image = photo("coffee")[:, ::4, ::4] * 0.5 + 0.2
    matched = specify_images(image, TARGETS[target], color_space=color_space)
    space = ColorSpace(color_space, lightness_only=True)
    before, after = (space.split(picture[0].movedim(-1, 0)) for picture in (image, matched))
    inside = ((matched[0] > 0.001) & (matched[0] < 0.999)).all(dim=-1)
    assert before[1] is not None
    assert after[1] is not None
    torch.testing.assert_close(after[1][:, inside], before[1][:, inside], rtol=0, atol=1 / 255)
    assert float((after[0] - before[0]).abs().mean()) > 0.01


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("mode", ["per_frame", "uniform", "target_frame", "smoothed"])
def test_masks_factor_and_clips(target: str, mode: str) -> None:
    clip = crossing(6, 40, 60).frames
    mask = torch.zeros(6, 40, 60)
    mask[:, :, :30] = torch.rand(6, 40, 30)
    calls: list[tuple[int, int]] = []
    matched = specify_images(
        clip, TARGETS[target], 0.5, progress=lambda *call: calls.append(call), source_stats=mode, image_mask=mask
    )
    assert torch.equal(matched[:, :, 30:], clip[:, :, 30:])
    assert not torch.equal(matched, clip)
    assert calls[-1][0] == calls[-1][1] >= 6
    if mode in ("uniform", "target_frame"):
        still = matched[:, :20] - clip[:, :20] * (1 - mask[:, :20, :, None] * 0.5)
        full = specify_images(clip, TARGETS[target], source_stats=mode, image_mask=(mask > 0).float() * mask)
        assert still.isfinite().all()
        assert full.isfinite().all()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("side", [1, 5])
def test_pictures_of_one_color_come_out_of_one_color(target: str, level: float, side: int) -> None:
    matched = specify_images(torch.full((1, side, side, 3), level), TARGETS[target])
    assert bool(matched.isfinite().all())
    assert float(matched.max() - matched.min()) == 0
    if target == "linear stretch":
        assert float(matched.mean()) == pytest.approx(level, abs=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_gradients_reach_image_and_mask(target: str) -> None:
    image, mask = torch.rand(1, 12, 9, 3).requires_grad_(), torch.rand(1, 12, 9).requires_grad_()
    specify_images(image, TARGETS[target], image_mask=mask).square().sum().backward()
    for tensor in (image, mask):
        assert tensor.grad is not None
        assert bool(tensor.grad.isfinite().all())
        assert bool(tensor.grad.any())


@pytest.mark.parametrize("target", TARGETS)
def test_gradcheck_of_the_transfer_function(target: str) -> None:
    # The distribution of a picture at 64 levels, no two of them alike.
    counts = (torch.rand(2, 64, dtype=torch.float64) + 0.1).requires_grad_()

    def transfer(counts: Tensor) -> Tensor:
        return TARGETS[target](counts.cumsum(-1) / counts.sum(-1, keepdim=True))

    if target == "linear stretch":
        # Its ends are levels that are picked, which has no gradient; it has one in the pixels alone.
        assert not transfer(counts).requires_grad
    else:
        assert torch.autograd.gradcheck(transfer, (counts,))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Normal(1.5), ValueError, "mean: expected a number from 0 to 1, got 1.5"),
        (lambda: Normal(0.5, 0), ValueError, "deviation: expected a number from 0.001 to inf, got 0"),
        (lambda: Normal("a"), TypeError, "mean: expected a number, got str"),
        (lambda: LinearStretch(-1), ValueError, "low: expected a number from 0 to 100, got -1"),
        (lambda: LinearStretch(50, 50), ValueError, "low and high: expected less than 100 percent together, got 100"),
        (lambda: Specified([1]), ValueError, r"histogram: expected rows of 2 to 65536 counts, got shape \[1\]"),
        (lambda: Specified([[[1, 2]]]), ValueError, r"histogram: .*got shape \[1, 1, 2\]"),
        (lambda: Specified([1, -1]), ValueError, "histogram: expected finite counts from 0 up"),
        (lambda: Specified([1, float("nan")]), ValueError, "histogram: expected finite counts from 0 up"),
        (lambda: Specified([[0, 0], [1, 1]]), ValueError, "histogram: .*got a row of zeros"),
        (lambda: Specified("ab"), TypeError, "histogram: expected numbers"),
        (lambda: Specified([[1, 2], [1]]), TypeError, "histogram: expected numbers, in rows of one length"),
        (lambda: specify_images(torch.rand(1, 4, 4, 3), "uniform"), TypeError, "target: expected a function.*got str"),
        (
            lambda: specify_images(torch.rand(1, 4, 4, 3), Specified([[1, 1], [1, 1]])),
            ValueError,
            "histogram: expected 1 row or 3, one for each channel, got 2",
        ),
        (
            lambda: specify_images(torch.rand(1, 4, 4, 3), lambda cdf: cdf[:2]),
            ValueError,
            r"target: expected a table of shape \[3, 65536\], got \[2, 65536\]",
        ),
        (
            lambda: specify_images(torch.rand(1, 4, 4, 3), lambda cdf: cdf.long()),
            TypeError,
            "target: expected a floating-point tensor, got torch.int64",
        ),
        (
            lambda: specify_images(torch.rand(1, 4, 4, 3), Specified([[1, 1]] * 3), color_space="lab"),
            ValueError,
            "histogram: expected one for the color_space lab, where only the lightness changes, got 3",
        ),
    ],
)
def test_a_bad_argument_is_named(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
