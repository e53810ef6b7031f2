"""Apply Curves in a real browser: its curves are told apart, can be dragged, and stand before the image's histogram."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from comfyui_server import ComfyUI

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.comfyui, pytest.mark.browser]

FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
COLORS = ["rgb(229, 72, 77)", "rgb(48, 164, 108)", "rgb(76, 141, 255)"]
READY = "() => window.app?.graph && window.app.extensionManager"
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=path, args=FLAGS.split())
        yield launched
        launched.close()


@pytest.fixture
def page(comfyui: ComfyUI, browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page of a ComfyUI that draws curves, with Nodes 2.0 or without, in a palette."""
    if not comfyui.get("/object_info/ImageCurvesApply"):
        pytest.skip("this ComfyUI draws no curves")
    nodes_2, palette = request.param
    context = browser.new_context(viewport={"width": 1500, "height": 1100})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    settings = {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": nodes_2, "Comfy.ColorPalette": palette}
    comfyui.post("/settings", settings)
    opened.goto(comfyui.address)
    opened.wait_for_function(READY, timeout=120_000)
    opened.wait_for_timeout(2000)
    opened.keyboard.press("Escape")
    opened.evaluate(BUILD)
    yield opened
    context.close()
    comfyui.post("/settings", {"Comfy.VueNodes.Enabled": False, "Comfy.ColorPalette": "dark"})
    assert errors == []


def run(comfyui: ComfyUI, page: Any) -> dict[str, Any]:
    """Press Run, wait for the end, and return what the history says of the last prompt."""
    before = set(comfyui.get("/history"))
    page.evaluate("() => app.queuePrompt(0)")
    for _ in range(600):
        after = comfyui.get("/history")
        if new := [ended for name, ended in after.items() if name not in before and ended["status"]["completed"]]:
            return dict(new[0])
        page.wait_for_timeout(100)
    raise TimeoutError(comfyui.log.read_text()[-2000:])


def place(editor: Any, x: float, y: float) -> tuple[float, float]:
    """Where in the window a point of a curve is; around it, there is a margin of 0.04 on each side."""
    box = editor.bounding_box()
    return box["x"] + box["width"] * (x + 0.04) / 1.08, box["y"] + box["height"] * (1 - y + 0.04) / 1.08


def drag(page: Any, editor: Any, old: tuple[float, float], new: tuple[float, float]) -> None:
    page.mouse.move(*place(editor, *old))
    page.mouse.down()
    page.mouse.move(*place(editor, *new), steps=5)
    page.mouse.up()


@pytest.mark.parametrize("page", [(True, "dark"), (True, "light")], indirect=True, ids=["dark", "light"])
def test_curves_are_dragged_before_a_histogram(comfyui: ComfyUI, page: Any) -> None:
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
    outputs = run(comfyui, page)["outputs"]
    (counts,) = [told["histogram"] for told in outputs.values() if "histogram" in told]
    drawn = page.get_by_test_id("histogram-path")
    drawn.nth(2).wait_for(state="attached")
    for number in range(3):
        heights = [1 - float(y) for y in re.findall(r"L[\d.]+,([\d.e-]+)", drawn.nth(number).get_attribute("d"))][:256]
        roots = np.sqrt(counts)
        np.testing.assert_allclose(heights, (roots / np.sort(roots)[253]).clip(0, 1), atol=1e-3)
        # Seen against the ground of the curves.
        assert drawn.nth(number).evaluate(style, "fill") == editors.nth(number).evaluate(style, "color")


@pytest.mark.parametrize("page", [(True, "dark"), (False, "dark")], indirect=True, ids=["nodes 2", "classic"])
def test_curves_stay_in_a_workflow(comfyui: ComfyUI, page: Any) -> None:
    curve = {"points": [[0, 0.2], [0.5, 0.9], [1, 0.4]], "interpolation": "linear"}
    find = "app.graph.nodes.find((node) => node.type === 'ImageCurvesApply')"
    page.evaluate(f"(curve) => {{ {find}.widgets[1].value = curve }}", curve)
    saved = page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    (node,) = [node for node in saved["nodes"] if node["type"] == "ImageCurvesApply"]
    straight = {"points": [[0, 0], [1, 1]], "interpolation": "monotone_cubic"}
    assert node["widgets_values"] == [straight, curve, straight, 1, "auto"]
    page.evaluate("async (saved) => { await app.loadGraphData(saved) }", saved)
    assert page.evaluate(POINTS) == [straight["points"], curve["points"], straight["points"]]
    ended = run(comfyui, page)
    assert ended["status"]["status_str"] == "success"
    (inputs,) = [one["inputs"] for one in ended["prompt"][2].values() if one["class_type"] == "ImageCurvesApply"]
    assert inputs["green"] == curve
