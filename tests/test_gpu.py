"""On a GPU, results are the CPU's but for rounding; and the benchmark that measures GPUs runs."""

from __future__ import annotations

import re
import sys

import comfyui_histogram_match
import gpu
import pytest
import torch
from comfyui_histogram_match import METHODS, Uniform, fit_transform, match_images, specify_images
from photos import DISTINCT, photo
from torch import Tensor

FOUND = torch.accelerator.current_accelerator(check_available=True)
# Of 8-bit levels, in the mean: what is counted is the same, and sums of fractions round otherwise.
CLOSE = 0.1

on_a_gpu = pytest.mark.skipif(FOUND is None, reason="torch finds no GPU here")


def pictures(count: int = 1) -> tuple[Tensor, Tensor]:
    image, reference = photo("astronaut")[:, :96, :128], photo("coffee")[:, :80, :100]
    return torch.cat([image * (1 - 0.1 * index) for index in range(count)]), reference


def assert_close(result: Tensor, expected: Tensor) -> None:
    assert result.device == expected.device
    assert float((result - expected).abs().mean()) * 255 <= CLOSE


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("method", DISTINCT)
def test_every_method(method: str) -> None:
    image, reference = pictures()
    if METHODS[method].aligned:
        # The same scene in another light.
        reference = image.square()
    assert_close(match_images(image, reference, method, device=FOUND), match_images(image, reference, method))


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("source_stats", ["per_frame", "uniform", "target_frame", "smoothed"])
@pytest.mark.parametrize("masked", [False, True])
def test_clips_with_and_without_masks(source_stats: str, masked: bool) -> None:
    image, reference = pictures(4)
    mask = torch.linspace(0, 1, 96)[None, :, None].expand(1, 96, 128) if masked else None
    results = [
        match_images(image, reference, source_stats=source_stats, image_mask=mask, device=device) for device in (FOUND, "cpu")
    ]
    assert_close(*results)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("settings", [{"detail": 1.0}, {"dither": True}, {"grid": 4, "clip": 2.5}, {"color_space": "oklab"}])
def test_settings(settings: dict[str, float]) -> None:
    image, reference = pictures()
    assert_close(match_images(image, reference, device=FOUND, **settings), match_images(image, reference, **settings))


@pytest.mark.gpu
@on_a_gpu
def test_targets_and_transforms() -> None:
    image, reference = pictures()
    assert_close(specify_images(image, Uniform(), device=FOUND), specify_images(image, Uniform()))
    transform = fit_transform(image, reference, "mkl")
    assert_close(transform.apply(image, device=FOUND), transform.apply(image))


@pytest.mark.gpu
@on_a_gpu
def test_gradients() -> None:
    found = []
    for device in (FOUND, torch.device("cpu")):
        image, reference = (pixels.to(device).requires_grad_() for pixels in pictures())
        match_images(image, reference).square().mean().backward()
        assert image.grad is not None
        assert reference.grad is not None
        found.append((image.grad.cpu(), reference.grad.cpu()))
    for gradient, expected in zip(*found, strict=True):
        assert float((gradient - expected).norm() / expected.norm()) <= 0.01


def test_the_benchmark_measures_every_method(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(gpu.SIZES, "360p", (64, 36))
    arguments = ["gpu.py", "--device", "cpu", "--sizes", "360p", "--frames", "2", "--rounds", "1", "--only", "this pack"]
    monkeypatch.setattr(sys, "argv", arguments)
    # The benchmark loads the checkout as a package; the other tests are to keep theirs.
    monkeypatch.setitem(sys.modules, "comfyui_histogram_match", comfyui_histogram_match)
    monkeypatch.setattr(gpu, "find_comfyui", lambda: None)
    gpu.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "this pack" in line]
    assert [re.sub(r"\W*this pack, `|`\*\*", "", row[1]) for row in rows] == list(METHODS)
    # The CPU is no distance from itself.
    assert {tuple(row[3:]) for row in rows} == {("-", "0.000", "0.00 |")}
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)


def test_the_benchmark_says_that_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    if FOUND is None:
        with pytest.raises(SystemExit, match=r"^torch finds no GPU here; --device cpu shows what would be measured$"):
            gpu.find_device(None)
    else:
        assert gpu.find_device(None) == FOUND
    assert gpu.find_device("meta") == torch.device("meta")
