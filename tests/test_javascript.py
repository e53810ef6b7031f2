"""The page's modules: short, alone, and right where they compute."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pytest
from comfyui_histogram_match import match_images
from comfyui_histogram_match.clip.histograms import FrameHistograms
from comfyui_histogram_match.clip.settings import MatchSettings
from comfyui_histogram_match.matching import match_batch
from comfyui_histogram_match.plots.panel_message import panel_message
from panel_reading import read_frames
from photos import COLOR_PAIRS, photo
from scipy.interpolate import CubicHermiteSpline

WEB = Path(__file__).parents[1] / "web"
MODULES = sorted(WEB.glob("*.js"))
# Of all 56, none is off by more than 1.9 levels where there is a bar for each level.
PAIRS = COLOR_PAIRS[::4]
# Fits each curve of a list, and says how many milliseconds the processor has worked for each, after a first one to get warm.
FIT = """
import { curveByRank, fitPoints } from %s;
import { readFileSync } from "node:fs";
const rows = JSON.parse(readFileSync(0, "utf8"));
const fit = ({ curve, source, result }) => fitPoints(curve ?? curveByRank(source, result), source);
fit(rows[0]);
const times = [];
const points = rows.map((row) => {
    const start = process.cpuUsage();
    const fitted = fit(row);
    times.push(process.cpuUsage(start).user / 1000);
    return fitted;
});
console.log(JSON.stringify({ points, times }));
"""

node = pytest.mark.skipif(shutil.which("node") is None, reason="no node")


def run_node(*arguments: str, given: str = "") -> str:
    ended = run(["node", *arguments], input=given, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def fit(rows: list[Any], folder: Path) -> tuple[list[list[list[float]]], list[float]]:
    """The points of each row of bars of the source and of the result, or a curve, and the milliseconds for each."""
    module = folder / "curve_points.mjs"
    shutil.copy(WEB / "curve_points.js", module)
    script = FIT % json.dumps(module.as_uri())
    answer = json.loads(run_node("--input-type=module", "--eval", script, given=json.dumps(rows)))
    return answer["points"], answer["times"]


def through(points: list[list[float]], values: np.ndarray) -> np.ndarray:
    """ComfyUI's curve through points: slopes are means of the chords, none at peaks, and at most so steep as to be monotone."""
    inputs, outputs = np.array(points).T
    chords = np.diff(outputs) / np.diff(inputs)
    slopes = np.concatenate([chords[:1], (chords[1:] + chords[:-1]) / 2 * (chords[1:] * chords[:-1] > 0), chords[-1:]])
    for place, chord in enumerate(chords):
        pair = slice(place, place + 2)
        longest = np.hypot(*slopes[pair])
        if longest > 3 * abs(chord):
            slopes[pair] *= 3 * abs(chord) / longest
    curve: np.ndarray = CubicHermiteSpline(inputs, outputs, slopes)(values)
    return curve


# Of a clip of 64 frames, four levels share a bar: dark pictures are off by more, but few are.
@node
@pytest.mark.parametrize(("frames", "bins", "most", "median"), [(1, 256, 2, 0.6), (64, 64, 5, 1)])
def test_a_dozen_points_make_the_same_picture(tmp_path: Path, frames: int, bins: int, most: float, median: float) -> None:
    assert len(PAIRS) >= 12
    rows, pictures = [], []
    for names in PAIRS:
        image, reference = map(photo, names)
        shown: list[FrameHistograms] = []
        match_batch(image, reference, MatchSettings(), observe=shown.append)
        message = panel_message(shown * frames)
        assert message["bins"] == bins
        record = read_frames(message)[0]
        pictures.append((image[0].double().numpy(), match_images(image, reference)[0].double().numpy()))
        bars = zip(record.source[:3].tolist(), record.result[:3].tolist(), strict=True)
        rows += [{"source": source, "result": result} for source, result in bars]
    points, times = fit(rows, tmp_path)
    print(f"{np.median(times):.1f} ms, at most {max(times):.1f} ms")
    assert np.median(times) <= 100
    means: dict[tuple[str, str], float] = {}
    for number, (image, result) in enumerate(pictures):
        drawn = np.stack([through(points[3 * number + channel], image[..., channel]) for channel in range(3)], axis=-1)
        off = np.abs(drawn - result) * 255
        means[PAIRS[number]] = float(off.mean())
        print(*PAIRS[number], f"mean {off.mean():.2f}, 99 % {np.percentile(off, 99):.1f}, most {off.max():.1f}")
    assert max(means.values()) <= most, means
    assert np.median([*means.values()]) <= median, means


@node
def test_curves_lead_from_image_to_result(tmp_path: Path) -> None:
    image, reference = photo("rocket"), photo("coffee")
    shown: list[FrameHistograms] = []
    result, _ = match_batch(image, reference, MatchSettings(), observe=shown.append)
    (record,) = read_frames(panel_message(shown))
    module = tmp_path / "curve_points.mjs"
    shutil.copy(WEB / "curve_points.js", module)
    for channel, (source, other) in enumerate(zip(record.source[:3].tolist(), record.result[:3].tolist(), strict=True)):
        script = f"import {{ curveByRank }} from {json.dumps(module.as_uri())}; "
        script += f"console.log(JSON.stringify(curveByRank({source}, {other})))"
        curve = json.loads(run_node("--input-type=module", "--eval", script))
        expected = np.interp(image[0, ..., channel].numpy() * 255, np.arange(256), curve)
        assert np.abs(expected - result[0, ..., channel].numpy() * 255).mean() <= 0.5


@node
def test_points_are_in_order_and_apart(tmp_path: Path) -> None:
    levels, random = np.linspace(0, 255, 128), np.random.default_rng(0)
    curves = {
        "straight": levels,
        "constant": np.full(128, 77.0),
        "step": np.where(levels < 128, 20.0, 240.0),
        "falling": 255 - levels,
        "noise": random.integers(0, 256, 128).astype(float),
        "root": 255 * np.sqrt(levels / 255),
    }
    rows = []
    for curve in curves.values():
        for bins, weight in ((256, 1.0), (64, 0.0)):
            # Of several levels in the middle of a bar, and black and white at the ends.
            at = np.concatenate([[0], (np.arange(1, bins - 1) + 0.5) * 256 / bins - 0.5, [255]])
            told = np.interp(at, levels, curve)
            rows.append({"curve": told.tolist(), "source": [weight] * bins, "at": at.tolist()})
    fitted, _ = fit(rows, tmp_path)
    for row, points in zip(rows, fitted, strict=True):
        curve, at = np.array(row["curve"]), np.array(row["at"])
        inputs, outputs = np.array(points).T
        assert len(points) <= 12
        assert (inputs[0], inputs[-1]) == (0, 1)
        assert np.diff(inputs).min() >= 1 / 255 - 1e-9
        assert outputs.min() >= 0
        assert outputs.max() <= 1
        if np.abs(np.diff(curve)).max() < 50:
            assert np.abs(through(points, at / 255) * 255 - curve).max() <= 6


@node
@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_parse(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / f"{path.stem}.mjs"
    shutil.copy(path, copy)
    run_node("--check", str(copy))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_name_no_other_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"\w+://|[\"'`]//|\bwss?:|XMLHttpRequest|WebSocket|sendBeacon", text) == []
    assert re.findall(r"\bfetch\(", text) == []


def test_the_javascript_is_short() -> None:
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES) < 900
