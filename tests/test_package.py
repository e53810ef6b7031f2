"""The pack as ComfyUI-Manager, the registry and pip see it."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path

import comfyui_histogram_match
import pytest
import tomllib

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *ROOT.glob("docs/*.md"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0].lower() for requirement in requirements}


def test_what_the_manager_installs_never_replaces_torch() -> None:
    requirements = (ROOT / "requirements.txt").read_text().split()
    assert requirement_names(requirements) == requirement_names(PROJECT["project"]["dependencies"]) == {"numpy", "scikit-image"}


def test_extras_carry_torch() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert any(re.fullmatch(r"torch>=[\d.]+", requirement) for requirement in extras["standalone"])
    assert any(re.fullmatch(r"torch==[\d.]+", requirement) for requirement in extras["test"])


def test_imports_without_comfyui_and_without_what_only_the_command_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("comfy", "comfy_api", "server", "nodes", "pyvips", "tqdm"):
        monkeypatch.setitem(sys.modules, missing, None)
    spec = importlib.util.spec_from_file_location("fresh_import", ROOT / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fresh_import", package)
    spec.loader.exec_module(package)
    assert set(package.__all__) <= set(vars(package))


def test_everything_public_is_documented() -> None:
    for name in comfyui_histogram_match.__all__:
        assert (vars(comfyui_histogram_match)[name].__doc__ or "").strip(), name


def test_a_static_scan_finds_the_nodes_ids() -> None:
    source = (ROOT / "nodes.py").read_text(encoding="utf-8")
    calls = [
        call for call in ast.walk(ast.parse(source)) if isinstance(call, ast.Call) and ast.unparse(call.func) == "io.Schema"
    ]
    ids = [ast.unparse(word.value) for call in calls for word in call.keywords if word.arg == "node_id"]
    assert ids == ["'ImageHistogramMatch'", "'ImageHistogramSpecify'", "'ReferenceHistogram'"]


def test_the_maths_knows_neither_comfyui_nor_files() -> None:
    torch_only = (
        "affine",
        "color_transfer",
        "exact_specification",
        "histogram_matching",
        "losses",
        "parametric",
        "regrain",
        "soft_binning",
        "specification",
    )
    allowed_in = {f"{name}.py": {"torch"} for name in torch_only} | {
        "color_space.py": {"torch", "kornia"},
        "matching.py": {"torch"},
        "skimage_matching.py": {"torch", "numpy", "skimage"},
    }
    for name, allowed in allowed_in.items():
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        imported = {
            alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        } | {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
        assert imported - sys.stdlib_module_names <= allowed


def test_the_changelog_has_this_version() -> None:
    assert f"## {PROJECT['project']['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/*.png")) + sorted(ROOT.glob("docs/*.jpg")), ids=lambda path: path.name)
def test_pictures_are_small_and_shown(path: Path) -> None:
    assert path.stat().st_size <= 300_000
    shown = [f"({path.relative_to(page.parent).as_posix()})" in page.read_text(encoding="utf-8") for page in PAGES]
    assert any(shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).strip().replace(" ", "-") for line in re.findall(r"^#+ (.*)", text, re.M)
    }
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("#"):
            assert link[1:] in headings
        elif not link.startswith("http"):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_the_example_workflows_use_the_node() -> None:
    prompt = json.loads((ROOT / "docs/histogram_match_api.json").read_text(encoding="utf-8"))
    (node,) = [node for node in prompt.values() if node["class_type"] == "ImageHistogramMatch"]
    assert list(node["inputs"]) == ["image", "reference", "method", "factor", "device"]
    workflow = json.loads((ROOT / "example_workflows/histogram_match.json").read_text(encoding="utf-8"))
    (node,) = [node for node in workflow["nodes"] if node["type"] == "ImageHistogramMatch"]
    assert node["widgets_values"] == ["pytorch", 1, "auto"]


@pytest.mark.parametrize("path", sorted(ROOT.glob("example_workflows/*.json")), ids=lambda path: path.stem)
def test_every_example_workflow_has_a_picture_and_only_known_nodes(path: Path) -> None:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    known = {"ImageHistogramMatch", "ImageHistogramSpecify", "ReferenceHistogram"}
    assert {node["type"] for node in workflow["nodes"]} - known <= {"LoadImage", "SaveImage"}
    assert path.with_suffix(".jpg").stat().st_size <= 300_000
