"""The texts of a node and of the page, in each language."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comfyui_server import ComfyUI

ROOT = Path(__file__).parents[1]
LANGUAGES = ("en", "zh", "zh-TW", "ja", "ko", "fr", "es", "ru", "pt-BR")
OTHERS = LANGUAGES[1:]


def read(language: str, file: str) -> dict[str, Any]:
    """What a locale file holds."""
    return dict(json.loads((ROOT / "locales" / language / f"{file}.json").read_text(encoding="utf-8")))


def flat(tree: dict[str, Any], *above: str) -> Iterator[tuple[str, str]]:
    """All texts of a tree, each with its keys from the root on, joined by slashes."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, *above, key)
        else:
            yield "/".join((*above, key)), value


def schemas(comfyui: ComfyUI) -> dict[str, dict[str, Any]]:
    """What ComfyUI tells the page of the nodes of this pack, by their ids."""
    return {
        name: node for name, node in comfyui.get("/object_info").items() if "histogram-match" in node.get("python_module", "")
    }


def inputs(node: dict[str, Any]) -> dict[str, list[Any]]:
    """The inputs of a node that are seen, by their names."""
    return {name: made for group in ("required", "optional") for name, made in node["input"].get(group, {}).items()}


def options(node: dict[str, Any], name: str) -> list[str]:
    """What an input lets choose, but for numbers and files."""
    kind, more = inputs(node)[name]
    chosen = kind if isinstance(kind, list) else more.get("options") or []
    return [one for one in chosen if isinstance(one, str) and "." not in one]


def node_texts(nodes: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The texts of nodes by the keys that locale files have for them. Underscores of inputs' names become spaces."""
    texts = {}
    for node, told in nodes.items():
        texts |= {f"{node}/display_name": told["display_name"], f"{node}/description": told["description"]}
        for name, (_, more) in inputs(told).items():
            texts[f"{node}/inputs/{name}/name"] = name.replace("_", " ")
            texts[f"{node}/inputs/{name}/tooltip"] = more["tooltip"]
        for index, (name, tooltip) in enumerate(zip(told["output_name"], told.get("output_tooltips") or (), strict=True)):
            texts |= {f"{node}/outputs/{index}/name": name, f"{node}/outputs/{index}/tooltip": tooltip}
    return texts
