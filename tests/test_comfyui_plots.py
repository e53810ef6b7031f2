"""Histogram Plot, Apply Curves and what they tell the page, in a real ComfyUI over HTTP."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_histogram_match import plot_histograms
from comfyui_server import ComfyUI, RefusedError, interrupt
from photos import continuous_photo, photo
from torch import Tensor

pytestmark = pytest.mark.comfyui

IDENTITY = {"points": [[0, 0], [1, 1]], "interpolation": "monotone_cubic"}
CURVES: dict[str, dict[str, Any]] = {
    "red": {"points": [[0, 0.1], [0.25, 0.4], [0.7, 0.75], [1, 0.95]], "interpolation": "monotone_cubic"},
    "green": {"points": [[0.1, 0.9], [0.5, 0.3], [0.9, 0.1]], "interpolation": "linear"},
    "blue": {"points": [[0, 0], [0.4, 0.4], [0.5, 1], [1, 1]], "interpolation": "monotone_cubic"},
}
IMAGE, OTHER = photo("chelsea")[:, ::3, ::3], photo("coffee")[:, ::4, ::4]


@pytest.fixture
def curves(comfyui: ComfyUI) -> ComfyUI:
    """A ComfyUI that draws curves, as those from 2026 on do."""
    if not comfyui.get("/object_info/ImageCurvesApply"):
        pytest.skip("this ComfyUI draws no curves")
    return comfyui


def apply(comfyui: ComfyUI, image: Tensor, nodes: dict[str, Any] | None = None, **inputs: Any) -> Tensor:
    """What Apply Curves makes of a tensor."""
    settings = {**dict.fromkeys(CURVES, IDENTITY), "factor": 1.0, "device": "auto", **inputs}
    return comfyui.change(image, nodes, class_type="ImageCurvesApply", **settings)


def monotone_cubic(points: list[list[float]], at: np.ndarray) -> np.ndarray:
    """Hermite interpolation with slopes limited as Fritsch and Carlson 1980 do, one value after the other."""
    xs, ys = zip(*sorted(map(tuple, points)), strict=True)
    steps = [(ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]) for i in range(len(xs) - 1)]
    slopes = [steps[0], *(0 if a * b <= 0 else (a + b) / 2 for a, b in pairwise(steps)), steps[-1]]
    for i, step in enumerate(steps):
        if step == 0:
            slopes[i] = slopes[i + 1] = 0
        elif (length := np.hypot(slopes[i], slopes[i + 1]) / abs(step)) > 3:
            slopes[i], slopes[i + 1] = slopes[i] * 3 / length, slopes[i + 1] * 3 / length

    def value(x: float) -> float:
        if x <= xs[0] or x >= xs[-1]:
            return ys[0] if x <= xs[0] else ys[-1]
        i = max(i for i in range(len(steps)) if xs[i] <= x)
        width = xs[i + 1] - xs[i]
        t = (x - xs[i]) / width
        ends = ys[i] * (1 + 2 * t) * (1 - t) ** 2 + ys[i + 1] * t**2 * (3 - 2 * t)
        return ends + width * (slopes[i] * t * (1 - t) ** 2 - slopes[i + 1] * t**2 * (1 - t))

    return np.array([value(float(x)) for x in at])


def curved(image: Tensor) -> Tensor:
    """An 8-bit image through the curves."""
    levels, values = np.linspace(0, 1, 256), []
    for name, curve in CURVES.items():
        xs, ys = zip(*curve["points"], strict=True)
        table = monotone_cubic(curve["points"], levels) if name != "green" else np.interp(levels, xs, ys)
        values.append(torch.from_numpy(table)[(image[..., len(values)] * 255).round().long()])
    return torch.stack(values, dim=-1).float()


@pytest.mark.parametrize("channels", ["rgb", "luminance", "all"])
def test_a_plot_of_one_to_three_images(comfyui: ComfyUI, channels: str) -> None:
    frames = torch.cat([IMAGE, IMAGE.flip(1) * 0.7])
    nodes = {
        name: {"class_type": "ProbeLoad", "inputs": {"path": str(comfyui.save(tensor))}}
        for name, tensor in (("two", OTHER), ("three", OTHER[..., :1] * 0.5))
    }
    settings = {"channels": channels, "scale": "log", "width": 640, "height": 480}
    given = {"image": frames}
    result = comfyui.change(frames, class_type="ImageHistogramPlot", **settings)
    assert torch.equal(result, plot_histograms(given, **settings))
    given |= {"image_2": OTHER, "image_3": OTHER[..., :1] * 0.5}
    links = {"image_2": ["two", 0], "image_3": ["three", 0]}
    result = comfyui.change(frames, nodes, class_type="ImageHistogramPlot", **settings, **links)
    assert torch.equal(result, plot_histograms(given, **settings))
    del given["image_2"], links["image_2"]
    result = comfyui.change(frames, nodes, class_type="ImageHistogramPlot", **settings, **links)
    assert torch.equal(result, plot_histograms(given, **settings))


def test_the_nodes_are_described_in_full(curves: ComfyUI) -> None:
    nodes = curves.get("/object_info")
    inputs = {
        "ImageHistogramPlot": "image image_2 image_3 channels scale width height",
        "ImageCurvesApply": "image red green blue factor device change_mask",
        "HistogramMatchSamplePhoto": "photo kind frames",
    }
    for node_id, names in inputs.items():
        described = {**nodes[node_id]["input"].get("required", {}), **nodes[node_id]["input"].get("optional", {})}
        assert set(described) == set(names.split())
        assert all(options["tooltip"] for _, options in described.values())
        assert all(nodes[node_id]["output_tooltips"])
    plot = nodes["ImageHistogramPlot"]["input"]
    assert set(plot["optional"]) == {"image_2", "image_3"}
    assert [plot["required"][name][1]["default"] for name in ("channels", "scale", "width", "height")] == [
        "rgb",
        "linear",
        768,
        512,
    ]
    kind, options = nodes["ImageCurvesApply"]["input"]["required"]["red"]
    assert kind == "CURVE"
    assert options["default"] == IDENTITY


def test_straight_curves_change_nothing(curves: ComfyUI) -> None:
    assert torch.equal(apply(curves, IMAGE), IMAGE)
    image = continuous_photo("coffee")[:, :200, :200]
    # The nearest of 65536 levels.
    assert float((apply(curves, image) - image).abs().max()) <= 0.52 / 65535


def test_curves_are_those_that_comfyui_draws(curves: ComfyUI) -> None:
    result = apply(curves, IMAGE, **CURVES)
    torch.testing.assert_close(result, curved(IMAGE), rtol=0, atol=1e-6)
    assert float((result - IMAGE).abs().mean()) > 0.1
    image = continuous_photo("coffee")[:, :64, :64]
    halved = {"points": [[0, 0], [1, 0.5]], "interpolation": "linear"}
    result = apply(curves, image, red=halved, green=halved, blue=IDENTITY)
    torch.testing.assert_close(result, image * torch.tensor([0.5, 0.5, 1]), rtol=0, atol=1e-5)


def test_curves_as_lists_and_from_other_nodes(curves: ComfyUI) -> None:
    # ComfyUI takes a list for a link, unless it is wrapped like this.
    points = {name: {"__value__": curve["points"]} for name, curve in CURVES.items() if name != "green"}
    assert torch.equal(apply(curves, IMAGE, **CURVES | points), apply(curves, IMAGE, **CURVES))
    nodes = {name: {"class_type": "CurveEditor", "inputs": {"curve": curve}} for name, curve in CURVES.items()}
    assert torch.equal(apply(curves, IMAGE, nodes, **{name: [name, 0] for name in CURVES}), apply(curves, IMAGE, **CURVES))


def test_alpha_masks_factor_and_gray(curves: ComfyUI) -> None:
    frames = torch.cat([IMAGE, IMAGE.roll(9, 2)])
    with_alpha = torch.cat([frames, torch.rand_like(frames[..., :1])], dim=-1)
    result = apply(curves, with_alpha, **CURVES)
    assert torch.equal(result[..., 3], with_alpha[..., 3])
    torch.testing.assert_close(result[..., :3], curved(frames), rtol=0, atol=1e-6)
    mask = torch.zeros(1, *IMAGE.shape[1:3])
    mask[..., :50] = 1
    nodes = {"mask": {"class_type": "ProbeLoadMask", "inputs": {"path": str(curves.save(mask))}}}
    result = apply(curves, frames, nodes, **CURVES, change_mask=["mask", 0], factor=0.5)
    assert torch.equal(result[:, :, 50:], frames[:, :, 50:])
    torch.testing.assert_close(result[:, :, :50], ((frames + curved(frames)) / 2)[:, :, :50], rtol=0, atol=1e-6)
    assert torch.equal(apply(curves, frames, **CURVES, factor=0.0), frames)
    gray = IMAGE[..., :1]
    expected = curved(gray.expand(-1, -1, -1, 3)).mean(dim=-1, keepdim=True)
    torch.testing.assert_close(apply(curves, gray, **CURVES), expected, rtol=0, atol=1e-6)


def test_the_histogram_for_behind_the_curves(curves: ComfyUI) -> None:
    prompt = {
        "image": {"class_type": "ProbeLoad", "inputs": {"path": str(curves.save(torch.cat([IMAGE, IMAGE.flip(2)])))}},
        "node": {"class_type": "ImageCurvesApply", "inputs": {"image": ["image", 0], **CURVES, "factor": 1.0, "device": "cpu"}},
        "show": {"class_type": "PreviewImage", "inputs": {"images": ["node", 0]}},
    }
    for _ in range(2):
        # Also where the node has not run again.
        counts = curves.run(prompt)["outputs"]["node"]["histogram"]
        assert counts == (2 * np.bincount((IMAGE * 255).round().int().flatten(), minlength=256)).tolist()
    prompt["image"]["inputs"]["path"] = str(curves.save(photo("astronaut").repeat(3, 4, 4, 1)))
    counts = curves.run(prompt)["outputs"]["node"]["histogram"]
    assert len(counts) == 256
    assert all(isinstance(count, int) for count in counts)
    whole = np.bincount((photo("astronaut") * 255).round().int().flatten(), minlength=256)
    assert 50_000 < sum(counts) < 36 * whole.sum() / 10
    assert np.abs(np.cumsum(counts) / sum(counts) - np.cumsum(whole) / whole.sum()).max() < 0.02


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        ({"points": [[0, 0]], "interpolation": "linear"}, "green: expected a curve through 2 points or more, got 1"),
        ({"points": "none"}, "green: expected a curve through 2 points or more, got str"),
        ({}, "green: expected a curve through 2 points or more, got NoneType"),
        ({"points": [[0, 0], [1, 1.5]]}, "green: expected points of two numbers from 0 to 1, got [1, 1.5]"),
        ({"points": [[0, 0], [-1, 1]]}, "green: expected points of two numbers from 0 to 1, got [-1, 1]"),
        ({"points": [[0, 0], [1]]}, "green: expected points of two numbers from 0 to 1, got [1]"),
        ({"points": [[0, 0], [1, "1"]]}, "green: expected points of two numbers from 0 to 1, got [1, '1']"),
    ],
)
def test_what_is_no_curve_is_refused_before_anything_runs(curves: ComfyUI, curve: Any, message: str) -> None:
    with pytest.raises(RefusedError) as refused:
        apply(curves, IMAGE, green=curve)
    assert message in refused.value.inputs["node"]["green"]


def test_a_curve_that_another_node_has_bent_wrong_is_refused_by_name(curves: ComfyUI) -> None:
    # As text, which any node may put out where its output is of any type.
    text = {"text": {"class_type": "ProbeText", "inputs": {"text": "no curve"}}}
    with pytest.raises(RuntimeError, match="ValueError: blue: expected a curve through 2 points or more, got str"):
        apply(curves, IMAGE, text, blue=["text", 0])


def test_an_interrupt_stops_applying(curves: ComfyUI) -> None:
    target = curves.folder / "curved.pt"
    path = str(curves.save(continuous_photo("astronaut").expand(400, -1, -1, -1)))
    inputs = {"image": ["image", 0], **CURVES, "factor": 0.9, "device": "auto"}
    prompt = {
        "image": {"class_type": "ProbeLoad", "inputs": {"path": path}},
        "node": {"class_type": "ImageCurvesApply", "inputs": inputs},
        "save": {"class_type": "ProbeSave", "inputs": {"image": ["node", 0], "path": str(target)}},
    }
    interrupt(curves, prompt)
    assert not target.exists()


def test_what_there_is_to_tell_reaches_the_node_and_the_log(curves: ComfyUI) -> None:
    image = IMAGE.clone()
    image[0, 0, 0, 0] = float("nan")
    prompt = {
        "image": {"class_type": "ProbeLoad", "inputs": {"path": str(curves.save(image))}},
        "node": {"class_type": "ImageCurvesApply", "inputs": {"image": ["image", 0], **CURVES, "factor": 1.0, "device": "cpu"}},
        "show": {"class_type": "PreviewImage", "inputs": {"images": ["node", 0]}},
    }
    told = curves.run(prompt)["outputs"]["node"]
    assert told["histogram_match_notes"] == ["image: left out 1 NaN or infinite values"]
    assert len(told["histogram"]) == 256
    assert "Apply Curves: image: left out 1 NaN or infinite values" in curves.log.read_text()
