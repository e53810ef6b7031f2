"""Detail that is kept, and dither: noise, blocks and bands are not amplified, by measures of their own."""

from __future__ import annotations

import io
import itertools
from functools import cache, partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
import torch
from clips import CLIPS, reference
from comfyui_histogram_match import ColorTransform, Uniform, fit_transform, match_images, specify_images
from comfyui_histogram_match.clip.settings import MatchSettings
from comfyui_histogram_match.methods.detail import smooth_change
from comfyui_histogram_match.methods.dither import noise
from flicker import flicker
from measures import amplification, gaps, wasserstein_1
from photos import photo_8bit
from PIL import Image
from torch import Tensor

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
PAIRS = tuple(itertools.permutations(PHOTOS, 2))
# Three times a window, the windows around it, and the way between two of them.
REACH = 36


@cache
def jpeg(name: str) -> Tensor:
    """A photo as a JPEG of quality 60 leaves it, [1, 256, 256, 3]."""
    file = io.BytesIO()
    Image.fromarray(photo_8bit(name)).resize((256, 256), Image.Resampling.LANCZOS).save(file, "JPEG", quality=60)
    with Image.open(file) as picture:
        return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255)[None]


def w1(result: Tensor, wanted: Tensor) -> float:
    """The Wasserstein distance of two pictures of one size, mean over channels, in 8-bit levels."""
    return 255 * float(wasserstein_1(result, wanted).mean())


def test_nothing_in_flat_areas_is_amplified_and_histograms_are_right() -> None:
    plain, kept, distances = [], [], []
    for source, target in PAIRS:
        image, look = jpeg(source), jpeg(target)
        plain.append(amplification(match_images(image, look), image))
        result = match_images(image, look, detail=1)
        kept.append(amplification(result, image))
        distances.append(w1(result, look))
    # Without it, several times as much.
    assert all(max(energies) > 5 for energies in zip(*plain, strict=True))
    assert all(max(energies) <= 1.1 for energies in zip(*kept, strict=True))
    assert mean(distances) <= 1


@pytest.mark.parametrize("method", ["nearest", "exact", "mkl", "hm-mkl-hm"])
def test_other_methods_amplify_less(method: str) -> None:
    image, look = jpeg("rocket"), jpeg("chelsea")
    plain, kept = (amplification(match_images(image, look, method, detail=detail), image) for detail in (0, 1))
    assert max(kept) <= 1.2 < max(plain)
    assert w1(match_images(image, look, method, detail=1), look) <= w1(match_images(image, look, method), look) + 0.1


@pytest.mark.parametrize("ends", [(0.2, 0.8, 0.1, 0.9), (0.4, 0.6, 0.1, 0.9), (0.2, 0.8, 0.45, 0.55), (0.3, 0.4, 0.2, 0.7)])
def test_edges_do_not_overshoot(ends: tuple[float, float, float, float]) -> None:
    image, look = (
        torch.full((1, 96, 96, 3), low).index_fill_(2, torch.arange(48, 96), high) for low, high in (ends[:2], ends[2:])
    )
    result = match_images(image, look, detail=1)
    assert 255 * max(ends[2] - float(result.min()), float(result.max()) - ends[3]) <= 2


@pytest.mark.parametrize("mode", ["uniform", "target_frame"])
def test_a_still_background_stays_still(mode: str) -> None:
    clip = CLIPS["crossing object"](8, 160, 128)
    matched = match_images(clip.frames, reference(), source_stats=mode, detail=1)
    still = matched[:, : clip.still.stop - REACH]
    assert float((still[1:] - still[:-1]).abs().max()) <= 1 / 255 / 50
    assert abs(flicker(matched, clip)) <= 0.2


def test_no_change_stays_none() -> None:
    image = jpeg("coffee")[0].movedim(-1, 0)
    shifted = image + 0.1
    assert torch.equal(smooth_change(image, image), image)
    torch.testing.assert_close(smooth_change(shifted, image), shifted)
    stretched = 1.5 * image
    torch.testing.assert_close(smooth_change(stretched, image, 0), stretched)


def test_pixels_that_do_not_count_have_no_say() -> None:
    original = torch.rand(3, 33, 46)
    matched = original.square()
    weights = torch.zeros(33, 46)
    weights[5:20, 7:30] = 1
    other = torch.where(weights > 0, matched, torch.rand(3, 33, 46))
    first, second = (smooth_change(pixels, original, weights=weights)[:, 5:20, 7:30] for pixels in (matched, other))
    torch.testing.assert_close(first, second)


