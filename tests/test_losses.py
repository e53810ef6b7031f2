"""The losses: what they measure, their gradients, and what descending them leads to."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch._dynamo.testing
from comfyui_histogram_match import HistogramLoss, SlicedHistogramLoss, histogram_loss, sliced_histogram_loss
from compiling import BACKENDS, compiled, compiles
from measures import joint_distance, wasserstein_1
from photos import photo
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import interpolate

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
losses = pytest.mark.parametrize("loss", [histogram_loss, sliced_histogram_loss])
orders = pytest.mark.parametrize("order", [1, 2])


def small(name: str, side: int = 64) -> Tensor:
    """A photo as [1, 3, side, side] of 8-bit values."""
    return interpolate(photo(name).movedim(-1, 1), size=(side, side), mode="area").mul(255).round().div(255)


def by_sorting(values: Tensor, others: Tensor, order: int) -> Tensor:
    """The distance of rows [..., N] of equal length: between values of the same rank."""
    return (values.sort(-1).values - others.sort(-1).values).abs().pow(order).mean(-1)


def descended(loss: Callable[[Tensor, Tensor], Tensor], image: Tensor, reference: Tensor, rate: float) -> Tensor:
    """The picture that 200 steps make of ``image``."""
    pixels = image.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=rate, eps=1e-16)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    for _ in range(200):
        optimizer.zero_grad()
        loss(pixels, reference).backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            pixels.clamp_(0, 1)
    return pixels.detach()


class TestMeasures:
    @losses
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    def test_smoke_and_cardinality(self, loss: Callable[..., Tensor], dtype: torch.dtype, reduction: str) -> None:
        image, reference = torch.rand(2, 3, 5, 4).to(dtype), torch.rand(1, 3, 7, 2).to(dtype)
        value = loss(image, reference, reduction=reduction)
        each = (2, 3) if loss is histogram_loss else (2,)
        assert value.shape == (each if reduction == "none" else ())
        assert value.dtype == torch.promote_types(dtype, torch.float32)
        assert bool((value > 0).all())

    @losses
    def test_reductions(self, loss: Callable[..., Tensor]) -> None:
        image, reference = torch.rand(2, 3, 5, 4), torch.rand(2, 3, 7, 2)
        each = loss(image, reference, reduction="none")
        torch.testing.assert_close(loss(image, reference), each.mean())
        torch.testing.assert_close(loss(image, reference, reduction="sum"), each.sum())

    @orders
    def test_is_the_wasserstein_distance_of_8bit_photos(self, order: int) -> None:
        image, reference = small("astronaut"), small("coffee")
        expected = by_sorting(image.flatten(2).double(), reference.flatten(2).double(), order)
        measured = histogram_loss(image.double(), reference.double(), order, reduction="none")
        torch.testing.assert_close(measured, expected, rtol=0, atol=1e-9)

    @orders
    def test_is_the_wasserstein_distance_of_sizes_that_differ(self, order: int) -> None:
        image, reference = small("astronaut", 48), small("coffee", 32)
        repeated = (image.flatten(2).double().repeat_interleave(4, -1), reference.flatten(2).double().repeat_interleave(9, -1))
        measured = histogram_loss(image.double(), reference.double(), order, reduction="none")
        torch.testing.assert_close(measured, by_sorting(*repeated, order), rtol=0, atol=1e-9)

    @orders
    def test_along_directions(self, order: int) -> None:
        image, reference = torch.rand(2, 3, 40, 50, dtype=torch.float64), small("coffee").double()[..., :40, :50]
        axes = torch.randn(64, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        axes /= axes.norm(dim=1, keepdim=True)
        along = [axes @ pixels.flatten(2) for pixels in (image, reference)]
        measured = sliced_histogram_loss(image, reference, 64, order, bins=8192, seed=5, reduction="none")
        torch.testing.assert_close(measured, by_sorting(*along, order).mean(1), rtol=2e-3, atol=0)

    def test_sees_what_channels_by_themselves_do_not(self) -> None:
        red_or_blue = torch.zeros(1, 3, 2, 2)
        red_or_blue[0, 0, 0] = red_or_blue[0, 2, 1] = 1
        both_or_none = torch.zeros(1, 3, 2, 2)
        both_or_none[0, 0, 0] = both_or_none[0, 2, 0] = 1
        assert histogram_loss(red_or_blue, both_or_none) == 0
        assert sliced_histogram_loss(red_or_blue, both_or_none) > 0.05

    @losses
    @orders
    def test_is_0_for_the_same_pixels_at_other_places(self, loss: Callable[..., Tensor], order: int) -> None:
        image = small("astronaut")
        assert loss(image, image.flip(-1, -2), order=order) == pytest.approx(0, abs=1e-7)

    @losses
    def test_weights_are_so_many_pixels(self, loss: Callable[..., Tensor]) -> None:
        image, reference = small("astronaut"), small("coffee")
        weights = torch.zeros(1, 1, 64, 64)
        weights[..., :20] = 0.5
        expected = loss(image[..., :20], reference[..., :20])
        assert loss(image, reference, image_weights=weights, reference_weights=weights) == pytest.approx(
            float(expected), rel=1e-5
        )

    @losses
    def test_pixels_that_are_not_finite_do_not_count(self, loss: Callable[..., Tensor]) -> None:
        image, reference = small("astronaut"), small("coffee")
        spoiled = torch.cat([image, torch.full((1, 3, 64, 2), float("nan")), torch.full((1, 3, 64, 1), float("inf"))], dim=-1)
        assert loss(spoiled, reference) == loss(image, reference)
        assert loss(torch.full((1, 3, 2, 2), float("nan")), reference).isnan()

    @losses
    def test_one_reference_serves_the_batch(self, loss: Callable[..., Tensor]) -> None:
        images, reference = torch.rand(3, 3, 8, 8), torch.rand(1, 3, 9, 9)
        together = loss(images, reference, reduction="none")
        assert torch.equal(together, loss(images, reference.expand(3, -1, -1, -1), reduction="none"))


class TestGradients:
    @losses
    @orders
    def test_gradcheck(self, loss: Callable[..., Tensor], order: int) -> None:
        image = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
        reference = torch.rand(1, 3, 3, 6, dtype=torch.float64, requires_grad=True)
        weights = torch.rand(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)

        def function(image: Tensor, reference: Tensor, weights: Tensor) -> Tensor:
            return loss(image, reference, order=order, bins=16, image_weights=weights, reduction="none")

        assert gradcheck(function, (image, reference, weights))
        assert all(bool(g.any()) for g in torch.autograd.grad(function(image, reference, weights).sum(), (image, weights)))

    def test_pixels_on_levels_next_to_empty_ones_have_a_gradient(self) -> None:
        for order in (1, 2):
            image = torch.zeros(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
            histogram_loss(image, torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64), order).backward()
            # Each of 16 pixels that comes nearer takes a 16th of the slope of the distance with it.
            expected = -1.0 if order == 1 else -2 * 0.5
            assert image.grad is not None
            torch.testing.assert_close(image.grad * 16, torch.full_like(image, expected), rtol=0.02, atol=0)

    @orders
    def test_gradients_of_8bit_pixels_are_the_slope_between_levels(self, order: int) -> None:
        # The last of the pixels on each level counts next to nothing, so that moving it is a small step.
        levels = torch.tensor([0, 0, 0, 30, 30, 60, 60, 200, 200, 255, 255, 255], dtype=torch.float64)
        light = [2, 4, 6, 8, 11]
        weights = torch.ones_like(levels)
        weights[light] = 1e-6
        image, weights = ((rows / scale).reshape(1, 1, 3, 4) for rows, scale in ((levels, 255), (weights, 1)))
        reference = (torch.tensor([10, 90, 250], dtype=torch.float64) / 255).reshape(1, 1, 1, 3)
        pixels = image.clone().requires_grad_()
        distance = histogram_loss(pixels, reference, order=order, image_weights=weights)
        (gradient,) = torch.autograd.grad(distance, pixels)
        for index in light:
            # By one level up; the brightest have only the way down.
            step = -1 / 255 if levels[index] == 255 else 1 / 255
            moved = image.clone()
            moved.view(-1)[index] += step
            slope = (histogram_loss(moved, reference, order=order, image_weights=weights) - distance) / step
            assert slope.abs() > 1e-9
            assert gradient.flatten()[index].item() == pytest.approx(slope.item(), rel=1e-4)

    @losses
    def test_no_gradient_where_there_is_no_distance(self, loss: Callable[..., Tensor]) -> None:
        image = small("astronaut").double().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(image, image.detach().clone(), order=2), image)
        assert gradient.abs().max() * image.numel() < 3 / 255

    @losses
    def test_autocast_changes_nothing(self, loss: Callable[..., Tensor]) -> None:
        image, reference = small("astronaut"), small("coffee")
        with torch.autocast("cpu", torch.bfloat16):
            inside = loss(image, reference)
        assert inside == loss(image, reference)

    @compiles
    def test_a_compiled_module_is_compiled_once(self) -> None:
        image, reference = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 9, 9)
        counter = torch._dynamo.testing.CompileCounter()
        once = compiled(SlicedHistogramLoss(), backend=counter)
        plain = SlicedHistogramLoss()
        values = [once(image, reference).item() for _ in range(12)]
        assert values == pytest.approx([plain(image, reference).item() for _ in range(12)], rel=1e-5)
        frames = counter.frame_count
        once(image, reference)
        assert counter.frame_count == frames < 6

    def test_second_derivatives(self) -> None:
        image = torch.rand(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
        reference = torch.rand(1, 2, 3, 3, dtype=torch.float64)
        assert gradgradcheck(lambda image: histogram_loss(image, reference, bins=6).square(), (image,))

    @compiles
    @losses
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_compiled(self, loss: Callable[..., Tensor], backend: str) -> None:
        image, reference = small("astronaut").requires_grad_(), small("coffee")
        value = compiled(loss, backend=backend)(image, reference)
        expected = loss(image, reference)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=0)
        one, other = torch.autograd.grad(value, image)[0], torch.autograd.grad(expected, image)[0]
        torch.testing.assert_close(one, other, rtol=1e-2, atol=float(other.abs().max()) * 1e-2)

    @pytest.mark.parametrize(("name", "other"), [("astronaut", "coffee"), ("coffee", "rocket"), ("chelsea", "astronaut")])
    @orders
    def test_descent_of_channels(self, name: str, other: str, order: int) -> None:
        image, reference = small(name), small(other)
        result = descended(HistogramLoss(order), image, reference, 0.0125)
        distances = wasserstein_1(*(pixels.movedim(1, -1) for pixels in (result, reference))) * 255
        assert distances.mean() < 1

    @pytest.mark.parametrize(("name", "other"), [("astronaut", "coffee"), ("chelsea", "astronaut")])
    @orders
    def test_descent_of_colors(self, name: str, other: str, order: int) -> None:
        image, reference = small(name), small(other)
        result = descended(SlicedHistogramLoss(order=order), image, reference, 0.02)
        assert joint_distance(*(pixels.movedim(1, -1) for pixels in (result, reference))) * 255 < 2


class TestModules:
    def test_are_the_functions(self) -> None:
        image, reference = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 9, 9)
        weights = torch.rand(2, 1, 8, 8)
        expected = histogram_loss(image, reference, 2, 64, image_weights=weights, reduction="sum")
        assert HistogramLoss(2, 64, "sum")(image, reference, weights) == expected
        expected = sliced_histogram_loss(image, reference, 5, 1, 64, seed=7, image_weights=weights, reduction="sum")
        assert SlicedHistogramLoss(5, 1, 64, "sum", seed=7)(image, reference, weights) == expected

    def test_other_directions_at_each_call_and_the_same_for_the_same_seed(self) -> None:
        image, reference = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 9, 9)
        one, other = SlicedHistogramLoss(directions=2), SlicedHistogramLoss(directions=2)
        calls = [one(image, reference).item() for _ in range(4)]
        assert len(set(calls)) == 4
        assert calls[:2] == [other(image, reference).item() for _ in range(2)]
        resumed = SlicedHistogramLoss(directions=2)
        file = io.BytesIO()
        torch.save(other.state_dict(), file)
        file.seek(0)
        resumed.load_state_dict(torch.load(file))
        assert calls[2:] == [resumed(image, reference).item() for _ in range(2)]

    def test_name_their_settings(self) -> None:
        assert repr(HistogramLoss()) == "HistogramLoss(order=1, bins=256, reduction=mean)"
        assert repr(SlicedHistogramLoss()) == "SlicedHistogramLoss(directions=32, order=2, bins=256, reduction=mean)"


@losses
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"order": 3}, ValueError, "order: expected 1 or 2, got 3"),
        ({"bins": 1}, ValueError, "bins: expected 2 to 65536, got 1"),
        ({"bins": 2.0}, TypeError, "bins: expected an int, got float"),
        ({"reduction": "max"}, ValueError, "reduction: expected one of mean, sum, none, got 'max'"),
        ({"image": torch.zeros(1, 3, 2, 2, dtype=torch.int32)}, TypeError, "image: expected a floating-point tensor"),
        ({"image": np.zeros((1, 3, 2, 2))}, TypeError, "image: expected a torch.Tensor, got ndarray"),
        ({"image": torch.zeros(3, 2, 2)}, ValueError, r"image: expected shape \[B, C, H, W\], got \[3, 2, 2\]"),
        ({"reference": torch.zeros(1, 1, 2, 2)}, ValueError, r"reference: expected shape \[1 or 1, 3, H, W\]"),
        ({"reference": torch.zeros(2, 3, 2, 2)}, ValueError, r"reference: expected shape \[1 or 1, 3, H, W\]"),
        ({"image_weights": torch.full((1, 1, 2, 2), -1.0)}, ValueError, "weights: expected finite numbers from 0 up"),
    ],
)
def test_bad_arguments(loss: Callable[..., Tensor], arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        loss(**{"image": torch.rand(1, 3, 2, 2), "reference": torch.rand(1, 3, 2, 2)} | arguments)


@pytest.mark.parametrize(("name", "value"), [("directions", 0), ("seed", -1)])
def test_bad_directions(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected {value + 1} or more, got {value}"):
        sliced_histogram_loss(torch.rand(1, 3, 2, 2), torch.rand(1, 3, 2, 2), **{name: value})
    with pytest.raises(TypeError, match=f"{name}: expected an int, got float"):
        SlicedHistogramLoss(**{name: 2.0})


@pytest.mark.parametrize(("name", "value"), [("order", 3), ("reduction", "x"), ("bins", 1)])
@pytest.mark.parametrize("module", [HistogramLoss, SlicedHistogramLoss])
def test_a_setting_that_is_changed_is_checked(module: type[HistogramLoss], name: str, value: object) -> None:
    loss = module()
    setattr(loss, name, value)
    with pytest.raises(ValueError, match=f"{name}: expected"):
        loss(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4))


class TestOutside:
    """What lies outside of [0, 1] is moved back."""

    @pytest.mark.parametrize("order", [1, 2])
    def test_the_distance_to_the_range_is_added(self, order: int) -> None:
        image, reference = torch.rand(2, 3, 8, 8), torch.rand(1, 3, 9, 9)
        moved = image.clone()
        moved[0, 1, 2, :2] = torch.tensor([1.5, -0.25])
        clamped = histogram_loss(moved.clamp(0, 1), reference, order, reduction="none")
        added = histogram_loss(moved, reference, order, reduction="none") - clamped
        expected = torch.zeros(2, 3)
        expected[0, 1] = (0.5**order + 0.25**order) / 64
        torch.testing.assert_close(added, expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("order", [1, 2])
    def test_of_colors_the_distance_to_the_cube(self, order: int) -> None:
        image, reference = torch.rand(2, 3, 8, 8), torch.rand(1, 3, 9, 9)
        moved = image.clone()
        moved[1, :, 2, 2] = torch.tensor([1.3, 0.5, -0.4])
        clamped = sliced_histogram_loss(moved.clamp(0, 1), reference, order=order, reduction="none")
        added = sliced_histogram_loss(moved, reference, order=order, reduction="none") - clamped
        torch.testing.assert_close(added, torch.tensor([0.0, 0.5**order / 64]), rtol=0, atol=1e-6)

    @pytest.mark.parametrize("loss", [histogram_loss, sliced_histogram_loss])
    def test_weights_decide_how_much(self, loss: Callable[..., Tensor]) -> None:
        image = torch.full((1, 3, 4, 4), 0.5)
        image[..., 0, 0] = 2.0
        weights = torch.ones(1, 1, 4, 4)
        weights[..., 0, 0] = 0
        assert float(loss(image, torch.full((1, 3, 4, 4), 0.5), image_weights=weights)) == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize("order", [1, 2])
    @pytest.mark.parametrize("loss", [histogram_loss, sliced_histogram_loss])
    def test_a_network_without_a_clamp_does_not_get_stuck(self, loss: Callable[..., Tensor], order: int) -> None:
        image = torch.empty(1, 3, 16, 16).uniform_(-1, 2).requires_grad_()
        reference = torch.rand(1, 3, 16, 16)
        outside = (image < 0) | (image > 1)
        loss(image, reference, order=order).backward()
        assert image.grad is not None
        # Downhill leads back.
        assert bool((image.grad[outside].sign() == (image[outside] - 0.5).sign()).all())
        optimizer = torch.optim.Adam([image], 0.05)
        for _ in range(100):
            optimizer.zero_grad()
            loss(image, reference, order=order).backward()
            optimizer.step()
        assert float((image - image.clamp(0, 1)).abs().max().detach()) < 0.2

    @pytest.mark.parametrize("loss", [histogram_loss, sliced_histogram_loss])
    def test_gradcheck(self, loss: Callable[..., Tensor]) -> None:
        image = torch.empty(1, 3, 2, 3, dtype=torch.float64).uniform_(1.1, 1.6).requires_grad_()
        reference = torch.rand(1, 3, 3, 3, dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda pixels: loss(pixels, reference, order=2), (image,))
