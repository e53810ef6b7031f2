"""The blueprints of subgraphs, as a real ComfyUI hands them to the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_histogram_match.sample_photos import sample_photo
from comfyui_server import ComfyUI
from photos import photo
from torch import Tensor
from workflows import BLUEPRINTS, prompt_of_blueprint, read

pytestmark = pytest.mark.comfyui

TINT = torch.tensor([0.3, 0.4, 0.8])


def handed_out(comfyui: ComfyUI) -> dict[str, dict[str, Any]]:
    """The blueprints of this pack, by their names."""
    try:
        listed = comfyui.get("/global_subgraphs")
    except OSError:
        pytest.skip("this ComfyUI hands out no blueprints")
    own = [number for number, entry in listed.items() if entry["info"]["node_pack"].endswith("comfyui-histogram-match")]
    return {
        entry["name"]: json.loads(entry["data"]) for entry in (comfyui.get(f"/global_subgraphs/{number}") for number in own)
    }


def run_blueprint(comfyui: ComfyUI, name: str, given: dict[str, Tensor], changes: dict[str, Any]) -> dict[str, Tensor]:
    """Run a blueprint on images and masks, with other values of widgets in some nodes, and return what comes out."""
    blueprint = handed_out(comfyui)[name]
    load = {f"load {socket}": ("image" if tensor.ndim == 4 else "mask", tensor) for socket, tensor in given.items()}
    prompt, outputs = prompt_of_blueprint(
        blueprint, comfyui.get("/object_info"), {socket: [f"load {socket}", 0] for socket in given}
    )
    for node in prompt.values():
        node["inputs"] |= {widget: value for widget, value in changes.items() if widget in node["inputs"]}
    for number, (kind, tensor) in load.items():
        class_type = "ProbeLoad" if kind == "image" else "ProbeLoadMask"
        prompt[number] = {"class_type": class_type, "inputs": {"path": str(comfyui.save(tensor))}}
    paths = {output: comfyui.folder / f"{name} {output}.pt" for output in outputs}
    for output, source in outputs.items():
        prompt[f"save {output}"] = {"class_type": "ProbeSave", "inputs": {"image": source, "path": str(paths[output])}}
    comfyui.run(prompt)
    return {output: torch.load(path) for output, path in paths.items()}


def test_all_are_handed_out(comfyui: ComfyUI) -> None:
    assert handed_out(comfyui) == {path.stem: read(path) for path in BLUEPRINTS}


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_links_lead_where_they_say(path: Path, comfyui: ComfyUI) -> None:
    blueprint, described = handed_out(comfyui)[path.stem], comfyui.get("/object_info")
    (inside,) = blueprint["definitions"]["subgraphs"]
    (outside,) = blueprint["nodes"]
    assert outside["type"] == inside["id"]
    assert outside["title"] == inside["name"] == path.stem
    assert [slot["name"] for slot in outside["inputs"]] == [slot["name"] for slot in inside["inputs"]]
    assert [slot["name"] for slot in outside["outputs"]] == [slot["name"] for slot in inside["outputs"]]
    nodes = {node["id"]: node for node in inside["nodes"]}
    for link in inside["links"]:
        source = inside["inputs"] if link["origin_id"] < 0 else nodes[link["origin_id"]]["outputs"]
        target = inside["outputs"] if link["target_id"] < 0 else nodes[link["target_id"]]["inputs"]
        assert link["id"] in (source[link["origin_slot"]].get("links") or source[link["origin_slot"]]["linkIds"])
        assert link["id"] in (target[link["target_slot"]].get("link"), *target[link["target_slot"]].get("linkIds", []))
        if link["origin_id"] >= 0:
            assert described[nodes[link["origin_id"]]["type"]]["output"][link["origin_slot"]] == link["type"]
    for number, widget in outside["properties"]["proxyWidgets"]:
        assert widget in [slot["name"] for slot in nodes[int(number)]["inputs"] if "widget" in slot]


@pytest.mark.parametrize("masked", [False, True])
def test_the_tone_of_an_inpainting_is_repaired(comfyui: ComfyUI, masked: bool) -> None:
    original = photo("coffee")
    painted = original.clone()
    painted[:, :200, :250] = photo("chelsea")[:, :200, :250]
    given = {"original": original, "edited": torch.lerp(painted, TINT, 0.2)}
    if masked:
        kept = torch.ones(original.shape[:3])
        kept[:, :200, :250] = 0
        given["kept"] = kept
    repaired = run_blueprint(comfyui, "Repair Inpainting Tone", given, {})["image"]
    assert (given["edited"] - painted).abs().mean() > 0.05
    assert (repaired - painted).abs().mean() < 2 / 255


@pytest.mark.parametrize("overlap", [4, 8])
def test_a_clip_goes_on_without_drift(comfyui: ComfyUI, overlap: int) -> None:
    pan = sample_photo("chelsea", "pan", 16)
    given = {"clip": pan[:10], "extension": torch.lerp(pan[10 - overlap :], TINT, 0.2)}
    joined = run_blueprint(comfyui, "Continue Clip Without Drift", given, {"value": overlap})
    assert joined["clip"].shape == pan.shape
    assert torch.equal(joined["clip"][:10], pan[:10])
    assert (joined["clip"] - pan).abs().mean() < 1 / 255
    assert torch.equal(joined["extension"][overlap:], joined["clip"][10:])
