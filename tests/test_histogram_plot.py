"""The picture of histograms: what is drawn is read back from its pixels."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from comfyui_histogram_match import match_images, plot_histograms
from comfyui_histogram_match.plots.level_counts import count_levels, distance, mean_level, resampled, shares
from comfyui_histogram_match.plots.vertical_axis import VerticalAxis
from numpy.typing import NDArray
from photos import photo
from torch import Tensor

AREAS = {"red": (240, 158, 150), "green": (150, 208, 158), "blue": (156, 184, 242), "luminance": (190, 190, 190)}
AXIS = (96, 96, 96)
LINES = ((16, 16, 16), (196, 0, 140))
LUMA = torch.tensor([0.2126, 0.7152, 0.0722])
Levels = NDArray[np.float64]


def levels_of(image: Tensor, channel: str) -> Levels:
    """The share of each of 256 levels, by numpy."""
    planes = image[..., :3].numpy()
    planes = planes if planes.shape[-1] == 3 else planes.repeat(3, -1)
    plane = planes @ LUMA.numpy() if channel == "luminance" else planes[..., ["red", "green", "blue"].index(channel)]
    rounded = np.floor(plane.clip(0, 1) * 255 + 0.5).astype(int).ravel()
    return np.bincount(rounded, minlength=256) / rounded.size


def pixels_of(plot: Tensor) -> NDArray[np.int64]:
    return (plot[0].numpy() * 255).round().astype(np.int64)


def panels(plot: Tensor) -> list[tuple[slice, slice]]:
    """The lines and columns of each row: right of the axis of shares, above the axis of levels."""
    is_axis = (pixels_of(plot) == AXIS).all(axis=2)
    bottoms = np.flatnonzero(is_axis.sum(axis=1) > is_axis.shape[1] // 2)
    left = int(is_axis[bottoms[0]].argmax())
    right = left + int(is_axis[bottoms[0]].sum())
    found, above = [], 0
    for bottom in bottoms:
        top = int(bottom) - 1
        while top > above and is_axis[top - 1, left]:
            top -= 1
        found.append((slice(top, int(bottom)), slice(left + 1, right)))
        above = int(bottom)
    return found


def bars(plot: Tensor, panel: tuple[slice, slice], color: tuple[int, int, int]) -> Levels:
    """How high an area is in each column, in pixels, with edges that are mixed with the paper counted in part."""
    part = pixels_of(plot)[panel]
    # The channel that is furthest from white; lines of the grid are lighter than an area and half of one.
    channel = int(np.argmin(color))
    coverage = ((255 - part[..., channel]) / (255 - color[channel])).clip(0, 1)
    return np.where(coverage > 0.45, coverage, 0).sum(axis=0)


def line(plot: Tensor, panel: tuple[slice, slice], color: tuple[int, int, int]) -> Levels:
    """How high the middle of a line is in each column, in pixels; NaN where there is none."""
    part = pixels_of(plot)[panel]
    near = np.abs(part - color).sum(axis=2) < 90
    heights = np.where(near, part.shape[0] - 0.5 - np.arange(part.shape[0])[:, None], np.nan)
    return np.array([np.nan if np.isnan(column).all() else np.nanmean(column) for column in heights.T])


def middles(width: int) -> NDArray[np.int64]:
    """The column in the middle of each level."""
    return ((np.arange(256) + 0.5) / 256 * width).astype(int)


def ramp(*, power: float = 1.0, scale: float = 1.0) -> Tensor:
    """A gray picture with many levels, all of them smooth."""
    values = torch.linspace(0, 1, 256 * 256).pow(power) * scale
    return values.view(1, 256, 256, 1)


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("channels", ["rgb", "luminance", "all"])
@pytest.mark.parametrize("width", [880, 1400])
def test_bars_are_as_high_as_numpy_counts(channels: str, scale: str, width: int) -> None:
    image = photo("chelsea")
    plot = plot_histograms({"image": image}, channels, scale, width, 900)
    names = {"rgb": ["red", "green", "blue"], "luminance": ["luminance"], "all": [*AREAS]}[channels]
    found = panels(plot)
    assert len(found) == len(names)
    for name, panel in zip(names, found, strict=True):
        levels, height = levels_of(image, name), panel[0].stop - panel[0].start
        axis = VerticalAxis.of([torch.from_numpy(levels)], scale)
        read = bars(plot, panel, AREAS[name])[middles(panel[1].stop - panel[1].start)]
        # Levels that carry ticks stand on a line of the grid.
        read, expected = (np.delete(heights, [0, 64, 128, 192, 255]) for heights in (read, axis.positions(levels) * height))
        assert np.abs(read - expected).max() <= 1
        assert expected.max() > 0.8 * height


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_three_images_are_an_area_a_line_and_a_dashed_line(scale: str) -> None:
    images = {"first": ramp(), "second": ramp(power=0.5), "third": ramp(power=1.3)}
    plot = plot_histograms(images, "luminance", scale, 1200, 700)
    (panel,) = panels(plot)
    height, width = (part.stop - part.start for part in panel)
    rows = [levels_of(image, "luminance") for image in images.values()]
    axis = VerticalAxis.of([torch.from_numpy(row) for row in rows], scale)
    drawn = [line(plot, panel, color)[middles(width)] for color in LINES]
    for levels, read, least, most in zip(rows[1:], drawn, (250, 120), (256, 200), strict=True):
        there = ~np.isnan(read)
        # Lines cross and cover each other here and there, and the ends go up to the first and last level.
        assert least <= there.sum() <= most
        apart = np.abs(read - axis.positions(levels) * height)[there]
        assert np.quantile(apart, 0.9) <= 1.5


def test_a_line_is_at_the_height_of_the_same_area() -> None:
    image = photo("coffee")
    plot = plot_histograms({"area": image, "line": image}, "luminance", "linear", 1400, 900)
    alone = plot_histograms({"area": image}, "luminance", "linear", 1400, 900)
    (panel,) = panels(plot)
    at = middles(panel[1].stop - panel[1].start)
    drawn, area = line(plot, panel, LINES[0])[at], bars(alone, panel, AREAS["luminance"])[at]
    assert np.nanmedian(np.abs(drawn - area)) <= 1.5


def test_narrow_pictures_draw_means_of_levels() -> None:
    image = photo("chelsea")
    plot = plot_histograms({"image": image}, "luminance", "linear", 200, 400)
    (panel,) = panels(plot)
    height, width = (part.stop - part.start for part in panel)
    assert width < 256
    levels = levels_of(image, "luminance")
    below = np.concatenate([[0], levels.cumsum()])
    means = np.diff(np.interp(np.linspace(0, 256, width + 1), np.arange(257), below)) * width / 256
    expected = VerticalAxis.of([torch.from_numpy(levels)], "linear").positions(means) * height
    read = bars(plot, panel, AREAS["luminance"])
    assert np.abs(read - expected)[~np.isin(np.arange(width), middles(width)[[0, 64, 128, 192, 255]])].max() <= 1


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("channels", ["rgb", "luminance", "all"])
@pytest.mark.parametrize(("width", "height"), [(128, 128), (128, 2048), (2048, 128), (333, 257), (768, 512)])
def test_any_size_holds_all_rows(channels: str, scale: str, width: int, height: int) -> None:
    image, reference = photo("chelsea"), photo("coffee")
    names = ("a name that is much too long for a small picture", "image_2", "third")
    images = dict(zip(names, (reference, image, match_images(image, reference)), strict=True))
    plot = plot_histograms(images, channels, scale, width, height)
    assert plot.shape == (1, height, width, 3)
    assert plot.dtype == torch.float32
    assert 0 <= float(plot.min()) < float(plot.max()) == 1
    found = panels(plot)
    assert len(found) == {"rgb": 3, "luminance": 1, "all": 4}[channels]
    assert min(rows.stop - rows.start for rows, _ in found) >= 12
    assert found[0][1].stop - found[0][1].start > width // 2
    # Nothing is written over the edge.
    pixels = pixels_of(plot)
    assert (pixels[:, -1] == 255).all()
    assert (pixels[0] == 255).all()
    assert (pixels[-1] == 255).all()


def test_gray_images_alpha_and_batches() -> None:
    gray, color = photo("coffee")[..., :1], photo("chelsea")
    assert torch.equal(plot_histograms({"a": gray}, "all"), plot_histograms({"a": gray.expand(-1, -1, -1, 3)}, "all"))
    with_alpha = torch.cat([color, torch.rand_like(color[..., :1])], dim=-1)
    assert torch.equal(plot_histograms({"a": with_alpha}), plot_histograms({"a": color}))
    batch, beside = torch.cat([color[:, :200], color[:, -200:]]), torch.cat([color[:, :200], color[:, -200:]], dim=2)
    assert torch.equal(plot_histograms({"a": batch}), plot_histograms({"a": beside}))
    assert torch.equal(plot_histograms({"a": color.half().float()}), plot_histograms({"a": color.half()}))


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_one_level_is_one_bar(scale: str) -> None:
    plot = plot_histograms({"a": torch.full((1, 5, 7, 3), 100 / 255)}, "luminance", scale, 1200, 700)
    (panel,) = panels(plot)
    height, width = (part.stop - part.start for part in panel)
    read = bars(plot, panel, AREAS["luminance"])
    read[middles(width)[[0, 64, 128, 192, 255]]] = 0
    (columns,) = np.nonzero(read > height / 4)
    assert columns.min() >= int(100 / 256 * width) - 1
    assert columns.max() <= int(101 / 256 * width) + 1
    assert len(columns) >= 3
    assert np.median(read) < 1 + height * 0.05


def test_counts_are_whole_and_exact() -> None:
    pixels = torch.rand(3, 1100, 1000)
    counts = count_levels(pixels)
    assert counts.shape == (4, 256)
    for row, name in zip(counts, AREAS, strict=True):
        expected = levels_of(pixels.movedim(0, -1), name) * pixels[0].numel()
        # What lies between two levels to the last bit may round either way.
        assert np.abs(row.numpy() - expected.round()).sum() <= 100
    assert torch.equal(counts.sum(dim=1), torch.full((4,), 1.1e6, dtype=torch.float64))
    halves = count_levels(pixels, torch.full((1100, 1000), 0.5))
    assert torch.equal(halves * 2, counts)


@pytest.mark.parametrize("level", [0, 1, 127, 254])
def test_values_round_to_the_nearest_level(level: int) -> None:
    values = torch.tensor([level + 0.498, level + 0.502]) / 255
    assert count_levels(values.view(1, 1, 2))[0, level : level + 2].tolist() == [1, 1]


def test_values_that_are_not_finite_do_not_count_and_others_go_to_the_ends() -> None:
    pixels = torch.tensor([[0.5, float("nan"), 2.0], [0.5, 0.5, float("inf")], [0.5, 0.5, -1.0]])[:, None]
    counts = count_levels(pixels)
    assert counts.sum(dim=1).tolist() == [2, 2, 3, 1]
    assert counts[0, 255] == counts[2, 0] == counts[3, 128] == 1
    with pytest.raises(ValueError, match="b: expected finite values in each channel, got none"):
        plot_histograms({"a": torch.rand(1, 2, 2, 3), "b": torch.full((1, 2, 2, 3), float("nan"))})


def test_the_numbers_of_the_legend() -> None:
    first, second = (shares(count_levels(photo(name)[0].movedim(-1, 0)))[3] for name in ("coffee", "chelsea"))
    values = [np.repeat(np.arange(256), (row.numpy() * 240_000).round().astype(int)) for row in (first, second)]
    assert mean_level(first) == pytest.approx(values[0].mean(), abs=0.01)
    ranks = (np.arange(10_000) + 0.5) / 10_000
    quantiles = [np.quantile(value, ranks, method="inverted_cdf") for value in values]
    assert distance(second, first) == pytest.approx(np.abs(quantiles[0] - quantiles[1]).mean(), abs=0.05)
    assert distance(first, first) == 0


def test_lines_bridge_gaps_of_a_match() -> None:
    levels = np.zeros(256)
    levels[10:100:3] = 1 / 30
    assert resampled(levels, 256).max() == pytest.approx(1 / 30)
    bridged = resampled(levels, 256, bridged=True)
    np.testing.assert_allclose(bridged[12:95], 1 / 90, atol=1e-12)
    assert bridged.sum() == pytest.approx(1)
    far = np.zeros(256)
    far[[0, 9, 19, 255]] = 0.25
    assert np.flatnonzero(resampled(far, 256, bridged=True)).tolist() == [*range(10), 19, 255]


def test_levels_that_stand_out_are_cut_off() -> None:
    image = ramp().clone()
    image[:, :64] = 0
    plot = plot_histograms({"image": image}, "luminance", "linear", 1200, 700)
    (panel,) = panels(plot)
    height, width = (part.stop - part.start for part in panel)
    read = np.delete(bars(plot, panel, AREAS["luminance"])[middles(width)], [64, 128, 192])
    assert read[0] == height
    np.testing.assert_allclose(read[66:-2], height / 2, atol=1)
    (panel,) = panels(plot_histograms({"image": ramp()}, "luminance", "linear", 1200, 700))
    assert bars(plot, panel, AREAS["luminance"]).max() <= height


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("highest", [1.0, 0.5, 0.0413, 1e-4])
def test_the_axis_of_shares(scale: str, highest: float) -> None:
    row = torch.zeros(256, dtype=torch.float64)
    row[10], row[20] = highest, highest * 0.37
    axis = VerticalAxis.of([row], scale)
    for most in range(1, 12):
        ticks = axis.ticks(most)
        assert 1 <= len(ticks) <= most
        for share, label in ticks:
            assert float(re.fullmatch(r"([\d.e-]+)%", label)[1]) == pytest.approx(share * 100)
            assert 0 < axis.positions(np.array(share)) <= 1
    low, high = axis.positions(row.numpy())[[20, 10]]
    assert 0 < low < high < 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": {}}, ValueError, "images: expected 1 to 3, got 0"),
        ({"images": dict.fromkeys("abcd", torch.rand(1, 2, 2, 3))}, ValueError, "images: expected 1 to 3, got 4"),
        ({"images": {"one": torch.rand(2, 2, 3)}}, ValueError, r"one: expected shape \[B, H, W, C\]"),
        ({"images": {"one": torch.rand(1, 2, 2, 2)}}, ValueError, r"one: expected shape \[B, H, W, C\]"),
        ({"images": {"one": torch.zeros(1, 2, 2, 3).int()}}, TypeError, "one: expected floating-point values"),
        ({"images": {"one": np.zeros((1, 2, 2, 3))}}, TypeError, "one: expected a torch.Tensor, got ndarray"),
        ({"channels": "hsv"}, ValueError, "channels: expected one of rgb, luminance, all, got 'hsv'"),
        ({"scale": "root"}, ValueError, "scale: expected one of linear, log, got 'root'"),
        ({"width": 100}, ValueError, "width: expected 128 to 8192, got 100"),
        ({"height": 512.0}, TypeError, "height: expected an int, got float"),
    ],
)
def test_errors(change: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plot_histograms(**{"images": {"a": torch.rand(1, 2, 2, 3)}, **change})
