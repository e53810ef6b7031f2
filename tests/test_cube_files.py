"""LUT files: read as OpenColorIO and FFmpeg read them, refused with the line that is wrong, and written for both."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_histogram_match import METHODS, Uniform, __version__
from comfyui_histogram_match.kernels.levels import LEVELS
from comfyui_histogram_match.luts.color_table import ColorTable
from comfyui_histogram_match.luts.cube import Cube, cube_of, difference
from comfyui_histogram_match.luts.cube_files import read_cube, write_cube
from comfyui_histogram_match.methods.channels import ChannelTables
from comfyui_histogram_match.methods.color_space import ColorSpace
from comfyui_histogram_match.methods.linear import AffineMap
from comfyui_histogram_match.methods.transform import Part, Transform
from lut_readers import by_ffmpeg, by_opencolorio
from photos import photo_8bit
from test_transform import planes, solved
from torch import Tensor

RGB = ColorSpace("rgb")
POINTWISE = [name for name in METHODS if name not in ("skimage", "exact", "sliced")]


def rows(count: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> list[str]:
    values = np.random.default_rng(seed).uniform(low, high, (count, 3))
    return [" ".join(f"{value:.6f}" for value in row) for row in values]


def text(*lines: str | list[str], end: str = "\n") -> str:
    return end.join(line for part in lines for line in ([part] if isinstance(part, str) else part)) + end


def in_exponents(line: str) -> str:
    return " ".join(f"{float(word):.5E}" for word in line.split())


THREE, ONE = rows(27), rows(11, 1)
BOTH = ["LUT_1D_SIZE 11", "LUT_1D_INPUT_RANGE -0.25 1.5", "LUT_3D_SIZE 3", "LUT_3D_INPUT_RANGE 0.1 0.8"]
VARIANTS = {
    "table": text("LUT_3D_SIZE 3", THREE),
    "curves": text("LUT_1D_SIZE 11", ONE),
    "title": text('TITLE "Warm evening, 2"', "LUT_3D_SIZE 3", THREE),
    "title without quotation marks": text("TITLE Warm evening, 2", "LUT_3D_SIZE 3", THREE),
    "title in the middle": text("LUT_3D_SIZE 3", "DOMAIN_MIN 0 0 0", 'TITLE "Warm evening, 2"', THREE),
    "comments and empty lines": text("# one", "", "LUT_3D_SIZE 3", "#two", "", "#", THREE[:5], "", "# three", THREE[5:], ""),
    "domain of [0, 1]": text("LUT_3D_SIZE 3", "DOMAIN_MIN 0.0 0.0 0.0", "DOMAIN_MAX 1.0 1.0 1.0", THREE),
    "domain": text("LUT_3D_SIZE 3", "DOMAIN_MIN -0.5 0.1 0", "DOMAIN_MAX 2 0.8 1", THREE),
    "domain above 1": text("LUT_3D_SIZE 3", "DOMAIN_MAX 4 5 6", "DOMAIN_MIN -2 -3 -4", THREE),
    "domain of curves": text("DOMAIN_MIN -0.5 0.1 0", "DOMAIN_MAX 2 0.8 1", "LUT_1D_SIZE 11", ONE),
    "wide domain of curves": text("DOMAIN_MIN 0 0 0", "DOMAIN_MAX 100 10 1000", "LUT_1D_SIZE 9999", rows(9999)),
    "CRLF": text('TITLE "Warm evening, 2"', "LUT_3D_SIZE 3", "DOMAIN_MAX 1 1 2", THREE, end="\r\n"),
    "tabs": text("LUT_3D_SIZE\t3", "DOMAIN_MAX\t1\t1\t2", [line.replace(" ", "\t") for line in THREE]),
    "spaces": text("  LUT_3D_SIZE   3  ", [f"  {line.replace(' ', '   ')}  " for line in THREE]),
    "exponents": text("LUT_3D_SIZE 3", "DOMAIN_MAX 1e0 2.0E+00 15e-1", [in_exponents(line) for line in THREE]),
    "whole numbers": text("LUT_3D_SIZE 2", ["0 0 0", "1 0 0", "0 1 0", "1 1 0", "0 0 1", "1 0 1", "0 1 1", "1 1 0"]),
    "short numbers": text("LUT_3D_SIZE 2", ["0. .5 -.5"] * 3, ["1 -0.0 +.25e1"] * 0, ["1 -0.0 .25e1"] * 5),
    "small letters": text("lut_3d_size 3", "domain_max 1 1 2", THREE),
    "values beyond [0, 1]": text("LUT_3D_SIZE 3", rows(27, 2, -3, 4)),
    "no end of the last line": text("LUT_3D_SIZE 3", THREE).removesuffix("\n"),
    "Resolve's table": text("LUT_3D_SIZE 3", "LUT_3D_INPUT_RANGE 0.0 1.0", THREE),
    "Resolve's range of a table": text("# Resolve", "LUT_3D_SIZE 3", "LUT_3D_INPUT_RANGE -0.25 0.75", THREE),
    "Resolve's range of curves": text("LUT_1D_SIZE 11", "LUT_1D_INPUT_RANGE 0.2 1.75", ONE),
    "Resolve's both": text(BOTH, ONE, THREE),
    "Resolve's both without ranges": text("LUT_1D_SIZE 11", "LUT_3D_SIZE 3", ONE, THREE),
    "Resolve's both in another order": text("LUT_3D_SIZE 3", "LUT_1D_SIZE 11", ONE, THREE),
    "Resolve's both with values beyond": text(BOTH, rows(11, 3, -2, 3), rows(27, 4, -2, 3)),
}


def at_levels() -> Tensor:
    """Colors of 16 bits, at which curves are looked up."""
    colors = torch.randint(0, LEVELS, (3, 40, 50), generator=torch.Generator().manual_seed(0))
    ends = torch.tensor(list(product((0, 65535), repeat=3))).t()[:, None]
    return torch.cat([colors, ends.expand(3, 40, 8)], dim=2).float() / (LEVELS - 1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_read_as_opencolorio_reads_it(variant: str, tmp_path: Path) -> None:
    path = tmp_path / "look.cube"
    path.write_bytes(VARIANTS[variant].encode())
    cube, colors = read_cube(path), at_levels()
    assert cube.title == ("Warm evening, 2" if "TITLE" in VARIANTS[variant] else "")
    assert (cube.curves is not None, cube.table is not None) == tuple(f"LUT_{k}D" in VARIANTS[variant].upper() for k in (1, 3))
    expected = by_opencolorio(path, colors)
    # Of thousands of entries, neighbors are far apart, and a position is one in single precision.
    torch.testing.assert_close(cube.transform().apply(colors), expected, rtol=0, atol=3e-3 if "wide" in variant else 5e-5)


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\xef\xbb\xbf# comment\r\n\r\n"])
def test_marks_of_utf8_and_titles_in_it(start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "look.cube"
    path.write_bytes(start + text('TITLE "Blå timme"', "LUT_3D_SIZE 3", THREE).encode())
    cube = read_cube(path)
    assert cube.title == "Blå timme"
    assert cube.table is not None
    assert cube.table[:, 0, 0, 1].tolist() == pytest.approx([float(word) for word in THREE[1].split()])
    path.write_bytes(text('TITLE"look"', "LUT_3D_SIZE 3", THREE).encode())
    assert read_cube(path).title == "look"


HEADERS = {
    "table": (['TITLE "look"', "# comment", "LUT_3D_SIZE 3", "DOMAIN_MIN 0 0 0", "DOMAIN_MAX 1 1 1"], THREE),
    "curves": (["", "LUT_1D_SIZE 11", "LUT_1D_INPUT_RANGE 0 1"], ONE),
    "both": (BOTH, ONE + THREE),
}
ROWS = {
    "word": lambda row: "red " + row.split(" ", 1)[1],
    "two values": lambda row: row.rsplit(" ", 1)[0],
    "four values": lambda row: row + " 0.5",
    "NaN": lambda row: "nan " + row.split(" ", 1)[1],
    "infinite": lambda row: row.rsplit(" ", 1)[0] + " -inf",
    "beyond single precision": lambda row: row.rsplit(" ", 1)[0] + " 1e39",
    "decimal commas": lambda row: row.replace(".", ","),
    "underscores": lambda row: "0_1.5 " + row.split(" ", 1)[1],
    "comment behind": lambda row: row + " # comment",
    "keyword": lambda row: "LUT_2D_SIZE 3",
    "quotation marks": lambda row: f'"{row}"',
    "hexadecimal": lambda row: "0x1p-1 " + row.split(" ", 1)[1],
    "zero bytes": lambda row: row.replace(" ", "\0"),
}


def broken_rows() -> dict[str, tuple[bytes, int]]:
    """Files with one wrong row, a row too few or too many, and the line of it."""
    files = {}
    for kind, (header, values) in HEADERS.items():
        for index in sorted({0, 1, 5, len(values) // 2, len(values) - 1}):
            for fault, change in ROWS.items():
                changed = [*values[:index], change(values[index]), *values[index + 1 :]]
                files[f"{kind}, {fault} in row {index}"] = (text(header, changed).encode(), len(header) + index + 1)
            shorter = values[:index] + values[index + 1 :]
            files[f"{kind}, no row {index}"] = (text(header, shorter).encode(), len(header) + len(shorter))
            files[f"{kind}, ends before row {index}"] = (text(header, values[:index]).encode(), len(header) + index)
            longer = [*values, *values[: index + 1]]
            files[f"{kind}, {index + 1} rows too many"] = (text(header, longer).encode(), len(header) + len(values) + 1)
        end = text(header, values).encode()[:-12]
        files[f"{kind}, cut off within the last row"] = (end, len(header) + len(values))
    return files


def broken_headers() -> dict[str, tuple[bytes, int]]:
    """Files with wrong keywords, and the line of each."""
    files = {}
    for kind, greatest in (("1D", 65536), ("3D", 256)):
        for size in ("", "0", "1", "-3", "2.5", "3 3", "three", str(greatest + 1), "9" * 30, "nan", "3_3", "+3", "0x3", "3,"):
            files[f"{kind} size {size}"] = (text("# comment", f"LUT_{kind}_SIZE {size}", THREE).encode(), 2)
        files[f"both {kind} sizes wrong"] = (text("LUT_3D_SIZE 1", "LUT_1D_SIZE 1", THREE).encode(), 1)
        for limits in ("", "0", "0 1 2", "one two", "nan 1", "0 inf", "1 0", "1 1", "0,0 1,0"):
            lines = ("LUT_3D_SIZE 3", f"LUT_{kind}_INPUT_RANGE {limits}", "# comment")
            files[f"{kind} range {limits}"] = (text(*lines, THREE).encode(), 2)
    for name in ("DOMAIN_MIN", "DOMAIN_MAX"):
        for limits in ("", "0", "0 1", "0 0 0 0", "one two three", "nan 0 0", "0 0 inf", "0,0 0,0 0,0"):
            files[f"{name} {limits}"] = (text("LUT_3D_SIZE 3", "", f"{name} {limits}", THREE).encode(), 3)
    size, low, high = "LUT_3D_SIZE 3", "DOMAIN_MIN 0 0 0", "DOMAIN_MAX 1 1 1"
    more: dict[str, tuple[tuple[str | list[str], ...], int]] = {
        "empty domain": ((size, "DOMAIN_MIN 0 1 0", high, THREE), 3),
        "reversed domain": (("DOMAIN_MAX 0 0 0", "DOMAIN_MIN 1 1 1", size, THREE), 2),
        "domain below its default": ((size, "DOMAIN_MAX 1 1 -1", "# comment", THREE), 2),
        "domain above its default": ((size, "# comment", "DOMAIN_MIN 2 0 0", THREE), 3),
        "domain and range": ((low, size, high, "LUT_3D_INPUT_RANGE 0 1", THREE), 4),
        "domain of both": (("LUT_1D_SIZE 11", size, low, ONE, THREE), 3),
        "size twice": ((size, "# comment", size, THREE), 3),
        "two sizes": ((size, "LUT_3D_SIZE 2", THREE), 2),
        "title twice": (("TITLE one", "TITLE two", size, THREE), 2),
        "domain twice": ((size, low, low, THREE), 3),
        "range twice": ((size, "LUT_3D_INPUT_RANGE 0 1", "LUT_3D_INPUT_RANGE 0 1", THREE), 3),
        "2D": (("LUT_2D_SIZE 3", THREE), 1),
        "range of videos": ((size, "LUT_IN_VIDEO_RANGE", THREE), 2),
        "unknown": (("# comment", "Output 3", THREE), 2),
        "no size": ((THREE,), 1),
        "no size, but a title": (("TITLE look", "", THREE), 3),
        "size after the rows": ((THREE, size), 1),
        "no rows": (("TITLE look", size), 2),
        "a title alone": (("TITLE look",), 1),
        "comments alone": (("# look", "", "#"), 3),
    }
    return files | {name: (text(*lines).encode(), line) for name, (lines, line) in more.items()}


def other_files() -> dict[str, tuple[bytes, int]]:
    """What is no LUT at all."""
    noise = np.random.default_rng(0).integers(128, 256, 1 << 17).astype(np.uint8).tobytes()
    return {
        "nothing": (b"", 1),
        "empty lines": (b"\n\n\n", 3),
        "PNG": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 1),
        "gzip": (b"\x1f\x8b\x08\0\0\0", 1),
        "UTF-16": (text("LUT_3D_SIZE 3", THREE).encode("utf-16"), 1),
        "zeros": (bytes(100000), 1),
        "one long line": (noise.replace(b"\n", b""), 1),
        "binary rows": (b"LUT_3D_SIZE 3\n" + noise.replace(b"\n", b""), 2),
        "a long comment": (b"LUT_3D_SIZE 3\n#" + b"-" * (1 << 16) + b"\n", 2),
        "XML": (b'<?xml version="1.0"?>\n<ProcessList/>\n', 1),
        "JSON": (b'{"size": 3}', 1),
        "another format": (b"3DMESH\nMesh 4 12\n", 1),
    }


BROKEN = broken_rows() | broken_headers() | other_files()


def test_there_are_many_broken_files() -> None:
    assert len(BROKEN) >= 200
    assert len({content for content, _ in BROKEN.values()}) >= 200


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_with_the_line(name: str, tmp_path: Path) -> None:
    content, line = BROKEN[name]
    path = tmp_path / "look.cube"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: line {line}: expected .*, got '.*'$"):
        read_cube(path)


def test_files_that_are_not_read_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "look.cube"
    with open(path, "wb") as file:
        file.truncate((1 << 29) + 1)
    with pytest.raises(ValueError, match=r"look\.cube: expected a file of at most 512 MiB, got more$"):
        read_cube(path)
    with pytest.raises(FileNotFoundError):
        read_cube(tmp_path / "none.cube")
    with pytest.raises(IsADirectoryError):
        read_cube(tmp_path)


@pytest.mark.parametrize("color_space", ["rgb", "lab", "oklab", "luminance"])
@pytest.mark.parametrize("method", POINTWISE)
def test_others_make_the_same_picture_of_what_is_written(method: str, color_space: str, tmp_path: Path) -> None:
    path = tmp_path / "look.cube"
    transform = solved(planes("chelsea"), planes("coffee"), method, color_space)
    write_cube(path, transform)
    pixels = photo_8bit("chelsea")[::2, ::2].astype(np.uint16) * 257
    image = torch.from_numpy(pixels.astype(np.float32) / 65535).movedim(-1, 0)
    cube = read_cube(path)
    ours = cube.transform().apply(image).clamp(0, 1)
    curves = color_space == "rgb" and method in ("pytorch", "nearest", "aligned-curve")
    assert (cube.curves is None, cube.table is None) == (not curves, curves)
    level = 1 / 255
    for others in (by_opencolorio(path, image).clamp(0, 1), by_ffmpeg(path, pixels, curves)):
        assert float((others - ours).abs().max()) <= (0.01 if curves else 0.05) * level
    exact = transform.apply(image).clamp(0, 1)
    # Curves hold all there is; between the points of a table, steep transforms are more than straight.
    assert float((ours - exact).abs().mean()) <= (1e-4 if curves else 2) * level
    mean, largest = difference(transform, cube.transform())
    assert mean <= (1e-4 if curves else 2)
    # Where a jump lies between two points, a color can go to either side.
    assert mean <= largest <= (0.01 if curves else 255)


def test_linear_transforms_are_written_without_loss(tmp_path: Path) -> None:
    transform = solved(planes("chelsea"), planes("coffee"), "mkl")
    for size in (17, 33, 65):
        write_cube(tmp_path / "look.cube", transform, size)
        assert difference(transform, read_cube(tmp_path / "look.cube").transform())[1] < 0.01


def test_more_points_are_nearer() -> None:
    transform = solved(planes("chelsea"), planes("coffee"), "mkl", "oklab")
    means = [difference(transform, cube_of(transform, size).transform())[0] for size in (17, 33, 65)]
    assert means[0] > 2 * means[1] > 4 * means[2] > 0


def test_cut_off_where_it_costs_least() -> None:
    image = planes("chelsea")
    for method, color_space in (("reinhard", "rgb"), ("mkl", "oklab"), ("mkl", "luminance")):
        transform = solved(image, planes("coffee"), method, color_space)
        cube = cube_of(transform)
        assert cube.table is not None
        assert float(cube.table.min()) < 0
        narrow = difference(transform, Cube(table=cube.table.clamp(0, 1)).transform())
        own = difference(transform, cube.transform())
        assert own[0] < narrow[0]


def test_what_is_written(tmp_path: Path) -> None:
    transform = Transform(RGB, (AffineMap(torch.tensor([[0.5, 0, 0, 0.25], [0, 2, 0, -0.5], [0, 0, 1, 0]])),))
    write_cube(tmp_path / "a.cube", transform, 17, "Blå timme")
    write_cube(tmp_path / "b.cube", transform, 17, "Blå timme")
    content = (tmp_path / "a.cube").read_bytes()
    assert content == (tmp_path / "b.cube").read_bytes()
    lines = content.decode().split("\n")
    expected = [f"# Made by comfyui-histogram-match {__version__}", 'TITLE "Blå timme"', "LUT_3D_SIZE 17", "0.250000 -0.250000"]
    assert lines[:3] == expected[:3]
    # Red is the fastest, and values far away are cut off.
    assert lines[3:5] == ["0.250000 -0.250000 0.000000", "0.281250 -0.250000 0.000000"]
    assert lines[-2:] == ["0.750000 1.250000 1.000000", ""]
    assert len(lines) == 3 + 17**3 + 1
    write_cube(tmp_path / "a.cube", Transform(RGB, (ChannelTables(torch.tensor([[0.0, 0.5, 1.0]])),)))
    assert (tmp_path / "a.cube").read_text().split("\n")[1:] == [
        "LUT_1D_SIZE 3",
        *[f"{value:.6f} {value:.6f} {value:.6f}" for value in (0, 0.5, 1)],
        "",
    ]


@pytest.mark.parametrize("bins", [2, 33, 256, 65536])
def test_curves_as_they_are(bins: int, tmp_path: Path) -> None:
    table = torch.rand(3, bins).sort(dim=1).values
    transform = Transform(RGB, (ChannelTables(table),))
    write_cube(tmp_path / "look.cube", transform)
    cube = read_cube(tmp_path / "look.cube")
    assert cube.curves is not None
    torch.testing.assert_close(cube.curves, table, rtol=0, atol=6e-7)
    two = Transform(RGB, (ChannelTables(table), ChannelTables(table.flip(0))))
    write_cube(tmp_path / "two.cube", two)
    assert difference(two, read_cube(tmp_path / "two.cube").transform())[1] < 0.05


def test_a_specified_histogram_is_a_lut_too() -> None:
    table = Uniform()(torch.linspace(0, 1, 256, dtype=torch.float64)[None].square())
    cube = cube_of(Transform(RGB, (ChannelTables(table),)))
    assert cube.curves is not None
    assert cube.curves.shape == (3, 256)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("exact", r"one that ranks the pixels of a picture \(RankedLevels\)"),
        ("skimage", r"one that compares the values of a picture with those of another \(ReferenceValues\)"),
        (
            "sliced",
            r"one that spreads equal colors by noise \(RotatedTables\), .* restores the texture of a picture \(Regrain\)",
        ),
    ],
)
def test_what_is_not_pointwise_is_refused(method: str, reason: str, tmp_path: Path) -> None:
    transform = solved(planes("chelsea"), planes("coffee"), method)
    expected = "transform: expected one that sends equal colors to equal colors, got"
    with pytest.raises(ValueError, match=f"^{expected} {reason}"):
        write_cube(tmp_path / "look.cube", transform)
    assert list(tmp_path.iterdir()) == []


def parts() -> list[type[Part]]:
    found, waiting = [], [Part]
    while waiting:
        waiting += (subclasses := waiting.pop().__subclasses__())
        found += subclasses
    return found


def test_each_part_that_is_not_pointwise_says_why() -> None:
    assert {bool(part.reason) == part.pointwise for part in parts()} == {False}


@pytest.mark.parametrize("size", [0, 2, 16, 32, 64, 66, 33.5])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"^size: expected one of 17, 33, 65, got "):
        cube_of(Transform(RGB, (ColorTable(torch.zeros(3, 2, 2, 2)),)), size)


@pytest.mark.parametrize("title", ['a "look"', "two\nlines", "tab\t", "\x00", "\u2028"])
def test_titles_that_no_line_can_hold_are_refused(title: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^title: expected a line without quotation marks, got "):
        write_cube(tmp_path / "look.cube", Transform(RGB, (ChannelTables(torch.rand(3, 2)),)), title=title)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "part", [lambda: ChannelTables(torch.full((3, 2), float("nan"))), lambda: AffineMap(torch.full((3, 4), 1e999))]
)
def test_values_that_are_not_finite_are_refused(part: Callable[[], Part]) -> None:
    with pytest.raises(ValueError, match=r"^transform: expected finite values, got others$"):
        cube_of(Transform(RGB, (part(),)))


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(OSError, match="cannot be written"):
        write_cube(tmp_path / "taken" / "look.cube", Transform(RGB, (ChannelTables(torch.rand(3, 2)),)))
    (tmp_path / "look.cube").mkdir()
    with pytest.raises(OSError, match="cannot be written"):
        write_cube(tmp_path / "look.cube", Transform(RGB, (ChannelTables(torch.rand(3, 2)),)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["look.cube", "taken"]


def test_the_difference_is_what_it_says() -> None:
    half = Transform(RGB, (AffineMap(torch.eye(3, 4) / 2),))
    mean, largest = difference(Transform(RGB), half)
    assert mean == pytest.approx(255 / 4, abs=0.01)
    assert largest == pytest.approx(255 / 2, abs=1e-6)
    # Beyond [0, 1] there is no picture.
    beyond = Transform(RGB, (AffineMap(torch.eye(3, 4) * 3 - 1),))
    clipped = Transform(
        RGB, (*beyond.parts, ColorTable(torch.stack(torch.meshgrid(*[torch.arange(2.0)] * 3, indexing="ij")).flip(0)))
    )
    assert difference(beyond, clipped)[1] < 1e-3
    assert difference(half, half) == (0.0, 0.0)
