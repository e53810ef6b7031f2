"""The same picture gives the same bits, whatever the number of threads, its place in a batch and its layout in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from comfyui_histogram_match import METHODS, Uniform, match_images, specify_images
from comfyui_histogram_match.kernels.affine import apply_affine
from photos import DISTINCT, continuous_photo, counterpart
from torch import Tensor

THREADS = (1, 2, 3, 8)
POOLING = [name for name in DISTINCT if not METHODS[name].per_frame_only]
# Stripes of several sizes, and rows that are not divisible by what a vector unit takes at a time.
HEIGHT, WIDTH = 331, 601

Match = Callable[[Tensor], Tensor]


def enlarged(name: str, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """A photo of a fifth of a megapixel, so that there is work for several threads, ``[1, H, W, C]``."""
    planes = torch.nn.functional.interpolate(continuous_photo(name).movedim(-1, 1), (height, width), mode="bilinear")
    return planes.movedim(1, -1).contiguous()


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def image() -> Tensor:
    return enlarged("astronaut")


@pytest.fixture(scope="module")
def other() -> Tensor:
    return enlarged("chelsea")


@pytest.fixture(scope="module")
def reference() -> Tensor:
    return enlarged("coffee", 300, 450)


def planar(pixels: Tensor) -> Tensor:
    """The same values, with each channel by itself in memory."""
    return pixels.movedim(-1, 1).contiguous().movedim(1, -1)


def soft_mask() -> Tensor:
    return torch.linspace(-0.5, 1.5, WIDTH).clamp(0, 1).expand(1, HEIGHT, WIDTH).contiguous()


def check_places_and_threads(match: Match, image: Tensor, other: Tensor) -> None:
    """Everything that must not matter to a frame, against the frame by itself with one thread."""
    torch.set_num_threads(1)
    expected = match(image)
    batches = {
        1: torch.cat([other, image]),
        2: torch.cat([image, other, image]),
        3: planar(torch.cat([image, other])),
        8: torch.cat([other, image, other]),
    }
    for threads in THREADS:
        torch.set_num_threads(threads)
        if threads > 1:
            assert torch.equal(match(image), expected), f"alone, {threads} threads"
        if threads in (1, 3):
            assert torch.equal(match(planar(image)), expected), f"alone, planar, {threads} threads"
        batch = batches[threads]
        for place, (frame, given) in enumerate(zip(match(batch), batch, strict=True)):
            if torch.equal(given, image[0]):
                assert torch.equal(frame, expected[0]), f"frame {place} of a batch, {threads} threads"


@pytest.mark.parametrize(("color_space", "masked"), [("rgb", False), ("rgb", True), ("lab", False), ("oklab", True)])
@pytest.mark.parametrize("method", DISTINCT)
def test_a_picture_is_matched_to_the_same_bits(
    method: str, color_space: str, masked: bool, image: Tensor, other: Tensor, reference: Tensor
) -> None:
    mask, look = soft_mask() if masked else None, counterpart(method, image, reference)

    def match(pixels: Tensor) -> Tensor:
        return match_images(pixels, look, method, color_space=color_space, rotations=6, image_mask=mask)

    check_places_and_threads(match, image, other)


@pytest.mark.parametrize("method", DISTINCT)
def test_the_layout_of_the_reference_does_not_matter(method: str, image: Tensor, reference: Tensor) -> None:
    given = counterpart(method, image, reference)
    matched = [match_images(image, look, method, rotations=6) for look in (given, planar(given))]
    assert torch.equal(*matched)


@pytest.mark.parametrize("color_space", ["rgb", "oklab"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_a_specified_histogram_gives_the_same_bits(color_space: str, masked: bool, image: Tensor, other: Tensor) -> None:
    mask = soft_mask() if masked else None
    check_places_and_threads(
        lambda pixels: specify_images(pixels, Uniform(), color_space=color_space, image_mask=mask), image, other
    )


@pytest.mark.parametrize(("color_space", "source_stats"), [("rgb", "uniform"), ("rgb", "smoothed"), ("lab", "uniform")])
@pytest.mark.parametrize("method", POOLING)
def test_a_clip_is_matched_to_the_same_bits(
    method: str, color_space: str, source_stats: str, image: Tensor, reference: Tensor
) -> None:
    clip = torch.cat([image[:, step : step + 300, 2 * step :][:, :, :500] for step in (0, 5, 10)])
    look = counterpart(method, clip, reference)
    expected: Tensor | None = None
    for threads in THREADS:
        torch.set_num_threads(threads)
        for layout, frames in (("channels last", clip), ("planar", planar(clip))):
            if layout == "planar" and threads != 2:
                continue
            matched = match_images(
                frames, look, method, source_stats=source_stats, window=2, color_space=color_space, rotations=6
            )
            expected = matched if expected is None else expected
            assert torch.equal(matched, expected), f"{layout}, {threads} threads"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_colors_stay_equal_at_any_place_in_a_picture_of_any_size(dtype: torch.dtype) -> None:
    for color, affine in zip(torch.rand(20, 3, 1, 1, dtype=dtype), torch.rand(20, 3, 4, dtype=torch.float64), strict=True):
        first = apply_affine(color, affine)
        for height, width in ((4, 4), (6, 7), (1, 16), (3, 47), (30, 50), (300, 451)):
            mapped = apply_affine(color.expand(3, height, width), affine)
            assert torch.equal(mapped, first.expand_as(mapped)), (height, width)
