"""ComfyUI's page starts with this pack."""

from __future__ import annotations

from typing import Any

import pytest
from browser import OpenEditor
from comfyui_server import ComfyUI

IMAGE = {"name": "IMAGE", "type": "IMAGE"}
pytestmark = [pytest.mark.comfyui, pytest.mark.browser]


@pytest.mark.parametrize("nodes2", [False, True], ids=["canvas", "nodes2"])
def test_the_page_starts_and_knows_the_nodes(open_editor: OpenEditor, comfyui: ComfyUI, nodes2: bool) -> None:
    editor = open_editor(nodes2=nodes2)
    told: dict[str, Any] = comfyui.get("/object_info")
    own = {name for name, node in told.items() if node["python_module"] == "custom_nodes.comfyui-histogram-match"}
    known = set(editor.evaluate("() => Object.keys(LiteGraph.registered_node_types)"))
    assert own
    assert own <= known
    editor.evaluate("() => { window.app.graph.clear(); window.app.graph.add(LiteGraph.createNode('ImageHistogramMatch')); }")
    editor.settle()
    assert editor.page.locator("[data-node-id]").count() == int(nodes2)


def test_what_goes_wrong_in_the_page_is_noted(open_editor: OpenEditor) -> None:
    editor = open_editor()
    editor.evaluate("() => { console.error('said'); setTimeout(() => { throw new Error('thrown'); }); }")
    editor.page.wait_for_timeout(100)
    said, thrown = editor.errors
    assert "said" in said
    assert "thrown" in thrown
    editor.errors.clear()


def test_a_workflow_runs(open_editor: OpenEditor) -> None:
    editor = open_editor()
    values = [64, 64, 1, 0]
    workflow = {
        "nodes": [
            {"id": 1, "type": "EmptyImage", "pos": [100, 100], "widgets_values": values, "outputs": [IMAGE | {"links": [1]}]},
            {"id": 2, "type": "PreviewImage", "pos": [500, 100], "inputs": [IMAGE | {"name": "images", "link": 1}]},
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"]],
        "version": 0.4,
    }
    editor.load(workflow)
    editor.queue()
    assert editor.prompt()["2"]["inputs"] == {"images": ["1", 0]}
    assert [node["id"] for node in editor.saved()["nodes"]] == [1, 2]
