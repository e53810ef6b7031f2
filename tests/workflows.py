"""Workflows as the page saves them, and what it sends of them to ComfyUI."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from comfyui_location import ROOT
from comfyui_server import ComfyUI
from PIL import Image, ImageSequence

TEMPLATES = sorted(ROOT.glob("example_workflows/*.json"))
BLUEPRINTS = sorted(ROOT.glob("subgraphs/*.json"))
NOTES = ("Note", "MarkdownNote")
_DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
_WIDGETS = ("COMBO", "INT", "FLOAT", "STRING", "BOOLEAN", "CURVE", _DYNAMIC)
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
        given = node.get("widgets_values", [])
        values = dict(zip(widgets_of(described[node["type"]], given), given, strict=False))
        linked = {slot["name"]: links[slot["link"]] for slot in node["inputs"] if slot["link"] is not None}
        assert {name.split(".")[0] for name in linked} <= inputs_of(described[node["type"]]).keys()
        prompt[str(node["id"])] = {
            "class_type": node["type"],
            "inputs": values | {name: source for name, source in linked.items() if source},
            "_meta": {"title": node.get("title", node["type"])},
        }
    return prompt


def inputs_of(description: dict[str, Any], values: Sequence[Any] = ()) -> dict[str, Any]:
    """The inputs of a node by their names, in the order of the page, with those that options among its ``values`` bring."""
    inputs: dict[str, Any] = {}
    for name, told in {**description["input"].get("required", {}), **description["input"].get("optional", {})}.items():
        inputs[name] = told
        for option in told[1]["options"] if told[0] == _DYNAMIC else ():
            if option["key"] in values:
                inputs |= {f"{name}.{inner}": described for inner, described in option["inputs"]["required"].items()}
    return inputs


def widgets_of(description: dict[str, Any], values: Sequence[Any] = ()) -> list[str]:
    """Names of the inputs of a node that are widgets, in the order in which workflows hold their values."""
    inputs = inputs_of(description, values)
    return [name for name, (kind, *_) in inputs.items() if isinstance(kind, list) or kind in _WIDGETS]


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
        if files and files[0].suffix != ".exr":
            shown[prompt[node]["_meta"]["title"]] = np.stack([frame for file in files for frame in frames_of(file)])
    return shown


def frames_of(path: Path) -> list[np.ndarray]:
    """The frames of a picture, an animation or a video, each ``[H, W, C]``."""
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with Image.open(path) as opened:
        return [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(opened)]
