"""What holds for every image: 2,000 odd inputs that Hypothesis thinks of, and the laws of a transfer function."""

from __future__ import annotations

import warnings

import hypothesis.strategies as st
import pytest
import torch
from comfyui_histogram_match import HistogramMatching, cumulative_distribution, histogram, match_images, transfer_function
from hypothesis import HealthCheck, given, settings
from torch import Tensor

# Told where it is meant.
pytestmark = pytest.mark.filterwarnings("ignore:.*(values far outside|have no frame):RuntimeWarning")
ODD_VALUES = (float("nan"), float("inf"), -float("inf"), -0.0, -1e-9, 1 + 1e-6, 3e38, -3e38, 1e-45, 0.5)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def tensors(draw: st.DrawFn, ranks: tuple[int, ...] = (4,), odd: bool = True) -> Tensor:
    """A tensor of pixels: photo-like, flat, 8-bit, spoilt with odd values, or of a shape that is not allowed."""
    shape = [draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.sampled_from([1, 3, 4]))]
    if odd:
        shape = draw(st.one_of(st.just(shape), st.lists(st.integers(0, 5), min_size=0, max_size=5)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["uniform", "flat", "8-bit", "wide"]))
    values = torch.rand(shape, generator=generator, dtype=torch.float64)
    if kind == "flat":
        values = torch.full(shape, draw(st.floats(0, 1)), dtype=torch.float64)
    elif kind == "8-bit":
        values = (values * 255).round() / 255
    elif kind == "wide":
        values = values * 4 - 2
    if odd and values.numel():
        for value in draw(st.lists(st.sampled_from(ODD_VALUES), max_size=5)):
            values.view(-1)[draw(st.integers(0, values.numel() - 1))] = value
    dtypes = [*DTYPES, torch.uint8, torch.int64, torch.bool] if odd else [torch.float32, torch.float64]
    return values.to(draw(st.sampled_from(dtypes)))


@given(
    image=tensors(),
    reference=tensors(),
    method=st.sampled_from(["pytorch", "skimage", "PyTorch"]),
    factor=st.one_of(st.floats(0, 1), st.sampled_from([0, 1, -0.1, 1.1, float("nan"), "1", None])),
)
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_odd_input_gives_pixels_or_a_documented_error(image: Tensor, reference: Tensor, method: str, factor: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            result = match_images(image, reference, method, factor)
        except (TypeError, ValueError) as error:
            argument = str(error).split(":")[0]
        else:
            argument = ""
    if argument:
        assert argument in ("image", "reference", "method", "factor")
        return
    assert result.shape == image.shape
    assert result.dtype == image.dtype
    colours = result[..., :3].double()
    if factor == 0:
        assert torch.equal(result.nan_to_num(), image.nan_to_num())
    else:
        assert bool(((colours >= 0) & (colours <= 1)).all())
        assert torch.equal(result[..., 3:].nan_to_num(), image[..., 3:].nan_to_num())


@given(tensors(odd=False), tensors(odd=False), st.sampled_from([2, 5, 256, 65536]))
@FEW
def test_the_transfer_function_never_falls_and_stays_in_range(image: Tensor, reference: Tensor, bins: int) -> None:
    source = cumulative_distribution(histogram(image[:1, ..., :1].movedim(-1, 1), bins))
    target = cumulative_distribution(histogram(reference[:1, ..., :1].movedim(-1, 1), bins))
    table = transfer_function(source, target)
    assert bool((table.diff() >= 0).all())
    assert 0 <= float(table.min()) <= float(table.max()) <= 1


@given(tensors(odd=False), tensors(odd=False))
@FEW
def test_order_of_pixels_is_kept(image: Tensor, reference: Tensor) -> None:
    pixels = image[:1, ..., :1].clamp(0, 1)
    matched = match_images(pixels, reference[..., :1]).flatten()
    order = pixels.flatten().argsort()
    assert bool((matched[order].diff() >= 0).all())


@given(tensors(odd=False), tensors(odd=False), st.integers(0, 2**32 - 1))
@FEW
def test_permuting_pixels_permutes_the_result(image: Tensor, reference: Tensor, seed: int) -> None:
    image, reference = image[..., :1], reference[..., :1]
    order = torch.randperm(image.shape[1] * image.shape[2], generator=torch.Generator().manual_seed(seed))

    def permuted(frames: Tensor) -> Tensor:
        return frames.flatten(1, 2)[:, order].reshape(frames.shape)

    assert torch.equal(match_images(permuted(image), reference), permuted(match_images(image, reference)))


@pytest.mark.parametrize("method", ["pytorch", "skimage"])
@given(image=tensors(odd=False))
@FEW
def test_matching_to_oneself_changes_nothing(method: str, image: Tensor) -> None:
    image = image.clamp(0, 1)
    torch.testing.assert_close(match_images(image, image, method), image, rtol=0, atol=1 / 65535)


@given(tensors(odd=False), st.sampled_from([16, 256]))
@FEW
def test_matching_to_oneself_with_gradients_changes_nothing(image: Tensor, bins: int) -> None:
    pixels = image.clamp(0, 1).double().movedim(-1, 1).requires_grad_()
    torch.testing.assert_close(HistogramMatching(bins)(pixels, pixels), pixels, rtol=0, atol=1e-9)


@given(tensors(odd=False), tensors(odd=False), st.integers(0, 2))
@FEW
def test_a_channel_never_influences_another(image: Tensor, reference: Tensor, channel: int) -> None:
    image, reference = (frames[..., :1].repeat(1, 1, 1, 3) for frames in (image, reference))
    matched = match_images(image, reference)
    image[..., channel], reference[..., channel] = 0.25, 0.75
    others = [other for other in range(3) if other != channel]
    assert torch.equal(match_images(image, reference)[..., others], matched[..., others])
