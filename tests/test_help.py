"""The help pages of the nodes: complete, the same in each language, and served."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import requests
from comfyui_server import ComfyUI
from locale_files import ROOT, inputs, options, read, schemas
from PIL import Image

DOCS = ROOT / "web" / "docs"
NODES = sorted(path.stem for path in DOCS.glob("*.md"))
# The page takes English where a language has no file of its own: Taiwan's Chinese too has one.
TRANSLATED = ("zh", "zh-TW", "ja")
# What the panel shows without scrolling sideways.
COLUMNS = 2
# Pictures of the help are looked at in a panel of some 400 pixels.
LARGEST = 300_000
# Words that stand in a page of any language: names.
KEPT = r"`[^`]*`|\]\([^)]*\)|\*[^*]+\*|https?://\S+|scikit-image"


def page(node: str, language: str) -> str:
    """The text of a help page."""
    path = DOCS / f"{node}.md" if language == "en" else DOCS / node / f"{language}.md"
    return path.read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The rows of all tables, with their heads and without the lines below these."""
    found = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in found if not set("".join(row)) <= set(" -:")]


def ids(cell: str) -> list[str]:
    """What stands in a cell as code."""
    return re.findall(r"`([^`]+)`", cell)


def shape(text: str) -> dict[str, Any]:
    """What is the same in each language."""
    return {
        "headings": re.findall(r"^#+(?= )", text, re.M),
        "tables": [ids(row[0]) for row in rows(text)],
        "items": len(re.findall(r"^- ", text, re.M)),
        "pictures": re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text),
        "links": re.findall(r"(?<!!)\[[^\]]+\]\(([^)]+)\)", text),
        "templates": re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", text.splitlines()[-1]),
    }


@pytest.fixture(scope="module")
def nodes(comfyui: ComfyUI) -> dict[str, dict[str, Any]]:
    return schemas(comfyui)


@pytest.mark.comfyui
def test_each_node_has_a_page(nodes: dict[str, dict[str, Any]]) -> None:
    assert sorted(nodes) == NODES
    assert sorted(path.name for path in DOCS.iterdir() if path.is_dir()) == sorted([*NODES, "images"])


@pytest.mark.comfyui
@pytest.mark.parametrize("language", ["en", *TRANSLATED])
@pytest.mark.parametrize("node", NODES)
def test_a_page_explains_each_input_and_option(node: str, language: str, nodes: dict[str, dict[str, Any]]) -> None:
    text, schema = page(node, language), nodes[node]
    first = [ids(row[0]) for row in rows(text)]
    listed = [names[0] for names in first if names]
    known = {*inputs(schema), *(option for name in inputs(schema) for option in options(schema, name))}
    assert [name for name in inputs(schema) if name not in listed] == []
    everywhere = set(re.findall(r"`([^`]+)`", text))
    assert [name for name in known if name not in everywhere] == []


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("node", NODES)
def test_a_page_is_the_same_in(language: str, node: str) -> None:
    assert shape(page(node, language)) == shape(page(node, "en"))


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("node", NODES)
def test_a_page_calls_things_as_the_node_does(node: str, language: str) -> None:
    texts = read(language, "nodeDefs")[node]
    labels = read(language, "main")["histogramMatch"]["options"]
    text = page(node, language)
    assert text.splitlines()[0] == f"# {texts['display_name']}"
    wrong = []
    for (english, *_), (cell, *_) in zip(rows(page(node, "en")), rows(text), strict=True):
        if not re.fullmatch(r"(?:\w+ )?`[^`]+`", english):
            continue
        (name,) = ids(cell)
        told = texts["inputs"].get(name, {}).get("name") or re.split(" ?[(\uff08]", labels.get(name, ""))[0]
        wrong += [(name, told, cell)] if told not in cell else []
    assert wrong == []
    # What is left of a page without names, code and addresses has no word of English.
    assert (
        re.findall(r"\b(?:the|and|of|is|are|with|for|picture|frame|image)\b", re.sub(KEPT, "", text.replace("**", "")), re.I)
        == []
    )


@pytest.mark.parametrize("language", ["en", *TRANSLATED])
@pytest.mark.parametrize("node", NODES)
def test_a_page_fits_the_panel(node: str, language: str) -> None:
    text = page(node, language)
    assert max(len(row) for row in rows(text)) <= COLUMNS
    assert len(text.splitlines()) <= 90
    pictures = shape(text)["pictures"]
    assert pictures
    for name in pictures:
        # Paths begin at the folder docs, also those of a page in a folder of it.
        assert (DOCS / name).stat().st_size <= LARGEST
        with Image.open(DOCS / name) as opened:
            assert opened.width >= 400


def test_links_lead_to_pages_of_this_repository() -> None:
    for node in NODES:
        for link in shape(page(node, "en"))["links"]:
            path = re.fullmatch(
                r"https://github\.com/comfyui-histogram-match/comfyui-histogram-match/blob/main/([\w/.-]+)", link
            )
            assert path, link
            assert (ROOT / path[1]).is_file(), link


def test_each_picture_is_shown() -> None:
    shown = {name for node in NODES for name in shape(page(node, "en"))["pictures"]}
    assert {path.relative_to(DOCS).as_posix() for path in (DOCS / "images").iterdir()} == shown


def test_templates_that_pages_name_exist() -> None:
    named = {title for node in NODES for title in shape(page(node, "en"))["templates"]}
    assert named - {path.stem for path in (ROOT / "example_workflows").glob("*.json")} == set()


@pytest.mark.comfyui
@pytest.mark.parametrize("language", ["en", *TRANSLATED])
def test_pages_and_pictures_are_served(comfyui: ComfyUI, nodes: dict[str, dict[str, Any]], language: str) -> None:
    for node, schema in nodes.items():
        base = f"{comfyui.address}/extensions/{schema['python_module'].split('.')[1]}/docs"
        name = f"{node}.md" if language == "en" else f"{node}/{language}.md"
        answer = requests.get(f"{base}/{name}", timeout=30)
        answer.raise_for_status()
        answer.encoding = "utf-8"
        assert "text/html" not in answer.headers["content-type"]
        assert answer.text == page(node, language)
        for picture in shape(answer.text)["pictures"]:
            got = requests.get(f"{base}/{picture}", timeout=30)
            assert (got.status_code, got.headers["content-type"]) == (200, "image/jpeg")


def test_pages_go_into_the_package() -> None:
    ignored = Path(ROOT / ".comfyignore").read_text(encoding="utf-8").split()
    assert "docs" not in ignored
    assert "web" not in ignored
