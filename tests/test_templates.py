"""The workflow templates in a real ComfyUI, as the page sends them there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfyui_location import ROOT, find_comfyui
from comfyui_server import ComfyUI
from photos import photo_8bit
from PIL import Image

pytestmark = pytest.mark.comfyui

TEMPLATES = sorted(ROOT.glob("example_workflows/*.json"))
WIDGETS = ("COMBO", "INT", "FLOAT", "STRING", "BOOLEAN")


def prompt_of(workflow: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """What the page makes of a workflow: widgets take their values by position, sockets what is linked to them."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] == "Note":
            continue
        inputs = described[node["type"]]["input"]
        inputs = {**inputs.get("required", {}), **inputs.get("optional", {})}
        widgets = [name for name, (kind, *_) in inputs.items() if isinstance(kind, list) or kind in WIDGETS]
        # A workflow that is older than a widget has no value for it.
        values = dict(zip(widgets, node.get("widgets_values", []), strict=False))
        linked = {slot["name"]: links[slot["link"]] for slot in node["inputs"] if slot["link"] is not None}
        assert linked.keys() <= inputs.keys()
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": values | linked}
    return prompt


def run_template(comfyui: ComfyUI, name: str, painted: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Run a template, and return the pictures that come out by their nodes; a mask may be ``painted`` on the example."""
    found = find_comfyui()
    assert found is not None
    path = Path(shutil.copy(found / "input" / "example.png", comfyui.folder / "input"))
    if painted is not None:
        with Image.open(path) as picture:
            picture.putalpha(Image.fromarray(np.where(painted, 0, 255).astype(np.uint8)))
        picture.save(path)
    for file, picture in (("source.png", "chelsea"), ("reference.png", "coffee")):
        Image.fromarray(photo_8bit(picture)).save(comfyui.folder / "input" / file)
    workflow = json.loads((ROOT / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    ended = comfyui.run(prompt_of(workflow, comfyui.get("/object_info")))
    pictures = {}
    for node, output in ended["outputs"].items():
        for one in output.get("images", []):
            folder = comfyui.folder / one["type"] / one["subfolder"]
            with Image.open(folder / one["filename"]) as opened:
                pictures.setdefault(node, np.array(opened).astype(int))
    return pictures


def example(comfyui: ComfyUI) -> np.ndarray:
    """The picture that comes with ComfyUI."""
    with Image.open(comfyui.folder / "input" / "example.png") as opened:
        return np.array(opened.convert("RGB")).astype(int)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_links_lead_where_they_say(path: Path, comfyui: ComfyUI) -> None:
    workflow, described = json.loads(path.read_text(encoding="utf-8")), comfyui.get("/object_info")
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, source, output, target, slot, kind in workflow["links"]:
        assert number in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][slot]["link"] == number
        assert described[nodes[source]["type"]]["output"][output] == kind
        assert kind in nodes[target]["inputs"][slot]["type"].split(",")


@pytest.mark.parametrize("name", ["histogram_match", "histogram_specify", "reference_histogram"])
def test_a_template_of_one_picture_runs(comfyui: ComfyUI, name: str) -> None:
    (picture,) = run_template(comfyui, name).values()
    assert picture.shape == photo_8bit("chelsea").shape
    assert np.abs(picture - photo_8bit("chelsea")).mean() > 5


def test_inpainting_tone_restores_the_original(comfyui: ComfyUI) -> None:
    pictures = run_template(comfyui, "inpainting_tone")
    assert np.abs(pictures["8"] - example(comfyui)).mean() <= 1
    # Nothing is painted on it, so nothing is set in.
    assert np.array_equal(pictures["9"], example(comfyui))
    painted = np.zeros((768, 768), dtype=bool)
    painted[200:400, 300:600] = True
    pictures = run_template(comfyui, "inpainting_tone", painted)
    assert np.abs(pictures["8"] - example(comfyui)).mean() <= 1
    assert np.array_equal(pictures["9"][~painted], example(comfyui)[~painted])
    assert np.array_equal(pictures["9"][painted], pictures["8"][painted])


def test_continuation_restores_the_first_clip(comfyui: ComfyUI) -> None:
    (picture,) = run_template(comfyui, "continuation").values()
    assert np.abs(picture - example(comfyui)).mean() <= 1


def test_a_lut_is_saved_and_loaded_by_templates(comfyui: ComfyUI) -> None:
    (exact,) = run_template(comfyui, "save_lut").values()
    assert (comfyui.folder / "output" / "luts" / "look.cube").exists()
    (picture,) = run_template(comfyui, "load_lut").values()
    assert np.abs(picture - exact).max() <= 1
