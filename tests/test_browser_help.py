"""The help in ComfyUI's panel, and the nodes in Chinese and Japanese, as a user sees them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from browser import Editor, OpenEditor
from comfyui_server import ComfyUI
from locale_files import inputs, options, read, schemas
from test_help import page, shape

pytestmark = [pytest.mark.comfyui, pytest.mark.browser]

# Names: of methods, of color spaces, of people, of devices, of files, of the pack, and what a user has typed.
NAMES = (
    r"pytorch|skimage|Reinhard|hm-mkl-hm|MKL|MVGD|RGB|Lab|Oklab|YCbCr|CPU|GPU|LUT|Chelsea|comfyui-histogram-match|look"
    r"|prores|ffv1|vp9|av1|CRF"
)
ADD = """([names, columns]) => {
    window.app.graph.clear();
    names.forEach((name, index) => {
        const node = LiteGraph.createNode(name);
        node.pos = [60 + 360 * (index % columns), 60 + 640 * Math.floor(index / columns)];
        window.app.graph.add(node);
    });
    Object.assign(window.app.canvas.ds, {scale: columns > 1 ? 0.6 : 1, offset: [100, 60]});
}"""
SELECT = "() => { const {canvas, graph} = window.app; canvas.selectNode(graph.nodes[0]); canvas.setDirty(true, true); }"
# What either canvas draws of nodes: titles, names of sockets, and labels of widgets with all that they offer.
KNOWN = """() => window.app.graph.nodes.flatMap((node) => [
    node.title,
    ...[...node.inputs ?? [], ...node.outputs ?? []].map((slot) => slot.label || slot.localized_name || slot.name),
    ...(node.widgets ?? []).filter((widget) => widget.type !== "custom" && !widget.element).flatMap((widget) => [
        widget.label || widget.name,
        ...(widget.type === "combo" ? widget.options.values : []).map(
            (value) => widget.options.getOptionLabel?.(`${value}`) ?? `${value}`),
    ]),
])"""
PICTURES = """async (help) => Promise.all([...help.querySelectorAll("img")].map(async (picture) => {
    await picture.decode();
    return [picture.getAttribute("src"), picture.naturalWidth];
}))"""
# How much of each table would have to be scrolled to.
BEYOND = "(help) => [...help.querySelectorAll('table')].map((table) => table.scrollWidth - table.clientWidth)"


def english(texts: list[str]) -> list[str]:
    """The texts that have a word in Latin letters which is no name."""
    return sorted({text for text in texts if re.search("[A-Za-z]{2,}", re.sub(NAMES, "", text, flags=re.I))})


def open_help(editor: Editor, node: str) -> Any:
    """The help of a node, opened by the button over it."""
    editor.evaluate(ADD, [[node], 1])
    editor.settle()
    editor.evaluate(SELECT)
    editor.page.get_by_test_id("info-button").click()
    help_page = editor.page.locator(".node-help-content .markdown-content")
    help_page.wait_for()
    return help_page


@pytest.mark.parametrize(("language", "count"), [("en", 10), ("zh", 2), ("ja", 2)])
def test_the_help_opens_with_its_pictures(open_editor: OpenEditor, comfyui: ComfyUI, language: str, count: int) -> None:
    editor = open_editor(locale=language)
    for node in list(schemas(comfyui))[:count]:
        help_page, text = open_help(editor, node), page(node, language)
        help_page.get_by_role("heading", level=1, name=text.splitlines()[0].removeprefix("# "), exact=True).wait_for()
        pictures = help_page.evaluate(PICTURES)
        assert [source.split("/docs/")[1] for source, _ in pictures] == shape(text)["pictures"]
        assert all(width >= 400 for _, width in pictures)
        assert max(help_page.evaluate(BEYOND)) <= 1, f"{node}: a table is wider than the panel"
    # The page looks for a file of each language before it takes the one of all, which is the English one.
    editor.errors[:] = [error for error in editor.errors if not re.search(r"404 .*/docs/\w+/en\.md\)$", error)]


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_nodes_have_no_english_left(open_editor: OpenEditor, comfyui: ComfyUI, language: str, tmp_path: Path) -> None:
    editor, nodes = open_editor(nodes2=True, locale=language), schemas(comfyui)
    editor.evaluate(ADD, [list(nodes), 5])
    html = editor.page.locator("[data-node-id]")
    html.nth(len(nodes) - 1).wait_for()
    editor.settle()
    editor.screenshot(tmp_path / f"{language}_html.png")
    drawn = [line.strip() for text in html.all_inner_texts() for line in text.splitlines()]
    known = editor.evaluate(KNOWN)
    assert english([*drawn, *known]) == []
    assert {texts["display_name"] for texts in read(language, "nodeDefs").values()} <= set(drawn)
    labels = read(language, "main")["histogramMatch"]["options"]
    assert {labels[option] for node in nodes.values() for name in inputs(node) for option in options(node, name)} <= set(known)
    editor.evaluate("() => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")
    html.first.wait_for(state="detached")
    editor.settle()
    editor.screenshot(tmp_path / f"{language}_canvas.png")
    assert english(editor.evaluate(KNOWN)) == []
