"""The node in a real ComfyUI, driven over HTTP."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips import crossing
from comfyui_histogram_match import HistogramLoss, ParametricHistogramMatching, fit_transform, match_images
from comfyui_histogram_match.clip.settings import SOURCE_STATS
from comfyui_histogram_match.matching import specify_images
from comfyui_histogram_match.methods.table import COLOR_SPACES, METHODS
from comfyui_histogram_match.methods.targets import LinearStretch, Normal, Specified, Uniform
from comfyui_histogram_match.reference_histogram import ReferenceHistogram
from comfyui_location import ROOT, find_comfyui
from comfyui_server import ComfyUI, RefusedError, interrupt, match_prompt, progress_of, started
from photos import continuous_photo, counterpart, photo, photo_8bit
from PIL import Image
from skimage.exposure import match_histograms
from torch import Tensor
from xprocess import XProcess

pytestmark = pytest.mark.comfyui


def test_the_node_is_described_in_full(comfyui: ComfyUI) -> None:
    node = comfyui.get("/object_info/ImageHistogramMatch")["ImageHistogramMatch"]
    assert node["display_name"] == "Image Histogram Match"
    order = dict(node["input_order"])
    assert set(order.pop("hidden")) == {"unique_id", "extra_pnginfo"}
    assert order == {
        "required": ["image", "reference", "method", "factor", "device"],
        "optional": [
            "image_mask",
            "reference_mask",
            "source_stats",
            "target_index",
            "window",
            "reference_stats",
            "color_space",
            "rotations",
            "change_mask",
            "detail",
            "dither",
            "grid",
            "clip",
            "range",
        ],
    }
    inputs = node["input"]["required"]
    optional = node["input"]["optional"]
    defaults = {name: options.get("default") for name, (_, options) in optional.items()}
    assert defaults == {
        "image_mask": None,
        "reference_mask": None,
        "source_stats": "per_frame",
        "target_index": 0,
        "window": 72,
        "reference_stats": "paired",
        "color_space": "rgb",
        "rotations": 30,
        "change_mask": None,
        "detail": 0.0,
        "dither": False,
        "grid": 1,
        "clip": 0.0,
        "range": "0 to 1",
    }
    assert all(options["tooltip"] for _, options in optional.values())
    advanced = {name for name, (_, options) in optional.items() if options.get("advanced")}
    clips = {"source_stats", "target_index", "window", "reference_stats"}
    assert advanced == clips | {"rotations", "detail", "dither", "grid", "clip", "range"}
    assert inputs["reference"][0] == "IMAGE,REFERENCE_HISTOGRAM"
    assert inputs["method"][1]["options"] == list(METHODS)
    shown_for = {name: options["shown_for"] for name, (_, options) in optional.items() if "shown_for" in options}
    assert shown_for == {
        "target_index": {"source_stats": ["target_frame"]},
        "window": {"source_stats": ["smoothed"]},
        "rotations": {"method": ["sliced"]},
    }
    assert inputs["device"][1]["options"] == ["auto", "cpu", "gpu"]
    assert {key: inputs["factor"][1][key] for key in ("default", "min", "max", "step")} == {
        "default": 1.0,
        "min": 0.0,
        "max": 1.0,
        "step": 0.05,
    }
    assert all(description[1]["tooltip"] for description in inputs.values())
    assert node["output"] == ["IMAGE"]
    assert "color match" in node.get("search_aliases", ["color match"])


def test_the_example_workflow(comfyui: ComfyUI) -> None:
    prompt = json.loads((ROOT / "docs/histogram_match_api.json").read_text(encoding="utf-8"))
    for name, picture in [("source.png", "astronaut"), ("reference.png", "coffee")]:
        Image.fromarray(photo_8bit(picture)).save(comfyui.folder / "input" / name)
    ended = comfyui.wait(comfyui.queue(prompt))
    assert ended["status"]["status_str"] == "success"
    (saved,) = [picture for output in ended["outputs"].values() for picture in output["images"]]
    with Image.open(comfyui.folder / "output" / saved["subfolder"] / saved["filename"]) as result:
        expected = match_histograms(photo_8bit("astronaut"), photo_8bit("coffee"), channel_axis=2)
        assert np.abs(np.array(result).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("method", ["pytorch", "skimage"])
@pytest.mark.parametrize("device", ["auto", "cpu", "gpu"])
@pytest.mark.parametrize("factor", [0.0, 0.35, 1.0])
def test_every_setting(comfyui: ComfyUI, method: str, device: str, factor: float) -> None:
    image, reference = photo("chelsea"), photo("coffee")
    result = comfyui.match(image, reference, method=method, device=device, factor=factor)
    expected = match_histograms(image[0].numpy(), reference[0].numpy(), channel_axis=2)
    blend = factor * torch.from_numpy(expected) + (1 - factor) * image[0]
    torch.testing.assert_close(result[0], blend, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["pytorch", "skimage"])
def test_batches(comfyui: ComfyUI, method: str) -> None:
    frames = torch.stack([continuous_photo(name)[0, :200, :300] for name in ("astronaut", "chelsea", "rocket")])
    looks = torch.stack([continuous_photo(name)[0, :150, :160] for name in ("coffee", "retina")])
    result = comfyui.match(frames, looks, method=method)
    torch.testing.assert_close(result, match_images(frames, looks, method), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", SOURCE_STATS)
@pytest.mark.parametrize("masked", [False, True])
def test_a_clip_of_64_frames_in_every_mode(comfyui: ComfyUI, mode: str, masked: bool) -> None:
    clip, look = crossing(64, 90, 160).frames, photo("coffee")
    options: dict[str, Any] = {"source_stats": mode, "target_index": 40, "window": 24}
    if masked:
        options |= {"image_mask": torch.rand(64, 45, 80).round(), "reference_mask": torch.rand(1, 30, 30)}
    result = comfyui.match(clip, look, **options)
    torch.testing.assert_close(result, match_images(clip, look, **options), rtol=0, atol=1e-6)


def test_pooled_references(comfyui: ComfyUI) -> None:
    clip, looks = crossing(4, 60, 80).frames, torch.rand(3, 20, 20, 3)
    result = comfyui.match(clip, looks, reference_stats="pooled")
    torch.testing.assert_close(result, match_images(clip, looks, reference_stats="pooled"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["pytorch", "skimage"])
def test_masks_with_each_method(comfyui: ComfyUI, method: str) -> None:
    image, look = photo("chelsea"), photo("coffee")
    masks = {"image_mask": torch.rand(1, 100, 90), "reference_mask": torch.rand(1, 400, 600)}
    result = comfyui.match(image, look, method=method, **masks)
    torch.testing.assert_close(result, match_images(image, look, method, **masks), rtol=0, atol=1e-6)


def test_progress_of_both_passes_arrives_over_the_websocket(comfyui: ComfyUI) -> None:
    paths = [comfyui.folder / f"progress{number}.pt" for number in range(3)]
    torch.save(crossing(64, 360, 640).frames, paths[0])
    torch.save(photo("coffee"), paths[1])
    connection = comfyui.listen()
    prompt_id = comfyui.queue(match_prompt(paths, source_stats="uniform"))
    values = list(progress_of(connection, total=128))
    assert comfyui.wait(prompt_id)["status"]["status_str"] == "success"
    assert values == sorted(values)
    assert values[-1] == 128
    assert any(value <= 64 for value in values)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident memory from Linux's /proc")
def test_memory_does_not_grow_over_500_runs(comfyui: ComfyUI) -> None:
    paths = [comfyui.folder / f"again{number}.pt" for number in range(4)]
    torch.save(crossing(6, 180, 320).frames, paths[0])
    torch.save(photo("coffee"), paths[1])
    torch.save(torch.rand(1, 180, 320), paths[3])
    resident = []
    for run in range(500):
        inputs: dict[str, Any] = {"source_stats": SOURCE_STATS[run % 4], "factor": 0.5 + run / 1000}
        if run % 3 == 0:
            inputs["image_mask"] = paths[3]
        prompt_id = comfyui.queue(match_prompt(paths[:3], **inputs))
        if run % 100 == 99:
            assert comfyui.wait(prompt_id)["status"]["status_str"] == "success"
            status = Path(f"/proc/{comfyui.pid}/status").read_text()
            resident.append(next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")))
    # In MB. A result is 4 MB; 400 runs that each left one behind would leave 1,600.
    assert resident[-1] - resident[0] <= 40, resident


def test_alpha_and_other_sizes(comfyui: ComfyUI) -> None:
    image, reference = torch.rand(2, 33, 21, 4), torch.rand(1, 8, 9, 1)
    torch.testing.assert_close(comfyui.match(image, reference), match_images(image, reference), rtol=0, atol=1e-6)


def test_the_predecessor_s_workflows_run(comfyui: ComfyUI) -> None:
    found = find_comfyui()
    assert found is not None
    if "class NodeReplace" not in (found / "comfy_api" / "latest" / "_io.py").read_text(encoding="utf-8"):
        pytest.skip("this ComfyUI cannot replace nodes")
    image, reference = photo("chelsea"), photo("coffee")
    result = comfyui.match(image, reference, class_type="ImageHistogramMatch+", method="skimage", factor=0.5, device="cpu")
    torch.testing.assert_close(result, match_images(image, reference, "skimage", 0.5), rtol=0, atol=1e-6)


@pytest.mark.parametrize("inputs", [{"method": "skimage"}, {"source_stats": "uniform"}, {"source_stats": "smoothed"}])
def test_an_interrupt_stops_the_run_and_the_next_one_works(comfyui: ComfyUI, inputs: dict[str, str]) -> None:
    paths = [comfyui.folder / f"interrupted{number}.pt" for number in range(3)]
    # Expanded, one frame is stored and read.
    frames = continuous_photo("astronaut").expand(400, -1, -1, -1)
    torch.save(frames, paths[0])
    torch.save(continuous_photo("coffee"), paths[1])
    interrupt(comfyui, match_prompt(paths, **inputs))
    assert not paths[2].exists()
    assert comfyui.match(frames[:1], frames[:1]).shape == (1, 512, 512, 3)


@pytest.mark.parametrize("method", ["pytorch", "skimage"])
def test_the_message_of_a_bad_input_reaches_the_user(comfyui: ComfyUI, method: str) -> None:
    with pytest.raises(RuntimeError, match=r"ValueError: image: expected shape .*got \[1, 4, 4, 2\]"):
        comfyui.match(torch.rand(1, 4, 4, 2), torch.rand(1, 4, 4, 3), method=method)


def test_a_warning_reaches_the_log(comfyui: ComfyUI) -> None:
    image = torch.rand(1, 4, 4, 3)
    image[0, 0, 0, 0] = float("nan")
    result = comfyui.match(image, torch.rand(1, 4, 4, 3))
    assert result[0, 0, 0, 0] == 0
    assert "Image Histogram Match: image: left out 1 NaN or infinite values" in comfyui.log.read_text()


def test_a_factor_out_of_range_is_refused_before_it_runs(comfyui: ComfyUI) -> None:
    prompt = match_prompt([comfyui.folder / "none.pt"] * 3, factor=1.5)
    answer = comfyui.post("/prompt", {"prompt": prompt})
    assert answer["node_errors"]["3"]["errors"][0]["type"] == "value_bigger_than_max"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("color_space", COLOR_SPACES)
def test_every_method_in_every_color_space(comfyui: ComfyUI, method: str, color_space: str) -> None:
    image = photo("chelsea")[:, ::3, ::3]
    reference = counterpart(method, image, photo("coffee")[:, ::4, ::4])
    result = comfyui.match(image, reference, method=method, color_space=color_space, rotations=6)
    expected = match_images(image, reference, method, color_space=color_space, rotations=6)
    # In another version of torch, sums are added in another order; regraining spreads the difference.
    assert float((result - expected).abs().mean()) <= 1e-4
    assert not torch.equal(result, image)


TARGETS = {
    "uniform": ({}, Uniform()),
    "normal": ({"mean": 0.4, "deviation": 0.1}, Normal(0.4, 0.1)),
    "linear stretch": ({"clip_low": 2.0, "clip_high": 5.0}, LinearStretch(2.0, 5.0)),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("color_space", ["rgb", "lab"])
def test_image_histogram_specify(comfyui: ComfyUI, target: str, color_space: str) -> None:
    image = photo("chelsea")[:, ::3, ::3].repeat(2, 1, 1, 1)
    numbers, expected = TARGETS[target]
    node = {
        "class_type": "ImageHistogramSpecify",
        "target": target,
        "factor": 0.8,
        "device": "auto",
        "color_space": color_space,
    }
    result = comfyui.change(image, **node, **numbers)
    expected = specify_images(image, expected, 0.8, color_space=color_space)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_image_histogram_goes_into_image_histogram_specify(comfyui: ComfyUI) -> None:
    if "ImageHistogram" not in comfyui.get("/object_info"):
        pytest.skip("this ComfyUI has no Image Histogram")
    image, other = photo("chelsea"), photo("coffee")
    nodes = {
        "other": {"class_type": "ProbeLoad", "inputs": {"path": str(comfyui.save(other))}},
        "counts": {"class_type": "ImageHistogram", "inputs": {"image": ["other", 0]}},
    }
    specify = {"class_type": "ImageHistogramSpecify", "target": "histogram", "factor": 1.0, "device": "auto"}
    each = {f"histogram_{name}": ["counts", output] for output, name in enumerate(("red", "green", "blue"), start=2)}
    # Image Histogram rounds down; half a level later it would count as it was meant.
    torch.testing.assert_close(
        comfyui.change(image, nodes, **specify, **each), match_images(image, other), rtol=0, atol=1.1 / 255
    )
    result = comfyui.change(image, nodes, **specify, histogram=["counts", 1], color_space="luminance")
    counts = torch.bincount((other[0] @ torch.tensor([0.2126, 0.7152, 0.0722]) * 255).int().flatten(), minlength=256)
    expected = specify_images(image, Specified(counts.tolist()), color_space="luminance")
    assert float((result - expected).abs().mean()) <= 0.1 / 255
    with pytest.raises(RefusedError, match="target: expected histogram, since one is connected, got uniform"):
        comfyui.change(image, nodes, **{**specify, "target": "uniform"}, histogram=["counts", 1])
    with pytest.raises(RefusedError, match=r"histogram: expected one for all channels, or .* got 0 of these and none for all"):
        comfyui.change(image, **specify)


def test_a_kept_reference_survives_a_restart(comfyui: ComfyUI, xprocess: XProcess) -> None:
    image, looks = photo("chelsea"), [photo("coffee"), photo("rocket")]
    nodes: dict[str, Any] = {
        name: {"class_type": "ProbeLoad", "inputs": {"path": str(comfyui.save(look))}}
        for name, look in zip(("first", "second"), looks, strict=True)
    }
    nodes["one"] = {"class_type": "ReferenceHistogram", "inputs": {"images": ["first", 0]}}
    nodes["both"] = {
        "class_type": "ReferenceHistogram",
        "inputs": {"images": ["second", 0], "reference": ["one", 0], "save_as": "two looks"},
    }
    match = {"class_type": "ImageHistogramMatch", "method": "pytorch", "factor": 1.0, "device": "auto"}
    direct = comfyui.change(image, nodes, **match, reference=["both", 0])
    pooled = sum((ReferenceHistogram.of(look) for look in looks[1:]), ReferenceHistogram.of(looks[0]))
    torch.testing.assert_close(direct, match_images(image, pooled), rtol=0, atol=1e-6)
    kept = {"kept": {"class_type": "ReferenceHistogram", "inputs": {"load": "two looks.npz"}}}
    with started(comfyui.folder, xprocess) as restarted:
        assert restarted.pid != comfyui.pid
        node = restarted.get("/object_info/ReferenceHistogram")["ReferenceHistogram"]
        assert "two looks.npz" in node["input"]["optional"]["load"][1]["options"]
        assert torch.equal(restarted.change(image, kept, **match, reference=["kept", 0]), direct)
        result = restarted.change(image, kept, **{**match, "method": "sliced"}, reference=["kept", 0])
        assert float((result - match_images(image, pooled, "sliced")).abs().mean()) <= 1e-3


def test_a_learned_target_is_a_reference(comfyui: ComfyUI) -> None:
    image, wanted = photo("chelsea"), photo("coffee").movedim(-1, 1)
    layer = ParametricHistogramMatching()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.2)
    small = image[:, ::6, ::6].movedim(-1, 1)
    for _ in range(30):
        optimizer.zero_grad()
        HistogramLoss(order=2)(layer(small), wanted).backward()
        optimizer.step()
    folder = comfyui.folder / "output" / "histograms"
    folder.mkdir(exist_ok=True)
    layer.export().save(folder / "learned.npz")
    nodes = {"learned": {"class_type": "ReferenceHistogram", "inputs": {"load": "learned.npz"}}}
    match = {"class_type": "ImageHistogramMatch", "method": "pytorch", "factor": 1.0, "device": "auto"}
    result = comfyui.change(image, nodes, **match, reference=["learned", 0])
    expected = layer(image.movedim(-1, 1)).movedim(1, -1).detach()
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-4)
    assert (expected - image).abs().mean() > 0.02


@pytest.mark.parametrize("name", ["../evil", "/evil", "a\\b", "c:d", ".hidden"])
def test_a_reference_is_kept_in_its_folder_only(comfyui: ComfyUI, name: str) -> None:
    nodes = {"kept": {"class_type": "ReferenceHistogram", "inputs": {"images": ["image", 0], "save_as": name}}}
    match = {"class_type": "ImageHistogramMatch", "method": "pytorch", "factor": 1.0, "device": "auto"}
    with pytest.raises(RuntimeError, match="ValueError: save_as: expected the name of a file, without folders"):
        comfyui.change(photo("chelsea")[:, ::8, ::8], nodes, **match, reference=["kept", 0])


def reference_prompt(comfyui: ComfyUI, frames: Tensor, **inputs: Any) -> dict[str, Any]:
    """Reference Histogram as the only output node."""
    return {
        "frames": {"class_type": "ProbeLoad", "inputs": {"path": str(comfyui.save(frames))}},
        "reference": {"class_type": "ReferenceHistogram", "inputs": {"images": ["frames", 0], **inputs}},
    }


def test_a_reference_is_measured_with_progress_and_can_be_cancelled(comfyui: ComfyUI) -> None:
    frames = continuous_photo("astronaut").expand(300, -1, -1, -1)
    interrupt(comfyui, reference_prompt(comfyui, frames, save_as="cancelled"))
    assert not (comfyui.folder / "output" / "histograms" / "cancelled.npz").exists()


def test_a_reference_says_where_it_is_kept(comfyui: ComfyUI) -> None:
    ended = comfyui.wait(comfyui.queue(reference_prompt(comfyui, photo("coffee")[:, ::4, ::4], save_as="a look")))
    path = comfyui.folder / "output" / "histograms" / "a look.npz"
    assert path.exists()
    assert ended["outputs"]["reference"]["text"] == [f"kept in {path}"]
    assert f"Reference Histogram: kept in {path}" in comfyui.log.read_text()


def test_a_reference_with_nothing_connected_stops_no_other_node(comfyui: ComfyUI) -> None:
    image = photo("chelsea")[:, ::4, ::4]
    target = comfyui.folder / "beside.pt"
    prompt = {
        **match_prompt([comfyui.save(image), comfyui.save(image), target]),
        "alone": {"class_type": "ReferenceHistogram", "inputs": {}},
    }
    comfyui.run(prompt)
    assert torch.load(target).shape == image.shape
    assert "Reference Histogram: no images, reference or file to load" in comfyui.log.read_text()


def test_a_black_mask_is_named(comfyui: ComfyUI) -> None:
    image, black = photo("chelsea")[:, ::4, ::4], torch.zeros(1, 75, 113)
    assert torch.equal(comfyui.match(image, 1 - image, image_mask=black), image)
    assert torch.equal(comfyui.match(image, 1 - image, reference_mask=black), image)
    log = comfyui.log.read_text()
    for name, action in (("image_mask", "paint where to match"), ("reference_mask", "paint where to measure")):
        assert f"{name}: 0 throughout for 1 frames, which are left as they are; {action}, or unplug it" in log
    prompt = reference_prompt(comfyui, image, mask=["black", 0])
    prompt["black"] = {"class_type": "ProbeLoadMask", "inputs": {"path": str(comfyui.save(black))}}
    with pytest.raises(RuntimeError, match="mask: expected pixels that count, got 0 throughout; paint where to measure"):
        comfyui.run(prompt)


def test_three_histograms_and_one_lightness(comfyui: ComfyUI) -> None:
    if "ImageHistogram" not in comfyui.get("/object_info"):
        pytest.skip("this ComfyUI has no Image Histogram")
    nodes = {"counts": {"class_type": "ImageHistogram", "inputs": {"image": ["image", 0]}}}
    specify = {"class_type": "ImageHistogramSpecify", "target": "histogram", "factor": 1.0, "device": "auto"}
    each = {f"histogram_{name}": ["counts", output] for output, name in enumerate(("red", "green", "blue"), start=2)}
    with pytest.raises(RefusedError, match="color_space: expected rgb with three histograms"):
        comfyui.change(photo("chelsea")[:, ::4, ::4], nodes, **specify, **each, color_space="lab")


def test_references_without_a_frame_are_told(comfyui: ComfyUI) -> None:
    looks = torch.cat([photo("coffee"), photo("coffee").flip(1)])
    comfyui.match(photo("chelsea")[:, ::4, ::4], looks)
    assert "reference: 1 of 2 have no frame and are left out; reference_stats pooled takes all" in comfyui.log.read_text()


NEW_INPUTS = [
    {"detail": 0.5, "dither": True},
    {"grid": 4},
    {"grid": 3, "clip": 2.5},
    {"clip": 3.0},
    {"grid": 4, "method": "aligned-curve"},
    {"range": "data"},
    {"range": "data", "grid": 2, "source_stats": "uniform", "factor": 0.5},
]


@pytest.mark.parametrize("inputs", NEW_INPUTS, ids=str)
def test_detail_cells_and_range(comfyui: ComfyUI, inputs: dict[str, Any]) -> None:
    look = photo("coffee")[:, ::4, ::4]
    frames = torch.cat([look * 0.7 + 0.1, look.flip(2) ** 1.3])
    if inputs.get("range") == "data":
        frames, look = frames * 30 - 1, look * 9 - 0.3
    result = comfyui.match(frames, look, **inputs)
    torch.testing.assert_close(result, match_images(frames, look, **inputs), rtol=1e-5, atol=1e-5)
    assert float((result - frames).abs().mean()) > 0.01


@pytest.mark.parametrize("inputs", [one for one in NEW_INPUTS if "method" not in one], ids=str)
def test_detail_cells_and_range_without_a_reference(comfyui: ComfyUI, inputs: dict[str, Any]) -> None:
    image = photo("rocket")[:, ::4, ::4] * (20.0 if inputs.get("range") == "data" else 1.0)
    node = {"class_type": "ImageHistogramSpecify", "target": "uniform", "factor": 1.0, "device": "cpu"}
    result = comfyui.change(image, **node | inputs)
    torch.testing.assert_close(result, specify_images(image, Uniform(), **inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("inputs", NEW_INPUTS[:-1], ids=str)
def test_detail_cells_and_range_are_fitted_once(comfyui: ComfyUI, inputs: dict[str, Any]) -> None:
    look = photo("coffee")[:, ::4, ::4] * (20.0 if inputs.get("range") == "data" else 1.0)
    image, other = look * 0.7, look.flip(2) * 0.7
    nodes = {
        name: {"class_type": "ProbeLoad", "inputs": {"path": str(comfyui.save(tensor))}}
        for name, tensor in (("before", image), ("after", look))
    }
    settings = {"method": "pytorch", "image": ["before", 0], "reference": ["after", 0], **inputs}
    nodes["fit"] = {"class_type": "ColorTransformFit", "inputs": settings}
    result = comfyui.change(other, nodes, "ColorTransformApply", transform=["fit", 0], factor=1.0, device="cpu")
    torch.testing.assert_close(result, fit_transform(image, look, **inputs).apply(other), rtol=1e-5, atol=1e-5)


def test_a_pooled_reference_carries_its_range(comfyui: ComfyUI) -> None:
    image, look = photo("rocket")[:, ::4, ::4] * 30 - 1, photo("coffee")[:, ::4, ::4] * 9
    nodes = {
        "look": {"class_type": "ProbeLoad", "inputs": {"path": str(comfyui.save(look))}},
        "pooled": {"class_type": "ReferenceHistogram", "inputs": {"images": ["look", 0], "range": "data"}},
    }
    settings = {"method": "pytorch", "factor": 1.0, "device": "cpu", "range": "data", "reference": ["pooled", 0]}
    result = comfyui.change(image, nodes, "ImageHistogramMatch", **settings)
    expected = match_images(image, ReferenceHistogram.of(look, range="data"), range="data")
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"method": "mkl", "grid": 4}, "grid: expected 1 with mkl, since it finds one change"),
        ({"method": "exact", "clip": 2.0}, "clip: expected 0 with exact, since it ranks all pixels"),
        ({"clip": 0.5}, "clip: expected 0 for no limit, or a slope from 1 up, got 0.5"),
    ],
)
def test_what_has_no_cells_is_refused_before_anything_runs(comfyui: ComfyUI, inputs: dict[str, Any], expected: str) -> None:
    with pytest.raises(RefusedError) as refused:
        comfyui.match(photo("rocket"), photo("coffee"), **inputs)
    assert expected in str(refused.value)
