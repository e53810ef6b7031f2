"""Modules with gradients on 5,000 odd inputs: results and gradients are finite, or there is an error that says why."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from comfyui_histogram_match import (
    COLOR_SPACES,
    METHODS,
    ColorMatching,
    HistogramLoss,
    HistogramMatching,
    HistogramMatchingTransform,
    ParametricHistogramMatching,
    SlicedHistogramLoss,
    apply_transfer,
    cumulative_distribution,
    histogram,
    histogram_loss,
    sliced_histogram_loss,
    transfer_function,
)
from hypothesis import HealthCheck, given, settings
from photos import at_size_of
from torch import Tensor

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SIZES = ((1, 1), (1, 8), (8, 1), (1, 2), (2, 2), (3, 5), (8, 8), (21, 22))
BINS = (2, 3, 16, 100, 256, 257, 1000, 65536)
VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda values: values,
    "flat": lambda values: values[..., :1, :1].expand(values.shape),
    "gray": lambda values: values[:, :1].expand(values.shape),
    "8-bit": lambda values: (values * 255).round() / 255,
    "ends": torch.round,
    "black": torch.zeros_like,
    "white": torch.ones_like,
    "two levels": lambda values: torch.where(values < 0.5, 0.2, 0.7),
    "nearly flat": lambda values: 0.5 + (values - 0.5) * 1e-6,
    "nearly black": lambda values: values * 1e-12,
    "outside": lambda values: values * 1.2 - 0.1,
}
WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "any": lambda values: values,
    "none": torch.zeros_like,
    "all": torch.ones_like,
    "some": torch.round,
    "one": lambda values: torch.zeros_like(values).index_fill_(-1, torch.tensor(0), 1),
    "little": lambda values: values * 1e-6,
    "much": lambda values: values * 1e4,
}
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda pixels: pixels,
    "channels last": lambda pixels: pixels.contiguous(memory_format=torch.channels_last),
    "transposed": lambda pixels: pixels.mT.contiguous().mT,
    "expanded": lambda pixels: pixels[:1, :1].expand(pixels.shape),
    "strided": lambda pixels: pixels.repeat_interleave(2, 2).repeat_interleave(3, 3)[..., ::2, ::3],
    "offset": lambda pixels: torch.cat([pixels.new_zeros(3), pixels.flatten()])[3:].view(pixels.shape),
}


def cases(number: int) -> settings:
    """The same cases at each run."""
    return settings(max_examples=number, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


class Inputs:
    """Odd tensors for one case, and which of them are to have a gradient."""

    def __init__(self, draw: st.DrawFn, channels: int | None = None) -> None:
        self.draw = draw
        self.generator = torch.Generator().manual_seed(self.one_of(range(1 << 32)))
        self.leaves: list[Tensor] = []
        self.bins = self.one_of(BINS)
        self.channels = channels or self.one_of(range(1, 5))
        self.batch = self.one_of((1, 2, 3))
        dtype = self.one_of(DTYPES)
        self.image = self.picture(self.batch, dtype)
        self.reference = self.picture(self.one_of({1, self.batch}), self.one_of((dtype, dtype, *DTYPES)))

    def one_of(self, values: Collection[Any]) -> Any:
        """Any of these."""
        return self.draw(st.sampled_from(sorted(values) if isinstance(values, set) else values))

    def leaf(self, tensor: Tensor) -> Tensor:
        """The tensor, in most cases with a gradient."""
        if self.one_of((True, True, False)):
            self.leaves.append(tensor.requires_grad_())
        return tensor

    def random(self, *shape: int) -> Tensor:
        """Values in [0, 1)."""
        return torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def picture(self, batch: int, dtype: torch.dtype) -> Tensor:
        """A batch of one kind of content in one layout."""
        values = VALUES[self.one_of(list(VALUES))](self.random(batch, self.channels, *self.one_of(SIZES)))
        return self.leaf(LAYOUTS[self.one_of(list(LAYOUTS))](values.to(dtype)).detach())

    def weights(self, picture: Tensor, *, shared: bool = False, planes: bool = False) -> Tensor | None:
        """Weights for a picture, or none; ``shared`` by its channels; if they are ``planes``, maybe without that dimension."""
        kind = self.one_of((None, None, *WEIGHTS))
        if kind is None:
            return None
        batch, channels, *size = picture.shape
        shape = [self.one_of({1, batch}), 1 if shared else self.one_of({1, channels}), *size]
        weights = WEIGHTS[kind](self.random(*shape)).to(self.one_of(DTYPES))
        return self.leaf(weights[:, 0] if planes and self.one_of((True, False)) else weights)


def counts(picture: Tensor, weights: Tensor | None) -> bool:
    """Whether a pixel of each channel counts."""
    if weights is None:
        return True
    return bool(weights.detach().flatten(-2).gt(0).any(-1).all())


def check(inputs: Inputs, call: Callable[[], Tensor], *, fails: bool = False, differentiable: bool = True) -> Tensor | None:
    """Call: an error if it ``fails``, and else a result and gradients that are finite; the result."""
    if fails:
        with pytest.raises(ValueError, match=r"^\w+: expected .*, got "):
            call()
        return None
    result = call()
    assert bool(result.isfinite().all())
    assert result.requires_grad == (differentiable and bool(inputs.leaves))
    if result.requires_grad:
        upstream = torch.randn(result.shape, generator=inputs.generator).to(result.dtype)
        for leaf, gradient in zip(inputs.leaves, torch.autograd.grad(result, inputs.leaves, upstream), strict=True):
            assert gradient.dtype == leaf.dtype
            assert bool(gradient.isfinite().all())
    return result.detach()


def check_like(result: Tensor | None, image: Tensor, *, in_range: bool = True) -> None:
    """A result has the image's shape and dtype and, ``in_range``, values in [0, 1]."""
    if result is None:
        return
    assert (result.shape, result.dtype) == (image.shape, image.dtype)
    assert not in_range or 0 <= float(result.min()) <= float(result.max()) <= (255 if image.dtype == torch.uint8 else 1)


