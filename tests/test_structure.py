"""The shape of the source: a short way through it, small pieces, layers, examples that run and one spelling."""

from __future__ import annotations

import ast
import doctest
import inspect
import json
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import comfyui_histogram_match
import pytest
import tomllib
from launching import python

ROOT = Path(__file__).parents[1]
PACKAGE = "comfyui_histogram_match"
OUTSIDE = {"tests", "benchmarks", "examples", "build", "demo"}
SOURCES = [
    path.relative_to(ROOT)
    for path in sorted(ROOT.rglob("*.py"))
    if not any(part in OUTSIDE or part.startswith((".", "venv")) for part in path.relative_to(ROOT).parts)
]
# Modules that only ComfyUI, or only the interpreter, can import.
NOT_IMPORTED = [path for path in SOURCES if path.parts[0] == "comfyui" or path.name in ("nodes.py", "__main__.py")]
IMPORTED = [path for path in SOURCES if path not in NOT_IMPORTED]
PUBLIC = [name for name in comfyui_histogram_match.__all__ if name not in ("METHODS", "COLOR_SPACES", "comfy_entrypoint")]
PAGES = [Path(name) for name in ("README.md", "CONTRIBUTING.md")] + [
    path.relative_to(ROOT) for path in sorted(ROOT.glob("docs/*.md"))
]

WAY = 20
FILE, CLASS, FUNCTION, ALL = 400, 150, 40, 14020
README = 140

# Prints the functions of the pack that an image is handed to, in order, until its pixels are looked up: those with an argument
# that is, or holds, a tensor in the image's memory. Threads are started after the profile is set, so that it sees them.
FOLLOW = """
import dataclasses, json, sys, threading
from pathlib import Path
import torch
import comfyui_histogram_match
from comfyui_histogram_match import match_images

folder = Path(comfyui_histogram_match.__file__).resolve().parent
torch.manual_seed(0)
image, reference = torch.rand(1, 512, 512, 3), torch.rand(1, 512, 512, 3)
memory = image.untyped_storage().data_ptr()
passed, reached = {}, []


def holds(value, depth=0):
    if isinstance(value, torch.Tensor):
        return value.untyped_storage().data_ptr() == memory
    if isinstance(value, (list, tuple)) and depth < 3:
        return any(holds(item, depth + 1) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and depth < 3:
        return any(holds(getattr(value, field.name), depth + 1) for field in dataclasses.fields(value))
    return False


def follow(frame, event, argument):
    code = frame.f_code
    # What dataclasses and the interpreter make has no file, and comprehensions are no functions.
    if event != "call" or reached or code.co_filename.startswith("<") or code.co_name.startswith("<"):
        return
    path = Path(code.co_filename).resolve()
    if not path.is_relative_to(folder):
        return
    name = path.relative_to(folder).as_posix()
    if (name, code.co_name) == ("kernels/levels.py", "look_up"):
        reached.append(True)
        return
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    arguments = (*code.co_varnames[:count], *code.co_freevars)
    if any(holds(frame.f_locals.get(argument)) for argument in arguments):
        passed.setdefault(code, f"{name}:{code.co_firstlineno} {code.co_name}")


threading.setprofile(follow)
sys.setprofile(follow)
match_images(image, reference)
sys.setprofile(None)
print(json.dumps([bool(reached), list(passed.values())]))
"""

# Words as other people write them: a pixel format of libvips, titles of papers, and what users may search for.
OTHERS_WORDS = (
    "grey16",
    "Automated colour grading using colour distribution transfer",
    "The linear Monge-Kantorovitch linear colour mapping for example-based colour transfer",
    '"colour match"',
    '"colour transfer"',
    '"colour grading"',
)
BRITISH = r"\w*(?:colour|grey|neighbour|centre|(?:normal|minim|optim|general)is(?:e|i|a))\w*"


