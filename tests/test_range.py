"""Values beyond [0, 1]: linear light and HDR, in the library, in what is kept, and in EXR and TIFF files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import tifffile
import torch
from comfyui_histogram_match import (
    METHODS,
    ColorTransform,
    ReferenceHistogram,
    Uniform,
    fit_transform,
    match_images,
    specify_images,
)
from comfyui_histogram_match.clip.histograms import FrameHistograms
from comfyui_histogram_match.clip.settings import MatchSettings
from comfyui_histogram_match.command.run import main
from comfyui_histogram_match.matching import match_batch
from comfyui_histogram_match.methods.value_range import ValueRange, moved_counts
from photos import photo
from torch import Tensor

METHODS_BY_LEVEL = [name for name in METHODS if name not in ("nearest", "sliced")]
HEADER = {"compression": OpenEXR.PIZ_COMPRESSION, "type": OpenEXR.scanlineimage, "owner": "a studio"}


def light(name: str, brightest: float = 60.0, darkest: float = -0.5) -> Tensor:
    """A photo as linear light from a negative value to a bright one, with noise, so that pixels have values of their own."""
    image = photo(name)[:, :300, :400].double()
    noisy = (image + 0.004 * torch.rand(image.shape, dtype=torch.float64)) ** 2.2
    return (darkest + (brightest - darkest) * noisy / noisy.max()).float()


def oracle(image: Tensor, reference: Tensor) -> np.ndarray:
    """What numpy makes of it: each value goes to the one of the same rank."""
    channels = []
    for source, look in zip(image[0].unbind(-1), reference[0].unbind(-1), strict=True):
        _, inverse, counts = np.unique(source.numpy(), return_inverse=True, return_counts=True)
        values, others = np.unique(look.numpy(), return_counts=True)
        ranks = counts.cumsum() / counts.sum()
        channels.append(np.interp(ranks, others.cumsum() / others.sum(), values)[inverse.reshape(source.shape)])
    return np.stack(channels, axis=-1)[None]


def w1(first: np.ndarray, second: np.ndarray) -> float:
    """The Wasserstein distance of two pictures of one size, mean over channels."""
    ordered = [np.sort(one.reshape(-1, one.shape[-1]), axis=0) for one in (first, second)]
    return float(np.abs(ordered[0] - ordered[1]).mean())


@pytest.mark.parametrize("method", METHODS_BY_LEVEL)
def test_a_picture_matched_to_itself_stays(method: str) -> None:
    image = light("coffee")
    result = match_images(image, image, method, range="data")
    # Near 0, levels are evenly spaced.
    assert float(((result - image).abs() / image.abs().clamp(min=2**-10)).max()) <= 1e-3


@pytest.mark.parametrize("pair", [("astronaut", "coffee"), ("rocket", "chelsea"), ("coffee", "rocket")])
def test_ranks_are_those_of_numpy(pair: tuple[str, str]) -> None:
    image, look = light(pair[0], 60, -0.5), light(pair[1], 12, -0.1)
    result = match_images(image, look, range="data").numpy()
    expected = oracle(image, look)
    before = w1(image.numpy(), expected)
    assert w1(result, expected) <= 0.01 * before
    assert w1(result, look.numpy()) <= 0.01 * before
    # Shadows keep their levels as well: by the ratio, not only by the difference.
    dark = np.abs(expected) < 0.05
    assert np.abs(result - expected)[dark].mean() <= 0.03 * np.abs(expected)[dark].mean()
    assert float(result.max()) > 10
    assert float(result.min()) < -0.05


@pytest.mark.parametrize("method", [name for name in METHODS if not METHODS[name].aligned])
@pytest.mark.parametrize("color_space", ["rgb", "luminance"])
def test_every_method_comes_nearer(method: str, color_space: str) -> None:
    image, look = light("astronaut"), light("coffee", 8, -0.2)
    result = match_images(image, look, method, range="data", color_space=color_space)
    assert bool(result.isfinite().all())
    assert w1(result.numpy(), look.numpy()) < 0.7 * w1(image.numpy(), look.numpy())


@pytest.mark.parametrize("mode", ["per_frame", "uniform", "target_frame", "smoothed"])
def test_clips(mode: str) -> None:
    image, look = light("rocket"), light("coffee", 8)
    frames = torch.cat([image, image * 0.5, image * 2])
    result = match_images(frames, look, range="data", source_stats=mode, window=2)
    if mode == "per_frame":
        for index in range(3):
            assert w1(result[index][None].numpy(), look.numpy()) < 0.02
    else:
        assert float(result.max()) <= float(look.max()) + 1e-3
        # Of one light, twice as much never becomes less.
        assert bool((result[2] >= result[1] - 1e-2)[image[0] > 0.01].all())


def test_masks_alpha_gray_and_what_is_not_finite() -> None:
    image, look = light("rocket"), light("coffee", 8)
    mask = torch.zeros(1, 300, 400)
    mask[:, :, 150:] = 1
    half = match_images(image, look, range="data", image_mask=mask, factor=0.5)
    assert torch.equal(half[:, :, :150], image[:, :, :150])
    whole = match_images(image, look, range="data", image_mask=mask)
    torch.testing.assert_close(half, (whole + image) / 2, rtol=1e-5, atol=1e-5)
    alpha = torch.rand(1, 300, 400, 1) * 3
    assert torch.equal(match_images(torch.cat([image, alpha], -1), look, range="data")[..., 3:], alpha)
    gray = match_images(image[..., :1], look, range="data")
    assert gray.shape == (1, 300, 400, 1)
    damaged = image.clone()
    damaged[0, 0, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])[:, None]
    with pytest.warns(RuntimeWarning, match="left out 9 NaN or infinite values"):
        result = match_images(damaged, look, range="data")
    assert result[0, 0, 0].tolist() == [0, 0, 0]
    assert bool(result.isfinite().all())
    assert float(result[0, 0, 1].min()) >= float(look.max()) - 1e-3
    assert float(result[0, 0, 2].max()) < 0
    assert torch.equal(match_images(image, look, factor=0.0, range="data"), image)


def test_from_0_to_1_is_as_before() -> None:
    image, look = light("rocket"), light("coffee")
    with pytest.warns(RuntimeWarning, match="far outside"):
        assert torch.equal(match_images(image, look, range="0 to 1"), match_images(image, look))
    with pytest.raises(ValueError, match="range: expected one of 0 to 1, data, got 'hdr'"):
        MatchSettings(range="hdr")


def test_pooled_and_kept_references_carry_their_range(tmp_path: Path) -> None:
    image, looks = light("rocket"), [light("coffee", 8), light("chelsea", 100, -3)]
    pooled = match_images(image, torch.cat([look[:, :300, :400] for look in looks]), range="data", reference_stats="pooled")
    parts = [ReferenceHistogram.of(look, range="data") for look in looks]
    (parts[0] + parts[1]).save(tmp_path / "both.npz")
    kept = ReferenceHistogram.load(tmp_path / "both.npz")
    assert kept.values == ValueRange(min(float(look.min()) for look in looks), max(float(look.max()) for look in looks))
    result = match_images(image, kept, range="data")
    assert w1(result.numpy(), pooled.numpy()) <= 1e-3 * float(pooled.abs().mean())
    # A range that is wider than the picture's own, a picture wider than the reference's, and a reference from 0 to 1.
    narrow = ReferenceHistogram.of(photo("coffee"))
    wide = match_images(image * 10, narrow, range="data")
    assert 0 <= float(wide.min()) <= float(wide.max()) <= 1 + 1e-5
    with pytest.warns(RuntimeWarning, match="reference: values far outside"):
        clamped = match_images(photo("rocket"), kept)
    assert 0 <= float(clamped.min()) <= float(clamped.max()) <= 1
    narrow.save(tmp_path / "narrow.npz")
    assert ReferenceHistogram.load(tmp_path / "narrow.npz").values is None


@pytest.mark.parametrize("method", ["pytorch", "mkl", "sliced", "aligned-curve"])
def test_transforms_carry_their_range(tmp_path: Path, method: str) -> None:
    image = light("rocket")
    look = image * 0.25 if METHODS[method].aligned else light("coffee", 8)
    fitted = fit_transform(image, look, method, range="data")
    direct = match_images(image, look, method, range="data", source_stats="uniform")
    assert torch.equal(fitted.apply(image), direct)
    fitted.save(tmp_path / "kept.npz")
    assert torch.equal(ColorTransform.load(tmp_path / "kept.npz").apply(image), direct)
    expected = (
        "from 0 to 1, got one that was fitted with the range data" if fitted.pointwise else "equal colors to equal colors"
    )
    with pytest.raises(ValueError, match=expected):
        ColorTransform.load(tmp_path / "kept.npz").save_cube(tmp_path / "kept.cube")


@pytest.mark.parametrize("ends", [(0.0, 1.0), (-0.5, 60.0), (-65504.0, 65504.0), (1e-6, 3e-6), (5.0, 5.0), (-3.0, -1.0)])
def test_levels_lead_there_and_back(ends: tuple[float, float]) -> None:
    span = ValueRange(*ends)
    values = torch.linspace(*ends, 1001, dtype=torch.float64)
    levels = span.levels(values)
    assert bool((levels.diff() >= 0).all())
    assert (float(levels.min()), float(levels.max())) == (0.0, 1.0 if ends[0] < ends[1] else 0.0)
    torch.testing.assert_close(span.values(levels), values, rtol=1e-9, atol=1e-12)
    level = np.arcsinh(1024 * np.array([ends[0], values[400], ends[1]]))
    expected = (level[1] - level[0]) / (level[2] - level[0]) if ends[0] < ends[1] else 0
    assert math.isclose(float(levels[400]), expected, abs_tol=1e-9)


def test_what_the_docstring_says_of_neighbors() -> None:
    span = ValueRange(-65504.0, 65504.0)
    values = span.values(torch.linspace(0, 1, 65536, dtype=torch.float64))
    steps = values.diff() / torch.maximum(values[1:].abs(), torch.tensor(2.0**-10, dtype=torch.float64))
    assert float(steps.max()) <= 0.00082


def test_counts_move_to_other_ranges() -> None:
    counts = torch.zeros(1, 65536, dtype=torch.float64)
    counts[0, [0, 32768, 65535]] = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    moved = moved_counts(counts, None, ValueRange(-1.0, 10.0))
    assert moved.sum() == 6
    values = ValueRange(-1.0, 10.0).values(moved[0].nonzero()[:, 0] / 65535)
    torch.testing.assert_close(values, torch.tensor([0, 0.5, 1]), rtol=1e-3, atol=1e-3)
    back = moved_counts(moved, ValueRange(-1.0, 10.0), None)
    assert (back - counts).abs().sum() <= 4
    assert torch.equal(moved_counts(counts, None, None), counts)


def test_what_is_shown_are_levels_of_the_range() -> None:
    image, look = light("rocket"), light("coffee", 8)
    shown: list[FrameHistograms] = []
    match_batch(image, look, MatchSettings(range="data"), observe=shown.append)
    (histograms,) = shown
    assert histograms.reference is not None
    pictures = (histograms.source, histograms.result, histograms.reference)
    source, result, wanted = (one[:3].cumsum(1) / one[:3].sum(1, keepdim=True) for one in pictures)
    before, after = (float((one - wanted).abs().sum(1).max()) for one in (source, result))
    assert after < 0.02 * before
    # Of pictures whose levels were cut off at 1, most would be there.
    assert float(histograms.result[:3, -1].sum() / histograms.result[:3].sum()) < 0.05


def test_a_gradient_and_a_target() -> None:
    image, look = light("rocket")[:, :40, :40].requires_grad_(), light("coffee", 8)[:, :40, :40].requires_grad_()
    match_images(image, look, range="data").sum().backward()
    assert image.grad is not None
    assert look.grad is not None
    assert bool(image.grad.isfinite().all() & look.grad.isfinite().all())
    equalized = specify_images(light("rocket"), Uniform(), range="data")
    levels = ValueRange.of([light("rocket")]).levels(equalized)
    assert float((levels.flatten().sort().values - torch.linspace(0, 1, levels.numel())).abs().mean()) < 0.01


def write_exr(name: str, values: Tensor, channels: str = "RGB", half: bool = False) -> np.ndarray:
    stored = values[0].numpy().astype(np.float16 if half else np.float32)
    OpenEXR.File(dict(HEADER), {channels: np.ascontiguousarray(stored[..., 0] if channels == "Y" else stored)}).write(name)
    return stored.astype(np.float32)


def read_exr(name: str) -> np.ndarray:
    (channel,) = OpenEXR.File(name).channels().values()
    return np.asarray(channel.pixels)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("channels", ["RGB", "RGBA", "Y"])
def test_the_command_matches_exr(folder: Path, channels: str, half: bool) -> None:
    image, look = light("rocket"), light("coffee", 8)
    image = {"RGB": image, "Y": image[..., :1], "RGBA": torch.cat([image, torch.rand(1, 300, 400, 1)], dim=-1)}[channels]
    stored = torch.from_numpy(write_exr("a.exr", image, channels, half))[None].reshape(image.shape)
    wanted = torch.from_numpy(write_exr("b.exr", look))[None]
    assert main(["a.exr", "-r", "b.exr", "-o", "out.exr", "--range", "data", "--ignore-alpha"]) == 0
    written = OpenEXR.File("out.exr")
    assert list(written.channels()) == [channels]
    assert (written.header()["owner"], written.header()["compression"]) == ("a studio", OpenEXR.PIZ_COMPRESSION)
    result = read_exr("out.exr")
    assert result.dtype == (np.float16 if half else np.float32)
    expected = match_images(stored, wanted, range="data")[0].numpy().reshape(result.shape)
    np.testing.assert_allclose(result, expected, rtol=1e-3 if half else 1e-6, atol=1e-4 if half else 1e-6)
    if channels == "RGBA":
        assert np.array_equal(result[..., 3].astype(np.float32), stored[0, ..., 3].numpy())


def test_the_command_matches_float_tiff_and_keeps_what_it_found(folder: Path) -> None:
    image, look = light("rocket"), light("coffee", 8)
    for name, picture in (("a.tif", image), ("b.tif", look)):
        tifffile.imwrite(name, picture[0].numpy(), photometric="rgb")
    assert main(["a.tif", "-r", "b.tif", "-o", "out.tif", "--range", "data"]) == 0
    expected = match_images(image, look, range="data")[0].numpy()
    np.testing.assert_allclose(tifffile.imread("out.tif"), expected, rtol=1e-6, atol=1e-6)
    assert main(["a.tif", "-r", "b.tif", "--save-transform", "kept.npz", "--range", "data"]) == 0
    assert main(["a.tif", "--transform", "kept.npz", "-o", "changed.tif"]) == 0
    np.testing.assert_allclose(tifffile.imread("changed.tif"), expected, rtol=1e-6, atol=1e-6)
    assert main(["-r", "b.tif", "--save-reference", "look.npz", "--range", "data"]) == 0
    assert main(["a.tif", "-r", "look.npz", "-o", "again.exr", "--range", "data"]) == 0
    assert w1(read_exr("again.exr")[None], expected[None]) <= 0.002 * float(np.abs(expected).mean())


@pytest.mark.parametrize("stats", ["uniform", "smoothed", "target_frame"])
def test_exr_files_are_frames_of_one_clip(folder: Path, stats: str) -> None:
    image, look = light("rocket"), light("coffee", 8)
    Path("shots").mkdir()
    frames = [torch.from_numpy(write_exr(f"shots/{index}.exr", image * 2.0**index)) for index in range(3)]
    wanted = torch.from_numpy(write_exr("b.exr", look))[None]
    assert main(["shots", "-r", "b.exr", "-o", "out", "--range", "data", "--source-stats", stats, "--grid", "2"]) == 0
    expected = match_images(torch.stack(frames), wanted, range="data", source_stats=stats, grid=2).numpy()
    for index, frame in enumerate(expected):
        np.testing.assert_allclose(read_exr(f"out/{index}.exr"), frame, rtol=1e-5, atol=1e-5)


def test_the_command_says_what_does_not_go(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_exr("a.exr", light("rocket"))
    Path("broken.exr").write_bytes(Path("a.exr").read_bytes()[:2000])
    OpenEXR.File(dict(HEADER), {"R": np.ones((4, 4), "float32"), "Z": np.ones((4, 4), "float32")}).write("depth.exr")
    cases = {
        "a.exr -r coffee.png -o out.exr": "a.exr: expected values from 0 to 1, got -0.5 to 60; --range data takes them",
        "a.exr -r coffee.png -o out.png --range data": "expected TIFF or EXR for floating-point values, .png",
        "coffee.png -r a.exr -o out.exr --range data": "expected PNG or TIFF for whole numbers, .exr holds linear light",
        "broken.exr -r coffee.png -o out.exr --range data": "broken.exr: damaged EXR",
        "depth.exr -r coffee.png -o out.exr --range data": "an EXR of one picture, gray, RGB or RGBA, got channels R, Z",
    }
    for arguments, expected in cases.items():
        assert main(arguments.split()) == 1
        assert expected in capsys.readouterr().err
        assert not Path(arguments.split()[4]).exists()