@given(st.data())
@cases(700)
def test_histogram_matching(data: st.DataObject) -> None:
    given = Inputs(data.draw)
    arguments = (given.image, given.reference, given.weights(given.image), given.weights(given.reference))
    fails = not counts(given.reference, arguments[3])
    check_like(check(given, lambda: HistogramMatching(given.bins)(*arguments), fails=fails), given.image)


@given(st.data())
@cases(1000)
def test_color_matching(data: st.DataObject) -> None:
    given = Inputs(data.draw, channels=3)
    method = given.one_of(list(METHODS))
    reference = at_size_of(method, given.image.movedim(1, -1), given.reference.movedim(1, -1)).movedim(-1, 1)
    arguments = (
        given.image,
        reference,
        given.weights(given.image, shared=True, planes=True),
        given.weights(reference, shared=True, planes=True),
    )
    rotations, regrain = given.one_of((2, 3, 7)), given.one_of((True, False))
    module = ColorMatching(method, given.one_of(COLOR_SPACES), given.bins, rotations=rotations, regrain=regrain)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "method: .* has no gradient")
        result = check(
            given,
            lambda: module(*arguments),
            fails=not counts(reference, arguments[3]),
            differentiable=METHODS[method].differentiable,
        )
    check_like(result, given.image, in_range=False)


@pytest.mark.parametrize(
    ("function", "module"), [(histogram_loss, HistogramLoss), (sliced_histogram_loss, SlicedHistogramLoss)]
)
@given(st.data())
@cases(500)
def test_losses(function: Callable[..., Tensor], module: type[HistogramLoss], data: st.DataObject) -> None:
    given = Inputs(data.draw)
    shared = module is SlicedHistogramLoss
    image_weights, reference_weights = (given.weights(picture, shared=shared) for picture in (given.image, given.reference))
    options = {"order": given.one_of((1, 2)), "bins": given.bins, "reduction": given.one_of(("mean", "sum", "none"))}
    if shared:
        options["directions"] = given.one_of((1, 2, 5))

    def as_function() -> Tensor:
        weights = {"image_weights": image_weights, "reference_weights": reference_weights}
        return function(given.image, given.reference, **options, **weights)

    def as_module() -> Tensor:
        return module(**options)(given.image, given.reference, image_weights, reference_weights)

    call = given.one_of((as_function, as_module))
    result = check(given, call, fails=not counts(given.reference, reference_weights))
    assert result is None or bool((result >= 0).all())


@given(st.data())
@cases(700)
def test_parametric(data: st.DataObject) -> None:
    given = Inputs(data.draw)
    knots = given.one_of((2, 3, 9, 256))
    if given.one_of((True, False)):
        module = ParametricHistogramMatching(given.channels, knots, given.bins)
    else:
        module = ParametricHistogramMatching.from_reference(given.reference, knots, given.bins)
    with torch.no_grad():
        module.roots *= given.one_of((1, 1, -1e-3, 1e-10, 1e10, 0)) * given.random(1 + knots).round()
    # The reference takes no part in what is computed.
    given.leaves = [leaf for leaf in given.leaves if leaf is not given.reference] + [module.roots]
    weights = given.weights(given.image)
    check_like(check(given, lambda: module(given.image, weights)), given.image)


