"""The help in ComfyUI's panel, and the nodes in Chinese and Japanese, as a user sees them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from browser import Editor, OpenEditor
from comfyui_server import ComfyUI
from locale_files import flat, inputs, options, read, schemas
from test_help import page, shape

pytestmark = [pytest.mark.comfyui, pytest.mark.browser]

ASIAN = ("zh", "zh-TW", "ja")
# Names of methods, of color spaces, of people, of devices, of file formats, and what a user has typed.
NAMES = "pytorch skimage Reinhard MKL MVGD mkl mvgd hm RGB Lab Oklab YCbCr CPU GPU LUT Chelsea look".split()
ADD = """([names, columns]) => {
    window.app.graph.clear();
    names.forEach((name, index) => {
        const node = LiteGraph.createNode(name);
        node.pos = [40 + 340 * (index % columns), 80 + 520 * Math.floor(index / columns)];
        window.app.graph.add(node);
    });
}"""
SELECT = "() => { const {canvas, graph} = window.app; canvas.selectNode(graph.nodes[0]); canvas.setDirty(true, true); }"
# What either canvas draws of nodes: titles, names of sockets, and labels of widgets with all that they offer.
SHOWN = """() => window.app.graph.nodes.flatMap((node) => [
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


def english(texts: list[str]) -> list[str]:
    """The texts that have a word in Latin letters which is no name."""
    return sorted({text for text in texts if set(re.findall("[A-Za-z]{2,}", text)) - set(NAMES)})


def open_help(editor: Editor, node: str) -> Any:
    """The help of a node, opened by the button over it."""
    editor.evaluate(ADD, [[node], 1])
    editor.settle()
    editor.evaluate(SELECT)
    editor.page.get_by_test_id("info-button").click()
    help_page = editor.page.locator(".node-help-content .markdown-content")
    help_page.wait_for()
    return help_page


@pytest.mark.parametrize("language", ["en", *ASIAN])
def test_the_help_of_each_node_opens_with_its_pictures(open_editor: OpenEditor, comfyui: ComfyUI, language: str) -> None:
    editor = open_editor(locale=language)
    for node in schemas(comfyui):
        help_page = open_help(editor, node)
        text = page(node, language)
        help_page.get_by_role("heading", level=1, name=text.splitlines()[0].removeprefix("# "), exact=True).wait_for()
        pictures = help_page.evaluate(PICTURES)
        assert [source.split("/docs/")[1] for source, _ in pictures] == shape(text)["pictures"]
        assert all(width >= 400 for _, width in pictures)
        # Nothing has to be scrolled sideways.
        tables = help_page.evaluate("(help) => [...help.querySelectorAll('table')].map((one) => one.scrollWidth - one.clientWidth)")
        assert max(tables) <= 1, node


@pytest.mark.parametrize("language", ASIAN)
def test_nodes_have_no_english_left(open_editor: OpenEditor, comfyui: ComfyUI, language: str, tmp_path: Path) -> None:
    editor = open_editor(locale=language)
    nodes = schemas(comfyui)
    editor.evaluate(ADD, [list(nodes), 4])
    editor.settle()
    shown = editor.evaluate(SHOWN)
    editor.screenshot(tmp_path / f"{language}.png")
    assert english(shown) == []
    labels = read(language, "main")["histogramMatch"]["options"]
    assert {labels[option] for node in nodes.values() for name in inputs(node) for option in options(node, name)} <= set(shown)


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_nodes_drawn_as_html_have_no_english_left(
    open_editor: OpenEditor, comfyui: ComfyUI, language: str, tmp_path: Path
) -> None:
    editor = open_editor(nodes2=True, locale=language)
    nodes = schemas(comfyui)
    editor.evaluate(ADD, [list(nodes), 4])
    editor.evaluate("() => { window.app.canvas.ds.scale = 0.7; window.app.canvas.setDirty(true, true); }")
    drawn = editor.page.locator("[data-node-id]")
    drawn.nth(len(nodes) - 1).wait_for()
    editor.settle()
    editor.screenshot(tmp_path / f"{language}.png")
    texts = [line.strip() for text in drawn.all_inner_texts() for line in text.splitlines()]
    assert english(texts) == []
    assert {text["display_name"] for text in read(language, "nodeDefs").values()} <= set(texts)


def test_a_tooltip_is_the_translated_one(open_editor: OpenEditor) -> None:
    editor = open_editor(locale="ja")
    texts = dict(flat(read("ja", "nodeDefs")))
    key = "nodeDefs.ImageHistogramMatch.inputs.method.tooltip"
    served = editor.evaluate("async () => (await window.app.api.fetchApi('/i18n')).json()")
    told = served["ja"]
    for part in key.split("."):
        told = told[part]
    assert told == texts["ImageHistogramMatch/inputs/method/tooltip"]
    definition = editor.evaluate("() => LiteGraph.registered_node_types.ImageHistogramMatch.nodeData.description")
    assert definition == texts["ImageHistogramMatch/description"]
