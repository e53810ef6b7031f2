"""What nodes tell their panels on the page, and what they refuse, in a real ComfyUI over HTTP."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_server import ComfyUI, RefusedError, match_prompt
from panel_reading import read_frames, read_references, shares
from photos import photo
from torch import Tensor

pytestmark = pytest.mark.comfyui


def workflow(*nodes: tuple[int, bool], subgraph: list[tuple[int, bool]] | None = None) -> dict[str, Any]:
    """What the page sends along: nodes by their numbers, and whether their panels are unfolded; 9 holds a ``subgraph``."""
    described = [{"id": number, "type": "any", "properties": {"histograms": unfolded}} for number, unfolded in nodes]
    if subgraph is None:
        return {"nodes": described}
    inside = workflow(*subgraph)
    return {
        "nodes": [*described, {"id": 9, "type": "a-name", "properties": {}}],
        "definitions": {"subgraphs": [{"id": "another", **workflow((3, False))}, {"id": "a-name", **inside}]},
    }


def run(comfyui: ComfyUI, image: Tensor, sent: dict[str, Any] | None, node: str = "3", **inputs: Any) -> dict[str, Any]:
    """What the page is told by Image Histogram Match, run under a number, with a workflow that comes along."""
    paths = [comfyui.save(image), comfyui.save(photo("coffee")), comfyui.folder / "unused.pt"]
    prompt = match_prompt(paths, **inputs)
    prompt = {node if name == "3" else name: one for name, one in prompt.items()}
    prompt["4"]["inputs"]["image"] = [node, 0]
    return dict(comfyui.run(prompt, sent)["outputs"].get(node, {}))


def test_an_unfolded_panel_is_told_of_the_run(comfyui: ComfyUI) -> None:
    image = photo("chelsea")
    told = run(comfyui, image, workflow((3, True)))
    assert list(told) == ["histogram_match"]
    (message,) = told["histogram_match"]
    result = torch.load(comfyui.folder / "unused.pt")
    (record,), (beside,) = read_frames(message), read_references(message)
    for shown, picture in ((record.source, image), (record.result, result), (beside, photo("coffee"))):
        expected = shares(picture[0], message["bins"])
        assert (np.abs(shown - expected).max(axis=1) <= 0.01 * expected.max(axis=1))[:3].all()


@pytest.mark.parametrize("sent", [None, workflow((3, False)), workflow((4, True)), workflow()], ids=str)
def test_a_folded_panel_is_told_nothing(comfyui: ComfyUI, sent: dict[str, Any] | None) -> None:
    # Another picture each time, so that the node runs.
    assert run(comfyui, torch.rand(1, 40, 40, 3), sent) == {}


def test_a_panel_within_a_subgraph_is_found(comfyui: ComfyUI) -> None:
    for unfolded in (True, False):
        sent = workflow((3, not unfolded), subgraph=[(2, not unfolded), (3, unfolded)])
        assert ("histogram_match" in run(comfyui, torch.rand(1, 40, 40, 3), sent, "9:3")) == unfolded


def test_notes_are_told_whether_folded_or_not(comfyui: ComfyUI) -> None:
    image = torch.rand(1, 40, 40, 3)
    image[0, 0, 0, 0] = torch.nan
    expected = ["image: left out 1 NaN or infinite values"]
    for sent in (None, workflow((3, False))):
        assert run(comfyui, image, sent)["histogram_match_notes"] == expected
        image = image * 0.9
    told = run(comfyui, image, workflow((3, True)), image_mask=str(comfyui.save(torch.zeros(1, 40, 40))))
    assert [note.split(":")[0] for note in told["histogram_match_notes"]] == ["image_mask"]
    assert "histogram_match" in told


def test_sixty_four_frames_are_told_in_64_kilobytes(comfyui: ComfyUI) -> None:
    told = run(comfyui, torch.rand(64, 90, 160, 3), workflow((3, True)), source_stats="smoothed")
    assert len(json.dumps(told)) <= 1 << 16
    assert told["histogram_match"][0]["frames"] == list(range(64))


def test_other_nodes_have_panels_as_well(comfyui: ComfyUI) -> None:
    image = photo("chelsea")
    prompt: dict[str, Any] = {
        "1": {"class_type": "ProbeLoad", "inputs": {"path": str(comfyui.save(image))}},
        "2": {"class_type": "ProbeLoad", "inputs": {"path": str(comfyui.save(photo("coffee")))}},
        "3": {
            "class_type": "ImageHistogramSpecify",
            "inputs": {"image": ["1", 0], "target": "uniform", "factor": 1.0, "device": "auto"},
        },
        "4": {"class_type": "ColorTransformFit", "inputs": {"image": ["1", 0], "reference": ["2", 0], "method": "mkl"}},
        "5": {
            "class_type": "ColorTransformApply",
            "inputs": {"image": ["3", 0], "transform": ["4", 0], "factor": 1.0, "device": "auto"},
        },
        "6": {"class_type": "ProbeSave", "inputs": {"image": ["5", 0], "path": str(comfyui.folder / "unused.pt")}},
        "7": {"class_type": "ReferenceHistogram", "inputs": {"images": ["2", 0], "save_as": "shown"}},
    }
    outputs = comfyui.run(prompt, workflow((3, True), (4, True), (7, True)))["outputs"]
    (specified,), (fitted,), (kept,) = (outputs[node]["histogram_match"] for node in ("3", "4", "7"))
    assert (specified["reference_of"], fitted["reference_of"]) == (None, [0])
    assert (kept["frames"], kept["pictures"]) == ([], 1)
    assert kept["path"].endswith("shown.npz")
    (beside,) = read_references(kept)
    assert np.abs(beside - shares(photo("coffee")[0], 256))[:3].max() <= 1e-3


@pytest.mark.parametrize(
    ("inputs", "named", "reason"),
    [
        ({"method": "exact", "source_stats": "smoothed"}, "source_stats", "expected per_frame with the method exact"),
        ({"method": "skimage", "source_stats": "uniform"}, "source_stats", "expected per_frame with the method skimage"),
        ({"method": "aligned-curve", "reference_stats": "pooled"}, "reference_stats", "expected paired with aligned-curve"),
        ({"method": "none"}, "method", "expected one of"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    comfyui: ComfyUI, inputs: dict[str, str], named: str, reason: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        run(comfyui, photo("chelsea")[:, ::4, ::4], None, **inputs)
    ((node, told),) = refused.value.inputs.items()
    assert node == "3"
    assert reason in told[named]


def test_a_histogram_without_its_target_is_refused(comfyui: ComfyUI) -> None:
    if "ImageHistogram" not in comfyui.get("/object_info"):
        pytest.skip("this ComfyUI has no Image Histogram")
    nodes = {"counts": {"class_type": "ImageHistogram", "inputs": {"image": ["image", 0]}}}
    specify: dict[str, Any] = {"class_type": "ImageHistogramSpecify", "target": "normal", "factor": 1.0, "device": "auto"}
    with pytest.raises(RefusedError) as refused:
        comfyui.change(photo("chelsea")[:, ::4, ::4], nodes, **specify, histogram_red=["counts", 2])
    told = refused.value.inputs["node"]
    assert {"target", "histogram_red"} <= told.keys()
    assert "histogram" not in told
