"""The table of methods holds what it says, for every method."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from clips import crossing
from comfyui_histogram_match import (
    COLOR_SPACES,
    METHODS,
    ColorMatching,
    HistogramMatching,
    HistogramMatchingTransform,
    ParametricHistogramMatching,
    histogram_loss,
    match_images,
    pooled_histogram,
    sliced_histogram_loss,
)
from comfyui_histogram_match.clip.settings import SOURCE_STATS
from comfyui_histogram_match.command.run import main
from comfyui_histogram_match.methods.channels import nearest_transfer_function
from comfyui_location import ROOT
from flicker import flicker
from measures import wasserstein_1
from photos import COLOR_PAIRS, at_size_of, continuous_photo, counterpart, photo, photo_8bit
from torch import Tensor

CLIP = crossing(6, 40, 60).frames
LOOK = photo("coffee")[:, :50, :70]
POOLING = [name for name, method in METHODS.items() if not method.per_frame_only]
DIFFERENTIABLE = [name for name, method in METHODS.items() if method.differentiable]
LINEAR = ("reinhard", "mkl", "mvgd")


@pytest.mark.parametrize("method", METHODS)
def test_readme_docs_and_command_describe_it(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"| `{method}` |" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"| `{method}` | {METHODS[method].use}" in (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["--list-methods"])
    assert f"{method:<16}{METHODS[method].use}" in capsys.readouterr().out


@pytest.mark.parametrize("method", DIFFERENTIABLE)
@pytest.mark.parametrize("color_space", COLOR_SPACES)
def test_gradcheck(method: str, color_space: str) -> None:
    module = ColorMatching(method, color_space, bins=8, rotations=3)
    sides = (5, 5 if METHODS[method].aligned else 4)
    image, reference = ((torch.rand(2, 3, 4, side, dtype=torch.float64) * 0.8 + 0.1).requires_grad_() for side in sides)
    weights = [(torch.rand(2, 4, side, dtype=torch.float64) + 0.1).requires_grad_() for side in sides]
    assert torch.autograd.gradcheck(module, (image, reference, *weights), fast_mode=True)


@pytest.mark.parametrize("method", ["reinhard", "mkl", "hm-mkl-hm", "sliced"])
def test_gradcheck_in_full(method: str) -> None:
    image, reference = ((torch.rand(1, 3, 4, side, dtype=torch.float64) * 0.8 + 0.1).requires_grad_() for side in (5, 4))
    assert torch.autograd.gradcheck(ColorMatching(method, bins=8, rotations=3), (image, reference))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_without_gradient_says_so(method: str) -> None:
    image, reference = CLIP[:1].clone().requires_grad_(), counterpart(method, CLIP, LOOK).clone().requires_grad_()
    if METHODS[method].differentiable:
        matched = match_images(image, reference, method)
        matched.square().sum().backward()
        for tensor in (image, reference):
            assert tensor.grad is not None
            assert bool(tensor.grad.isfinite().all())
            assert bool(tensor.grad.any())
    else:
        with pytest.warns(RuntimeWarning, match=f"method: {method} has no gradient, so the result has none"):
            matched = match_images(image, reference, method)
        assert not matched.requires_grad
    expected = match_images(image.detach(), reference.detach(), method)
    assert float((matched.detach() - expected).abs().mean()) <= 1 / 255


def test_the_module_is_histogram_matching() -> None:
    image, reference = torch.rand(2, 3, 8, 9), torch.rand(1, 3, 7, 6)
    assert torch.equal(ColorMatching()(image, reference), HistogramMatching()(image, reference))


@pytest.mark.parametrize("method", ["pytorch", "reinhard", "mkl", "hm-mkl-hm", "sliced"])
@pytest.mark.parametrize("color_space", ["rgb", "lab"])
def test_the_module_is_the_function(method: str, color_space: str) -> None:
    image, reference = continuous_photo("chelsea")[:, ::4, ::4], continuous_photo("coffee")[:, ::4, ::4]
    module = ColorMatching(method, color_space, bins=65536)
    matched = module(image.movedim(-1, 1), reference.movedim(-1, 1)).movedim(1, -1).clamp(0, 1)
    difference = (matched - match_images(image, reference, method, color_space=color_space)).abs()
    # The fast evaluation of sliced looks up in bins a fifth of a level wide.
    assert float(difference.mean()) <= (0.5 / 255 if method == "sliced" else 1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("color_space", COLOR_SPACES)
@pytest.mark.parametrize("mode", SOURCE_STATS)
def test_clips_with_masks_in_every_mode(method: str, color_space: str, mode: str) -> None:
    mask = torch.zeros(6, 40, 60)
    mask[:, :, :40] = torch.rand(6, 40, 40)
    options = {"color_space": color_space, "source_stats": mode, "image_mask": mask, "rotations": 4}
    look = counterpart(method, CLIP, LOOK)
    if METHODS[method].per_frame_only and mode != "per_frame":
        with pytest.raises(ValueError, match=f"source_stats: .*{method}, since {METHODS[method].per_frame_only}, got {mode}"):
            match_images(CLIP, look, method, **options)
        return
    calls: list[tuple[int, int]] = []
    matched = match_images(CLIP, look, method, 0.7, progress=lambda *call: calls.append(call), **options)
    assert torch.equal(matched[:, :, 40:], CLIP[:, :, 40:])
    assert bool((matched >= 0).all() and (matched <= 1).all())
    assert float((matched - CLIP)[:, :, :40].abs().mean()) > 0.01
    assert calls[-1][0] == calls[-1][1]
    assert [done for done, _ in calls] == list(range(1, len(calls) + 1))


@pytest.mark.parametrize("method", POOLING)
def test_uniform_is_one_change_for_all_frames(method: str) -> None:
    frames, look = torch.cat([CLIP, CLIP]), counterpart(method, CLIP, LOOK)
    matched = match_images(CLIP, look, method, source_stats="uniform")
    # Twice the same frames are the same distribution.
    twice = match_images(frames, look, method, source_stats="uniform")[:6]
    # Where sliced spreads values by noise, it is another for each pixel; and pixels are compared in a sample of them.
    sampled = method == "sliced" or METHODS[method].aligned
    assert float((twice - matched).abs().mean()) <= (0.5 / 255 if sampled else 1e-6)
    if method != "sliced":
        assert torch.equal(matched[:, :20], matched[:1, :20].expand(6, -1, -1, -1))
    still = match_images(CLIP[:1].repeat(3, 1, 1, 1), look, method, source_stats="uniform")
    alone = match_images(CLIP[:1], look, method)
    assert float((still - alone).abs().mean()) <= (0.5 / 255 if sampled else 1e-5)


@pytest.mark.parametrize("method", POOLING)
def test_target_frame_decides(method: str) -> None:
    look = counterpart(method, CLIP, LOOK)
    matched = match_images(CLIP, look, method, source_stats="target_frame", target_index=2)
    torch.testing.assert_close(matched[2], match_images(CLIP[2:3], look, method)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", POOLING)
def test_smoothed_flickers_less(method: str) -> None:
    clip = crossing(24, 90, 160)
    modes = ("per_frame", "smoothed")
    look = counterpart(method, clip.frames, LOOK)
    left = [flicker(match_images(clip.frames, look, method, source_stats=mode), clip) for mode in modes]
    assert left[1] <= 0.5 * left[0]


@pytest.mark.parametrize("method", METHODS)
def test_pictures_without_spread_give_something_sensible(method: str) -> None:
    color = torch.tensor([0.2, 0.5, 0.7])
    gray = photo("camera")[:, ::8, ::8].expand(-1, -1, -1, 3)
    pictures = {
        "photo": photo("coffee")[:, ::8, ::8],
        "gray": gray,
        "even": color.expand(1, 6, 7, 3),
        "pixel": color.view(1, 1, 1, 3),
        "black": torch.zeros(1, 4, 4, 3),
        "white": torch.ones(1, 4, 4, 3),
    }
    for (source, image), (target, reference) in product(pictures.items(), repeat=2):
        reference = at_size_of(method, image, reference)
        for space in COLOR_SPACES:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                matched = match_images(image, reference, method, color_space=space)
            assert bool(matched.isfinite().all()), (source, target, space)
            assert float(matched.min()) >= 0
            assert float(matched.max()) <= 1
            if target in ("even", "pixel", "black", "white") and space != "luminance" and method != "nearest":
                # There is only one color to go to; sliced keeps the texture all the same. Algorithm 1 sends what is in the
                # darker half of the source to black, where the target's distribution is 0 and that is nearer than 1.
                difference = (matched - reference[:1, :1, :1]).abs()
                assert float(difference.mean()) <= (6 if method == "sliced" else 2) / 255, (source, target, space)
            if source in ("even", "pixel") and method not in ("exact", "sliced"):
                assert float((matched - matched[:, :1, :1]).abs().max()) <= 1e-3, (source, target, space)
            if source == target and source not in ("photo", "gray"):
                assert float((matched - image).abs().max()) <= 1.5 / 255, (source, target, space)
            if source == target == "gray":
                # The noise with which sliced spreads equal values has color.
                difference = (matched[..., 0] - matched[..., 2]).abs()
                assert float(difference.mean() if method == "sliced" else difference.max()) <= 2 / 255, (source, target, space)


@pytest.mark.parametrize("method", METHODS)
def test_images_of_one_channel(method: str) -> None:
    image, gray, color = photo("camera")[:, ::4, ::4], photo("moon")[:, ::4, ::4], photo("coffee")[:, ::4, ::4]
    look, gray = counterpart(method, color[..., :1], gray), counterpart(method, image, gray)
    for space in COLOR_SPACES:
        matched = match_images(image, gray, method, color_space=space)
        assert matched.shape == image.shape
        # The darker of two gray pictures becomes the brighter one, in whatever space.
        assert abs(float(matched.mean() - gray.mean())) <= 0.03
        three = match_images(color, look, method, color_space=space)
        assert three.shape == color.shape
        assert bool(three.isfinite().all())


@pytest.mark.parametrize("method", METHODS)
def test_values_that_are_not_finite_are_left_out(method: str) -> None:
    image, reference = continuous_photo("chelsea")[:, ::4, ::4], continuous_photo("coffee")[:, ::4, ::4]
    reference = counterpart(method, image, reference)
    broken = image.clone()
    broken[0, 3, 3] = float("nan")
    broken[0, 4, 4, 0] = float("inf")
    for space in ("rgb", "lab"):
        with pytest.warns(RuntimeWarning, match="image: left out 4 NaN or infinite values"):
            matched = match_images(broken, reference, method, color_space=space)
        assert torch.equal(matched[0, 3, 3], torch.zeros(3))
        assert float(matched[0, 4, 4, 0]) == 1
        assert float(wasserstein_1(matched, match_images(image, reference, method, color_space=space)).max()) <= 1 / 255


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_alpha_and_dtype(method: str, dtype: torch.dtype) -> None:
    image = torch.cat([CLIP[:2], torch.rand(2, 40, 60, 1)], dim=-1).to(dtype)
    look = counterpart(method, CLIP, LOOK)
    matched = match_images(image, look, method)
    assert matched.dtype == dtype
    assert torch.equal(matched[..., 3], image[..., 3])
    expected = match_images(image[..., :3].float(), look, method)
    assert float((matched[..., :3].float() - expected).abs().mean()) <= 0.005


@pytest.mark.parametrize("method", METHODS)
def test_a_reference_of_which_nothing_counts_leaves_the_others_alone(method: str) -> None:
    look = counterpart(method, CLIP, LOOK)
    looks, mask = torch.cat([look, look, look]), torch.ones(3, *look.shape[1:3])
    mask[0] = 0
    clip = torch.cat([CLIP[:1], CLIP[:1], CLIP[:1]])
    mode = "per_frame" if METHODS[method].per_frame_only else "uniform"
    with pytest.warns(RuntimeWarning, match="mask: 0 throughout for 1 frames"):
        matched = match_images(clip, looks, method, source_stats=mode, reference_mask=mask)
    assert torch.equal(matched[0], clip[0])
    expected = match_images(clip, look, method, source_stats=mode)[1:]
    sampled = method == "sliced" or METHODS[method].aligned
    assert float((matched[1:] - expected).abs().mean()) <= (0.5 / 255 if sampled else 1e-6)
    if method in ("hm-mkl-hm", "sliced"):
        with pytest.raises(ValueError, match="target_index: expected a frame with a reference to go to, got 0 with none"):
            match_images(clip, looks, method, source_stats="target_frame", reference_mask=mask)


@pytest.mark.parametrize("method", METHODS)
def test_masks_that_are_black_in_some_frames(method: str) -> None:
    clip = torch.rand(3, 320, 320, 3)
    mask, look = torch.zeros(3, 320, 320), counterpart(method, clip[2:], LOOK)
    mask[2] = 1
    mode = "per_frame" if METHODS[method].per_frame_only else "uniform"
    with pytest.warns(RuntimeWarning, match="mask: 0 throughout for 2 frames"):
        matched = match_images(clip, look, method, source_stats=mode, image_mask=mask)
    assert torch.equal(matched[:2], clip[:2])
    assert float((matched[2:] - match_images(clip[2:], look, method)).abs().mean()) <= 1 / 255


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_the_module_computes_in_single_precision_at_least(method: str, dtype: torch.dtype) -> None:
    picture = photo("chelsea")[:, :256, :256]
    image, reference = picture.movedim(-1, 1).to(dtype), counterpart(method, picture, photo("coffee")).movedim(-1, 1)
    matched = ColorMatching(method)(image, reference)
    assert matched.dtype == dtype
    expected = ColorMatching(method)(image.float(), reference)
    assert float((matched.float() - expected).abs().mean()) <= 0.005


class TestNearest:
    @staticmethod
    def algorithm_1(source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The table of one channel, line by line as it is printed."""
        f_s, f_t = (np.bincount(values.ravel(), minlength=256).cumsum() / values.size for values in (source, target))
        table = np.zeros(256, dtype=int)
        for p in range(256):
            d_min = np.inf
            q_star = 0
            for q in range(256):
                d = abs(f_t[q] - f_s[p])
                if d < d_min:
                    d_min = d
                    q_star = q
            table[p] = q_star
        return table

    @pytest.mark.parametrize(("source", "target"), COLOR_PAIRS[::4])
    def test_it_is_algorithm_1(self, source: str, target: str) -> None:
        matched = match_images(photo(source), photo(target), "nearest")[0]
        for channel in range(3):
            table = self.algorithm_1(photo_8bit(source)[..., channel], photo_8bit(target)[..., channel])
            expected = table[photo_8bit(source)[..., channel]]
            assert np.array_equal((matched[..., channel] * 255).round().numpy(), expected)
            assert torch.equal((matched[..., channel] * 255).round() / 255, matched[..., channel])

    def test_continuous_values_go_with_the_nearest_of_256_levels(self) -> None:
        image = continuous_photo("chelsea")
        rounded = (image * 255).round() / 255
        near = ((image * 255) % 1 - 0.5).abs() > 0.01
        matched = [match_images(picture, photo("coffee"), "nearest") for picture in (image, rounded)]
        assert torch.equal(matched[0][near], matched[1][near])

    def test_of_levels_equally_near_it_takes_the_darkest(self) -> None:
        counts = torch.zeros(1, 65536, dtype=torch.float64)
        counts[0, 257 * 10] = counts[0, 257 * 20] = 1
        table = nearest_transfer_function(counts, counts)
        assert table.shape == (1, 65536)
        assert (table[0, ::257] * 255).round().tolist() == [0.0] * 10 + [10.0] * 10 + [20.0] * 236


