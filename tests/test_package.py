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
from launching import python

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NODES = {
    "ImageHistogramMatch",
    "VideoHistogramMatch",
    "ImageHistogramSpecify",
    "ReferenceHistogram",
    "ColorTransformFit",
    "ColorTransformApply",
    "ColorTransformSaveLUT",
    "ColorTransformLoadLUT",
    "ImageHistogramPlot",
    "ImageCurvesApply",
    "HistogramMatchSamplePhoto",
}
# Of ComfyUI itself, in every version that the pack runs in, but for SaveImageAdvanced, which is of 2026.
CORE_NODES = {
    "CreateVideo",
    "EmptyImage",
    "FeatherMask",
    "ImageBatch",
    "ImageBlend",
    "ImageCompositeMasked",
    "ImageFromBatch",
    "ImageScale",
    "ImageStitch",
    "ImageToMask",
    "InvertMask",
    "MarkdownNote",
    "MaskComposite",
    "MaskPreview",
    "PreviewImage",
    "SaveAnimatedWEBP",
    "SaveImage",
    "SaveImageAdvanced",
    "SaveVideo",
    "SolidMask",
    "ThresholdMask",
}


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0].lower() for requirement in requirements}


def test_what_the_manager_installs_never_replaces_torch() -> None:
    requirements = (ROOT / "requirements.txt").read_text().split()
    assert (
        requirement_names(requirements)
        == requirement_names(PROJECT["project"]["dependencies"])
        == {"av", "lazy-loader", "numpy", "pillow", "scikit-image", "scipy"}
    )


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
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_everything_public_is_documented() -> None:
    for name in comfyui_histogram_match.__all__:
        assert (getattr(comfyui_histogram_match, name).__doc__ or "").strip(), name


def test_a_static_scan_finds_the_nodes_ids() -> None:
    ids = []
    for path in (ROOT / "nodes.py", *sorted((ROOT / "comfyui").glob("*.py"))):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "io.Schema"]
        ids += [ast.unparse(word.value) for call in calls for word in call.keywords if word.arg == "node_id"]
    assert {name.strip("'") for name in ids} == NODES
    assert len(ids) == len(NODES)


@pytest.mark.parametrize(
    ("folder", "allowed", "rooms"),
    [
        ("kernels", {"numpy", "torch"}, set()),
        ("methods", {"kornia", "numpy", "scipy", "skimage", "torch"}, {"checks", "histogram_matching", "kernels"}),
        ("clip", {"torch"}, {"checks", "histogram_matching", "kernels", "methods"}),
    ],
)
def test_the_maths_knows_neither_comfyui_nor_files(folder: str, allowed: set[str], rooms: set[str]) -> None:
    for path in (ROOT / folder).glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        outside = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        outside |= {str(node.module).split(".")[0] for node in imports if not node.level}
        assert outside - sys.stdlib_module_names <= allowed, path
        assert {str(node.module).split(".")[0] for node in imports if node.level == 2} <= rooms, path


def test_the_changelog_has_this_version() -> None:
    assert comfyui_histogram_match.__version__ == PROJECT["project"]["version"]
    assert f"## {PROJECT['project']['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/*.png")) + sorted(ROOT.glob("docs/*.jpg")), ids=lambda path: path.name)
def test_pictures_are_small_and_shown(path: Path) -> None:
    assert path.stat().st_size <= 300_000
    shown = [f"({path.relative_to(page.parent).as_posix()})" in page.read_text(encoding="utf-8") for page in PAGES]
    assert any(shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            headings = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.M)
            assert heading in {re.sub(r"[^a-z0-9 -]", "", line.lower()).strip().replace(" ", "-") for line in headings}, link


def test_the_example_workflows_use_the_node() -> None:
    prompt = json.loads((ROOT / "docs/histogram_match_api.json").read_text(encoding="utf-8"))
    (node,) = [node for node in prompt.values() if node["class_type"] == "ImageHistogramMatch"]
    assert list(node["inputs"]) == ["image", "reference", "method", "factor", "device"]
    workflow = json.loads((ROOT / "example_workflows/Match two photos.json").read_text(encoding="utf-8"))
    (node,) = [node for node in workflow["nodes"] if node["type"] == "ImageHistogramMatch"]
    assert node["widgets_values"][:3] == ["pytorch", 1, "auto"]


@pytest.mark.parametrize("path", sorted(ROOT.glob("example_workflows/*.json")), ids=lambda path: path.stem)
def test_every_example_workflow_has_a_picture_and_only_known_nodes(path: Path) -> None:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    assert {node["type"] for node in workflow["nodes"]} - NODES <= CORE_NODES
    assert path.with_suffix(".jpg").stat().st_size <= 300_000


def test_what_is_public_is_listed_and_loaded_where_it_is_used() -> None:
    assert set(comfyui_histogram_match.__all__) <= {*dir(comfyui_histogram_match), "comfy_entrypoint"}
    script = "import sys, comfyui_histogram_match; print([name for name in ('torch', 'skimage') if name in sys.modules])"
    assert python(script) == (0, "[]\n")
    script = "import sys; from comfyui_histogram_match import match_images; print('torch._dynamo' in sys.modules)"
    assert python(script) == (0, "False\n")
