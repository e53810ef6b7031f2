"""What has no meaning is hidden, and workflows of before keep every value, in both of ComfyUI's canvases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Editor, OpenEditor, editors
from comfyui_server import ComfyUI
from photos import photo_8bit
from PIL import Image
from playwright.sync_api import Browser

pytestmark = [pytest.mark.comfyui, pytest.mark.browser]

SAVED = sorted((Path(__file__).parent / "data" / "workflows_0.7").glob("*.json"))
OURS = ("ImageHistogram", "ColorTransform", "ReferenceHistogram")
SOCKETS = ["histogram", "histogram_red", "histogram_green", "histogram_blue"]
ADD = """(types) => {
    const { graph } = window.app;
    const used = Math.max(window.usedIds ?? 0, graph.state.lastNodeId);
    graph.clear();
    // What the page still draws of nodes that were there before is not taken for new ones.
    graph.state.lastNodeId = used;
    window.usedIds = used + types.length;
    return types.map((type, place) => {
        const node = LiteGraph.createNode(type);
        node.pos = [100 + 400 * place, 100];
        graph.add(node);
        return Number(node.id);
    });
}"""
SET = """([id, name, value]) => {
    const node = window.app.graph.getNodeById(id);
    const widget = node.widgets.find((widget) => widget.name === name);
    widget.value = value;
    widget.callback?.(value, window.app.canvas, node);
    window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState();
}"""
# The inputs that a node shows: on the canvas those that are laid out, with Nodes 2.0 those that have an element.
SHOWN = """([id, nodes2]) => {
    const node = window.app.graph.getNodeById(id);
    if (!nodes2) {
        const widgets = node.widgets.filter((widget) => node.isWidgetVisible(widget) && widget.serialize !== false);
        return [...node.inputs.filter((input) => !input.widget), ...widgets].map((one) => one.name);
    }
    const element = document.querySelector(`[data-node-id="${id}"]`);
    // In English, inputs are labeled by their names.
    const name = (one) => one.textContent.trim().replaceAll(" ", "_");
    const texts = (selector) => [...element.querySelectorAll(selector)].map(name);
    return [...texts(".lg-slot--input:not(.lg-slot--dot-only)"), ...texts("[data-testid='widget-layout-field-label']")];
}"""
HEIGHT = "(id) => window.app.graph.getNodeById(id).size[1]"
LINKED = """(id) => {
    const graph = window.app.graph;
    return graph.getNodeById(id).inputs.flatMap((input, slot) => {
        const link = input.link === null ? null : graph.getLink(input.link);
        return link ? [[input.name, link.target_slot === slot, Number(link.origin_id)]] : [];
    });
}"""
CONNECT = """([from, to, name]) => {
    const [origin, target] = [from, to].map((id) => window.app.graph.getNodeById(id));
    origin.connect(0, target, target.inputs.findIndex((input) => input.name === name));
}"""

# Where the right arrow of a widget is in the window.
ARROW = """([id, name]) => {
    const [node, canvas] = [window.app.graph.getNodeById(id), window.app.canvas];
    const widget = node.widgets.find((widget) => widget.name === name);
    const { left, top } = canvas.canvas.getBoundingClientRect();
    const place = [node.pos[0] + node.size[0] - 25, node.pos[1] + widget.y + 10];
    return place.map((at, axis) => (at + canvas.ds.offset[axis]) * canvas.ds.scale + [left, top][axis]);
}"""
INTO_SUBGRAPH = "(id) => window.app.graph.convertToSubgraph(new Set([window.app.graph.getNodeById(id)]))"
WITHIN = """(target) => {
    const node = [...window.app.graph.subgraphs.values()][0].nodes[0];
    const widget = node.widgets.find((widget) => widget.name === "target");
    if (target) widget.callback?.((widget.value = target));
    return node.widgets.filter((widget) => !widget.hidden).map((widget) => widget.name);
}"""
# Labels as of another language.
LABEL = """async (id) => {
    const { labelOptions } = await import("/extensions/comfyui-histogram-match/shown_inputs.js");
    const node = window.app.graph.getNodeById(id);
    labelOptions(node, (key) => (key === "options.normal" ? "bell" : undefined));
    const combos = node.widgets.filter((widget) => widget.type === "combo");
    return combos.map((widget) => widget.options.getOptionLabel(widget.value));
}"""

# A node, a widget, one of its values, and what is shown for it alone, in the order of the node.
CASES = [
    ("ImageHistogramMatch", "method", "sliced", ["rotations"]),
    ("ImageHistogramMatch", "source_stats", "smoothed", ["window"]),
    ("ImageHistogramMatch", "source_stats", "target_frame", ["target_index"]),
    ("ImageHistogramSpecify", "target", "normal", ["mean", "deviation"]),
    ("ImageHistogramSpecify", "target", "linear stretch", ["clip_low", "clip_high"]),
    ("ImageHistogramSpecify", "target", "histogram", SOCKETS),
    ("HistogramMatchSamplePhoto", "kind", "pan", ["frames"]),
]


@pytest.fixture(scope="module", params=[False, True], ids=["canvas", "nodes2"])
def editor(request: pytest.FixtureRequest, browser: Browser, comfyui: ComfyUI) -> Iterator[Editor]:
    """A page for the tests of this file, which must have had no error at their end."""
    with editors(browser, comfyui) as opened:
        # With Nodes 2.0, advanced inputs are folded away by themselves.
        yield opened(nodes2=request.param, **{"Comfy.Node.AlwaysShowAdvancedWidgets": True})


def add(editor: Editor, *types: str) -> list[int]:
    numbers: list[int] = editor.evaluate(ADD, types)
    editor.settle()
    return numbers


def choose(editor: Editor, node: int, name: str, value: Any) -> None:
    editor.evaluate(SET, [node, name, value])
    editor.settle()


def shown(editor: Editor, node: int) -> list[str]:
    """What a node shows, once two looks at it are alike: the page draws as HTML what has changed piece by piece."""
    names: list[str] = []
    for _ in range(50):
        before, names = names, editor.evaluate(SHOWN, [node, editor.nodes2])
        if names and names == before:
            break
        editor.page.wait_for_timeout(100)
    return names


def height(editor: Editor, node: int) -> float:
    # The page measures what it draws as HTML after it has drawn it.
    editor.page.wait_for_timeout(100)
    return float(editor.evaluate(HEIGHT, node))


def expected_inputs(comfyui: ComfyUI, workflow: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a saved node in ComfyUI's API format; what it lacks has its default."""
    told = comfyui.get(f"/object_info/{node['type']}")[node["type"]]["input"]
    specs = {**told.get("required", {}), **told.get("optional", {})}
    inputs = {name: spec[1]["default"] for name, spec in specs.items() if "default" in spec[1]}
    values = iter(node["widgets_values"])
    origins = {number: [str(origin), slot] for number, origin, slot, *_ in workflow["links"]}
    for slot in node["inputs"]:
        if "widget" in slot:
            inputs[slot["name"]] = next(values)
        if slot["link"] is not None:
            inputs[slot["name"]] = origins[slot["link"]]
    return inputs


