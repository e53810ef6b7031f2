"""Nodes and page in nine languages: nothing missing, nothing stale, nothing left in English."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from comfyui_histogram_match import METHODS
from comfyui_server import ComfyUI
from locale_files import LANGUAGES, OTHERS, ROOT, flat, node_texts, options, read, schemas

# What the page of ComfyUI, which reads these texts by vue-i18n, takes for its syntax; older pages do so in tooltips as well.
SYNTAX = set("{}@|$")
# Texts that a language has in common with English, since the words are the same there.
SAME = {
    "fr": {"image", "images", "image 2", "image 3", "rotations", "photo", "luminance", "source"},
    "es": {"normal", "retina"},
    "pt-BR": {"normal", "retina", "linear", "fade"},
}
# Options that are names, and the same in every language.
NAMES = {"rgb", "lab", "oklab", "ycbcr", "cpu", "gpu", "h264", "h265", "vp9", "av1", "prores", "ffv1"}
SCRIPTS: dict[str, Callable[[str], bool]] = {
    "zh": lambda text: bool(re.search("[\u4e00-\u9fff]", text)),
    "zh-TW": lambda text: bool(re.search("[\u4e00-\u9fff]", text)),
    "ja": lambda text: bool(re.search("[\u3040-\u30ff\u4e00-\u9fff]", text)),
    "ko": lambda text: bool(re.search("[\uac00-\ud7a3]", text)),
    "ru": lambda text: bool(re.search("[\u0400-\u04ff]", text)),
}
# Characters of words that these texts use, as China and as Taiwan write them.
SIMPLIFIED = set(
    "图颜参个应处帧单变输对测红绿间设随机宽线数专张与为时会后从连样结过这该边点远运还进产级视频缩载储选择读写转换规质标"
)
TRADITIONAL = set(
    "圖顏參個應處幀單變輸對測紅綠間設隨機寬線數專張與為時會後從連樣結過這該邊點遠運還進產級視頻縮載儲選擇讀寫轉換規質標"
)


@pytest.fixture(scope="module")
def nodes(comfyui: ComfyUI) -> dict[str, dict[str, Any]]:
    return schemas(comfyui)


def differences(got: dict[str, str], wanted: dict[str, str]) -> dict[str, list[str]]:
    """Keys that are missing, superfluous, or have no text."""
    return {
        "missing": sorted(wanted.keys() - got.keys()),
        "superfluous": sorted(got.keys() - wanted.keys()),
        "empty": sorted(key for key, text in got.items() if not isinstance(text, str) or not text.strip()),
    }


NOTHING: dict[str, list[str]] = {"missing": [], "superfluous": [], "empty": []}


def label(page: dict[str, str], option: str) -> str:
    """What the page shows for an option, without what stands in brackets behind it."""
    return re.split(" ?[(\uff08]", page.get(f"histogramMatch/options/{option}", option))[0]


def mentioned(text: str, choices: set[str]) -> set[str]:
    """Options that an English text speaks of: before a colon, alone or with others, and methods anywhere."""
    found = {name for name in METHODS if name not in ("exact", "nearest") and re.search(rf"(?<![\w-]){name}(?![\w-])", text)}
    for several in re.findall(r"(?:^|\. |For )((?:[\w -]+, )*[\w -]+):", text):
        found |= set(several.split(", ")) & choices
    return found | {name for name in choices if "_" in name and name in text}


def missing_quotes(
    key: str, english: dict[str, str], other: dict[str, str], page: dict[str, str], known: set[str]
) -> list[str]:
    """Numbers, options, inputs and nodes that the English text names and the translation does not."""
    text, translated = english[key], other[key].lower()
    node = key.split("/")[0]
    missing = [number for number in re.findall(r"-?\d+(?:\.\d+)?", text) if number not in translated.replace(",", ".")]
    missing += [
        option
        for option in mentioned(text, known)
        if option not in translated and label(page, option).lower() not in translated
    ]
    for name in (key.split("/")[2] for key in english if key.startswith(f"{node}/inputs/") and key.endswith("/name")):
        if "_" in name and name in text and other[f"{node}/inputs/{name}/name"].lower() not in translated:
            missing.append(name)
    if key.endswith(("tooltip", "description")):
        titles = {title: other[name].lower() for name, title in english.items() if name.endswith("/display_name")}
        missing += [title for title, told in titles.items() if title in text and told not in translated]
    return missing


def test_every_language_of_the_front_end_that_is_promised_has_its_folder() -> None:
    assert sorted(path.name for path in (ROOT / "locales").iterdir()) == sorted(LANGUAGES)
    for language in LANGUAGES:
        files = {path.name for path in (ROOT / "locales" / language).iterdir()}
        assert files == {"main.json", "nodeDefs.json"}, language


@pytest.mark.comfyui
@pytest.mark.parametrize("language", LANGUAGES)
def test_nodes_are_described_in(language: str, nodes: dict[str, dict[str, Any]]) -> None:
    assert differences(dict(flat(read(language, "nodeDefs"))), node_texts(nodes)) == NOTHING


@pytest.mark.comfyui
def test_english_says_what_the_schemas_say(nodes: dict[str, dict[str, Any]]) -> None:
    got, wanted = dict(flat(read("en", "nodeDefs"))), node_texts(nodes)
    assert {key: got[key] for key in got if got[key] != wanted.get(key)} == {}


@pytest.mark.parametrize("language", OTHERS)
def test_the_page_has_the_same_texts_in(language: str) -> None:
    english = {key: text for key, text in flat(read("en", "main")) if "/options/" not in key}
    got = {key: text for key, text in flat(read(language, "main")) if "/options/" not in key}
    assert differences(got, english) == NOTHING
    numbers = {key: [sorted(re.findall(r"%\d", texts[key])) for texts in (got, english)] for key in got}
    assert [key for key, (own, other) in numbers.items() if own != other] == []


@pytest.mark.comfyui
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_option_has_a_label_in(language: str, nodes: dict[str, dict[str, Any]]) -> None:
    chosen = {option for node in nodes.values() for name in node["input_order"]["required"] for option in options(node, name)}
    chosen |= {
        option for node in nodes.values() for name in node["input_order"].get("optional", ()) for option in options(node, name)
    }
    got = read(language, "main")["histogramMatch"]["options"]
    # In English, options keep their ids but where two of them are one method.
    wanted = chosen if language != "en" else {"mvgd", "hm-mvgd-hm"}
    assert differences(got, dict.fromkeys(wanted, "")) == NOTHING
    assert len(set(got.values())) == len(got), "two options have one label"


@pytest.mark.parametrize("language", OTHERS)
def test_texts_are_translated_to(language: str) -> None:
    english = dict(flat(read("en", "nodeDefs"))) | dict(flat(read("en", "main")))
    other = dict(flat(read(language, "nodeDefs"))) | dict(flat(read(language, "main")))
    options = {key: text for key, text in other.items() if key.startswith("histogramMatch/options/")}
    names = {"LUT", *(text for key, text in options.items() if key.split("/")[-1] in NAMES)}
    # Single letters of the panel are R, G and B in most languages.
    words = {key: text for key, text in other.items() if len(text) > 1 and text not in names}
    english |= {key: key.split("/")[-1] for key in options}
    assert {key: text for key, text in words.items() if text == english.get(key) and text not in SAME.get(language, ())} == {}
    written = SCRIPTS.get(language, lambda text: True)
    assert {key: text for key, text in words.items() if not written(text)} == {}


@pytest.mark.parametrize("language", OTHERS)
def test_what_english_names_is_named_in(language: str) -> None:
    english, other = dict(flat(read("en", "nodeDefs"))), dict(flat(read(language, "nodeDefs")))
    page = dict(flat(read(language, "main")))
    known = {key.split("/")[-1] for key in page if key.startswith("histogramMatch/options/")}
    missing = {key: missing_quotes(key, english, other, page, known) for key in english.keys() & other.keys()}
    assert {key: names for key, names in missing.items() if names} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_has_syntax_in(language: str) -> None:
    texts = dict(flat(read(language, "nodeDefs")))
    texts |= dict(flat(read(language, "main")))
    assert {key: text for key, text in texts.items() if SYNTAX & set(text)} == {}


def test_either_chinese_is_written_its_own_way() -> None:
    for language, foreign in (("zh", TRADITIONAL), ("zh-TW", SIMPLIFIED)):
        texts = dict(flat(read(language, "nodeDefs"))) | dict(flat(read(language, "main")))
        assert {key: foreign & set(text) for key, text in texts.items() if foreign & set(text)} == {}


@pytest.mark.comfyui
def test_comfyui_hands_out_every_language(comfyui: ComfyUI) -> None:
    served = comfyui.get("/i18n")
    for language in LANGUAGES:
        assert served[language] == read(language, "main") | {"nodeDefs": read(language, "nodeDefs")}