def test_hm_mkl_hm_is_channels_then_mkl_then_channels() -> None:
    image, reference = continuous_photo("chelsea"), continuous_photo("coffee")
    matched = match_images(image, reference, "hm-mkl-hm")
    assert float(255 * wasserstein_1(matched, reference).max()) <= 0.6
    first: Tensor = match_images(image, reference)
    second = ColorMatching("mkl")(first.movedim(-1, 1), reference.movedim(-1, 1)).movedim(1, -1)
    # To bring all of it into range again, without changing the order of levels.
    lowest, highest = float(second.min()), float(second.max())
    third = match_images((second - lowest) / (highest - lowest), reference)
    assert float((matched - third).abs().mean()) <= 1e-4


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ColorMatching("hm"), ValueError, "method: expected one of pytorch, .*, got 'hm'"),
        (lambda: ColorMatching("mkl", "hsv"), ValueError, "color_space: expected one of rgb, .*, got 'hsv'"),
        (lambda: ColorMatching("sliced", rotations=1), ValueError, "rotations: expected 2 or more, got 1"),
        (lambda: ColorMatching()(torch.rand(1, 1, 4, 4), torch.rand(1, 3, 4, 4)), ValueError, r"image: expected shape \[B, 3"),
        (lambda: ColorMatching()([1], torch.rand(1, 3, 4, 4)), TypeError, "image: expected a torch.Tensor, got list"),
        (
            lambda: ColorMatching()(torch.rand(3, 3, 4, 4), torch.rand(2, 3, 4, 4)),
            ValueError,
            r"reference: expected shape \[1 or 3, 3, H, W\] to go with an image of \[3, 3, 4, 4\], got \[2, 3, 4, 4\]",
        ),
        (lambda: ColorMatching("mkl", bins=-5), ValueError, "bins: expected 2 to 65536, got -5"),
        (lambda: ColorMatching(bins=2.0), TypeError, "bins: expected an int, got float"),
        (
            lambda: ColorMatching("mkl")(torch.rand(2, 3, 4, 5), torch.rand(1, 3, 4, 4), torch.ones(3, 4, 5)),
            ValueError,
            r"image_weights: expected shape \[1, 4, 5\] or \[2, 4, 5\], got \[3, 4, 5\]",
        ),
        (
            lambda: ColorMatching("mkl")(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), None, torch.zeros(1, 4, 4)),
            ValueError,
            "reference: expected pixels that count in every channel, got a channel with none",
        ),
    ],
)
def test_a_bad_argument_is_named(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("method", ["pytorch", "mkl", "sliced"])
@pytest.mark.parametrize("gradient", [False, True])
def test_a_module_refuses_a_reference_without_finite_values(method: str, gradient: bool) -> None:
    image, reference = torch.rand(1, 3, 4, 4, requires_grad=gradient), torch.rand(1, 3, 4, 4)
    reference[:, 1] = float("nan")
    with pytest.raises(ValueError, match="reference: expected pixels that count in every channel"):
        ColorMatching(method, rotations=4)(image, reference)


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.differentiable])
def test_a_module_without_gradient_says_so(method: str) -> None:
    image, reference = torch.rand(1, 3, 8, 8, requires_grad=True), torch.rand(1, 3, 8, 8)
    with pytest.warns(RuntimeWarning, match=f"method: {method} has no gradient, so the result has none"):
        assert not ColorMatching(method)(image, reference).requires_grad


@pytest.mark.parametrize("frames", [1, 3])
def test_weights_may_have_the_shape_that_histogram_matching_takes(frames: int) -> None:
    image, reference = torch.rand(3, 3, 8, 8), torch.rand(1, 3, 9, 9)
    weights, matching = torch.rand(frames, 8, 8), ColorMatching("mkl")
    assert torch.equal(matching(image, reference, weights), matching(image, reference, weights[:, None]))


@pytest.mark.parametrize(
    "make",
    [
        lambda picture: HistogramMatching()(picture[None], picture[None]),
        lambda picture: histogram_loss(picture[None], picture[None]),
        lambda picture: sliced_histogram_loss(picture[None], picture[None]),
        lambda picture: pooled_histogram([picture]),
        ParametricHistogramMatching.from_reference,
        lambda picture: HistogramMatchingTransform([picture]),
        lambda picture: HistogramMatchingTransform([torch.rand(1, 4, 4)])(picture),
    ],
)
def test_channels_last_is_not_taken_for_many_channels(make: Callable[[Tensor], object]) -> None:
    with pytest.raises(ValueError, match=r"expected shape \[..., C, H, W\] with C of 1 to 4, got \[.*64, 64, 3\]"):
        make(torch.rand(64, 64, 3))
