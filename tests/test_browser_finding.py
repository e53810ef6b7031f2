"""How people come to the nodes in ComfyUI's page: by search, and with workflows of the node's predecessor."""

from __future__ import annotations

import pytest
from browser import Editor, OpenEditor
from comfyui_location import find_comfyui
from comfyui_server import ComfyUI

pytestmark = [pytest.mark.comfyui, pytest.mark.browser]


def found(editor: Editor, words: str) -> list[str]:
    """The names of the nodes that a search finds, the best first."""
    editor.page.mouse.dblclick(700, 500)
    editor.page.wait_for_timeout(1500)
    editor.page.keyboard.type(words)
    results = editor.page.locator('[data-testid="result-item"]')
    results.first.wait_for()
    editor.page.wait_for_timeout(700)
    names = [text.splitlines()[0] for text in results.all_inner_texts()]
    editor.page.keyboard.press("Escape")
    results.first.wait_for(state="hidden")
    editor.page.wait_for_timeout(500)
    return names


def test_a_search_finds_the_nodes(open_editor: OpenEditor, comfyui: ComfyUI) -> None:
    editor = open_editor()
    editor.load({"nodes": [], "links": [], "version": 0.4})
    own = {node["display_name"] for node in comfyui.get("/object_info").values() if "histogram-match" in node["python_module"]}
    assert found(editor, "histogram")[0] in own
    assert found(editor, "LUT")[0] in own
    # Of names that hold neither word, ComfyUI puts the shortest first, which is Transfer Color.
    assert found(editor, "color match").index("Image Histogram Match") <= 1


def test_a_workflow_of_the_predecessor_is_replaced_as_comfyui_offers_it(open_editor: OpenEditor) -> None:
    folder = find_comfyui()
    assert folder is not None
    if "class NodeReplace" not in (folder / "comfy_api" / "latest" / "_io.py").read_text(encoding="utf-8"):
        pytest.skip("this ComfyUI cannot replace nodes")
    editor = open_editor()
    image = {"name": "image", "type": "IMAGE"}
    outputs = [image | {"links": [1]}]
    photo = {"id": 1, "type": "HistogramMatchSamplePhoto", "pos": [60, 80], "widgets_values": ["chelsea", "picture", 24]}
    other = {"id": 2, "type": "HistogramMatchSamplePhoto", "pos": [60, 300], "widgets_values": ["coffee", "picture", 24]}
    old = {
        "id": 3,
        "type": "ImageHistogramMatch+",
        "pos": [460, 80],
        "inputs": [image | {"link": 1}, {"name": "reference", "type": "IMAGE", "link": 2}],
        "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [3]}],
        "widgets_values": ["skimage", 0.75, "cpu"],
    }
    shown = {"id": 4, "type": "PreviewImage", "pos": [900, 80], "inputs": [image | {"name": "images", "link": 3}]}
    links = [[1, 1, 0, 3, 0, "IMAGE"], [2, 2, 0, 3, 1, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"]]
    nodes = [photo | {"outputs": outputs}, other | {"outputs": [image | {"links": [2]}]}, old, shown]
    editor.load({"version": 0.4, "nodes": nodes, "links": links})
    editor.page.get_by_text("View details").first.click()
    editor.page.get_by_role("button", name="Replace Node").first.click()
    editor.page.wait_for_function("() => window.app.graph.getNodeById(3)?.type === 'ImageHistogramMatch'")
    inputs = editor.prompt()["3"]["inputs"]
    assert {name: inputs[name] for name in ("method", "factor", "device", "image", "reference")} == {
        "method": "skimage",
        "factor": 0.75,
        "device": "cpu",
        "image": ["1", 0],
        "reference": ["2", 0],
    }
    editor.queue()
