"""A change that varies over the picture, in the cells of a grid: against slow references, photos, and scikit-image's CLAHE."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cells import relit
from comfyui_histogram_match import (
    METHODS,
    ColorTransform,
    LinearStretch,
    Normal,
    ReferenceHistogram,
    Specified,
    Uniform,
    fit_transform,
    match_images,
    specify_images,
)
from comfyui_histogram_match.clip.settings import MatchSettings
from comfyui_histogram_match.kernels.cells import BINS, FINE, count_cells, look_up_cells, map_cells
from comfyui_histogram_match.methods.grid import CellStep, limit_slopes
from photos import photo
from skimage.exposure import equalize_adapthist
from torch import Tensor
from torch.autograd import gradcheck

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
WITH_CELLS = [name for name, method in METHODS.items() if not method.whole]
TARGETS = [Uniform(), Normal(0.5, 0.2), LinearStretch(), Specified([[1.0, 2, 3], [3.0, 1, 1], [1.0, 1, 4]])]


def small(name: str) -> Tensor:
    return torch.nn.functional.interpolate(photo(name).movedim(-1, 1), (96, 128), mode="area").movedim(1, -1)


def slow_tables(pixels: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Pixels ``[C, H, W]`` through tables ``[C, rows, columns, bins]``, one after the other, by numpy.interp."""
    out = np.empty_like(pixels)
    rows, columns, bins = tables.shape[1:]
    levels = np.linspace(0, 1, bins)
    for channel, down, along in np.ndindex(*pixels.shape):
        row = np.clip((down + 0.5) * rows / pixels.shape[1] - 0.5, 0, rows - 1)
        column = np.clip((along + 0.5) * columns / pixels.shape[2] - 0.5, 0, columns - 1)
        value = 0.0
        for one in {int(row), min(int(row) + 1, rows - 1)}:
            for other in {int(column), min(int(column) + 1, columns - 1)}:
                weight = (1 - abs(row - one)) * (1 - abs(column - other))
                value += weight * np.interp(pixels[channel, down, along], levels, tables[channel, one, other])
        out[channel, down, along] = value
    return out


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("grid", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (31, 14)])
def test_cells_are_counted_and_looked_up_as_one_by_one(size: tuple[int, int], grid: int, interleaved: bool) -> None:
    pixels = torch.rand(3, *size)
    pixels = pixels.movedim(0, -1).contiguous().movedim(-1, 0) if interleaved else pixels
    weights = torch.rand(*size)
    for given in (None, weights):
        counts = count_cells(pixels, grid, given)
        expected = np.zeros((3, grid, grid, FINE))
        for channel, down, along in np.ndindex(3, *size):
            level = int(pixels[channel, down, along] * (FINE - 1) + 0.5)
            one = 1.0 if given is None else float(given[down, along])
            expected[channel, down * grid // size[0], along * grid // size[1], level] += one
        np.testing.assert_allclose(counts.numpy(), expected, atol=1e-6)
    tables = torch.rand(3, grid, grid, BINS).sort(dim=-1).values
    expected = slow_tables(pixels.double().numpy(), tables.double().numpy())
    np.testing.assert_allclose(look_up_cells(pixels, tables).numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_large_pictures_are_cut_where_it_does_not_show(threads: int) -> None:
    torch.set_num_threads(threads)
    image, look = photo("astronaut"), relit(photo("astronaut"), 1)
    result = match_images(image, look, grid=8)
    with torch.enable_grad():
        slow = match_images(image.clone().requires_grad_(), look, grid=8).detach()
    # Softly between levels, or at one of 1021.
    assert float((result - slow).abs().max()) * 255 <= 2
    assert float((result - slow).abs().mean()) * 255 <= 0.1
    torch.set_num_threads(2)
    assert torch.equal(result, match_images(image, look, grid=8))


def test_affine_maps_are_interpolated() -> None:
    pixels, maps = torch.rand(3, 20, 30, dtype=torch.float64), torch.rand(4, 5, 3, 4, dtype=torch.float64)
    identity = torch.cat([torch.eye(3), torch.zeros(3, 1)], dim=1).double()
    torch.testing.assert_close(map_cells(pixels, identity.expand(4, 5, 3, 4)), pixels)
    # Between the middles of four cells, at a corner of all.
    even = pixels[:, :1, :1].expand(3, 20, 30)
    corner = map_cells(even, maps)[:, 4:6, 5:7].mean(dim=(1, 2))
    mean = maps[:2, :2].mean(dim=(0, 1))
    torch.testing.assert_close(corner, mean[:, :3] @ pixels[:, 0, 0] + mean[:, 3])
    one = map_cells(pixels[:, 2:3, 3:4], maps[:1, :1])
    torch.testing.assert_close(one[:, 0, 0], maps[0, 0, :, :3] @ pixels[:, 2, 3] + maps[0, 0, :, 3])


@pytest.mark.parametrize("method", WITH_CELLS)
def test_a_relit_photo_comes_back(method: str) -> None:
    errors = []
    for index, name in enumerate(PHOTOS if method == "pytorch" else PHOTOS[:1]):
        look = small(name) if method != "pytorch" else photo(name)
        image = relit(look, index)
        errors.append([float((match_images(image, look, method, grid=grid) - look).abs().mean()) for grid in (1, 8)])
    # One affine map is no exponent, and curves for pairs are smooth.
    most = {"aligned-linear": 0.45, "aligned-curve": 0.4}.get(method, 0.25)
    for whole, cells in errors:
        assert cells <= whole * most


def test_no_step_shows_between_cells() -> None:
    tables = torch.rand(1, 8, 8, BINS).sort(dim=-1).values
    flat = look_up_cells(torch.full((1, 160, 160), 0.4), tables)[0]
    steps = flat.diff(dim=1).abs().amax(dim=0)
    # Between two pixels whose cells differ.
    borders = torch.arange(19, 159, 20)
    inside = torch.ones_like(steps, dtype=torch.bool).index_fill_(0, borders, False)
    assert float(steps[borders].max()) <= float(steps[inside].max()) + 1e-6


@pytest.mark.parametrize("slope", [2.56, 7.68])
@pytest.mark.parametrize("name", ["astronaut", "coffee", "rocket", "camera"])
def test_uniform_in_cells_with_a_limit_is_clahe(name: str, slope: float) -> None:
    gray = photo(name)[..., min(1, photo(name).shape[-1] - 1)][0].numpy()
    height, width = (side // 8 for side in gray.shape)
    gray = gray[: 8 * height, : 8 * width]
    gray = (gray - gray.min()) / (gray.max() - gray.min())
    expected = equalize_adapthist(gray, kernel_size=(height, width), clip_limit=slope / 256)
    result = specify_images(torch.from_numpy(gray)[None, ..., None], Uniform(), grid=8, clip=slope)[0, ..., 0].numpy()
    assert np.abs(result - expected).mean() * 255 <= 2


@pytest.mark.parametrize("most", [1.0, 1.5, 4.0])
def test_slopes_are_limited_and_the_ends_stay(most: float) -> None:
    counts = torch.rand(3, BINS, dtype=torch.float64) ** 8
    counts[:, 40] = 30
    tables = counts.cumsum(1) / counts.sum(1, keepdim=True)
    limited = limit_slopes(tables, tables.new_zeros(3, 1), most)
    assert float(limited.diff(dim=1, prepend=limited.new_zeros(3, 1)).max()) * BINS <= most + 1e-6
    torch.testing.assert_close(limited[:, -1], tables[:, -1])
    assert float(limited.diff(dim=1).min()) >= 0
    untouched = torch.linspace(1 / BINS, 1, BINS, dtype=torch.float64)[None]
    torch.testing.assert_close(limit_slopes(untouched, untouched.new_zeros(1, 1), 1.0), untouched)


def test_a_limit_keeps_noise_down() -> None:
    image = 0.5 + 0.01 * torch.randn(1, 128, 128, 1)
    plain, limited = (specify_images(image, Uniform(), grid=4, clip=clip) for clip in (0.0, 2.0))
    assert float(plain.std()) > 0.25
    assert float(limited.std()) < 2.2 * float(image.std())
    whole = match_images(image, torch.rand(1, 64, 64, 1), clip=2.0)
    assert float(whole.std()) < 2.2 * float(image.std())


@pytest.mark.parametrize("target", TARGETS)
def test_targets_in_one_cell_with_any_slope_are_those_of_the_picture(target: Any) -> None:
    image = photo("chelsea")
    one, whole = specify_images(image, target, clip=256.0), specify_images(image, target)
    assert float((one - whole).abs().mean()) * 255 < 0.5
    cells = specify_images(image, target, grid=4)
    assert float((cells - whole).abs().mean()) * 255 > 2


def test_masked_and_flat_cells_borrow_from_their_neighbors() -> None:
    look = photo("coffee")
    image = (look * 0.7 + 0.1).clone()
    mask = torch.ones(1, *image.shape[1:3])
    mask[:, 150:250, 225:375] = 0
    everywhere = torch.ones(1, 8, 8)
    # Whatever is behind the mask does not count, and is changed as all around it.
    damaged = torch.where(mask[..., None] > 0, image, torch.rand_like(image))
    result = match_images(damaged, look, grid=8, image_mask=mask, change_mask=everywhere)
    inside = match_images(image, look, grid=8)
    measured = mask[..., None].expand_as(image) > 0
    assert float((result - inside)[measured].abs().mean()) * 255 < 1
    restored = match_images(
        torch.where(mask[..., None] > 0, damaged, image), look, grid=8, image_mask=mask, change_mask=everywhere
    )
    assert float((restored - look)[~measured].abs().mean()) * 255 < 8
    # Cells of one color do not force it onto the pixels beside them.
    flat = image.clone()
    flat[:, 100:200, 150:300] = 0.5
    other = look.clone()
    other[:, 100:200, 150:300] = (0.5 - 0.1) / 0.7
    assert float((match_images(flat, other, grid=8) - other).abs().mean()) * 255 < 4


@pytest.mark.parametrize("method", WITH_CELLS)
def test_clips_add_and_transforms_are_kept(tmp_path: Path, method: str) -> None:
    look = small("chelsea")
    frames = torch.cat([relit(look, 3), relit(look, 3) * 0.9, relit(look, 3).flip(2)])
    stats = "paired" if METHODS[method].aligned else "pooled"
    together = match_images(frames, look, method, source_stats="uniform", reference_stats=stats, grid=3)
    fitted = fit_transform(frames, look, method, grid=3)
    assert torch.equal(fitted.apply(frames), together)
    assert not fitted.pointwise
    fitted.save(tmp_path / "kept.npz")
    assert torch.equal(ColorTransform.load(tmp_path / "kept.npz").apply(frames), together)
    with pytest.raises(ValueError, match="equal colors to equal colors, got one that changes over the picture"):
        fitted.save_cube(tmp_path / "kept.cube")
    same = look.expand(3, -1, -1, -1) * 0.8
    modes = [match_images(same, look, method, source_stats=mode, grid=3) for mode in ("per_frame", "uniform", "smoothed")]
    for mode in modes[1:]:
        torch.testing.assert_close(mode, modes[0], rtol=0, atol=2 / 255)


def test_masks_blend_and_alpha_stays() -> None:
    image = torch.cat([photo("rocket"), torch.rand(1, 427, 640, 1)], dim=-1)
    mask = torch.zeros(1, 427, 640)
    mask[:, :, 200:] = 1
    result = match_images(image, photo("coffee"), grid=4, image_mask=mask, factor=0.5)
    assert torch.equal(result[:, :, :200], image[:, :, :200])
    assert torch.equal(result[..., 3], image[..., 3])
    assert float((result - image)[:, :, 200:].abs().mean()) > 0.02


@pytest.mark.parametrize("color_space", ["luminance", "lab", "oklab"])
def test_color_spaces(color_space: str) -> None:
    image = photo("rocket")
    equalized = specify_images(image, Uniform(), color_space=color_space, grid=4, clip=3.0)
    assert float(equalized.std()) > float(image.std()) * 0.9
    look = photo("astronaut")
    errors = [
        float((match_images(relit(look, 5), look, color_space=color_space, grid=grid) - look).abs().mean()) for grid in (1, 8)
    ]
    assert errors[1] < errors[0]


def test_references_of_any_size_and_gray() -> None:
    look = photo("coffee")
    half = torch.nn.functional.interpolate(look.movedim(-1, 1), scale_factor=0.5, mode="area").movedim(1, -1)
    image = relit(look, 2)
    assert float((match_images(image, half, grid=8) - match_images(image, look, grid=8)).abs().mean()) * 255 < 3
    gray = match_images(image[..., :1], look, grid=4)
    assert gray.shape == (*image.shape[:3], 1)
    assert match_images(image, look[..., :1], grid=4).shape == image.shape


def test_not_finite_values_do_not_count() -> None:
    look = photo("coffee")
    image = relit(look, 2)
    damaged = image.clone()
    damaged[0, 7, 7] = torch.nan
    damaged[0, 8, 8] = torch.inf
    with pytest.warns(RuntimeWarning, match="left out 6 NaN or infinite values"):
        result = match_images(damaged, look, grid=8)
    assert result[0, 7, 7].tolist() == [0, 0, 0]
    assert result[0, 8, 8].tolist() == [1, 1, 1]
    assert float((result - match_images(image, look, grid=8)).abs().median()) == 0


def test_gradients() -> None:
    image, look = torch.rand(1, 6, 8, 1, dtype=torch.float64), torch.rand(1, 6, 8, 1, dtype=torch.float64)
    tables = torch.rand(1, 2, 3, 9, dtype=torch.float64).requires_grad_()
    pixels = torch.rand(1, 5, 6, dtype=torch.float64).requires_grad_()
    assert gradcheck(look_up_cells, (pixels, tables))
    maps = torch.rand(2, 3, 1, 2, dtype=torch.float64).requires_grad_()
    assert gradcheck(map_cells, (pixels, maps))
    weights = torch.rand(5, 6, dtype=torch.float64).requires_grad_()
    assert gradcheck(partial(_counted, torch.rand(2, 2, FINE, dtype=torch.float64)), (pixels, weights))
    image.requires_grad_(), look.requires_grad_()
    match_images(image, look, grid=2, clip=3.0).square().sum().backward()
    assert image.grad is not None
    assert look.grad is not None
    assert bool(image.grad.isfinite().all() & look.grad.isfinite().all())
    assert float(image.grad.abs().sum()) > 0 < float(look.grad.abs().sum())


def _counted(factors: Tensor, pixels: Tensor, weights: Tensor) -> Tensor:
    return (count_cells(pixels, 2, weights)[0] * factors).sum(dim=-1)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in WITH_CELLS])
def test_other_methods_say_why_not(method: str) -> None:
    for name, value in (("grid", 2), ("clip", 2.0)):
        expected = (
            rf"{name}: expected {'1' if name == 'grid' else '0'} with {method}, since {METHODS[method].whole}, got {value}"
        )
        with pytest.raises(ValueError, match=expected):
            MatchSettings(method, **{name: value})  # type: ignore[arg-type]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="grid: expected 1 to 32, got 33"):
        MatchSettings(grid=33)
    with pytest.raises(TypeError, match="grid: expected an int, got float"):
        MatchSettings(grid=2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"clip: expected 0 for no limit, or a slope from 1 up, got 0\.5"):
        MatchSettings(clip=0.5)
    with pytest.raises(ValueError, match="clip: expected 0 with aligned-curve"):
        MatchSettings("aligned-curve", clip=2.0)
    image = photo("rocket")
    with pytest.raises(ValueError, match="reference: expected a picture, to compare cell by cell, got the ReferenceHistogram"):
        match_images(image, ReferenceHistogram.of(image), grid=2)


def test_slopes_are_limited_with_a_kept_reference() -> None:
    image, look = photo("rocket"), photo("coffee")
    direct, kept = (match_images(image, reference, clip=2.0) for reference in (look, ReferenceHistogram.of(look)))
    assert float((direct - kept).abs().max()) * 255 < 0.5
    assert float((direct - match_images(image, look)).abs().mean()) * 255 > 1


def test_one_cell_is_no_grid() -> None:
    assert not any(isinstance(step, CellStep) for step in MatchSettings(grid=1, clip=0.0).recipe()[1])
    image, look = photo("rocket"), photo("coffee")
    assert torch.equal(match_images(image, look, grid=1, clip=0.0), match_images(image, look))