def test_gradients() -> None:
    matched, original = torch.rand(2, 2, 7, 9, dtype=torch.float64).requires_grad_().unbind(0)
    weights = torch.rand(7, 9, dtype=torch.float64).requires_grad_()
    leaves = [tensor.detach().requires_grad_() for tensor in (matched, original, weights)]
    assert torch.autograd.gradcheck(lambda one, other, weight: smooth_change(one, other, 0.7, weight), leaves)
    image, look = (torch.rand(1, 9, 8, 3).requires_grad_() for _ in range(2))
    match_images(image, look, detail=0.5, dither=True).square().sum().backward()
    for tensor in (image, look):
        assert tensor.grad is not None
        assert bool(tensor.grad.isfinite().all())
        assert float(tensor.grad.abs().max()) > 0


def test_a_transform_keeps_both(tmp_path: Path) -> None:
    image, look = jpeg("chelsea"), jpeg("coffee")
    fitted = fit_transform(image, look, detail=0.5, dither=True)
    assert torch.equal(fitted.apply(image), match_images(image, look, source_stats="uniform", detail=0.5, dither=True))
    fitted.save(tmp_path / "kept.npz")
    assert torch.equal(ColorTransform.load(tmp_path / "kept.npz").apply(image), fitted.apply(image))
    with pytest.raises(ValueError, match="adds noise"):
        fitted.save_cube(tmp_path / "kept.cube")


def ramp(levels: int = 64, width: int = 1024, first: int = 96) -> Tensor:
    """Steps of one 8-bit level from left to right, [1, 64, width, 3]."""
    return ((torch.arange(width) // (width // levels) + first) / 255).float().view(1, 1, width, 1).expand(1, 64, width, 3)


# All levels equally often.
EVEN = torch.linspace(0, 1, 4096).view(1, 64, 64, 1)


@pytest.mark.parametrize("change", [partial(match_images, reference=EVEN), partial(specify_images, target=Uniform())])
def test_a_steep_change_of_a_ramp_leaves_no_bands(change: Any) -> None:
    image = ramp()
    plain, dithered = (change(image, dither=dither)[0, ..., 0] for dither in (False, True))
    for result, longest in ((plain, 16), (dithered, 16 * 3 / 4)):
        rows = (result * 255).round().long().tolist()
        runs = [len(list(run)) for row in rows for _, run in itertools.groupby(row)]
        assert max(runs) == longest if result is plain else max(runs) <= longest
    # What a level of the source becomes in the mean is the middle of its share of the reference.
    middle = (torch.arange(64).repeat_interleave(16) + 0.5) / 64
    blocks = torch.nn.functional.avg_pool2d((dithered - middle)[None] * 255, 8)
    assert float(blocks.abs().max()) <= 0.25
    assert gaps(dithered[None, ..., None].expand(-1, -1, -1, 3)) < 0.02 < gaps(plain[None, ..., None].expand(-1, -1, -1, 3))


def test_noise_is_triangular_and_cancels_out() -> None:
    values = 255 * noise(512, 384, torch.zeros(1))
    assert torch.equal(values, 255 * noise(512, 384, torch.zeros(1)))
    assert -0.5 <= float(values.min()) < -0.49 < 0.49 < float(values.max()) <= 0.5
    assert float(values.std()) == pytest.approx(0.5 / 6**0.5, rel=0.01)
    # Of a triangle, three quarters are in the inner half.
    assert float((values.abs() < 0.25).float().mean()) == pytest.approx(0.75, abs=0.005)
    assert float(torch.nn.functional.avg_pool2d(values[None], 8).abs().max()) <= 0.03


def test_gray_stays_gray() -> None:
    image = ramp().mean(dim=-1, keepdim=True)
    result = match_images(image.expand(-1, -1, -1, 3), EVEN, dither=True, detail=1)
    # Channels are rounded to 16-bit levels, each in its own way.
    assert 255 * float((result[..., 0] - result[..., 2]).abs().max()) <= 0.1


@pytest.mark.parametrize(("value", "kind"), [(-0.1, ValueError), (1.1, ValueError), ("much", TypeError), (True, TypeError)])
def test_detail_is_a_number_from_0_to_1(value: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="detail: expected a number"):
        MatchSettings(detail=value)