@given(st.data())
@cases(500)
def test_transform(data: st.DataObject) -> None:
    given = Inputs(data.draw)
    image = given.image.detach()
    if given.one_of((True, False)):
        image = (image.float().clamp(0, 1) * 255).round().to(torch.uint8)
    transform = HistogramMatchingTransform(given.reference, factor=given.one_of((0.0, 1.0, (0.0, 1.0))), bins=given.bins)
    result = transform(image)
    assert not result.requires_grad
    check_like(result, image)


@given(st.data())
@cases(700)
def test_apply_transfer(data: st.DataObject) -> None:
    given = Inputs(data.draw)
    shape = (given.one_of({1, given.batch}), given.one_of({1, given.channels}), given.bins)
    levels = given.one_of((torch.clone, torch.round, torch.zeros_like))(given.random(*shape).sort(-1).values)
    table = given.leaf(levels.to(given.one_of(DTYPES)))
    given.leaves = [leaf for leaf in given.leaves if leaf is not given.reference]
    check_like(check(given, lambda: apply_transfer(given.image, table)), given.image)


@given(st.data())
@cases(400)
def test_transfer_function(data: st.DataObject) -> None:
    given = Inputs(data.draw)
    dtype = given.one_of(DTYPES)
    given.leaves = []
    source, reference = (
        given.leaf(cumulative_distribution(histogram(picture.detach(), given.bins)).to(dtype))
        for picture in (given.image, given.reference)
    )
    result = check(given, lambda: transfer_function(source, reference))
    assert result is not None
    assert (result.shape, result.dtype) == (source.shape, dtype)
    assert 0 <= float(result.min()) <= float(result.max()) <= 1


def gradients(result: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    """Gradients of the sum, which are finite."""
    found = torch.autograd.grad(result.sum(), leaves)
    assert all(bool(gradient.isfinite().all()) for gradient in found)
    return found


def test_a_slope_beyond_float16_is_its_greatest_number() -> None:
    image = torch.zeros(1, 1, 1, 2, dtype=torch.float16, requires_grad=True)
    for dtype in DTYPES:
        table = torch.ones(1, 65536, dtype=dtype).index_fill_(1, torch.tensor(0), 0)
        (slope,) = gradients(apply_transfer(image, table), image)
        assert torch.equal(slope, torch.full_like(slope, torch.finfo(torch.float16).max))
    reference = torch.tensor([0.0, 1.0], dtype=torch.float16).view(1, 1, 1, 2)
    for method in ("pytorch", "hm-mkl-hm", "sliced"):
        colors, target = (picture.detach().repeat(1, 3, 1, 1).requires_grad_() for picture in (image, reference))
        gradients(ColorMatching(method, bins=65536, rotations=2)(colors, target), colors, target)


def test_half_precision_holds_a_transfer_function_of_65536_bins() -> None:
    pictures = torch.rand(2, 1, 9, 9).round()
    source, reference = (cumulative_distribution(histogram(picture, 65536)).half() for picture in pictures)
    expected = transfer_function(source.float(), reference.float())
    found = transfer_function(source.requires_grad_(), reference)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=1e-3)
    gradients(found, source)


@pytest.mark.parametrize("module", [HistogramMatching(256), HistogramLoss(order=2, reduction="sum")])
def test_channels_add_up_the_gradients_of_half_precision_weights(module: torch.nn.Module) -> None:
    weights = torch.full((1, 1, 2, 2), 1e-6, dtype=torch.float16, requires_grad=True)
    gradients(module(torch.rand(1, 4, 2, 2), torch.rand(1, 4, 3, 3), weights) * 1000, weights)


@pytest.mark.parametrize("space", COLOR_SPACES)
@pytest.mark.parametrize("method", ["reinhard", "mkl", "mvgd", "hm-mkl-hm", "hm-mvgd-hm", "sliced"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 8), (4, 4)])
@pytest.mark.parametrize("content", ["flat", "gray", "uniform"])
def test_singular_covariances(method: str, space: str, shape: tuple[int, int], content: str) -> None:
    image, reference = (VALUES[content](torch.rand(2, 3, *shape)).clone().requires_grad_() for _ in range(2))
    for factor in (1, 0):
        weights = torch.full((1, *shape), float(factor), requires_grad=True)
        result = ColorMatching(method, space, rotations=3)(image, reference, weights)
        assert bool(result.isfinite().all())
        gradients(result, image, reference, weights)


