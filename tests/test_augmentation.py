"""The transform for data pipelines: what it computes, what it draws, and who can call it."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_histogram_match import HistogramMatching, HistogramMatchingTransform, ReferenceHistogram
from photo_dataset import Photos, bytes_of
from photos import photo, photo_8bit
from skimage.exposure import match_histograms
from torch import Tensor
from torch.utils.data import DataLoader

DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Marked(Tensor):
    """A class of tensors as torchvision has for images."""


class TestMatches:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(3, 8, 9), (1, 3, 8, 9), (4, 3, 8, 9)])
    def test_smoke_and_cardinality(self, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        image = torch.rand(shape) * (255 if dtype == torch.uint8 else 1)
        matched = HistogramMatchingTransform([bytes_of("coffee")])(image.to(dtype))
        assert (matched.shape, matched.dtype) == (shape, dtype)

    @pytest.mark.parametrize(("name", "other"), [("astronaut", "coffee"), ("rocket", "chelsea")])
    def test_8bit_images_as_scikit_image(self, name: str, other: str) -> None:
        matched = HistogramMatchingTransform([bytes_of(other)], factor=1)(bytes_of(name))
        expected = match_histograms(photo_8bit(name).astype(float), photo_8bit(other), channel_axis=2)
        assert np.abs(matched.movedim(0, -1).numpy() - expected).max() <= 0.51

    def test_is_the_module_without_gradient(self) -> None:
        image, reference = (photo(name).movedim(-1, 1) for name in ("astronaut", "coffee"))
        matched = HistogramMatchingTransform(reference, factor=1, bins=1000)(image)
        torch.testing.assert_close(matched, HistogramMatching(1000)(image, reference), rtol=0, atol=1e-6)
        assert not HistogramMatchingTransform(reference)(image.requires_grad_()).requires_grad

    def test_factor_blends(self) -> None:
        image, reference = (photo(name).movedim(-1, 1)[0] for name in ("astronaut", "coffee"))
        assert torch.equal(HistogramMatchingTransform([reference], factor=0)(bytes_of("astronaut")), bytes_of("astronaut"))
        whole = HistogramMatchingTransform([reference], factor=1)(image)
        part = HistogramMatchingTransform([reference], factor=0.3)(image)
        torch.testing.assert_close(part, 0.3 * whole + 0.7 * image, rtol=0, atol=1e-6)

    def test_the_same_in_bytes_and_in_numbers(self) -> None:
        transform = HistogramMatchingTransform([bytes_of("coffee")], factor=0.6)
        numbers = transform(bytes_of("astronaut").float() / 255)
        assert torch.equal(transform(bytes_of("astronaut")), (numbers * 255).round().to(torch.uint8))

    def test_kept_references_and_gray_ones(self) -> None:
        image = bytes_of("astronaut")
        kept = ReferenceHistogram.of(photo("coffee"))
        expected = HistogramMatchingTransform([bytes_of("coffee")], factor=1)(image)
        assert torch.equal(HistogramMatchingTransform([kept], factor=1)(image), expected)
        gray = HistogramMatchingTransform([bytes_of("camera")], factor=1)
        each = [gray(channel[None]) for channel in image]
        assert torch.equal(gray(image), torch.cat(each))

    def test_leaves_the_image_alone(self) -> None:
        image = bytes_of("astronaut").clone()
        HistogramMatchingTransform([bytes_of("coffee")])(image)
        assert torch.equal(image, bytes_of("astronaut"))

    def test_values_that_are_not_finite(self) -> None:
        image = torch.rand(3, 8, 8)
        image[:, 0, :2] = torch.tensor([float("nan"), float("inf")])
        matched = HistogramMatchingTransform([bytes_of("coffee")], factor=1)(image)
        assert matched[:, 0, :2].tolist() == [[0.0, 1.0]] * 3


class TestDraws:
    def test_another_reference_and_factor_for_each_image_of_a_batch(self) -> None:
        pool = torch.stack([torch.full((3, 2, 2), level / 5) for level in range(6)])
        drawn = HistogramMatchingTransform(pool, factor=1)(torch.rand(200, 3, 4, 4))
        levels = drawn.flatten(1).mean(1).mul(5).round()
        assert torch.allclose(drawn, levels[:, None, None, None] / 5, atol=1e-6)
        assert len(levels.unique()) == 6
        blended = HistogramMatchingTransform(pool[:1], factor=(0.2, 0.6))(torch.ones(400, 3, 4, 4))
        # White that is blended with black tells the factor.
        factors = 1 - blended[:, 0, 0, 0]
        assert 0.2 <= factors.min() < 0.22
        assert 0.58 < factors.max() <= 0.6
        assert factors.mean() == pytest.approx(0.4, abs=0.03)

    def test_seeds_repeat(self) -> None:
        transform = HistogramMatchingTransform([bytes_of("coffee"), bytes_of("rocket")])
        torch.manual_seed(3)
        first = transform(bytes_of("astronaut"))
        assert not torch.equal(transform(bytes_of("astronaut")), first)
        torch.manual_seed(3)
        assert torch.equal(transform(bytes_of("astronaut")), first)


class TestPipelines:
    def test_by_name(self) -> None:
        transform = HistogramMatchingTransform([bytes_of("coffee")], factor=1)
        image, mask = bytes_of("astronaut"), torch.zeros(2)
        result = transform(image=image, mask=mask, label=5)
        assert torch.equal(result["image"], transform(image))
        assert result["mask"] is mask
        assert result["label"] == 5

    def test_keeps_the_class(self) -> None:
        transform = HistogramMatchingTransform([bytes_of("coffee").as_subclass(Marked)], factor=1)
        result = transform(bytes_of("astronaut").as_subclass(Marked))
        assert type(result) is Marked
        assert torch.equal(result.as_subclass(Tensor), transform(bytes_of("astronaut")))
        assert type(transform(bytes_of("astronaut"))) is Tensor

    def test_pickles(self) -> None:
        transform = HistogramMatchingTransform([bytes_of("coffee"), bytes_of("camera")], factor=(0.1, 0.9))
        copy = ForkingPickler.loads(ForkingPickler.dumps(transform))
        assert repr(copy) == repr(transform)
        assert "2 references, factor=(0.1, 0.9), bins=256" in repr(copy)
        results = []
        for one in (transform, copy):
            torch.manual_seed(0)
            results.append(one(bytes_of("astronaut")))
        assert torch.equal(*results)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_in_a_data_loader(self, workers: int) -> None:
        photos = Photos(HistogramMatchingTransform([bytes_of("coffee"), bytes_of("rocket")]))
        loader = DataLoader(photos, batch_size=4, num_workers=workers, multiprocessing_context="spawn" if workers else None)
        images = torch.cat(list(loader))
        assert images.shape == (8, 3, 32, 32)
        assert len(images.unique(dim=0)) == 8


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, "references: expected at least one, got none"),
        ((torch.zeros(3, 4, 4),), ValueError, r"references: expected shape \[R, C, H, W\] or a list"),
        ((["x"],), TypeError, r"references\[0\]: expected a torch.Tensor, got str"),
        (([torch.zeros(3, 4, 4), torch.zeros(4, 4)],), ValueError, r"references\[1\]: expected shape"),
        (([torch.zeros(1, 3, 4, 4)],), ValueError, r"references\[0\]: expected shape \[C, H, W\]"),
        (([torch.zeros(3, 4, 4, dtype=torch.int64)],), TypeError, r"references\[0\]: expected uint8 or floating-point"),
        (([torch.full((3, 4, 4), float("nan"))],), ValueError, r"references\[0\]: expected finite values"),
        (([torch.zeros(3, 4, 4), torch.zeros(2, 4, 4)],), ValueError, r"expected one number of channels, or 1, got \[2, 3\]"),
        ((torch.zeros(1, 3, 4, 4), 1.5), ValueError, "factor: expected 0 to 1, the least first, got 1.5"),
        ((torch.zeros(1, 3, 4, 4), (0.6, 0.2)), ValueError, "factor: expected 0 to 1, the least first"),
        ((torch.zeros(1, 3, 4, 4), "1"), TypeError, "factor: expected a number or two, got '1'"),
        ((torch.zeros(1, 3, 4, 4), (0, 0.5, 1)), TypeError, "factor: expected a number or two"),
        ((torch.zeros(1, 3, 4, 4), 1, 1), ValueError, "bins: expected 2 to 65536, got 1"),
    ],
)
def test_bad_settings(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        HistogramMatchingTransform(*arguments)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: t(np.zeros((4, 4, 3))), TypeError, "image: expected a torch.Tensor, got ndarray"),
        (lambda t: t(torch.zeros(3, 4, 4, dtype=torch.int32)), TypeError, "image: expected uint8 or floating-point values"),
        (lambda t: t(torch.zeros(4, 4)), ValueError, "image: expected shape"),
        (lambda t: t(torch.zeros(1, 1, 3, 4, 4)), ValueError, "image: expected shape"),
        (lambda t: t(torch.zeros(2, 4, 4)), ValueError, "image: expected 3 channels to go with the references, got 2"),
        (lambda t: t(), TypeError, "image: expected one, or image= by name, got 0 and the names"),
        (lambda t: t(mask=1), TypeError, r"got 0 and the names \['mask'\]"),
    ],
)
def test_bad_images(call: Callable[[Any], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(HistogramMatchingTransform([bytes_of("coffee")]))