def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def lines(path: Path) -> int:
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def definitions(kind: type | tuple[type, ...]) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, kind):
                yield f"{path.as_posix()}:{node.lineno} {node.name}", node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, docstring: bool) -> int:
    assert node.end_lineno is not None
    count = node.end_lineno - node.lineno + 1
    if docstring or ast.get_docstring(node) is None:
        return count
    text = node.body[0]
    assert text.end_lineno is not None
    return count - (text.end_lineno - text.lineno + 1)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """The dots and the name of everything that a file imports."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def test_a_match_takes_a_short_way_to_the_look_up() -> None:
    status, written = python(FOLLOW)
    assert status == 0, written
    reached, entered = json.loads(written.splitlines()[-1])
    way = "\n".join(entered)
    assert reached, f"look_up in kernels/levels.py was never entered, but these were:\n{way}"
    assert len(entered) <= WAY, f"{len(entered)} functions:\n{way}"


def test_files_are_short() -> None:
    assert {path.as_posix(): lines(path) for path in SOURCES if lines(path) > FILE} == {}


def test_classes_are_short() -> None:
    sizes = {name: length(node, docstring=True) for name, node in definitions(ast.ClassDef)}
    assert {name: size for name, size in sizes.items() if size > CLASS} == {}


def test_functions_are_short() -> None:
    sizes = {
        name: length(node, docstring=False)
        for name, node in definitions((ast.FunctionDef, ast.AsyncFunctionDef))
        if node.name != "define_schema" and not re.search("parser|arguments", node.name)
    }
    assert {name: size for name, size in sizes.items() if size > FUNCTION} == {}


def test_the_source_is_short() -> None:
    assert sum(map(lines, SOURCES)) <= ALL


def test_the_readme_is_short() -> None:
    assert lines(Path("README.md")) <= README


def test_every_folder_is_installed() -> None:
    folders = {".".join((PACKAGE, *path.parent.parts)) for path in SOURCES if path.name == "__init__.py"}
    assert {".".join((PACKAGE, *path.parent.parts)) for path in SOURCES} == folders
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["setuptools"]["packages"]
    assert len(packages) == len(set(packages))
    assert set(packages) == folders


@pytest.mark.parametrize("path", SOURCES, ids=Path.as_posix)
def test_the_pack_imports_itself_relatively(path: Path) -> None:
    own = {source.parts[0].removesuffix(".py") for source in SOURCES} - sys.stdlib_module_names | {PACKAGE}
    assert [name for dots, name in imports(path) if not dots and name.split(".")[0] in own] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[0] == "kernels"], ids=Path.as_posix)
def test_kernels_know_torch_and_one_another(path: Path) -> None:
    allowed = {"torch", "numpy", *sys.stdlib_module_names}
    depth = len(path.parts) - 1
    assert [name for dots, name in imports(path) if dots > depth or (not dots and name.split(".")[0] not in allowed)] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_has_an_example(name: str) -> None:
    thing = getattr(comfyui_histogram_match, name)
    documented = [thing]
    if inspect.isclass(thing):
        documented += [vars(thing)[method] for method in ("__init__", "__call__", "forward") if method in vars(thing)]
    assert any(">>> " in (part.__doc__ or "") for part in documented)


@pytest.mark.parametrize("path", IMPORTED, ids=Path.as_posix)
def test_the_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts = [part for part in path.with_suffix("").parts if part != "__init__"]
    module = import_module(".".join((PACKAGE, *parts)))
    written: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    defined = {node.name for node in ast.walk(tree(path)) if hasattr(node, "name")} | {""}
    examples = 0
    for test in doctest.DocTestFinder().find(module, name=""):
        # Where a test before has compiled something, torch has left functions of its own in the module.
        if test.name.split(".")[-1] not in defined:
            continue
        examples += len(test.examples)
        runner.run(test, out=written.append)
    assert not runner.failures, "".join(written)
    # A decorator can hide a docstring from doctest.
    assert examples == len(re.findall(r"^\s*>>> ", (ROOT / path).read_text(encoding="utf-8"), re.M))


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=Path.as_posix)
def test_spelling_is_american(path: Path) -> None:
    # Titles go on in the next line of a comment or a docstring.
    text = re.sub(r"\s+(?:# )?", " ", (ROOT / path).read_text(encoding="utf-8"))
    for words in OTHERS_WORDS:
        text = text.replace(words, "")
    assert [text[max(0, word.start() - 40) : word.end() + 20] for word in re.finditer(BRITISH, text, re.I)] == []
