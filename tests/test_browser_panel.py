"""The panel on the nodes, in ComfyUI's page, in both canvases, dark and light."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from browser import Editor, editors
from comfyui_histogram_match import match_images
from comfyui_histogram_match.sample_photos import sample_photo
from comfyui_server import ComfyUI
from panel_reading import shares, values
from playwright.sync_api import Browser
from scipy.stats import wasserstein_distance

pytestmark = [pytest.mark.comfyui, pytest.mark.browser]

FRAMES = 6
# What is drawn on the panel of a node, as lists.
DRAWN = """(id) => {
    const graph = window.app.canvas.graph;
    const widget = graph.getNodeById(id).widgets.find((one) => one.name === "histograms");
    const { element, drawn } = widget;
    const canvas = element.querySelector("canvas");
    const painted = canvas?.width ? canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data : [];
    const frame = drawn?.frame;
    return {
        text: element.innerText,
        seen: Boolean(canvas) && element.isConnected && canvas.clientWidth > 100 && painted.some((value) => value > 0),
        connected: element.isConnected,
        folded: element.querySelector("canvas, p") === null,
        size: [...graph.getNodeById(id).size],
        channel: drawn?.channel,
        logarithmic: drawn?.logarithmic,
        strips: drawn?.strips.map(({ label, bars }) => [label, bars.map((row) => [...row])]),
        numbers: frame && Object.fromEntries(["before", "after", "black", "white"].map((name) => [name, frame[name]])),
    };
}"""
CLICK = """([id, label]) => {
    const widget = window.app.canvas.graph.getNodeById(id).widgets.find((one) => one.name === "histograms");
    [...widget.element.querySelectorAll("button")].find((one) => one.innerText.trim().endsWith(label)).click();
}"""
SLIDE = """([id, position]) => {
    const widget = window.app.canvas.graph.getNodeById(id).widgets.find((one) => one.name === "histograms");
    const slider = widget.element.querySelector("input[type=range]");
    slider.value = position;
    slider.dispatchEvent(new Event("input"));
}"""


def link(number: int, source: int, target: int, slot: int, kind: str = "IMAGE") -> list[Any]:
    return [number, source, 0, target, slot, kind]


def node(number: int, kind: str, links: list[tuple[str, str, int]], outputs: list[int], **more: Any) -> dict[str, Any]:
    """A node of a workflow with its inputs that are linked, each a name, a type and the number of the link."""
    inputs = [{"name": name, "type": of, "link": one} for name, of, one in links]
    made = {"id": number, "type": kind, "pos": [60 + 420 * (number // 2), 80 + 300 * (number % 2)], "inputs": inputs}
    return made | {"outputs": [{"name": "image", "type": "IMAGE", "links": outputs}] if outputs else []} | more


def match_workflow(name: str, kind: str = "pan", unfolded: bool | None = True, **more: Any) -> dict[str, Any]:
    """Two sample photos, matched and previewed; no ``unfolded`` is a workflow of before there were panels."""
    reference = ("reference", "IMAGE,REFERENCE_HISTOGRAM", 2)
    settings = ["pytorch", 1, "auto", "per_frame", 0, 72, "paired", "rgb", 30]
    properties = {} if unfolded is None else {"histograms": unfolded}
    return {
        "id": f"00000000-0000-4000-8000-{abs(hash(name)) % 10**12:012}",
        "version": 0.4,
        "nodes": [
            node(1, "HistogramMatchSamplePhoto", [], [1], widgets_values=["chelsea", kind, FRAMES]),
            node(2, "HistogramMatchSamplePhoto", [], [2], widgets_values=["coffee", "picture", 24]),
            node(
                3,
                "ImageHistogramMatch",
                [("image", "IMAGE", 1), reference],
                [3],
                widgets_values=settings,
                properties=properties,
                size=[340, 640],
                **more,
            ),
            node(6, "PreviewImage", [("images", "IMAGE", 3)], []),
        ],
        "links": [link(1, 1, 3, 0), link(2, 2, 3, 1), link(3, 3, 6, 0)],
    }


@pytest.fixture(scope="module", params=[(False, "dark"), (True, "light")], ids=["canvas-dark", "nodes2-light"])
def editor(request: pytest.FixtureRequest, browser: Browser, comfyui: ComfyUI) -> Iterator[Editor]:
    """A page for the tests of this file, which must have had no error at their end."""
    nodes2, palette = request.param
    with editors(browser, comfyui) as opened:
        yield opened(nodes2=nodes2, palette=palette)


def drawn(editor: Editor, number: int | str = 3) -> dict[str, Any]:
    """What the panel of a node shows, once the page has come to rest."""
    editor.page.wait_for_timeout(250)
    return dict(editor.evaluate(DRAWN, number))


def run(editor: Editor, workflow: dict[str, Any]) -> dict[str, Any]:
    """Load and run a workflow, and say what the panel shows then."""
    editor.load(workflow)
    editor.queue()
    return drawn(editor)


def command(editor: Editor, name: str) -> None:
    editor.evaluate("(name) => window.app.extensionManager.command.execute(name)", name)
    editor.page.wait_for_timeout(300)


def test_bars_and_figures_are_those_of_the_frame_that_is_chosen(editor: Editor) -> None:
    clip, reference = sample_photo("chelsea", "pan", FRAMES), sample_photo("coffee")
    result = match_images(clip, reference)
    shown = run(editor, match_workflow("bars"))
    assert shown["seen"]
    for index in (0, FRAMES - 1):
        editor.evaluate(SLIDE, [3, index])
        shown = drawn(editor)
        assert f"frame {index + 1} of {FRAMES}" in shown["text"]
        strips = dict(shown["strips"])
        assert list(strips) == ["source", "result", "reference"]
        pictures = {"source": clip[index], "result": result[index], "reference": reference[0]}
        for name, picture in pictures.items():
            expected = shares(picture, len(strips[name][0]))
            assert (np.abs(np.array(strips[name]) - expected).max(axis=1) <= 0.01 * expected.max(axis=1))[:3].all(), name
        for told, picture in (("before", clip[index]), ("after", result[index])):
            pairs = zip(values(picture), values(reference[0]), strict=True)
            assert np.abs(np.array(shown["numbers"][told]) - [wasserstein_distance(*pair) for pair in pairs]).max() <= 1e-3
        before, after = (255 * np.mean(shown["numbers"][told][:3]) for told in ("before", "after"))
        assert f"distance {before:.1f} → {after:.1f} levels" in shown["text"]


def test_channel_and_scale_are_chosen_and_saved(editor: Editor) -> None:
    before = run(editor, match_workflow("channels"))
    assert (before["channel"], before["logarithmic"]) == ("rgb", False)
    for label in ("G", "lin"):
        editor.evaluate(CLICK, [3, label])
    shown = drawn(editor)
    assert (shown["channel"], shown["logarithmic"]) == ("green", True)
    assert f"{255 * shown['numbers']['before'][1]:.1f} →" in shown["text"]
    editor.load(editor.saved())
    again = drawn(editor)
    assert (again["channel"], again["logarithmic"]) == ("green", True)


def test_a_panel_is_drawn_soon(editor: Editor) -> None:
    editor.load(match_workflow("time", "fade"))
    editor.evaluate("() => { window.app.graph.getNodeById(1).widgets.find((one) => one.name === 'frames').value = 64; }")
    # From the moment the message reaches the page, which may hear of it first, to the first drawing.
    editor.evaluate("""() => {
        const widget = window.app.graph.getNodeById(3).widgets.find((one) => one.name === "histograms");
        let drawn = widget.drawn;
        window.drawnAt = [];
        const set = (value) => { drawn = value; window.drawnAt.push(value.at); };
        Object.defineProperty(widget, "drawn", { get: () => drawn, set });
        window.app.api.socket.addEventListener("message", ({ data }) => {
            const told = typeof data === "string" ? JSON.parse(data) : {};
            if (told.type === "executed" && `${told.data.node}` === "3") window.toldAt = performance.now();
        }, { capture: true });
    }""")
    editor.queue()
    shown = drawn(editor)
    assert shown["seen"]
    assert "frame 1 of 64" in shown["text"]
    assert -20 <= editor.evaluate("() => window.drawnAt[0] - window.toldAt") <= 100


def test_a_folded_panel_costs_nothing_and_is_saved(editor: Editor, comfyui: ComfyUI) -> None:
    open_size = run(editor, match_workflow("fold"))["size"]
    editor.evaluate(CLICK, [3, "Histograms"])
    folded = drawn(editor)
    assert folded["text"].strip() == "▸ Histograms"
    assert folded["size"][0] == open_size[0]
    assert folded["size"][1] < open_size[1] - 100
    assert editor.saved()["nodes"][[one["id"] for one in editor.saved()["nodes"]].index(3)]["properties"]["histograms"] is False
    editor.evaluate("() => { window.app.graph.getNodeById(3).widgets.find((one) => one.name === 'factor').value = 0.5; }")
    ended = editor.queue()
    assert "3" not in comfyui.get(f"/history/{ended['prompt_id']}")[ended["prompt_id"]]["outputs"]
    editor.load(editor.saved())
    assert drawn(editor)["text"].strip() == "▸ Histograms"
    # What was drawn before is not of this run.
    editor.evaluate(CLICK, [3, "Histograms"])
    unfolded = drawn(editor)
    assert "Drawn after a run" in unfolded["text"]
    assert unfolded["size"] == pytest.approx(open_size, abs=1)
    editor.evaluate("() => { window.app.graph.getNodeById(3).widgets.find((one) => one.name === 'factor').value = 0.4; }")
    editor.queue()
    assert drawn(editor)["seen"]


def test_a_panel_survives_undo_redo_tabs_copies_and_a_reload(editor: Editor) -> None:
    run(editor, match_workflow("survival"))
    expected = drawn(editor)["strips"]
    assert expected
    move = "() => { window.app.graph.getNodeById(2).pos = [60, 460]; }"
    editor.evaluate(move)
    editor.evaluate("() => window.app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()")
    for name in ("Comfy.Undo", "Comfy.Redo"):
        command(editor, name)
        shown = drawn(editor)
        assert shown["seen"], name
        assert shown["strips"] == expected
        at = 380 if name == "Comfy.Undo" else 460
        assert (
            editor.evaluate("() => window.app.graph.getNodeById(2).pos[1]") == pytest.approx(at, abs=1) or name == "Comfy.Undo"
        )
    command(editor, "Comfy.NewBlankWorkflow")
    command(editor, "Workspace.PreviousOpenedWorkflow")
    shown = drawn(editor)
    assert shown["seen"]
    assert shown["strips"] == expected
    # A copy has not run yet.
    copied = editor.evaluate("""() => {
        const { canvas, graph } = window.app;
        const known = new Set(graph.nodes.map((one) => one.id));
        canvas.selectNode(graph.getNodeById(3));
        canvas.copyToClipboard();
        canvas.pasteFromClipboard();
        return graph.nodes.find((one) => !known.has(one.id)).id;
    }""")
    shown = drawn(editor, copied)
    assert not shown["seen"]
    assert "Drawn after a run" in shown["text"]
    assert drawn(editor)["strips"] == expected
    editor.evaluate("(id) => window.app.graph.remove(window.app.graph.getNodeById(id))", copied)
    # The page keeps what is on the canvas for the next time, after a moment.
    editor.page.wait_for_timeout(1500)
    editor.reload()
    editor.page.wait_for_function(f"() => ({DRAWN})(3).strips", timeout=10_000)
    shown = drawn(editor)
    assert shown["seen"]
    assert shown["strips"] == expected


def test_a_panel_within_a_subgraph_is_drawn(editor: Editor) -> None:
    expected = run(editor, match_workflow("subgraph"))["strips"]
    editor.evaluate("() => window.app.canvas.selectNode(window.app.graph.getNodeById(3))")
    command(editor, "Comfy.Graph.ConvertToSubgraph")
    editor.evaluate("() => { window.app.graph.getNodeById(1).widgets.find((one) => one.name === 'frames').value = 5; }")
    editor.queue()
    editor.evaluate("""() => {
        const outer = window.app.graph.nodes.find((one) => one.subgraph);
        window.app.canvas.openSubgraph(outer.subgraph, outer);
    }""")
    inner = editor.evaluate("() => window.app.canvas.graph.nodes.find((one) => one.type === 'ImageHistogramMatch').id")
    shown = drawn(editor, inner)
    assert shown["seen"]
    assert "frame 1 of 5" in shown["text"]
    assert shown["strips"][0] == expected[0]
    editor.evaluate("() => window.app.canvas.setGraph(window.app.rootGraph)")


def test_workflows_of_before_keep_their_look(editor: Editor) -> None:
    workflow = match_workflow("before", unfolded=None)
    # Room for all rows of this version; where there is less, the page makes it.
    workflow["nodes"][2]["size"] = [340, 520]
    editor.load(workflow)
    shown = drawn(editor)
    assert shown["text"].strip() == "▸ Histograms"
    assert shown["size"] == pytest.approx([340, 520], abs=1)
    saved = next(one for one in editor.saved()["nodes"] if one["id"] == 3)
    assert saved["widgets_values"] == ["pytorch", 1, "auto", "per_frame", 0, 72, "paired", "rgb", 30, 0, False, 1, 0, "0 to 1"]
    # What is added by hand is unfolded.
    added = editor.evaluate("""() => {
        const made = LiteGraph.createNode("ImageHistogramMatch");
        window.app.graph.add(made);
        return made.id;
    }""")
    assert "Drawn after a run" in drawn(editor, added)["text"]


def test_notes_are_shown_on_the_node(editor: Editor) -> None:
    workflow = match_workflow("notes", "picture", unfolded=False)
    workflow["nodes"].append(
        node(8, "SolidMask", [], [], widgets_values=[0, 64, 64]) | {"outputs": [{"name": "MASK", "type": "MASK", "links": [4]}]}
    )
    workflow["nodes"][2]["inputs"].append({"name": "image_mask", "type": "MASK", "link": 4})
    workflow["links"].append(link(4, 8, 3, 2, "MASK"))
    shown = run(editor, workflow)
    assert "⚠ image_mask: 0 throughout for 1 frames" in shown["text"]
    editor.load(editor.saved())
    editor.page.wait_for_function(f"() => ({DRAWN})(3).text.includes('⚠ image_mask')")
    again = drawn(editor)
    assert "⚠ image_mask" in again["text"]
    assert again["size"] == pytest.approx(shown["size"], abs=1)
    # The next run has nothing to tell.
    editor.evaluate("() => { window.app.graph.getNodeById(8).widgets[0].value = 1; }")
    editor.queue()
    assert "⚠" not in drawn(editor)["text"]


def test_a_reference_shows_what_it_holds(editor: Editor, comfyui: ComfyUI) -> None:
    outputs = [{"name": "reference", "type": "REFERENCE_HISTOGRAM", "links": []}]
    kept = node(3, "ReferenceHistogram", [("images", "IMAGE", 1)], [], widgets_values=["none", "shown in a panel"])
    workflow = {
        "version": 0.4,
        "nodes": [
            node(1, "HistogramMatchSamplePhoto", [], [1], widgets_values=["coffee", "pan", 3]),
            kept | {"outputs": outputs, "properties": {"histograms": True}, "size": [300, 320]},
        ],
        "links": [link(1, 1, 3, 0)],
    }
    shown = run(editor, workflow)
    assert shown["seen"]
    assert "3 pictures, kept in" in shown["text"]
    assert (comfyui.folder / "output" / "histograms" / "shown in a panel.npz").exists()
    ((label, rows),) = shown["strips"]
    assert label == "reference"
    expected = np.mean([shares(frame, 256) for frame in sample_photo("coffee", "pan", 3)], axis=0)
    assert (np.abs(np.array(rows) - expected).max(axis=1) <= 0.01 * expected.max(axis=1))[:3].all()


def test_curves_are_copied_to_be_touched_up(editor: Editor, comfyui: ComfyUI) -> None:
    if "ImageCurvesApply" not in comfyui.get("/object_info"):
        pytest.skip("this ComfyUI draws no curves")
    run(editor, match_workflow("curves", "picture"))
    for _ in range(2):
        editor.evaluate(CLICK, [3, "to curves"])
    # The second time into the same node.
    (number,) = editor.evaluate(
        "() => window.app.graph.nodes.filter((one) => one.type === 'ImageCurvesApply').map((one) => one.id)"
    )
    prompt = editor.prompt()
    curves = prompt[str(number)]["inputs"]
    assert curves["image"] == ["1", 0]
    points = {channel: np.array(curves[channel]["points"]) for channel in ("red", "green", "blue")}
    assert all(len(rows) <= 12 and rows[0, 0] == 0 and rows[-1, 0] == 1 for rows in points.values())
    target = comfyui.folder / "by curves.pt"
    prompt["save"] = {"class_type": "ProbeSave", "inputs": {"image": [str(number), 0], "path": str(target)}}
    comfyui.run(prompt)
    by_curves, expected = torch.load(target), match_images(sample_photo("chelsea"), sample_photo("coffee"))
    assert float((by_curves - expected).abs().mean()) * 255 <= 2


def test_a_message_to_the_page_is_small(editor: Editor, comfyui: ComfyUI) -> None:
    editor.load(match_workflow("size", "fade"))
    editor.evaluate("() => { window.app.graph.getNodeById(1).widgets.find((one) => one.name === 'frames').value = 64; }")
    ended = editor.queue()
    outputs = comfyui.get(f"/history/{ended['prompt_id']}")[ended["prompt_id"]]["outputs"]
    assert 0 < len(json.dumps(outputs["3"])) <= 1 << 16
