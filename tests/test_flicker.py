"""Clips with known trouble, matched in each mode: what the benchmark for flicker measures stays within bounds."""

from __future__ import annotations

from functools import cache

import pytest
from clips import CLIPS, reference
from comfyui_histogram_match import match_images
from flicker import figures_of


@cache
def figures(clip_name: str, mode: str) -> dict[str, float]:
    clip, look = CLIPS[clip_name](48, 180, 320), reference()
    matched = match_images(clip.frames, look, source_stats=mode)
    assert bool(matched.isfinite().all())
    return figures_of(clip_name, clip, matched, look)


@pytest.mark.parametrize("mode", ["uniform", "target_frame"])
def test_one_transfer_function_leaves_a_still_background_still(mode: str) -> None:
    assert abs(figures("crossing object", mode)["flicker"]) <= 1e-4


def test_smoothed_calms_the_background_of_a_crossing_object() -> None:
    assert figures("crossing object", "per_frame")["flicker"] > 0.2
    assert figures("crossing object", "smoothed")["flicker"] <= 0.3 * figures("crossing object", "per_frame")["flicker"]


def test_smoothed_follows_a_fade() -> None:
    per_frame = figures("fade", "per_frame")["W1"]
    assert figures("fade", "smoothed")["W1"] <= 1.5 * per_frame
    assert figures("fade", "uniform")["W1"] > 3 * per_frame


def test_smoothed_starts_anew_at_a_cut() -> None:
    name = "W1 of the first frame after"
    assert figures("cut", "smoothed")[name] <= 1.1 * figures("cut", "per_frame")[name]


@pytest.mark.parametrize("mode", ["smoothed", "uniform"])
def test_white_frames_stay_neutral(mode: str) -> None:
    assert figures("white end", mode)["cast of white"] <= 2


def test_smoothed_leaves_black_frames_at_the_ends_dark() -> None:
    clip = CLIPS["crossing object"](24, 90, 160).frames
    clip[:3] = 0
    clip[-3:] = 0
    matched = match_images(clip, reference(), source_stats="smoothed")
    assert float(matched[:3].max()) < 0.3
    assert float(matched[-3:].max()) < 0.3
    # Alone, a frame of one colour goes to the brightest level: its only quantile is 1.
    assert float(match_images(clip, reference())[0].min()) == 1