def test_one_pixel_of_no_weight_stays_as_it_is() -> None:
    image, weights = torch.rand(1, 3, 1, 1, requires_grad=True), torch.zeros(1, 1, 1, requires_grad=True)
    result = ColorMatching("sliced", rotations=4)(image, torch.rand(1, 3, 8, 8), weights)
    torch.testing.assert_close(result, image)
    gradients(result, image, weights)


def test_a_result_beyond_float16_is_its_greatest_number() -> None:
    image = torch.rand(1, 3, 1, 8).half().requires_grad_()
    reference = torch.rand(1, 3, 1, 8).half()
    for space in ("lab", "oklab"):
        result = ColorMatching("mkl", space)(image, reference, torch.zeros(1, 1, 8))
        assert bool(result.isfinite().all())
        assert float(result.detach().abs().max()) == torch.finfo(torch.float16).max
        gradients(result, image)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_through_many_steep_rotations(dtype: torch.dtype) -> None:
    image = torch.rand(1, 3, 1, 2, dtype=dtype, requires_grad=True)
    reference = torch.rand(1, 3, 8, 8, dtype=dtype).round().requires_grad_()
    gradients(ColorMatching("sliced", bins=8192)(image, reference), image, reference)


@pytest.mark.parametrize("gradient", [False, True])
def test_reinhard_takes_values_below_0_as_black(gradient: bool) -> None:
    image, reference = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 5, 5)
    image[..., 0] = -0.1
    reference[..., 0] = -0.1
    matched = ColorMatching("reinhard")(image.clone().requires_grad_(gradient), reference)
    assert torch.equal(matched, ColorMatching("reinhard")(image.clamp(min=0).requires_grad_(gradient), reference.clamp(min=0)))


def test_parameters_of_0_have_a_gradient() -> None:
    module = ParametricHistogramMatching(3, 9)
    torch.nn.init.zeros_(module.roots)
    result = module(torch.rand(1, 3, 4, 4))
    assert float(result.detach().abs().max()) == 0
    gradients(result, module.roots)


@pytest.mark.parametrize("loss", [histogram_loss, sliced_histogram_loss])
@pytest.mark.parametrize("order", [1, 2])
class TestLossesWhereNothingCounts:
    def test_an_image_costs_nothing_and_leaves_the_others_alone(self, loss: Callable[..., Tensor], order: int) -> None:
        image, reference = torch.rand(2, 3, 4, 4, requires_grad=True), torch.rand(1, 3, 5, 5, requires_grad=True)
        weights = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4).clone().requires_grad_()
        distances = loss(image, reference, order=order, image_weights=weights, reduction="none")
        expected = loss(image[1:], reference, order=order, reduction="none")
        assert torch.equal(distances, torch.cat([torch.zeros_like(expected), expected]))
        of_image, *_ = gradients(distances, image, reference, weights)
        assert torch.equal(of_image, gradients(expected, image)[0])

    def test_a_reference_is_refused(self, loss: Callable[..., Tensor], order: int) -> None:
        image, reference = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 5, 5)
        weights = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 5, 5)
        with pytest.raises(ValueError, match="reference: expected pixels that count in every channel, got a channel with none"):
            loss(image, reference, order=order, reference_weights=weights)

    def test_an_image_without_a_finite_value_shows(self, loss: Callable[..., Tensor], order: int) -> None:
        image = torch.full((1, 3, 4, 4), float("nan"), requires_grad=True)
        weights, reference = torch.zeros(1, 1, 4, 4), torch.rand(1, 3, 5, 5, requires_grad=True)
        for image_weights in (None, weights):
            distance = loss(image, reference, order=order, image_weights=image_weights)
            assert bool(distance.isnan())
            gradients(distance, image, reference)


def test_rotations_are_counted() -> None:
    with pytest.raises(TypeError, match="rotations: expected an int, got float"):
        ColorMatching("sliced", rotations=2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["pytorch", "mkl", "nearest"])
@pytest.mark.parametrize("name", ["image", "reference"])
def test_arrays_are_refused_by_their_name(method: str, name: str) -> None:
    pictures = {"image": torch.rand(1, 3, 4, 4), "reference": torch.rand(1, 3, 4, 4)}
    pictures[name] = np.zeros((1, 3, 4, 4), dtype=np.float32)
    with pytest.raises(TypeError, match=f"{name}: expected a torch.Tensor, got ndarray"):
        ColorMatching(method)(**pictures)
