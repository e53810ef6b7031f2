"""What a panel is told of a run, against numpy and scipy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_histogram_match import LinearStretch, ReferenceHistogram
from comfyui_histogram_match.clip.histograms import FrameHistograms
from comfyui_histogram_match.clip.settings import MatchSettings
from comfyui_histogram_match.color_transform import fit_batch, fit_settings
from comfyui_histogram_match.matching import match_batch
from comfyui_histogram_match.plots.panel_message import panel_message
from panel_reading import distances, read_frames, read_references, shares
from photos import COLOR_PHOTOS, photo
from torch import Tensor

BYTES = 1 << 16


def observed(image: Tensor, reference: Any, **settings: Any) -> tuple[Tensor, list[FrameHistograms]]:
    """The result of a match and what is shown of it; masks among the settings."""
    masks = {name: settings.pop(name) for name in ("image_mask", "reference_mask", "change_mask") if name in settings}
    shown: list[FrameHistograms] = []
    result, _ = match_batch(image, reference, MatchSettings(**settings), **masks, observe=shown.append)
    return result, shown


def furthest(shown: np.ndarray, expected: np.ndarray, rows: slice = slice(3)) -> float:
    """How far a bar is off at most, as part of the tallest."""
    return float((np.abs(shown - expected).max(axis=1) / expected.max(axis=1))[rows].max())


@pytest.mark.parametrize("name", [name for name in COLOR_PHOTOS if name != "coffee"])
@pytest.mark.parametrize("settings", [{}, {"factor": 0.5}, {"method": "nearest"}], ids=str)
def test_bars_and_distances_are_those_of_the_pictures(name: str, settings: dict[str, Any]) -> None:
    image, reference = photo(name), photo("coffee")
    result, frames = observed(image, reference, **settings)
    message = panel_message(frames)
    (record,), (beside,) = read_frames(message), read_references(message)
    assert (message["bins"], message["frames"], message["total"], message["sampled"]) == (256, [0], 1, False)
    for shown, picture in ((record.source, image), (record.result, result), (beside, reference)):
        assert furthest(shown, shares(picture[0], 256)) <= 0.005
        # Luminance is counted from a sample.
        assert furthest(shown.reshape(4, 64, 4).sum(2), shares(picture[0], 64), slice(3, 4)) <= 0.12
    for told, picture in (("before", image), ("after", result)):
        assert np.abs(record.numbers[told] - distances(picture[0], reference[0])).max() <= 1e-3
    ends = shares(result[0], 256)[:3]
    assert np.abs(record.numbers["black"][:3] - ends[:, 0]).max() <= 1e-4
    assert np.abs(record.numbers["white"][:3] - ends[:, -1]).max() <= 1e-4


def test_channels_of_long_clips_are_exact_as_well() -> None:
    image, reference = photo("chelsea").expand(17, -1, -1, -1), photo("coffee")
    result, frames = observed(image, reference)
    message = panel_message(frames)
    assert not message["sampled"]
    for frame, record in enumerate(read_frames(message)[::8]):
        for shown, picture in ((record.source, image), (record.result, result)):
            assert furthest(shown, shares(picture[8 * frame], message["bins"])) <= 0.01
        for told, picture in (("before", image), ("after", result)):
            apart = np.abs(record.numbers[told] - distances(picture[8 * frame], reference[0]))
            assert apart[:3].max() <= 1e-3
            # Luminance is counted from a smaller sample.
            assert apart[3] <= 2e-3


@pytest.mark.parametrize("settings", [{"method": "mkl"}, {"color_space": "lab"}, {"method": "sliced", "rotations": 4}], ids=str)
def test_what_no_method_counts_is_sampled(settings: dict[str, Any]) -> None:
    image, reference = photo("astronaut"), photo("rocket")
    result, frames = observed(image, reference, **settings)
    message = panel_message(frames)
    (record,) = read_frames(message)
    assert message["sampled"]
    for shown, picture in ((record.source, image), (record.result, result)):
        assert furthest(shown.reshape(4, 64, 4).sum(2), shares(picture[0], 64)) <= 0.1
    for told, picture in (("before", image), ("after", result)):
        assert np.abs(record.numbers[told] - distances(picture[0], reference[0])).max() <= 2e-3


def test_watching_changes_no_pixel() -> None:
    image, reference = torch.cat([photo("chelsea"), photo("chelsea").flip(1) * 0.9]), photo("coffee")
    masks = {"image_mask": torch.rand(1, 300, 451), "change_mask": torch.rand(2, 300, 451)}
    for settings in ({}, {"method": "mkl"}, {"source_stats": "smoothed"}, {"source_stats": "uniform"}, {"factor": 0.0}, masks):
        watched, frames = observed(image, reference, **settings)
        masked = {name: mask for name, mask in settings.items() if name in masks}
        chosen = {name: value for name, value in settings.items() if name not in masks}
        assert len(frames) == 2
        assert torch.equal(watched, match_batch(image, reference, MatchSettings(**chosen), **masked)[0])


def test_only_what_a_mask_chooses_is_shown() -> None:
    image, reference = photo("chelsea"), photo("coffee")
    mask = torch.zeros(1, 300, 451)
    mask[:, 100:200, 50:150] = 1
    beside = torch.zeros(1, 400, 600)
    beside[:, :90] = 0.5
    result, frames = observed(image, reference, image_mask=mask, reference_mask=beside)
    message = panel_message(frames)
    (record,), (other,) = read_frames(message), read_references(message)
    weights = mask.flatten().numpy()
    # So few pixels are all counted.
    assert furthest(record.source, shares(image[0], 256, weights), slice(4)) <= 0.005
    assert furthest(record.result, shares(result[0], 256, weights), slice(4)) <= 0.005
    assert furthest(other, shares(reference[0], 256, beside.flatten().numpy())) <= 0.005


@pytest.mark.parametrize(
    ("frames", "references", "bins"), [(1, 1, 256), (20, 1, 256), (20, 20, 128), (40, 1, 128), (64, 1, 64), (500, 1, 64)]
)
def test_a_message_is_small_and_covers_the_clip(frames: int, references: int, bins: int) -> None:
    # Of 8-bit levels: in so small a picture, one pixel between two of them, which are rounded twice, would be a tenth of a bar.
    image = (torch.rand(frames, 16, 16, 3) * 255).round() / 255
    _, shown = observed(image, torch.rand(references, 16, 16, 3))
    message = panel_message(shown)
    assert len(json.dumps({"histogram_match": [message]})) <= BYTES
    assert message["bins"] == bins
    assert message["frames"][0] == 0
    assert message["frames"][-1] == frames - 1 == message["total"] - 1
    assert len(message["frames"]) == min(frames, len(message["frames"])) >= min(frames, 80)
    for index, record in zip(message["frames"], read_frames(message), strict=True):
        assert furthest(record.source, shares(image[index], bins)) <= 0.005
    assert len(read_references(message)) == references
    assert message["reference_of"] == [min(index, references - 1) for index in message["frames"]]


def test_many_references_leave_frames_out() -> None:
    _, shown = observed(torch.rand(300, 8, 8, 3), torch.rand(300, 8, 8, 3))
    message = panel_message(shown)
    assert len(json.dumps(message)) <= BYTES
    assert len(message["frames"]) == len(read_references(message)) >= 50
    assert (message["frames"][0], message["frames"][-1]) == (0, 299)


def test_without_a_reference_nothing_is_compared() -> None:
    shown: list[FrameHistograms] = []
    image = photo("chelsea")
    result, _ = match_batch(image, None, MatchSettings(target=LinearStretch(1, 1)), observe=shown.append)
    message = panel_message(shown)
    (record,) = read_frames(message)
    assert (message["references"], message["reference_of"]) == ("", None)
    assert not record.numbers["before"].any()
    assert furthest(record.result, shares(result[0], 256)) <= 0.005
    # A percent at each end was to be cut off.
    assert (record.numbers["white"][:3] >= 0.009).all()


def test_gray_pictures_missing_values_and_pooled_references_are_shown() -> None:
    gray = photo("chelsea")[..., :1]
    result, shown = observed(gray, photo("coffee"))
    (record,) = read_frames(panel_message(shown))
    assert furthest(record.result.reshape(4, 64, 4).sum(2), shares(result[0], 64), slice(4)) <= 0.1
    broken = photo("chelsea").clone()
    broken[0, :9] = torch.nan
    _, shown = observed(broken, photo("coffee"))
    assert np.isfinite(read_frames(panel_message(shown))[0].source).all()
    both = torch.cat([photo("rocket"), photo("rocket").flip(-1)])
    for reference, settings in ((both, {"reference_stats": "pooled"}), (ReferenceHistogram.of(both), {})):
        _, shown = observed(photo("chelsea"), reference, **settings)
        (beside,) = read_references(panel_message(shown))
        expected = (shares(both[0], 256) + shares(both[1], 256)) / 2
        assert furthest(beside, expected) <= 0.005


def test_a_fit_is_shown_with_all_frames_together() -> None:
    image = torch.cat([photo("chelsea"), photo("chelsea") * 0.8])
    reference = torch.cat([image[:1] ** 1.2, image[1:] ** 1.2])
    for method, target_index in (("pytorch", None), ("mkl", 1), ("aligned-linear", None)):
        shown: list[FrameHistograms] = []
        fitted, _ = fit_batch(image, reference, fit_settings(method, "rgb", target_index), None, None, None, None, shown.append)
        (record,) = read_frames(panel_message(shown))
        chosen = image if target_index is None else image[target_index][None]
        for bars, frames in ((record.source, chosen), (record.result, fitted.apply(chosen))):
            expected = np.mean([shares(frame, 64) for frame in frames], axis=0)
            assert furthest(bars.reshape(4, 64, 4).sum(2), expected) <= 0.15
