"""Aligned fits: a known change of tone is found among noise and other content, and where nothing tells, nothing changes."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from aligned import curve, error, fitted, matrix, pair, photo, region
from comfyui_histogram_match import COLOR_SPACES, METHODS, ColorMatching, ReferenceHistogram, match_images
from comfyui_histogram_match.methods.aligned import AlignedCurve, AlignedLinear
from comfyui_histogram_match.methods.samples import SAMPLE
from comfyui_histogram_match.methods.transform import Picture
from photos import at_size_of, counterpart
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")
ALIGNED = [name for name, method in METHODS.items() if method.aligned]
TRUTHS: dict[str, Callable[[Tensor], Tensor]] = {"aligned-curve": curve, "aligned-linear": matrix}
SPAN = (1.0, 1.0, 1.0)


def planes(image: Tensor) -> Tensor:
    return image[0].movedim(-1, 0)


def batch(pixels: Tensor) -> Tensor:
    return pixels.movedim(1, -1)


def replaced(method: str, name: str, other: str, shape: str, *, in_image: bool, share: float = 0.4) -> tuple[Tensor, Tensor]:
    return pair(photo(name), photo(other), TRUTHS[method], region(shape, share), in_image=in_image)


def test_they_come_last_in_the_table() -> None:
    assert list(METHODS)[-2:] == ALIGNED == ["aligned-curve", "aligned-linear"]


class TestKnownChanges:
    @pytest.mark.parametrize("method", ALIGNED)
    @pytest.mark.parametrize("in_image", [True, False], ids=["image", "reference"])
    @pytest.mark.parametrize("shape", ["left", "top", "corner", "middle", "scattered"])
    def test_found_with_two_fifths_replaced(self, method: str, shape: str, in_image: bool) -> None:
        errors = []
        for name, other in permutations(PHOTOS, 2):
            found = fitted(*replaced(method, name, other, shape, in_image=in_image), method)
            errors.append(error(found, photo(name), TRUTHS[method]))
        assert max(errors) <= 0.8
        assert statistics.median(errors) <= 0.3

    def test_distributions_are_far_from_them(self) -> None:
        errors = []
        for name, other in permutations(PHOTOS, 2):
            found = fitted(*replaced("aligned-curve", name, other, "left", in_image=False), "pytorch")
            errors.append(error(found, photo(name), curve))
        assert statistics.median(errors) >= 10

    @pytest.mark.parametrize("method", ALIGNED)
    @pytest.mark.parametrize("share", [0.0, 0.4])
    @pytest.mark.parametrize("trouble", ["half a pixel", "blur", "grain", "8 bits", "half", "double"])
    def test_found_in_spite_of(self, method: str, share: float, trouble: str) -> None:
        change: dict[str, Callable[[Tensor], Tensor]] = {
            "half a pixel": lambda pixels: avg_pool2d(torch.nn.functional.pad(pixels, (1, 0, 1, 0), mode="replicate"), 2, 1),
            "blur": lambda pixels: avg_pool2d(pixels, 3, 1, padding=1, count_include_pad=False),
            "grain": lambda pixels: (pixels + torch.randn(pixels.shape) * 6 / 255).clamp(0, 1),
            "8 bits": lambda pixels: (pixels * 255).round() / 255,
            "half": lambda pixels: interpolate(pixels, scale_factor=0.5, mode="bilinear", antialias=True),
            "double": lambda pixels: interpolate(pixels, scale_factor=2, mode="bilinear"),
        }
        for name, other in (("astronaut", "chelsea"), ("coffee", "rocket"), ("chelsea", "coffee")):
            image, reference = replaced(method, name, other, "left", in_image=True, share=share)
            found = fitted(image, batch(change[trouble](reference.movedim(-1, 1))), method)
            assert error(found, photo(name), TRUTHS[method]) <= 1

    @pytest.mark.parametrize("method", ALIGNED)
    @pytest.mark.parametrize("color_space", COLOR_SPACES)
    def test_the_picture_itself_stays_in_every_space(self, method: str, color_space: str) -> None:
        for name in PHOTOS:
            image = photo(name)
            assert float((match_images(image, image, method, color_space=color_space) - image).abs().mean()) <= 0.1 / 255

    @pytest.mark.parametrize("color_space", ["lab", "oklab", "ycbcr"])
    def test_linear_in_another_space(self, color_space: str) -> None:
        image = photo("coffee")
        reference = pair(image, photo("chelsea"), matrix, region("corner", 0.4), in_image=False)[1]
        matched = match_images(image, reference, "aligned-linear", color_space=color_space)
        assert float((matched - matrix(image)).abs().mean()) <= 2.5 / 255


class TestWhereNothingTells:
    @pytest.mark.parametrize("step", [AlignedCurve(SPAN), AlignedLinear(SPAN)])
    def test_the_identity_where_nothing_counts(self, step: AlignedCurve | AlignedLinear) -> None:
        picture = Picture(planes(photo("coffee")), torch.zeros(300, 448))
        other = Picture(planes(photo("chelsea")))
        values = step.solve(step.measure_pair(picture, other), other).values
        expected = torch.linspace(0, 1, 256).expand(3, -1) if values.shape[1] == 256 else torch.eye(3, 4)
        torch.testing.assert_close(values, expected.double(), rtol=0, atol=1e-6)

    def test_a_curve_fades_to_the_identity_and_goes_up(self) -> None:
        image = photo("coffee") * 0.1 + 0.2
        table = fitted(image, image + 0.1, "aligned-curve").parts[0].values  # type: ignore[attr-defined]
        change = table - torch.linspace(0, 1, 256)
        assert bool((table.diff() >= 0).all())
        assert float((change[:, 60:72] - 0.1).abs().max()) <= 0.1 / 255
        assert bool((change[:, 255] < 0.02).all())
        assert bool((change[:, 80:].diff() <= 1e-9).all())

    def test_curves_of_any_content_go_up(self) -> None:
        for name, other in permutations(PHOTOS, 2):
            table = fitted(photo(name), photo(other), "aligned-curve").parts[0].values  # type: ignore[attr-defined]
            assert bool((table.diff() >= 0).all())

    @pytest.mark.parametrize("method", ALIGNED)
    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 1), (3, 3)])
    def test_small_and_flat_pictures(self, method: str, size: tuple[int, int]) -> None:
        color, wanted = torch.tensor([0.2, 0.5, 0.7]), torch.tensor([0.3, 0.4, 0.9])
        matched = match_images(color.expand(1, *size, 3), wanted.expand(1, *size, 3), method)
        assert float((matched - wanted).abs().max()) <= 0.5 / 255


class TestWeights:
    @pytest.mark.parametrize("method", ALIGNED)
    @pytest.mark.parametrize("masked", ["image", "reference"])
    def test_masks_find_what_is_in_the_minority(self, method: str, masked: str) -> None:
        name = "coffee"
        image, reference = replaced(method, name, "astronaut", "left", in_image=False, share=0.8)
        mask = 1 - region("left", 0.8).float().movedim(-1, 0)
        matched = match_images(image, reference, method, **{f"{masked}_mask": mask})
        difference = (matched - TRUTHS[method](image)).abs()[mask > 0]
        assert float(difference.mean()) <= 1 / 255

    def test_gradcheck_of_masks(self) -> None:
        image = torch.rand(1, 5, 6, 3, dtype=torch.float64)
        reference = image * 0.7 + 0.1 + torch.rand(1, 5, 6, 3, dtype=torch.float64) * 0.1
        masks = [(torch.rand(1, 5, 6, dtype=torch.float64) * 0.8 + 0.1).requires_grad_() for _ in range(2)]

        def matched(*given: Tensor) -> Tensor:
            return match_images(image, reference, "aligned-linear", image_mask=given[0], reference_mask=given[1])

        assert torch.autograd.gradcheck(matched, masks)

    @pytest.mark.parametrize("color_space", COLOR_SPACES)
    def test_gradcheck_with_other_content(self, color_space: str) -> None:
        image = torch.rand(1, 3, 12, 12, dtype=torch.float64) * 0.6 + 0.2
        reference = image * 0.7 + 0.1 + torch.rand(1, 3, 12, 12, dtype=torch.float64) * 0.02
        reference[:, :, :4] = torch.rand(1, 3, 4, 12, dtype=torch.float64)
        weights = torch.rand(1, 12, 12, dtype=torch.float64) + 0.1
        given = [tensor.requires_grad_() for tensor in (image, reference, weights)]
        assert torch.autograd.gradcheck(ColorMatching("aligned-linear", color_space), given, fast_mode=True)

    def test_what_is_measured_is_bounded(self) -> None:
        step = AlignedCurve(SPAN)
        picture = Picture(torch.rand(3, 900, 1100))
        measured = step.measure_pair(picture, picture)
        assert measured.colors.shape[0] == 6
        assert measured.colors.shape[1] == measured.weights.numel() <= 1 << 14
        total = measured
        for _ in range(9):
            total = total + measured
        assert total.weights.numel() <= SAMPLE
        assert float(total.weights.sum()) == pytest.approx(10 * float(measured.weights.sum()), rel=1e-4)


class TestFrames:
    @pytest.mark.parametrize("method", ALIGNED)
    def test_frames_add(self, method: str) -> None:
        clean, truth = photo("chelsea")[:, :64, :64], TRUTHS[method]
        frames = clean + torch.randn(8, 64, 64, 3) * 8 / 255
        references = truth(clean) + torch.randn(8, 64, 64, 3) * 8 / 255
        together = match_images(frames, references, method, source_stats="uniform")
        alone = match_images(frames, references, method)
        wanted = truth(frames.clamp(0, 1))
        errors = [float((matched - wanted).abs().mean()) for matched in (together, alone)]
        assert errors[0] < errors[1]
        backwards = match_images(frames.flip(0), references.flip(0), method, source_stats="uniform").flip(0)
        assert float((backwards - together).abs().mean()) <= 0.1 / 255

    @pytest.mark.parametrize("method", ALIGNED)
    def test_one_reference_serves_frames_of_other_places(self, method: str) -> None:
        image = photo("coffee")
        frames = torch.cat([image, photo("chelsea")])
        references = TRUTHS[method](frames)
        matched = match_images(frames, references, method, source_stats="target_frame", target_index=0)
        assert float((matched[0] - references[0]).abs().mean()) <= 1 / 255
        assert torch.equal(matched[0], match_images(image, references[:1], method)[0])


class TestReferences:
    @pytest.mark.parametrize("method", ALIGNED)
    def test_another_scale_is_told(self, method: str) -> None:
        image = photo("coffee")
        small = TRUTHS[method](image)[:, ::2, ::2]
        with pytest.warns(RuntimeWarning, match="reference: resized to the size of 1 frames, to compare pixel by pixel"):
            match_images(image, small, method)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            match_images(image, TRUTHS[method](image), method)

    @pytest.mark.parametrize("method", ALIGNED)
    @pytest.mark.parametrize("size", [(448, 300), (300, 400), (149, 230)])
    def test_other_proportions_are_refused(self, method: str, size: tuple[int, int]) -> None:
        with pytest.raises(
            ValueError, match=f"reference: expected the size of the image, 300x448, or another scale.*got {size[0]}x{size[1]}"
        ):
            match_images(photo("coffee"), torch.rand(1, *size, 3), method)

    @pytest.mark.parametrize("method", ALIGNED)
    def test_histograms_and_pooled_references_are_refused(self, method: str) -> None:
        image = photo("coffee")
        with pytest.raises(ValueError, match="reference: expected a picture, to compare pixel by pixel, got"):
            match_images(image, ReferenceHistogram.of(image), method)
        with pytest.raises(ValueError, match=f"reference_stats: expected paired with {method}, which compares each image"):
            match_images(image, image, method, reference_stats="pooled")

    @pytest.mark.parametrize("method", ALIGNED)
    def test_gray_beside_color(self, method: str) -> None:
        image = photo("coffee")
        gray = match_images(image[..., :1], image * 0.5, method)
        assert gray.shape == image[..., :1].shape
        color = match_images(image, image[..., :1], method)
        assert float((color - image[..., :1]).abs().mean()) < float((image - image[..., :1]).abs().mean())


def test_what_tests_over_all_methods_compare_with() -> None:
    image, reference = torch.rand(2, 6, 8, 3), torch.rand(1, 3, 4, 3)
    assert counterpart("mkl", image, reference) is at_size_of("mkl", image, reference) is reference
    assert counterpart("aligned-curve", image, reference).shape == (1, 6, 8, 3)
    assert torch.equal(at_size_of("aligned-curve", image, reference)[:, ::2, ::2], reference)
