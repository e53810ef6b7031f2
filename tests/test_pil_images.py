"""``match_pil``: modes, sizes, alpha and bit depth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from comfyui_histogram_match import match_images, match_pil
from photos import photo, photo_8bit
from PIL import Image
from skimage.exposure import match_histograms


def picture(name: str) -> Image.Image:
    return Image.fromarray(photo_8bit(name))


@pytest.mark.parametrize("method", ["pytorch", "skimage"])
def test_equals_scikit_image_to_one_level(method: str) -> None:
    matched = match_pil(picture("astronaut"), picture("coffee"), method)
    expected = match_histograms(photo_8bit("astronaut"), photo_8bit("coffee"), channel_axis=2)
    assert matched.mode == "RGB"
    assert np.abs(np.array(matched).astype(int) - expected).max() <= 1


def test_factor() -> None:
    source, reference = picture("astronaut"), picture("coffee")
    assert np.array_equal(np.array(match_pil(source, reference, factor=0)), np.array(source))
    half = np.array(match_pil(source, reference, factor=0.5)).astype(float)
    blend = (np.array(match_pil(source, reference)).astype(float) + np.array(source)) / 2
    assert np.abs(half - blend).max() <= 1


@pytest.mark.parametrize(
    ("mode", "expected"), [("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("P", "RGB"), ("1", "L"), ("PA", "RGBA")]
)
def test_mode_comes_out_again(mode: str, expected: str) -> None:
    source = picture("chelsea").convert("P" if mode == "PA" else mode).convert(mode)
    matched = match_pil(source, picture("coffee").convert("L"))
    assert matched.mode == expected
    assert matched.size == source.size


def test_alpha_stays() -> None:
    source = picture("chelsea")
    alpha = Image.linear_gradient("L").resize(source.size)
    source.putalpha(alpha)
    assert np.array_equal(np.array(match_pil(source, picture("coffee")).getchannel("A")), np.array(alpha))


def test_palette_transparency_becomes_alpha() -> None:
    source = picture("chelsea").quantize(16)
    source.info["transparency"] = 3
    matched = match_pil(source, picture("coffee"))
    assert matched.mode == "RGBA"
    assert np.array_equal(np.array(matched.getchannel("A")) == 0, np.array(source) == 3)


def test_16_bits_stay_16_bits() -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (50, 60), dtype=np.uint16)
    reference = (np.random.default_rng(1).integers(0, 256, (40, 30)) ** 2).astype(np.uint16)
    matched = np.array(match_pil(Image.fromarray(levels), Image.fromarray(reference)))
    assert matched.dtype == np.uint16
    assert np.abs(matched.astype(int) - match_histograms(levels, reference)).max() <= 1


@pytest.mark.parametrize(
    ("source", "reference", "error", "message"),
    [
        ("cat.png", Image.new("L", (2, 2)), TypeError, "source: expected a PIL.Image.Image, got str"),
        (Image.new("L", (2, 2)), None, TypeError, "reference: expected a PIL.Image.Image, got NoneType"),
        (Image.new("CMYK", (2, 2)), Image.new("L", (2, 2)), ValueError, "source: expected mode L, .*got CMYK"),
        (Image.new("L", (2, 2)), Image.new("HSV", (2, 2)), ValueError, "reference: expected mode L, .*got HSV"),
    ],
)
def test_exception(source: Image.Image, reference: Image.Image, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        match_pil(source, reference)


def test_a_gray_source_gets_the_brightness_of_a_colored_reference() -> None:
    source = Image.fromarray(photo_8bit("chelsea")).convert("L")
    matched = np.array(match_pil(source, Image.fromarray(photo_8bit("coffee"))))
    luma = (photo_8bit("coffee") @ np.array([0.2126, 0.7152, 0.0722])).round().astype(np.uint8)
    expected = match_histograms(np.array(source), luma)
    assert matched.ndim == 2
    assert np.abs(matched - expected).max() <= 1


def test_methods_and_color_spaces() -> None:
    source, reference = Image.fromarray(photo_8bit("chelsea")), Image.fromarray(photo_8bit("coffee"))
    matched = match_pil(source, reference, "mkl", color_space="lab")
    expected = match_images(photo("chelsea"), photo("coffee"), "mkl", color_space="lab")
    assert np.abs(np.array(matched).astype(int) - (expected[0] * 255).round().numpy()).max() <= 1


def test_all_settings_are_those_of_match_images() -> None:
    source, reference = Image.fromarray(photo_8bit("rocket")), Image.fromarray(photo_8bit("coffee"))
    settings: dict[str, Any] = {"detail": 0.5, "dither": True, "grid": 3, "clip": 3.0}
    result = np.array(match_pil(source, reference, **settings)).astype(float)
    expected = match_images(photo("rocket"), photo("coffee"), **settings)[0].numpy()
    assert np.abs(result - 255 * expected).max() <= 0.5 + 1e-3