@pytest.mark.parametrize("nodes2", [False, True], ids=["canvas", "nodes2"])
def test_saved_workflows_keep_every_value(open_editor: OpenEditor, comfyui: ComfyUI, nodes2: bool) -> None:
    editor = open_editor(nodes2=nodes2)
    seen = set()
    for name in ("example", "source", "reference"):
        Image.fromarray(photo_8bit("coffee")).save(comfyui.folder / "input" / f"{name}.png")
    for path in SAVED:
        workflow = json.loads(path.read_text(encoding="utf-8"))
        editor.load(workflow)
        prompt, saved = editor.prompt(), {node["id"]: node for node in editor.saved()["nodes"]}
        for node in workflow["nodes"]:
            if node["type"].startswith(OURS):
                seen.add(node["type"])
                values = node["widgets_values"]
                assert saved[node["id"]]["widgets_values"][: len(values)] == values
                assert prompt[str(node["id"])]["inputs"] == expected_inputs(comfyui, workflow, node)
                assert saved[node["id"]]["size"][0] == node["size"][0]
                assert saved[node["id"]]["size"][1] >= node["size"][1]
    assert len(seen) == 7


def test_only_what_matters_is_shown(editor: Editor) -> None:
    numbers = dict(zip(types := sorted({case[0] for case in CASES}), add(editor, *types), strict=True))
    first = {kind: shown(editor, number) for kind, number in numbers.items()}
    heights = {kind: height(editor, number) for kind, number in numbers.items()}
    hidden = {name for case in CASES for name in case[3]}
    assert not hidden & {name for names in first.values() for name in names}
    defaults = {"method": "pytorch", "source_stats": "per_frame", "target": "uniform", "kind": "picture"}
    for kind, name, value, more in CASES:
        number = numbers[kind]
        choose(editor, number, name, value)
        now = shown(editor, number)
        assert [one for one in now if one not in first[kind]] == more
        assert [one for one in now if one not in more] == first[kind]
        assert height(editor, number) > heights[kind]
        choose(editor, number, name, defaults[name])
        assert shown(editor, number) == first[kind]
        assert height(editor, number) == pytest.approx(heights[kind], abs=1)


def test_a_click_shows_inputs(editor: Editor) -> None:
    (number,) = add(editor, "ImageHistogramSpecify")
    if editor.nodes2:
        editor.page.locator('button[aria-label="target"]').click()
        editor.page.get_by_role("option", name="normal").click()
    else:
        editor.page.mouse.click(*editor.evaluate(ARROW, [number, "target"]))
    editor.page.wait_for_timeout(200)
    assert {"mean", "deviation"} <= {*shown(editor, number)}


