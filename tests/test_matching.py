"""``match_images``: right against scikit-image, frame by frame, and careful with odd input."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_histogram_match import match_images
from comfyui_histogram_match.kernels.levels import count as count_pixels
from comfyui_histogram_match.kernels.levels import look_up
from comfyui_histogram_match.methods import channels
from comfyui_histogram_match.methods.table import METHODS as ALL_METHODS
from measures import RETURN_FREED_MEMORY, peak_frames, wasserstein_1
from photos import COLOR_PAIRS, GRAY_PHOTOS, continuous_photo, photo
from skimage.exposure import match_histograms
from torch import Tensor

METHODS = ("pytorch", "skimage")
NAN, INFINITY = float("nan"), float("inf")


def oracle(image: Tensor, reference: Tensor) -> np.ndarray:
    return match_histograms(image[0].double().numpy(), reference[0].double().numpy(), channel_axis=2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("source", "target"), COLOR_PAIRS)
def test_8bit_colour_photos_equal_scikit_image(method: str, source: str, target: str) -> None:
    image, reference = photo(source), photo(target)
    assert np.abs(match_images(image, reference, method)[0].numpy() - oracle(image, reference)).max() <= 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("source", "target"), list(zip(GRAY_PHOTOS, GRAY_PHOTOS[::-1], strict=True)))
def test_8bit_gray_photos_equal_scikit_image(method: str, source: str, target: str) -> None:
    image, reference = photo(source), photo(target)
    assert np.abs(match_images(image, reference, method)[0].numpy() - oracle(image, reference)).max() <= 1e-6


@pytest.mark.parametrize(("source", "target"), COLOR_PAIRS[::2])
def test_continuous_photos_come_close_to_scikit_image(source: str, target: str) -> None:
    image, reference = continuous_photo(source), continuous_photo(target)
    matched = match_images(image, reference)
    expected = torch.from_numpy(oracle(image, reference))[None]
    assert float((matched - expected).abs().mean()) <= 1e-4
    assert bool((wasserstein_1(matched, reference) <= 1.02 * wasserstein_1(expected, reference) + 1e-4).all())


def test_16bit_content_equals_scikit_image() -> None:
    image, reference = ((continuous_photo(name) * 65535).round() / 65535 for name in ("astronaut", "coffee"))
    assert np.abs(match_images(image, reference)[0].numpy() - oracle(image, reference)).max() <= 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shape_and_dtype_come_out_again(method: str, dtype: torch.dtype, channels: int) -> None:
    image = torch.rand(2, 5, 7, channels).to(dtype)
    matched = match_images(image, torch.rand(1, 3, 4, channels).to(dtype), method, 0.5)
    assert matched.shape == image.shape
    assert matched.dtype == dtype
    assert matched.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    image, reference = torch.rand(1, 20, 20, 3).to(dtype), torch.rand(1, 20, 20, 3).to(dtype)
    assert torch.equal(
        match_images(image, reference, factor=0.3), match_images(image.float(), reference.float(), factor=0.3).to(dtype)
    )


@pytest.mark.parametrize("method", METHODS)
def test_frames_are_matched_one_by_one(method: str) -> None:
    frames, reference = torch.rand(3, 12, 11, 3) ** torch.tensor([1.0, 2.0, 3.0])[:, None, None, None], torch.rand(1, 9, 8, 3)
    alone = [match_images(frame[None], reference, method) for frame in frames]
    assert torch.equal(match_images(frames, reference, method), torch.cat(alone))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("references", [1, 2, 4, 6])
def test_references_pair_by_index_and_the_last_repeats(method: str, references: int) -> None:
    frames, looks = torch.rand(4, 6, 5, 3), torch.rand(references, 7, 4, 3)
    alone = [match_images(frames[i : i + 1], looks[min(i, references - 1)][None], method) for i in range(4)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert torch.equal(match_images(frames, looks, method), torch.cat(alone))
    extra = ["reference: 2 of 6 have no frame and are left out; reference_stats pooled takes all"]
    assert [str(warning.message) for warning in caught] == (extra if references == 6 else [])


def test_each_reference_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []

    def count(image: Tensor, *arguments: Any, **options: Any) -> Tensor:
        widths.append(image.shape[-1])
        return count_pixels(image, *arguments, **options)

    monkeypatch.setattr(channels, "count", count)
    match_images(torch.rand(5, 4, 6, 3), torch.rand(2, 4, 9, 3))
    assert widths.count(9) == 2
    assert widths.count(6) == 5


@pytest.mark.parametrize("method", METHODS)
def test_factor_blends(method: str) -> None:
    image, reference = photo("chelsea"), photo("coffee")
    matched = match_images(image, reference, method)
    torch.testing.assert_close(match_images(image, reference, method, 0.3), 0.3 * matched + 0.7 * image, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_factor_of_zero_returns_the_input_bit_for_bit(method: str, dtype: torch.dtype) -> None:
    image = torch.tensor([0.1, 1 / 3, -2.0, 5.0, NAN, -INFINITY]).reshape(1, 1, 2, 3).to(dtype)
    result = match_images(image, torch.rand(1, 2, 2, 3).to(dtype), method, 0)
    assert result.numpy().tobytes() == image.numpy().tobytes()
    assert result.data_ptr() != image.data_ptr()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [0.4, 1.0])
def test_alpha_stays_the_image_s(method: str, factor: float) -> None:
    image, reference = torch.rand(2, 8, 9, 4), torch.rand(1, 8, 9, 4)
    image[0, 0, 0, 3] = 7.0
    result = match_images(image, reference, method, factor)
    assert torch.equal(result[..., 3], image[..., 3])
    assert torch.equal(result[..., :3], match_images(image[..., :3], reference[..., :3], method, factor))
    assert torch.equal(result, match_images(image, reference[..., :3], method, factor))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [3, 4])
def test_a_gray_reference_serves_every_channel(method: str, channels: int) -> None:
    image, reference = torch.rand(1, 8, 9, channels), torch.rand(1, 7, 5, 1)
    assert torch.equal(match_images(image, reference, method), match_images(image, reference.expand(-1, -1, -1, 3), method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_values_that_are_not_finite_are_left_out_of_the_image(method: str, factor: float) -> None:
    image, reference = torch.rand(1, 20, 20, 3), torch.rand(1, 10, 10, 3)
    image[0, 0, :3, 0] = torch.tensor([NAN, INFINITY, -INFINITY])
    with pytest.warns(RuntimeWarning, match="image: left out 3 NaN or infinite values"):
        result = match_images(image, reference, method, factor)
    assert result[0, 0, :3, 0].tolist() == [0.0, 1.0, 0.0]
    others = image[0, :, :, 0].flatten()[3:].reshape(1, 1, -1, 1)
    expected = match_images(others, reference[..., :1], method, factor).flatten()
    torch.testing.assert_close(result[0, :, :, 0].flatten()[3:], expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_values_that_are_not_finite_are_left_out_of_the_reference(method: str) -> None:
    image, reference = torch.rand(1, 6, 6, 3), torch.rand(1, 1, 40, 3)
    spoilt = torch.cat([torch.full((1, 1, 2, 3), NAN), reference, torch.full((1, 1, 1, 3), -INFINITY)], dim=2)
    with pytest.warns(RuntimeWarning, match="reference: left out 9 NaN or infinite values"):
        result = match_images(image, spoilt, method)
    torch.testing.assert_close(result, match_images(image, reference, method), rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_a_channel_without_finite_values(method: str) -> None:
    image, reference = torch.rand(2, 4, 4, 3), torch.rand(2, 4, 4, 3)
    image[1, ..., 2] = NAN
    with pytest.warns(RuntimeWarning, match="image: left out 16"):
        assert torch.equal(match_images(image, reference, method)[1, ..., 2], torch.zeros(4, 4))
    reference[1, ..., 2] = NAN
    with pytest.raises(ValueError, match="reference: expected finite values, got none in channel 2 of frame 1"):
        match_images(image, reference, method)


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_values_outside_count_at_the_nearest_end(factor: float) -> None:
    image, reference = ((torch.randn(1, 30, 30, 3) * 255 + 128).round().clamp(-255, 510) / 255 for _ in range(2))
    results = [match_images(image, reference, method, factor) for method in METHODS]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-6)
    matched = match_images(image.clamp(0, 1), reference.clamp(0, 1))
    torch.testing.assert_close(results[0], (factor * matched + (1 - factor) * image).clamp(0, 1))


@pytest.mark.parametrize("method", METHODS)
def test_arguments_are_not_changed(method: str) -> None:
    image, reference = torch.rand(2, 5, 5, 4), torch.rand(2, 5, 5, 4)
    before = image.clone(), reference.clone()
    match_images(image, reference, method, 0.5)
    assert torch.equal(image, before[0])
    assert torch.equal(reference, before[1])


@pytest.mark.parametrize("method", METHODS)
def test_crops_and_other_strides(method: str) -> None:
    image, reference = torch.rand(2, 20, 20, 4), torch.rand(3, 1, 6, 5).permute(1, 2, 3, 0)
    views = [image[:, 3:12, ::2], image.flip(0)[:, :, 4:9], image.transpose(1, 2)]
    for view in views:
        assert torch.equal(
            match_images(view, reference, method), match_images(view.contiguous(), reference.contiguous(), method)
        )


@pytest.mark.parametrize("method", METHODS)
def test_runs_in_inference_mode(method: str) -> None:
    image, reference = torch.rand(1, 300, 300, 3), torch.rand(1, 300, 300, 3)
    expected = match_images(image, reference, method)
    with torch.inference_mode():
        assert torch.equal(match_images(image, reference, method), expected)
        assert torch.equal(match_images(image.clone(), reference.clone(), method), expected)


def test_gradients_reach_image_and_reference() -> None:
    image, reference = (torch.rand(1, 9, 9, 4, requires_grad=True) for _ in range(2))
    match_images(image, reference, factor=0.7).square().sum().backward()
    for tensor in (image, reference):
        assert tensor.grad is not None
        assert bool((tensor.grad[..., :3] != 0).any())


def test_progress_counts_frames_and_can_end_the_run() -> None:
    calls = []
    match_images(torch.rand(3, 4, 4, 3), torch.rand(1, 4, 4, 3), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]

    def interrupt(done: int, total: int) -> None:
        calls.append((done, total))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        match_images(torch.rand(3, 4, 4, 3), torch.rand(1, 4, 4, 3), progress=interrupt)
    assert calls[3:] == [(1, 3)]


def test_a_frame_too_large_for_the_device_is_matched_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    image, reference = torch.rand(2, 6, 6, 3), torch.rand(1, 6, 6, 3)
    expected = match_images(image, reference)
    devices = []

    def out_of_memory(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(pixels: Tensor, *arguments: Any, **options: Any) -> Tensor:
            devices.append(pixels.device.type)
            if pixels.device.type == "meta":
                raise torch.cuda.OutOfMemoryError("none left")
            return function(pixels, *arguments, **options)

        return call

    monkeypatch.setattr(channels, "count", out_of_memory(count_pixels))
    monkeypatch.setattr(channels, "look_up", out_of_memory(look_up))
    with pytest.warns(RuntimeWarning, match="device: out of memory 3 times, there the CPU did the work") as caught:
        assert torch.equal(match_images(image, reference, device="meta"), expected)
    # The reference is counted, and each of the two frames is counted and looked up.
    assert sorted(devices) == ["cpu"] * 5 + ["meta"] * 3
    assert len(caught) == 1


def test_other_errors_of_the_device_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Tensor:
        raise RuntimeError("an error of the driver")

    monkeypatch.setattr(channels, "count", fail)
    with pytest.raises(RuntimeError, match="an error of the driver"):
        match_images(torch.rand(1, 6, 6, 3), torch.rand(1, 6, 6, 3))


@pytest.mark.parametrize("source_stats", ["per_frame", "uniform", "target_frame", "smoothed"])
@pytest.mark.parametrize("reference_stats", ["paired", "pooled"])
@pytest.mark.parametrize("method", ["pytorch", "mkl", "sliced"])
def test_gray_images_get_the_brightness_of_colored_references(method: str, reference_stats: str, source_stats: str) -> None:
    image, reference = torch.rand(2, 16, 16, 1) ** 2, torch.rand(2, 20, 20, 3) * torch.tensor([0.9, 0.5, 0.1])
    brightness = (reference * torch.tensor([0.2126, 0.7152, 0.0722])).sum(-1, keepdim=True)
    options = {"source_stats": source_stats, "reference_stats": reference_stats, "rotations": 4}
    expected = match_images(image, brightness, method, **options)
    torch.testing.assert_close(match_images(image, reference, method, **options), expected, rtol=0, atol=1e-5)


def test_values_in_other_units_are_told() -> None:
    image = torch.rand(1, 8, 8, 3)
    with pytest.warns(RuntimeWarning, match="image: values far outside of .* in 1 frames, .* divided by 255"):
        match_images(image * 255, image)
    with pytest.warns(RuntimeWarning, match="reference: values far outside of .* in 1 frames"):
        match_images(image, image * 255, "mkl")
    broken = image * 255
    broken[0, 0, 0, 0] = NAN
    with pytest.warns(RuntimeWarning) as told:
        match_images(broken, image)
    assert sorted(str(warning.message).split(":")[0] for warning in told) == ["image", "image"]
    # A filter overshoots by less.
    match_images(image * 1.5 - 0.2, image)


def test_references_without_a_frame_are_told() -> None:
    with pytest.warns(RuntimeWarning, match="reference: 2 of 3 have no frame and are left out; reference_stats pooled"):
        match_images(torch.rand(1, 8, 8, 3), torch.rand(3, 8, 8, 3))
    match_images(torch.rand(1, 8, 8, 3), torch.rand(3, 8, 8, 3), reference_stats="pooled")


@pytest.mark.parametrize("name", ["image_mask", "reference_mask"])
def test_a_black_mask_says_which_and_what_to_do(name: str) -> None:
    image = torch.rand(1, 8, 8, 3)
    with pytest.warns(RuntimeWarning, match=f"^{name}: 0 throughout for 1 frames, .* unplug it"):
        assert torch.equal(match_images(image, torch.rand(1, 8, 8, 3), **{name: torch.zeros(1, 8, 8)}), image)


GOOD = torch.rand(1, 4, 4, 3)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"image": [[0.5]]}, TypeError, "image: expected a torch.Tensor, got list"),
        ({"image": GOOD[0]}, ValueError, r"image: expected shape \[B, H, W, C\].*got \[4, 4, 3\]"),
        ({"image": GOOD[:0]}, ValueError, r"image: .*no side of 0.*got \[0, 4, 4, 3\]"),
        ({"image": GOOD[:, :, :0]}, ValueError, r"image: .*got \[1, 4, 0, 3\]"),
        ({"image": GOOD[..., :2]}, ValueError, r"image: .*C of 1, 3 or 4, got \[1, 4, 4, 2\]"),
        ({"image": (GOOD * 255).byte()}, TypeError, "image: expected floating-point values in .*got torch.uint8"),
        ({"image": GOOD.bool()}, TypeError, "image: .*got torch.bool"),
        ({"image": GOOD.to(torch.complex64)}, TypeError, "image: .*got torch.complex64"),
        ({"reference": GOOD.numpy()}, TypeError, "reference: expected a torch.Tensor, got ndarray"),
        ({"reference": GOOD.long()}, TypeError, "reference: .*got torch.int64"),
        ({"reference": GOOD[..., 0]}, ValueError, r"reference: expected shape \[B, H, W, C\].*got \[1, 4, 4\]"),
        ({"method": ["mkl"]}, ValueError, r"method: expected one of .*, got \['mkl'\]"),
        ({"method": "numpy"}, ValueError, f"method: expected one of {', '.join(ALL_METHODS)}, got 'numpy'"),
        ({"factor": 1.5}, ValueError, "factor: expected a number from 0 to 1, got 1.5"),
        ({"factor": -0.1}, ValueError, "factor: .*got -0.1"),
        ({"factor": NAN}, ValueError, "factor: .*got nan"),
        ({"factor": INFINITY}, ValueError, "factor: .*got inf"),
        ({"factor": "1"}, TypeError, "factor: expected a number, got str"),
        ({"factor": True}, TypeError, "factor: expected a number, got bool"),
    ],
)
def test_exception(changed: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        match_images(**{"image": GOOD, "reference": GOOD, **changed})  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the resident memory from Linux's /proc")
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_peak_memory_beyond_input_and_output_is_half_a_frame(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in RETURN_FREED_MEMORY.items():
        monkeypatch.setenv(name, value)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        assert process.submit(peak_frames, factor).result() <= 0.5
