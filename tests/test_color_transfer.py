"""Joint color transfer: the linear maps against their closed forms, the iterative one by what it leaves."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch
from comfyui_histogram_match import ColorMatching, match_images
from comfyui_histogram_match.kernels.affine import apply_affine
from comfyui_histogram_match.methods.color_space import RUDERMAN_OPPONENTS, ColorSpace
from comfyui_histogram_match.methods.linear import color_moments, mean_and_covariance, mean_and_deviation, monge_kantorovich
from comfyui_histogram_match.methods.samples import ColorSample
from comfyui_histogram_match.methods.sliced import RotatedStep, Rotations, spread_rotations
from comfyui_histogram_match.methods.transform import Picture
from measures import gradient_correlation, joint_distance
from photos import COLOR_PAIRS, continuous_photo
from photos import photo as whole_photo
from quality import PAIRS, photo
from scipy.linalg import sqrtm
from torch import Tensor


def planes(name: str) -> Tensor:
    return whole_photo(name)[0].movedim(-1, 0)


def figures(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance by torch's own means, float64."""
    rows = pixels.flatten(1).double()
    return rows.mean(1), torch.cov(rows, correction=0)


class TestMoments:
    @pytest.mark.parametrize("interleaved", [False, True])
    def test_they_are_mean_and_covariance(self, interleaved: bool) -> None:
        pixels = planes("chelsea") if interleaved else planes("chelsea").contiguous()
        for found, expected in zip(mean_and_covariance(color_moments(pixels)), figures(pixels), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)

    def test_they_add(self) -> None:
        pixels = planes("chelsea")
        parts = color_moments(pixels[:, :100]) + color_moments(pixels[:, 100:])
        torch.testing.assert_close(parts, color_moments(pixels), rtol=1e-6, atol=0)

    def test_weights_are_numbers_of_pixels(self) -> None:
        pixels, weights = planes("chelsea")[:, :50], torch.randint(0, 4, (50, 451))
        repeated = pixels.flatten(1).repeat_interleave(weights.flatten(), dim=1)[:, None]
        torch.testing.assert_close(color_moments(pixels, weights.float()), color_moments(repeated), rtol=1e-6, atol=0)

    def test_gradcheck(self) -> None:
        pixels = torch.rand(3, 4, 5, dtype=torch.float64, requires_grad=True)
        weights = torch.rand(4, 5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(color_moments, (pixels, weights))


class TestLinearMaps:
    @pytest.mark.parametrize("method", ["mkl", "mvgd"])
    @pytest.mark.parametrize(("source", "target"), COLOR_PAIRS[::4])
    def test_the_result_has_the_reference_s_mean_and_covariance(self, method: str, source: str, target: str) -> None:
        matched = ColorMatching(method)(planes(source)[None], planes(target)[None])[0]
        for found, expected in zip(figures(matched), figures(planes(target)), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)

    @pytest.mark.parametrize(("source", "target"), COLOR_PAIRS[::9])
    def test_mkl_is_the_formula_of_the_paper(self, source: str, target: str) -> None:
        (source_mean, a), (target_mean, b) = figures(planes(source)), figures(planes(target))
        root = sqrtm(a.numpy())
        inverse = np.linalg.inv(root)
        matrix = inverse @ sqrtm(root @ b.numpy() @ root) @ inverse
        affine = monge_kantorovich(color_moments(planes(source)), color_moments(planes(target)), (1, 1, 1))
        np.testing.assert_allclose(affine[:, :3].numpy(), matrix.real, atol=1e-4)
        np.testing.assert_allclose(affine[:, 3].numpy(), target_mean.numpy() - matrix.real @ source_mean.numpy(), atol=1e-4)

    def test_other_units_change_the_way_but_not_the_moments(self) -> None:
        source, target = color_moments(planes("chelsea")), color_moments(planes("coffee"))
        maps = [monge_kantorovich(source, target, span) for span in ((1, 1, 1), (1, 3, 2))]
        assert float((maps[0] - maps[1]).abs().max()) > 0.01
        for affine in maps:
            matched = apply_affine(planes("chelsea"), affine)
            torch.testing.assert_close(figures(matched)[1], figures(planes("coffee"))[1], rtol=0, atol=1e-5)

    @pytest.mark.parametrize("space", ["rgb", "lab"])
    def test_reinhard_gives_mean_and_deviation(self, space: str) -> None:
        def convert(rgb: Tensor) -> tuple[Tensor, Tensor | None]:
            channels, kept = ColorSpace("log_cones" if space == "rgb" else space).split(rgb)
            return (torch.tensordot(RUDERMAN_OPPONENTS.float(), channels, dims=1) if space == "rgb" else channels), kept

        source, target = (convert(planes(name))[0] for name in ("chelsea", "coffee"))
        matched = apply_affine(source, mean_and_deviation(color_moments(source), color_moments(target)))
        for found, expected in zip(figures(matched), figures(target), strict=True):
            torch.testing.assert_close(
                found.diagonal() if found.ndim == 2 else found,
                expected.diagonal() if found.ndim == 2 else expected,
                rtol=1e-4,
                atol=1e-4,
            )
        result = match_images(whole_photo("chelsea"), whole_photo("coffee"), "reinhard", color_space=space)[0].movedim(-1, 0)
        inside = ((result > 0) & (result < 1)).all(dim=0)
        torch.testing.assert_close(convert(result)[0][:, inside], matched[:, inside], rtol=0, atol=2e-4)

    @pytest.mark.parametrize("method", ["reinhard", "mkl", "hm-mkl-hm"])
    def test_a_picture_matched_to_itself_stays(self, method: str) -> None:
        image = continuous_photo("coffee")
        torch.testing.assert_close(match_images(image, image, method), image, rtol=0, atol=1e-4)

    def test_equal_eigenvalues_have_a_gradient(self) -> None:
        source = torch.diag(torch.tensor([1.0, 0.1, 0.1, 0.1], dtype=torch.float64)).requires_grad_()
        target = torch.diag(torch.tensor([1.0, 0.2, 0.3, 0.3], dtype=torch.float64)).requires_grad_()
        monge_kantorovich(source, target, (1, 1, 1)).square().sum().backward()
        for moments in (source, target):
            assert moments.grad is not None
            assert bool(moments.grad.isfinite().all())


class TestApplyAffine:
    @pytest.mark.parametrize("shape", [(3, 1, 1), (3, 7, 9), (3, 64, 33), (1, 20, 30)])
    @pytest.mark.parametrize("layout", ["planar", "interleaved", "sliced"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_it_is_a_product_of_matrices(self, shape: tuple[int, ...], layout: str, dtype: torch.dtype) -> None:
        channels, height, width = shape
        pixels = {
            "planar": torch.rand(shape, dtype=dtype),
            "interleaved": torch.rand(height, width, channels, dtype=dtype).movedim(-1, 0),
            "sliced": torch.rand(height, width, channels + 1, dtype=dtype).movedim(-1, 0)[:channels],
        }[layout]
        affine = torch.rand(channels, channels + 1, dtype=torch.float64)
        expected = (affine[:, :-1] @ pixels.double().flatten(1) + affine[:, -1:]).view(shape).to(dtype)
        torch.testing.assert_close(apply_affine(pixels, affine), expected)
        for out in (torch.empty_like(pixels), torch.empty(height, width, channels, dtype=dtype).movedim(-1, 0)):
            assert apply_affine(pixels, affine, out=out) is out
            torch.testing.assert_close(out, expected)


class TestSample:
    def test_a_small_picture_is_its_own_sample(self) -> None:
        pixels, weights = torch.rand(3, 20, 30), torch.rand(20, 30)
        sample = ColorSample.of(pixels, weights)
        assert torch.equal(sample.colors, pixels.flatten(1))
        assert torch.equal(sample.weights, weights.flatten())

    @pytest.mark.parametrize("shape", [(1024, 1024), (3000, 2000), (1, 10**6), (10**6, 1)])
    def test_a_large_picture_has_a_sample_of_limited_size(self, shape: tuple[int, int]) -> None:
        sample = ColorSample.of(torch.rand(1, 1, 1).expand(3, *shape))
        assert 2**15 <= sample.weights.numel() <= 2**17
        assert float(sample.weights.sum()) == pytest.approx(shape[0] * shape[1], rel=1e-4)

    def test_samples_add_up_to_a_sample(self) -> None:
        total = ColorSample.of(torch.zeros(3, 300, 300))
        for _ in range(5):
            total = total + ColorSample.of(torch.ones(3, 300, 300))
        assert total.weights.numel() <= 2**17
        assert float(total.weights.sum()) == pytest.approx(6 * 300 * 300, rel=1e-4)
        assert float((total.weights * total.colors[0]).sum() / total.weights.sum()) == pytest.approx(5 / 6, abs=0.02)

    def test_each_of_many_pictures_keeps_its_share(self) -> None:
        total = ColorSample.of(torch.full((3, 300, 342), 0.0))
        for number in range(1, 50):
            total = total + ColorSample.of(torch.full((3, 300, 342), number / 49))
        shares = torch.histc(total.colors[0] * 49, 50, -0.5, 49.5) / total.weights.numel()
        assert float(total.weights.max() / total.weights.min()) == pytest.approx(1)
        torch.testing.assert_close(shares, torch.full((50,), 0.02), rtol=0.05, atol=0)

    @pytest.mark.parametrize("shape", [(2160, 3840), (600, 800)])
    def test_a_small_mask_does_not_fall_between(self, shape: tuple[int, int]) -> None:
        mask = torch.zeros(shape)
        mask[101:106, 203:208] = 0.5
        sample = ColorSample.of(torch.rand(1, 1, 1).expand(3, *shape), mask)
        assert sample.weights.tolist() == [0.5] * 25

    def test_what_counts_nothing_adds_nothing(self) -> None:
        nothing = ColorSample.of(torch.rand(3, 400, 400), torch.zeros(400, 400))
        something = ColorSample.of(torch.ones(3, 400, 400))
        for total in (nothing + nothing + something, something + nothing + nothing, nothing + something + nothing):
            assert float(total.weights.sum()) == pytest.approx(400 * 400, rel=1e-4)
            assert float((total.weights * total.colors[0]).sum() / total.weights.sum()) == pytest.approx(1)


class TestSliced:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_rotations_are_orthogonal_and_the_same_each_time(self, channels: int) -> None:
        rotations = spread_rotations(30, channels)
        unit = torch.eye(channels, dtype=torch.float64).expand(30, -1, -1)
        torch.testing.assert_close(rotations @ rotations.transpose(1, 2), unit)
        assert torch.equal(rotations[0], unit[0])
        assert torch.equal(rotations, spread_rotations(30, channels))
        assert torch.equal(rotations[:8], spread_rotations(8, channels))

    def test_the_fast_evaluation_is_the_differentiable_one(self) -> None:
        source, target = (photo(name, 256)[0].movedim(-1, 0) for name in ("chelsea", "coffee"))
        step = RotatedStep(Rotations.of(spread_rotations(6, 3), (1, 1, 1), dithered=True))
        prepared = step.prepare(step.measure(Picture(target)))
        with torch.no_grad():
            part = step.solve(step.measure(Picture(source)), prepared)
            fast = part.apply(source, Picture(source), torch.empty_like(source))
        followed = source.clone().requires_grad_()
        slow = step.solve(step.measure(Picture(followed)), prepared).apply(followed, Picture(followed), None)
        assert slow.requires_grad
        # A bin of the fast one is a fifth of a level wide, and the functions are steep in places.
        assert float((fast - slow).detach().abs().mean()) <= 0.5 / 255

    def test_two_runs_are_the_same(self) -> None:
        image, reference = photo("chelsea", 256), photo("coffee", 256)
        assert torch.equal(match_images(image, reference, "sliced"), match_images(image, reference, "sliced"))

    def test_a_picture_matched_to_itself_stays(self) -> None:
        image = photo("coffee", 256)
        assert float((match_images(image, image, "sliced") - image).abs().mean()) <= 0.5 / 255

    def test_it_reaches_the_joint_distribution_and_keeps_the_texture(self) -> None:
        before, after, kept, kept_by_channels = [], [], [], []
        module = ColorMatching("sliced", bins=8192, regrain=False)
        for source, target in PAIRS:
            image, reference = photo(source, 256), photo(target, 256)
            grainy = module(image.movedim(-1, 1), reference.movedim(-1, 1)).movedim(1, -1).clamp(0, 1)
            matched = match_images(image, reference, "sliced")
            before.append(255 * joint_distance(grainy, reference))
            after.append(255 * joint_distance(matched, reference))
            kept.append(gradient_correlation(matched, image))
            kept_by_channels.append(gradient_correlation(match_images(image, reference, "hm-mkl-hm"), image))
        assert statistics.mean(before) <= 0.6
        assert statistics.mean(after) <= 2.0
        assert statistics.mean(kept) >= max(0.85, statistics.mean(kept_by_channels))

    def test_more_rotations_come_nearer(self) -> None:
        image, reference = photo("astronaut", 256), photo("coffee", 256)
        distances = [
            joint_distance(match_images(image, reference, "sliced", rotations=count), reference) for count in (3, 12, 60)
        ]
        assert distances[0] > 1.5 * distances[1] > 1.5 * distances[2]


# What color-matcher's methods leave of the joint distance of these pairs, by benchmarks/quality.py.
@pytest.mark.parametrize(("method", "theirs"), [("pytorch", 5.75), ("reinhard", 24.81), ("mkl", 16.28), ("hm-mkl-hm", 4.22)])
def test_joint_distances_are_not_above_those_of_color_matcher(method: str, theirs: float) -> None:
    distances = [
        255 * joint_distance(match_images(photo(source, 256), photo(target, 256), method), photo(target, 256))
        for source, target in PAIRS
    ]
    assert statistics.mean(distances) <= 1.02 * theirs


@pytest.mark.parametrize(("method", "same"), [("mvgd", "mkl"), ("hm-mvgd-hm", "hm-mkl-hm")])
def test_two_names_of_color_match_are_one_method(method: str, same: str) -> None:
    image, reference = photo("chelsea", 256), photo("coffee", 256)
    assert torch.equal(match_images(image, reference, method), match_images(image, reference, same))
