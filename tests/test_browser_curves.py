"""Apply Curves in a real browser: its curves are told apart, can be dragged, and stand before the image's histogram."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from browser import Editor, OpenEditor
from comfyui_server import ComfyUI

pytestmark = [pytest.mark.comfyui, pytest.mark.browser]

COLORS = ["rgb(229, 72, 77)", "rgb(48, 164, 108)", "rgb(76, 141, 255)"]
# Curves are in the corner of what is seen; a photo goes in, and a preview makes it run.
BUILD = """() => {
    const graph = app.graph, canvas = app.canvas
    graph.clear()
    const [photo, curves, preview] = ["HistogramMatchSamplePhoto", "ImageCurvesApply", "PreviewImage"].map((name, index) => {
        const node = LiteGraph.createNode(name)
        node.pos = [40 + 360 * index, 40]
        graph.add(node)
        return node
    })
    photo.connect(0, curves, 0)
    curves.connect(0, preview, 0)
    canvas.ds.scale = 0.7
    canvas.ds.offset = [100, 80]
    canvas.setDirty(true, true)
}"""
POINTS = "() => app.graph.nodes.find((node) => node.type === 'ImageCurvesApply').widgets.slice(0, 3).map((w) => w.value.points)"


@pytest.fixture(autouse=True)
def _draws_curves(comfyui: ComfyUI) -> None:
    if not comfyui.get("/object_info/ImageCurvesApply"):
        pytest.skip("this ComfyUI draws no curves")


def opened(open_editor: OpenEditor, nodes2: bool, palette: str = "dark", locale: str = "en") -> Editor:
    """A page with the three nodes."""
    editor = open_editor(nodes2, palette, locale)
    editor.evaluate(BUILD)
    editor.settle()
    return editor


def ran(editor: Editor) -> dict[str, Any]:
    """Run what is on the canvas; what the history says of it."""
    return editor.comfyui.wait(editor.queue()["prompt_id"])


def place(editor: Any, x: float, y: float) -> tuple[float, float]:
    """Where in the window a point of a curve is; around it, there is a margin of 0.04 on each side."""
    box = editor.bounding_box()
    return box["x"] + box["width"] * (x + 0.04) / 1.08, box["y"] + box["height"] * (1 - y + 0.04) / 1.08


def drag(page: Any, editor: Any, old: tuple[float, float], new: tuple[float, float]) -> None:
    page.mouse.move(*place(editor, *old))
    page.mouse.down()
    page.mouse.move(*place(editor, *new), steps=5)
    page.mouse.up()


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_curves_are_dragged_before_a_histogram(open_editor: OpenEditor, palette: str) -> None:
    editor = opened(open_editor, True, palette)
    page = editor.page
    editors = page.get_by_test_id("curve-editor")
    editors.nth(2).wait_for()
    assert editors.count() == 3
    style = "(path, name) => getComputedStyle(path)[name]"
    assert [page.get_by_test_id("curve-path").nth(n).evaluate(style, "stroke") for n in range(3)] == COLORS
    labels = [editors.nth(n).evaluate("(svg) => getComputedStyle(svg.parentElement, '::before').content") for n in range(3)]
    assert labels == ['"red"', '"green"', '"blue"']
    page.mouse.click(*place(editors.nth(0), 0.4, 0.7))
    drag(page, editors.nth(1), (1, 1), (0.9, 0.6))
    red, green, blue = page.evaluate(POINTS)
    np.testing.assert_allclose(red, [[0, 0], [0.4, 0.7], [1, 1]], atol=0.02)
    np.testing.assert_allclose(green, [[0, 0], [0.9, 0.6]], atol=0.02)
    assert blue == [[0, 0], [1, 1]]
    outputs = ran(editor)["outputs"]
    (counts,) = [told["histogram"] for told in outputs.values() if "histogram" in told]
    drawn = page.get_by_test_id("histogram-path")
    drawn.nth(2).wait_for(state="attached")
    for number in range(3):
        heights = [1 - float(y) for y in re.findall(r"L[\d.]+,([\d.e-]+)", drawn.nth(number).get_attribute("d"))][:256]
        roots = np.sqrt(counts)
        np.testing.assert_allclose(heights, (roots / np.sort(roots)[253]).clip(0, 1), atol=1e-3)
        # Seen against the ground of the curves.
        assert drawn.nth(number).evaluate(style, "fill") == editors.nth(number).evaluate(style, "color")


@pytest.mark.parametrize("nodes2", [True, False], ids=["nodes 2", "classic"])
def test_curves_stay_in_a_workflow(open_editor: OpenEditor, nodes2: bool) -> None:
    editor = opened(open_editor, nodes2)
    curve = {"points": [[0, 0.2], [0.5, 0.9], [1, 0.4]], "interpolation": "linear"}
    find = "app.graph.nodes.find((node) => node.type === 'ImageCurvesApply')"
    editor.evaluate(f"(curve) => {{ {find}.widgets[1].value = curve }}", curve)
    saved = editor.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    (node,) = [node for node in saved["nodes"] if node["type"] == "ImageCurvesApply"]
    straight = {"points": [[0, 0], [1, 1]], "interpolation": "monotone_cubic"}
    assert node["widgets_values"] == [straight, curve, straight, 1, "auto"]
    editor.load(saved)
    assert editor.evaluate(POINTS) == [straight["points"], curve["points"], straight["points"]]
    (inputs,) = [one["inputs"] for one in ran(editor)["prompt"][2].values() if one["class_type"] == "ImageCurvesApply"]
    assert inputs["green"] == curve


def test_curves_are_named_in_the_language_of_the_page(open_editor: OpenEditor) -> None:
    editor = opened(open_editor, True, locale="zh")
    curves = editor.page.get_by_test_id("curve-editor")
    curves.nth(2).wait_for()
    names = editor.evaluate(
        "() => app.graph.nodes.find((node) => node.type === 'ImageCurvesApply').widgets.map((w) => w.label)"
    )
    shown = [curves.nth(n).evaluate("(svg) => getComputedStyle(svg.parentElement, '::before').content") for n in range(3)]
    assert [json.loads(name) for name in shown] == names[:3]
