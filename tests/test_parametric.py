"""Matching to a target that is learned: what it computes, what it learns, and what comes out for ComfyUI."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from comfyui_histogram_match import (
    HistogramMatching,
    ParametricHistogramMatching,
    ReferenceHistogram,
    Uniform,
    histogram,
    match_images,
    specify_images,
)
from compiling import BACKENDS, compiles, in_one_graph
from photos import COLOR_PHOTOS, GRAY_PHOTOS, continuous_photo, photo
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import interpolate

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def channels_first(image: Tensor) -> Tensor:
    return image.movedim(-1, 1)


def small(name: str, side: int = 64) -> Tensor:
    """A photo as [1, 3, side, side] of 8-bit values."""
    return interpolate(channels_first(photo(name)), size=(side, side), mode="area").mul(255).round().div(255)


def random_module(channels: int = 3, knots: int = 9, bins: int = 16) -> ParametricHistogramMatching:
    """A target that is neither uniform nor even, in float64."""
    module = ParametricHistogramMatching(channels, knots, bins).double()
    with torch.no_grad():
        module.roots.copy_(torch.rand(channels, knots + 1, generator=torch.Generator().manual_seed(3)) + 0.2)
    return module


class TestComputes:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(3, 4, 5), (1, 3, 7, 2), (2, 2, 3, 4, 1)])
    def test_smoke_and_cardinality(self, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        matched = ParametricHistogramMatching()(torch.rand(shape).to(dtype))
        assert (matched.shape, matched.dtype) == (shape, dtype)
        assert matched.min() >= 0
        assert matched.max() <= 1

    @pytest.mark.parametrize("name", COLOR_PHOTOS + GRAY_PHOTOS)
    def test_uniform_is_the_equalization_of_the_node(self, name: str) -> None:
        image = photo(name)
        module = ParametricHistogramMatching(image.shape[-1])
        expected = channels_first(specify_images(image, Uniform()))
        torch.testing.assert_close(module(channels_first(image)).detach(), expected, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("name", ["astronaut", "coffee"])
    def test_uniform_is_the_equalization_of_16_bit_photos_with_as_many_bins(self, name: str) -> None:
        image = (continuous_photo(name) * 65535).round() / 65535
        expected = channels_first(specify_images(image, Uniform()))
        matched = ParametricHistogramMatching(bins=65536)(channels_first(image)).detach()
        torch.testing.assert_close(matched, expected, rtol=0, atol=1e-5)

    def test_from_a_reference_is_matching_to_it(self) -> None:
        image, reference = channels_first(photo("astronaut")), channels_first(photo("coffee"))
        module = ParametricHistogramMatching.from_reference(reference, knots=4096)
        expected = HistogramMatching()(image, reference)
        assert (module(image) - expected).abs().mean() <= 0.5 / 255
        with_fewer = ParametricHistogramMatching.from_reference(reference)
        assert (with_fewer(image) - expected).abs().mean() <= 1 / 255

    def test_several_references_are_one(self) -> None:
        pair = torch.cat([small("astronaut"), small("coffee")])
        counts = histogram(pair, 65536).sum(0)
        pooled = ParametricHistogramMatching.from_reference(pair)
        assert torch.equal(pooled.quantiles, ParametricHistogramMatching.from_histogram(counts).quantiles)
        kept = ReferenceHistogram.of(pair.movedim(1, -1))
        assert torch.equal(pooled.quantiles, ParametricHistogramMatching.from_histogram(kept).quantiles)

    def test_from_a_dataset_an_image_like_the_mean_stays(self) -> None:
        # The mean of a ramp from 0 to 0.5 and one from 0.5 to 1 is one from 0.25 to 0.75.
        ramp = torch.linspace(0, 0.5, 1 << 14).reshape(1, 128, 128)
        module = ParametricHistogramMatching.from_dataset([ramp, ramp + 0.5])
        torch.testing.assert_close(module(ramp + 0.25).detach(), ramp + 0.25, rtol=0, atol=1 / 255)
        batch = torch.stack([ramp, ramp + 0.5])
        assert torch.equal(ParametricHistogramMatching.from_dataset(iter([batch])).quantiles, module.quantiles)

    def test_quantiles_go_in_and_come_out(self) -> None:
        wanted = torch.rand(3, 40, dtype=torch.float64).sort(dim=1).values
        module = ParametricHistogramMatching.from_quantiles(wanted)
        torch.testing.assert_close(module.quantiles.detach(), wanted, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("scale", [0.0, 1e-12, 1.0, 1e12])
    def test_quantiles_rise_and_stay_in_range_whatever_the_parameters(self, scale: float) -> None:
        module = ParametricHistogramMatching(channels=200, knots=50)
        with torch.no_grad():
            module.roots.copy_(torch.randn(module.roots.shape) * scale)
        assert bool((module.quantiles.diff() >= 0).all())
        assert module.quantiles.min() >= 0
        assert module.quantiles.max() <= 1

    def test_weights_count_as_so_many_pixels(self) -> None:
        module, image = random_module(), torch.rand(1, 3, 6, 8, dtype=torch.float64)
        weights = torch.zeros(1, 1, 6, 8, dtype=torch.float64)
        weights[..., :4] = 1
        expected = module(image[..., :4])
        torch.testing.assert_close(module(image, weights)[..., :4], expected, rtol=0, atol=1e-12)

    def test_values_out_of_range(self) -> None:
        image = torch.tensor([-1.0, 2.0, float("nan"), float("inf"), 0.4, 0.2]).expand(1, 3, 1, -1)
        matched = ParametricHistogramMatching()(image)[0, 0, 0].tolist()
        assert matched == pytest.approx([0.25, 1.0, 0.0, 1.0, 0.75, 0.5], abs=1e-6)

    def test_each_image_by_itself(self) -> None:
        batch, module = torch.rand(3, 3, 8, 9, dtype=torch.float64), random_module()
        assert torch.equal(module(batch), torch.cat([module(image[None]) for image in batch]))


class TestTransforms:
    def test_gradcheck(self) -> None:
        module = random_module()
        image = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
        weights = torch.rand(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)

        def function(image: Tensor, roots: Tensor, weights: Tensor) -> Tensor:
            result: Tensor = torch.func.functional_call(module, {"roots": roots}, (image, weights))
            return result

        assert gradcheck(function, (image, module.roots, weights))

    def test_gradcheck_where_training_starts(self) -> None:
        module = ParametricHistogramMatching(knots=8, bins=8).double()
        image = torch.rand(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
        assert gradcheck(lambda roots: torch.func.functional_call(module, {"roots": roots}, (image,)), (module.roots,))

    def test_vmap_over_images_and_over_modules(self) -> None:
        module, images = random_module(), torch.rand(4, 3, 5, 6, dtype=torch.float64)
        torch.testing.assert_close(torch.func.vmap(module)(images), module(images), rtol=0, atol=1e-12)
        modules = [copy.deepcopy(module), ParametricHistogramMatching(3, 9, 16).double()]
        stacked, _ = torch.func.stack_module_state(modules)

        def call(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
            result: Tensor = torch.func.functional_call(module, parameters, (image,))
            return result

        both = torch.func.vmap(call, in_dims=(0, None))(stacked, images)
        torch.testing.assert_close(both, torch.stack([each(images) for each in modules]), rtol=0, atol=1e-12)

    def test_gradients_for_each_image(self) -> None:
        module, images = random_module(), torch.rand(4, 3, 5, 6, dtype=torch.float64)

        def loss(roots: Tensor, image: Tensor) -> Tensor:
            result: Tensor = torch.func.functional_call(module, {"roots": roots}, (image,))
            return result.square().sum()

        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(module.roots.detach(), images)
        (total,) = torch.autograd.grad(module(images).square().sum(), module.roots)
        torch.testing.assert_close(each.sum(0), total, rtol=0, atol=1e-12)

    @compiles
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_compiled_in_one_graph(self, backend: str) -> None:
        image = small("astronaut").requires_grad_()
        module = ParametricHistogramMatching.from_reference(small("coffee"))
        wanted, result = module(image), in_one_graph(module, backend=backend)(image)
        torch.testing.assert_close(result, wanted, rtol=0, atol=1e-6)
        expected, gradients = (
            torch.autograd.grad(matched.square().mean(), (image, module.roots)) for matched in (wanted, result)
        )
        for one, other in zip(gradients, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)

    def test_autocast_changes_nothing(self) -> None:
        image, module = small("astronaut"), ParametricHistogramMatching.from_reference(small("coffee"))
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(module(image), module(image.clone()))
            inside = module(image)
        assert torch.equal(inside, module(image))

    def test_without_gradients_the_same(self) -> None:
        image, module = small("astronaut").requires_grad_(), ParametricHistogramMatching()
        with torch.no_grad():
            assert torch.equal(module(image), module(image.detach()))
            without = module(image)
        assert torch.equal(without, module(image))

    def test_on_meta_tensors(self) -> None:
        assert ParametricHistogramMatching().to("meta")(torch.rand(2, 3, 4, 5, device="meta")).shape == (2, 3, 4, 5)


class TestLearns:
    @pytest.mark.parametrize(
        "hidden",
        [
            lambda: ParametricHistogramMatching.from_reference(small("coffee", 256)).quantiles,
            lambda: (0.1 + 0.7 * torch.linspace(0, 1, 256) ** 2.2).expand(3, -1),
            lambda: torch.cat([torch.linspace(0.05, 0.2, 128), torch.linspace(0.8, 0.9, 128)]).expand(3, -1),
        ],
        ids=["a photo's", "a power law", "two modes"],
    )
    def test_recovers_a_hidden_target(self, hidden: Callable[[], Tensor]) -> None:
        quantiles = hidden().detach()
        images = torch.cat([small(name) for name in ("astronaut", "chelsea", "rocket", "retina")])
        wanted = ParametricHistogramMatching.from_quantiles(quantiles)(images).detach()
        module = ParametricHistogramMatching()
        optimizer = torch.optim.Adam(module.parameters(), lr=0.2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 700)
        for _ in range(700):
            optimizer.zero_grad()
            (module(images) - wanted).square().mean().backward()
            optimizer.step()
            schedule.step()
        assert (module.quantiles - quantiles).abs().mean() * 255 <= 0.5

    def test_state_dict(self) -> None:
        module = ParametricHistogramMatching.from_reference(small("coffee"))
        assert list(module.state_dict()) == ["roots"]
        other = ParametricHistogramMatching()
        other.load_state_dict(module.state_dict())
        image = small("astronaut")
        assert torch.equal(other(image), module(image))


class TestExports:
    @pytest.mark.parametrize("start", ["coffee", "uniform", "rocket"])
    def test_a_reference_that_matches_like_the_module(self, start: str, tmp_path: Path) -> None:
        module = ParametricHistogramMatching()
        if start != "uniform":
            module = ParametricHistogramMatching.from_reference(channels_first(photo(start)))
        image = photo("astronaut")
        module.export().save(tmp_path / "learned.npz")
        matched = match_images(image, ReferenceHistogram.load(tmp_path / "learned.npz"))
        torch.testing.assert_close(channels_first(matched), module(channels_first(image)).detach(), rtol=0, atol=1e-4)

    def test_a_gray_target_serves_every_channel(self) -> None:
        module = ParametricHistogramMatching.from_reference(channels_first(photo("camera")))
        counts = module.export().counts
        assert torch.equal(counts[0], counts[1])
        assert torch.equal(counts[0], counts[2])

    def test_colors_have_the_channels_distributions(self) -> None:
        module = ParametricHistogramMatching.from_reference(channels_first(photo("coffee")))
        exported = module.export()
        mean = exported.sample.colors.mean(1)
        level = torch.linspace(0, 1, 65536, dtype=torch.float64)
        torch.testing.assert_close(mean.double(), exported.counts @ level / exported.counts.sum(1), rtol=0, atol=1e-4)
        assert module.export().sample.weights.sum() == pytest.approx(float(exported.counts[0].sum()))

    def test_joint_methods_take_it(self) -> None:
        exported = ParametricHistogramMatching.from_reference(channels_first(photo("coffee"))).export()
        assert match_images(small("astronaut").movedim(1, -1), exported, "mkl").isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"channels": 0}, ValueError, "channels: expected 1 or more, got 0"),
        ({"channels": 1.5}, TypeError, "channels: expected an int, got float"),
        ({"knots": 1}, ValueError, "knots: expected 2 or more, got 1"),
        ({"bins": 1}, ValueError, "bins: expected 2 to 65536, got 1"),
        ({"bins": True}, TypeError, "bins: expected an int, got bool"),
    ],
)
def test_bad_settings(arguments: dict[str, int], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ParametricHistogramMatching(**arguments)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.zeros(3, 4, 4, dtype=torch.uint8), TypeError, "image: expected a floating-point tensor, got torch.uint8"),
        (torch.zeros(4, 4), ValueError, r"image: expected shape \[..., C, H, W\]"),
        (torch.zeros(1, 4, 4), ValueError, r"image: expected shape \[..., 3, H, W\], got \[1, 4, 4\]"),
        (torch.zeros(3, 0, 4), ValueError, "no side of 0"),
    ],
)
def test_bad_images(image: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ParametricHistogramMatching()(image)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.from_quantiles([[0.0, 1.0]]), TypeError, "quantiles: expected a torch.Tensor, got list"),
        (lambda m: m.from_quantiles(torch.zeros(3)), ValueError, r"quantiles: expected shape .*, got \[3\]"),
        (lambda m: m.from_quantiles(torch.tensor([[0.5, 0.2]])), ValueError, "quantiles: expected values from 0 to 1"),
        (lambda m: m.from_quantiles(torch.tensor([[0.5, 1.2]])), ValueError, "quantiles: expected values from 0 to 1"),
        (lambda m: m.from_quantiles(torch.tensor([[0.5, float("nan")]])), ValueError, "quantiles: expected values"),
        (lambda m: m.from_histogram("x"), TypeError, "histogram: expected a tensor of counts or a ReferenceHistogram, got str"),
        (lambda m: m.from_histogram(torch.ones(4)), ValueError, r"histogram: expected shape .*, got \[4\]"),
        (lambda m: m.from_histogram(torch.tensor([[0, 0], [1, 1]])), ValueError, "histogram: expected finite counts"),
        (lambda m: m.from_histogram(torch.ones(3, 4), knots=1), ValueError, "knots: expected 2 or more"),
        (lambda m: m.from_reference(torch.zeros(2, 2, 3, 4, 4)), ValueError, "reference: expected shape"),
        (lambda m: m.from_reference(torch.full((1, 2, 2), float("nan"))), ValueError, "reference: expected finite values"),
        (lambda m: m.from_dataset([]), ValueError, "images: expected at least one, got none"),
        (lambda m: m.from_dataset([torch.ones(3, 2, 2), torch.ones(1, 2, 2)]), ValueError, "images: expected 3 channels"),
        (lambda m: m.from_dataset([torch.full((1, 2, 2), float("nan"))]), ValueError, "got none in a channel of image 0"),
        (lambda m: m(2).export(), ValueError, "channels: expected 1 or 3 for a reference, got 2"),
    ],
)
def test_bad_starts(call: Callable[[object], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(ParametricHistogramMatching)


def test_negative_weights() -> None:
    with pytest.raises(ValueError, match="weights: expected finite numbers from 0 up"):
        ParametricHistogramMatching()(torch.rand(3, 4, 4), torch.full((4, 4), -1.0))


def test_names_its_settings() -> None:
    assert ParametricHistogramMatching(1, 8, 32).extra_repr() == "channels=1, knots=8, bins=32"
