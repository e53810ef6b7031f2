"""The running average of transfer functions: still where things are still, quick where all changes, new after a cut."""

from __future__ import annotations

import pytest
import torch
from comfyui_histogram_match import cumulative_distribution, histogram
from comfyui_histogram_match.clip.smoothing import FrameStatistics, TransferSmoothing, is_flat, watched_pixels
from comfyui_histogram_match.methods.channels import ChannelTables
from comfyui_histogram_match.methods.color_space import ColorSpace
from comfyui_histogram_match.methods.transform import Transform
from torch import Tensor

BINS = 256


def picture(seed: int, brightness: float = 1.0) -> Tensor:
    """Blobs of random brightness, [3, 60, 80]."""
    small = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, size=(60, 80), mode="bilinear")[0] * brightness


def constant(table: float) -> Transform:
    """A transform to one value, to tell transforms apart."""
    return Transform(ColorSpace("rgb"), (ChannelTables(torch.full((3, BINS), table)),))


def table_of(transform: Transform) -> Tensor:
    (part,) = transform.parts
    assert isinstance(part, ChannelTables)
    return part.values


def statistics(frame: Tensor, table: float, mask: Tensor | None = None) -> FrameStatistics:
    """Statistics of a frame, with a transform to one value."""
    cdf = cumulative_distribution(histogram(frame, BINS))
    return FrameStatistics(constant(table), cdf, watched_pixels(frame, mask))


def test_a_window_of_one_follows_every_frame() -> None:
    smoothing = TransferSmoothing(1)
    for number, table in enumerate((0.1, 0.7, 0.3)):
        assert torch.equal(table_of(smoothing.follow(statistics(picture(number), table))), torch.full((3, BINS), table))


@pytest.mark.parametrize("window", [3, 24, 72])
def test_a_still_clip_is_averaged_with_the_weight_of_the_window(window: int) -> None:
    smoothing, frame = TransferSmoothing(window), picture(0)
    expected = 0.2
    smoothing.follow(statistics(frame, 0.2))
    for table in (0.8, 0.1, 0.9):
        expected += 2 / (window + 1) * (table - expected)
        assert table_of(smoothing.follow(statistics(frame, table))).mean().item() == pytest.approx(expected, abs=1e-6)


def test_a_cut_starts_anew() -> None:
    smoothing = TransferSmoothing(72)
    for _ in range(3):
        smoothing.follow(statistics(picture(0), 0.2))
    assert torch.equal(table_of(smoothing.follow(statistics(picture(1) * 0.4, 0.8))), torch.full((3, BINS), 0.8))
    assert table_of(smoothing.follow(statistics(picture(1) * 0.4, 0.2))).mean() > 0.7


def test_a_picture_of_another_size_starts_anew() -> None:
    smoothing = TransferSmoothing(72)
    smoothing.follow(statistics(picture(0), 0.2))
    assert torch.equal(table_of(smoothing.follow(statistics(picture(0)[:, :40], 0.8))), torch.full((3, BINS), 0.8))


def test_a_shot_that_changes_all_the_time_has_no_cut_in_each_frame() -> None:
    smoothing = TransferSmoothing(72)
    values = []
    for number in range(12):
        # The brightest pixels jump to and fro by more than a cut needs; the median pixel stays.
        frame = picture(0)
        frame = torch.where(frame > frame.quantile(0.7), frame * (0.75 if number % 2 else 1.0), frame)
        values.append(table_of(smoothing.follow(statistics(frame, float(number % 2)))).mean().item())
    assert max(values[4:]) < 1
    assert min(values[4:]) > 0


def test_a_fade_is_kept_up_with() -> None:
    smoothing = TransferSmoothing(72)
    for number in range(20):
        brightness = 1 - number / 25
        table = table_of(smoothing.follow(statistics(picture(0, brightness), brightness))).mean().item()
    assert table == pytest.approx(brightness, abs=0.02)


def test_a_frame_of_one_colour_changes_nothing() -> None:
    smoothing = TransferSmoothing(72)
    before = table_of(smoothing.follow(statistics(picture(0), 0.3)))
    for level in (0.0, 0.6, 1.0):
        flat = torch.full((3, 60, 80), level)
        assert torch.equal(table_of(smoothing.follow(statistics(flat, 0.9))), before)
    assert torch.equal(table_of(smoothing.follow(statistics(picture(0), 0.3))), before)


def test_frames_of_one_colour_at_the_beginning_get_the_opening() -> None:
    flat = statistics(torch.zeros(3, 60, 80), 0.9)
    smoothing = TransferSmoothing(72, constant(0.25))
    assert torch.equal(table_of(smoothing.follow(flat)), table_of(constant(0.25)))
    smoothing.follow(statistics(picture(0), 0.6))
    assert table_of(smoothing.follow(flat)).mean().item() == pytest.approx(0.6)
    assert torch.equal(table_of(TransferSmoothing(72).follow(flat)), table_of(flat.transform))


def test_pixels_outside_of_the_mask_are_not_watched() -> None:
    mask = torch.zeros(60, 80)
    mask[:, :30] = 1
    smoothing = TransferSmoothing(72)
    frame = picture(0)
    for number in range(8):
        # What is outside of the mask fades, and the median of all pixels with it.
        frame[:, :, 30:] = picture(0, 1 - number / 20)[:, :, 30:]
        table = table_of(smoothing.follow(statistics(frame, float(number), mask)))
    assert table.mean() < 1


@pytest.mark.parametrize(
    ("frame", "flat"),
    [
        (torch.zeros(3, 8, 8), True),
        (torch.ones(3, 8, 8), True),
        (torch.ones(3, 8, 8) - torch.rand(3, 8, 8) / 255, True),
        (torch.cat([torch.zeros(2, 60, 80), picture(0)[:1]]), False),
        (picture(0), False),
    ],
)
def test_is_flat(frame: Tensor, flat: bool) -> None:
    assert is_flat(cumulative_distribution(histogram(frame))) == flat