def test_options_have_labels(editor: Editor) -> None:
    (number,) = add(editor, "ImageHistogramSpecify")
    choose(editor, number, "target", "normal")
    assert editor.evaluate(LABEL, number) == ["bell", "auto", "rgb", "per_frame", "0 to 1"]
    choose(editor, number, "factor", 0.5)
    if editor.nodes2:
        assert editor.page.locator('button[aria-label="target"]').text_content() == "bell"
    assert editor.saved()["nodes"][0]["widgets_values"][0] == "normal"


def test_within_a_subgraph(editor: Editor) -> None:
    (number,) = add(editor, "ImageHistogramSpecify")
    editor.evaluate(INTO_SUBGRAPH, number)
    for _ in range(2):
        assert {"mean", "clip_low"} & {*editor.evaluate(WITHIN, "normal")} == {"mean"}
        editor.load(editor.saved())
        assert {"mean", "clip_low"} & {*editor.evaluate(WITHIN)} == {"mean"}
        assert {"mean", "clip_low"} & {*editor.evaluate(WITHIN, "linear stretch")} == {"clip_low"}


def test_hidden_inputs_keep_their_values(editor: Editor) -> None:
    (number,) = add(editor, "ImageHistogramMatch")
    before = editor.saved()["nodes"][0]["widgets_values"]
    choose(editor, number, "method", "sliced")
    choose(editor, number, "rotations", 7)
    choose(editor, number, "method", "mkl")
    assert "rotations" not in shown(editor, number)
    after = editor.saved()["nodes"][0]["widgets_values"]
    assert [(old, new) for old, new in zip(before, after, strict=True) if old != new] == [("pytorch", "mkl"), (30, 7)]
    choose(editor, number, "method", "sliced")
    assert "rotations" in shown(editor, number)


def test_undo_brings_inputs_back(editor: Editor) -> None:
    (number,) = add(editor, "ImageHistogramSpecify")
    choose(editor, number, "target", "histogram")
    choose(editor, number, "target", "normal")
    normal = shown(editor, number)
    assert not {*SOCKETS} & {*normal}
    for command, there in (("Comfy.Undo", SOCKETS), ("Comfy.Redo", ["mean", "deviation"])):
        editor.evaluate("(command) => window.app.extensionManager.command.execute(command)", command)
        editor.page.wait_for_timeout(300)
        now = shown(editor, number)
        assert {*there} <= {*now}
    assert now == normal


def test_what_is_linked_is_shown(editor: Editor) -> None:
    number, integer, photo = add(editor, "ImageHistogramMatch", "PrimitiveInt", "HistogramMatchSamplePhoto")
    choose(editor, number, "method", "sliced")
    editor.evaluate(CONNECT, [integer, number, "rotations"])
    editor.evaluate(CONNECT, [photo, number, "image_mask"])
    choose(editor, number, "method", "pytorch")
    assert "rotations" in shown(editor, number)
    editor.evaluate(
        "(id) => { const node = window.app.graph.getNodeById(id); "
        "node.disconnectInput(node.inputs.findIndex((input) => input.name === 'rotations')); }",
        number,
    )
    editor.settle()
    assert "rotations" not in shown(editor, number)
    # Nobody knows what comes over a link.
    primitive, other = add(editor, "PrimitiveNode", "ImageHistogramMatch")
    editor.evaluate(CONNECT, [primitive, other, "source_stats"])
    editor.settle()
    assert {"window", "target_index"} <= {*shown(editor, other)}


def test_sockets_survive_a_file(editor: Editor) -> None:
    specify, photo, mask, solid = add(
        editor, "ImageHistogramSpecify", "HistogramMatchSamplePhoto", "SolidMask", "ImageHistogram"
    )
    choose(editor, specify, "target", "histogram")
    for origin, name in ((photo, "image"), (mask, "image_mask"), (mask, "change_mask"), (solid, "histogram_red")):
        editor.evaluate(CONNECT, [origin, specify, name])
    links = [["image", True, photo], ["histogram_red", True, solid], ["image_mask", True, mask], ["change_mask", True, mask]]
    choose(editor, specify, "target", "uniform")
    names = shown(editor, specify)
    assert [name for name in names if name in SOCKETS] == ["histogram_red"]
    assert editor.evaluate(LINKED, specify) == links
    saved = editor.saved()
    (node,) = [node for node in saved["nodes"] if node["id"] == specify]
    assert [slot["name"] for slot in node["inputs"] if "widget" not in slot] == ["image", *SOCKETS, "image_mask", "change_mask"]
    for _ in range(2):
        editor.load(saved)
        assert shown(editor, specify) == names
        assert editor.evaluate(LINKED, specify) == links
        again = editor.saved()
        assert again["links"] == saved["links"]
        (loaded,) = [node for node in again["nodes"] if node["id"] == specify]
        assert (loaded["inputs"], loaded["widgets_values"]) == (node["inputs"], node["widgets_values"])
    choose(editor, specify, "target", "histogram")
    assert [name for name in shown(editor, specify) if name in SOCKETS] == SOCKETS
    assert editor.evaluate(LINKED, specify) == links
