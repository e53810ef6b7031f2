"""Files in the Common LUT Format: what is written comes back, and what others write is read, as OpenColorIO has it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import PyOpenColorIO
import pytest
import torch
from comfyui_histogram_match.luts.clf_files import read_clf, write_clf
from comfyui_histogram_match.luts.cube import cube_of, difference
from comfyui_histogram_match.methods.channels import ChannelTables
from comfyui_histogram_match.methods.color_space import ColorSpace
from comfyui_histogram_match.methods.transform import Transform
from lut_readers import by_opencolorio
from photos import photo
from test_transform import planes, solved

RGB = ColorSpace("rgb")
MATRIX = "<Matrix {}><Array dim='3 3'>0.5 0.2 0 0 1.5 0 0.1 0 0.8</Array></Matrix>"
CURVES = "<LUT1D {}><Array dim='3 3'>0 0.1 0.2 0.7 0.5 0.3 1 0.9 2</Array></LUT1D>"
TABLE = "<LUT3D {}><Array dim='2 2 2 3'>" + " ".join(f"0.{digit}" for digit in range(1, 25)) + "</Array></LUT3D>"
GAMMA = "<Exponent {} style='basicFwd'><ExponentParams exponent='2.2'/></Exponent>"


def written(*nodes: str) -> str:
    """A file of other people."""
    depth = "inBitDepth='32f' outBitDepth='32f'"
    body = "".join(node.format(depth) for node in nodes)
    return f"<?xml version='1.0'?><ProcessList id='a' name='Evening' compCLFversion='3'>{body}</ProcessList>"


@pytest.mark.parametrize(
    ("method", "color_space"), [("pytorch", "rgb"), ("nearest", "rgb"), ("mkl", "rgb"), ("hm-mkl-hm", "lab")]
)
@pytest.mark.parametrize("size", [17, 33])
def test_what_is_written_comes_back(method: str, color_space: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "look.clf"
    transform = solved(planes("chelsea"), planes("coffee"), method, color_space)
    write_clf(path, transform, size, "Evening & <night>")
    first = path.read_bytes()
    write_clf(path, transform, size, "Evening & <night>")
    assert path.read_bytes() == first
    back, cube = read_clf(path), cube_of(transform, size)
    assert back.title == "Evening & <night>"
    for ours, theirs in ((cube.curves, back.curves), (cube.table, back.table)):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            torch.testing.assert_close(theirs, ours.float(), rtol=0, atol=1e-5)
    image = photo("chelsea")[0].movedim(-1, 0)
    torch.testing.assert_close(back.transform().apply(image), by_opencolorio(path, image), rtol=0, atol=2e-5)


def test_short_curves_and_files_that_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "look.clf"
    for values in ([0.0, 0.5, 1.0], [0.0, 0.25, 1.0], [1.0, 0.0]):
        transform = Transform(RGB, (ChannelTables(torch.tensor([values])),))
        write_clf(path, transform)
        assert difference(transform, read_clf(path).transform())[1] < 0.01


@pytest.mark.parametrize(
    ("nodes", "curves"),
    [
        ((MATRIX,), False),
        ((CURVES,), True),
        ((TABLE,), False),
        ((GAMMA,), True),
        ((GAMMA, CURVES), True),
        ((CURVES, TABLE), False),
        ((GAMMA, MATRIX, TABLE), False),
    ],
)
def test_read_as_opencolorio_reads_it(nodes: tuple[str, ...], curves: bool, tmp_path: Path) -> None:
    path = tmp_path / "look.clf"
    path.write_text(written(*nodes))
    cube = read_clf(path)
    assert cube.title == "Evening"
    assert (cube.curves is None, cube.table is None) == (not curves, curves)
    if nodes == (TABLE,):
        assert cube.table is not None
        assert cube.table.shape == (3, 2, 2, 2)
    image = photo("coffee")[0].movedim(-1, 0)
    apart = (cube.transform().apply(image) - by_opencolorio(path, image)).abs()
    assert float(apart.max()) <= (1e-4 if curves or len(nodes) == 1 else 2 / 255)
    assert float(apart.mean()) <= 2e-4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"LUT_3D_SIZE 3\n",
        b"<?xml version='1.0'?><html/>",
        written(TABLE).encode()[:-60],
        written(TABLE.replace("0.24", "red")).encode(),
        written(TABLE.replace(" 0.24", "")).encode(),
        b"\x89PNG\r\n\x1a\n",
        bytes(1000),
    ],
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "look.clf"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: expected a file in the Common LUT Format, got another \("):
        read_clf(path)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "look.clf"
    path.write_text(written(MATRIX.replace("0.5 0.2", "3e38 3e38")))
    with pytest.raises(ValueError, match=r"look\.clf: expected a LUT of finite values, got others$"):
        read_clf(path)


def test_files_that_are_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_clf(tmp_path / "none.clf")
    with pytest.raises(IsADirectoryError):
        read_clf(tmp_path)
    with open(tmp_path / "large.clf", "wb") as file:
        file.truncate((1 << 29) + 1)
    with pytest.raises(ValueError, match=r"large\.clf: expected a file of at most 512 MiB, got more$"):
        read_clf(tmp_path / "large.clf")


@pytest.mark.parametrize("name", ["a b", "a$LOOK", "a${LOOK}", "a%LOOK%", "bl\u00e5 timme", "a%d", "~a", "a.cube"])
def test_names_are_taken_as_they_are(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOK", "other")
    transform = Transform(RGB, (ChannelTables(torch.tensor([[0.0, 0.25, 1.0]])),))
    write_clf(tmp_path / f"{name}.clf", transform)
    assert difference(transform, read_clf(tmp_path / f"{name}.clf").transform())[1] < 0.01


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^transform: expected .* ranks the pixels of a picture"):
        write_clf(tmp_path / "look.clf", solved(planes("chelsea"), planes("coffee"), "exact"))
    with pytest.raises(ValueError, match=r"^title: expected a line without quotation marks, got 'a\\nb'$"):
        write_clf(tmp_path / "look.clf", solved(planes("chelsea"), planes("coffee"), "mkl"), title="a\nb")
    assert list(tmp_path.iterdir()) == []


def test_without_opencolorio_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PyOpenColorIO.__name__, None)
    for call in (lambda: read_clf(tmp_path / "look.clf"), lambda: write_clf(tmp_path / "look.clf", Transform(RGB))):
        with pytest.raises(ModuleNotFoundError, match=r'^CLF files need OpenColorIO: .* -m pip install "opencolorio>=2\.4"$'):
            call()
