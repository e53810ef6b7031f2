"""Workflows as the page saves them, and what it sends of them to ComfyUI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from comfyui_location import ROOT
from comfyui_server import ComfyUI
from PIL import Image, ImageSequence

TEMPLATES = sorted(ROOT.glob("example_workflows/*.json"))
BLUEPRINTS = sorted(ROOT.glob("subgraphs/*.json"))
NOTES = ("Note", "MarkdownNote")
_WIDGETS = ("COMBO", "INT", "FLOAT", "STRING", "BOOLEAN", "CURVE")
_MUTED = 2


def template(name: str) -> dict[str, Any]:
    """A workflow of the templates."""
    return read(ROOT / "example_workflows" / f"{name}.json")


def read(path: Path) -> dict[str, Any]:
    """A workflow from a file."""
    workflow: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return workflow


def prompt_of(workflow: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """What the page makes of a workflow: widgets take their values by position, sockets what is linked to them.

    Args:
        workflow: as the page saves it.
        described: what ComfyUI answers to ``/object_info``.
    """
    links = {number: [str(source), output] for number, source, output, *_ in workflow["links"]}
    return _prompt(workflow["nodes"], links, described)


def prompt_of_blueprint(
    blueprint: dict[str, Any], described: dict[str, Any], given: dict[str, list[Any]]
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What the page makes of the nodes in a blueprint, and where its outputs come from.

    Args:
        blueprint: as the page saves it.
        described: what ComfyUI answers to ``/object_info``.
        given: for the blueprint's inputs that are linked, by their names, the node and its output.
    """
    (inside,) = blueprint["definitions"]["subgraphs"]
    links = {}
    for link in inside["links"]:
        source, output = link["origin_id"], link["origin_slot"]
        links[link["id"]] = [str(source), output] if source >= 0 else given.get(inside["inputs"][output]["name"])
    outputs = {output["name"]: links[output["linkIds"][0]] for output in inside["outputs"]}
    return _prompt(inside["nodes"], links, described), outputs


def _prompt(nodes: list[dict[str, Any]], links: dict[int, list[Any] | None], described: dict[str, Any]) -> dict[str, Any]:
    prompt = {}
    for node in nodes:
        if node["type"] in NOTES or node["mode"] == _MUTED:
            continue
        # A workflow that is older than a widget has no value for it, and the page keeps some that are no inputs.
        values = dict(zip(widgets_of(described[node["type"]]), node.get("widgets_values", []), strict=False))
        linked = {slot["name"]: links[slot["link"]] for slot in node["inputs"] if slot["link"] is not None}
        assert {name.split(".")[0] for name in linked} <= inputs_of(described[node["type"]]).keys()
        prompt[str(node["id"])] = {
            "class_type": node["type"],
            "inputs": values | {name: source for name, source in linked.items() if source},
            "_meta": {"title": node.get("title", node["type"])},
        }
    return prompt


def inputs_of(description: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a node by their names, in the order of the page."""
    inputs: dict[str, Any] = {**description["input"].get("required", {}), **description["input"].get("optional", {})}
    return inputs


def widgets_of(description: dict[str, Any]) -> list[str]:
    """Names of the inputs of a node that are widgets, in the order in which workflows hold their values."""
    return [name for name, (kind, *_) in inputs_of(description).items() if isinstance(kind, list) or kind in _WIDGETS]


def run_workflow(comfyui: ComfyUI, workflow: dict[str, Any]) -> dict[str, np.ndarray]:
    """Run a workflow, and return what its nodes show by their titles: uint8, ``[B, H, W, C]``.

    Animations are written without loss, so that their pixels can be compared.
    """
    prompt = prompt_of(workflow, comfyui.get("/object_info"))
    for node in prompt.values():
        if node["class_type"] == "SaveAnimatedWEBP":
            node["inputs"] |= {"lossless": True, "method": "fastest"}
    shown = {}
    for node, output in comfyui.run(prompt, workflow)["outputs"].items():
        files = [comfyui.folder / one["type"] / one["subfolder"] / one["filename"] for one in output.get("images", [])]
        if files:
            shown[prompt[node]["_meta"]["title"]] = np.stack([frame for file in files for frame in frames_of(file)])
    return shown


def frames_of(path: Path) -> list[np.ndarray]:
    """The frames of a picture or an animation, each ``[H, W, C]``."""
    with Image.open(path) as opened:
        return [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(opened)]
