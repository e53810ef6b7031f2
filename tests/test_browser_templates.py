"""Each template from ComfyUI's own template browser to a finished run, one click for each, on an empty input folder."""

from __future__ import annotations

from typing import Any

import pytest
from browser import Editor, OpenEditor
from comfyui_server import ComfyUI
from workflows import BLUEPRINTS, TEMPLATES, template

pytestmark = [pytest.mark.browser, pytest.mark.comfyui]

PACK = "comfyui-histogram-match"
SHOWING = ("PreviewImage", "SaveImage", "SaveAnimatedWEBP", "SaveVideo", "MaskPreview")
# Of ComfyUI's own templates. The browser shows them first, with videos, which takes seconds without a GPU.
OTHERS = "**/templates/index*.json"

# Listens before the run is started, so that the end of a short one is not missed.
LISTEN = """() => {
    window.ended = new Promise(resolve => {
        for (const kind of ["execution_success", "execution_error", "execution_interrupted"])
            window.app.api.addEventListener(kind, event => resolve([kind, event.detail]), { once: true });
    });
}"""

# What lies on the canvas: its type, whether ComfyUI knows it, and whether it is marked as wrong.
NODES = """() => window.app.graph.nodes.map(node => ({
    id: String(node.id), type: node.type, muted: node.mode === 2, wrong: Boolean(node.has_errors),
    known: node.type in window.LiteGraph.registered_node_types,
}))"""


def open_template(editor: Editor, title: str, name: str) -> None:
    """By the side bar, the pack's category and the template's card."""
    page = editor.page
    page.locator(".templates-tab-button").click(force=True)
    page.get_by_role("button", name=title, exact=True).click(force=True)
    page.get_by_test_id(f"template-workflow-{name}").click(force=True)
    page.get_by_test_id("template-workflows-content").wait_for(state="detached")
    page.wait_for_function("count => window.app.graph.nodes.length === count", arg=len(template(name)["nodes"]))


def run(editor: Editor) -> dict[str, Any]:
    """Press Run, wait for the end, and return what the nodes show."""
    editor.evaluate(LISTEN)
    editor.page.get_by_test_id("queue-button").click(force=True)
    kind, told = editor.evaluate("window.ended")
    assert kind == "execution_success", told
    shown: dict[str, Any] = editor.evaluate("window.app.nodeOutputs")
    return shown


@pytest.fixture
def category(comfyui: ComfyUI) -> str:
    """How the template browser names this pack, on a ComfyUI whose input folder is empty."""
    for path in (comfyui.folder / "input").rglob("*"):
        if path.is_file():
            path.unlink()
    texts = comfyui.get("/i18n").get("en", {})
    return str(texts.get("templateWorkflows", {}).get("category", {}).get(PACK, PACK))


def test_every_template_runs_at_once(open_editor: OpenEditor, category: str) -> None:
    editor = open_editor()
    editor.page.route(OTHERS, lambda route: route.fulfill(json=[]))
    for name in (path.stem for path in TEMPLATES):
        open_template(editor, category, name)
        nodes = editor.evaluate(NODES)
        assert [node for node in nodes if node["wrong"] or not node["known"]] == [], name
        shown = run(editor)
        # Both tell of nodes and files that are missing, and of runs that fail.
        assert editor.page.get_by_test_id("error-overlay").count() == 0, name
        assert editor.page.get_by_role("dialog").count() == 0, name
        for node in nodes:
            if node["type"] in SHOWING and not node["muted"]:
                assert shown[node["id"]]["images"], (name, node)


def test_a_video_is_shown_and_plays(open_editor: OpenEditor, category: str) -> None:
    editor = open_editor()
    editor.page.route(OTHERS, lambda route: route.fulfill(json=[]))
    open_template(editor, category, "A long clip, one look")
    run(editor)
    # Both are loaded as far as a picture is shown, in their size, for as long as they last.
    editor.page.wait_for_function(
        "() => [...document.querySelectorAll('video')].filter(one => one.readyState >= 2).length >= 2"
    )
    videos = editor.evaluate(
        "() => [...document.querySelectorAll('video')].map(one => [one.videoWidth, one.duration, one.error])"
    )
    assert all(width > 0 and error is None for width, _, error in videos)
    assert [duration for _, duration, _ in videos] == pytest.approx([4.0] * len(videos), abs=0.1)


@pytest.mark.parametrize("name", [path.stem for path in BLUEPRINTS])
def test_a_blueprint_is_found_placed_and_run(open_editor: OpenEditor, name: str) -> None:
    editor = open_editor()
    editor.evaluate("() => window.app.graph.clear()")
    editor.page.mouse.dblclick(500, 400)
    editor.page.keyboard.type(name)
    editor.page.get_by_text(name, exact=True).first.wait_for()
    editor.page.keyboard.press("Enter")
    editor.page.wait_for_function("() => window.app.graph.nodes.some(node => node.isSubgraphNode?.())")
    # It hangs on the pointer until the canvas is clicked.
    editor.page.mouse.click(500, 300)
    editor.evaluate("""() => {
        const made = type => {
            const node = window.LiteGraph.createNode(type);
            window.app.graph.add(node);
            return node;
        };
        const blueprint = window.app.graph.nodes.find(node => node.isSubgraphNode?.());
        const clip = made("HistogramMatchSamplePhoto");
        clip.widgets.find(widget => widget.name === "kind").value = "pan";
        for (const input of [0, 1]) clip.connect(0, blueprint, input);
        blueprint.connect(0, made("PreviewImage"), 0);
    }""")
    assert any(output.get("images") for output in run(editor).values())
