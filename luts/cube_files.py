"""LUT files with the ending .cube, as Adobe's specification 1.0 has them and as DaVinci Resolve does."""

import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..command.whole_files import write_whole_file
from ..methods.transform import Transform
from .cube import UNIT, Cube, Range, cube_of

SUFFIX = ".cube"
"""The ending of a file's name."""
LARGEST_FILE = 1 << 29
"""How many bytes of a file are read: more than a table of 256 points takes, with 6 digits."""

# What Adobe's specification allows.
_MOST_ENTRIES, _MOST_POINTS = 65536, 256
_LONGEST_LINE = 1 << 16
# Beyond this, a number is none in single precision.
_GREATEST = 3e38
# Keywords and how many numbers follow each.
_SIZES = {"LUT_1D_SIZE": _MOST_ENTRIES, "LUT_3D_SIZE": _MOST_POINTS}
_RANGES = {"DOMAIN_MIN": 3, "DOMAIN_MAX": 3, "LUT_1D_INPUT_RANGE": 2, "LUT_3D_INPUT_RANGE": 2}


def read_cube(path: str | os.PathLike[str]) -> Cube:
    """Read a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not as the specification has it; the line that is wrong is named.
    """
    path = Path(path)
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > LARGEST_FILE:
            raise ValueError(f"{path}: expected a file of at most {LARGEST_FILE >> 20} MiB, got more")
        return _File(path).read(file)


def write_cube(path: str | os.PathLike[str], transform: Transform, size: int = 33, title: str = "") -> None:
    """Write a transform to a file, which is complete or not there at all; see :func:`cube_of`.

    Raises:
        OSError: it cannot be written.
        ValueError: the transform cannot be a LUT of this ``size``, or the title is not a line without quotation marks.
    """
    check_title(title)
    write_whole_file(Path(path), cube_text(cube_of(transform, size, title)).encode())


def check_title(title: str) -> None:
    """Raise an error unless ``title`` can stand between quotation marks in one line."""
    if not title.isprintable() or '"' in title:
        raise ValueError(f"title: expected a line without quotation marks, got {title!r}")


def cube_text(cube: Cube) -> str:
    """What is written: curves or a table over [0, 1], with red the fastest."""
    lines = [f"# Made by comfyui-histogram-match {__version__}"]
    if cube.title:
        lines.append(f'TITLE "{cube.title}"')
    tables = [("LUT_1D_SIZE", cube.curves), ("LUT_3D_SIZE", cube.table)]
    lines += [f"{keyword} {table.shape[-1]}" for keyword, table in tables if table is not None]
    return "\n".join([*lines, *(_rows(table) for _, table in tables if table is not None)])


def _rows(table: Tensor) -> str:
    # Without the sign of zeros.
    values = np.round(table.flatten(1).t().numpy(), 6) + 0.0
    return ("%.6f %.6f %.6f\n" * len(values)) % tuple(values.ravel().tolist())


@dataclass
class _File:
    """A file as far as it has been read: how many lines, what its keywords say, and the numbers of its rows."""

    path: Path
    line: int = 0
    title: str = ""
    keywords: dict[str, list[float]] = field(default_factory=dict)
    places: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    values: "array[float]" = field(default_factory=lambda: array("d"))

    def read(self, file: BinaryIO) -> Cube:
        """Take line after line."""
        rows = 0
        for text, words in self._lines(file):
            if not rows and words[0][:1].isalpha() and not words[0].lower().startswith((b"nan", b"inf")):
                self._take_keyword(text, words)
                continue
            rows = rows or self._expected_rows(text)
            if len(self.values) == 3 * rows:
                self._refuse(f"{rows} rows and then the end of the file", text)
            self._take_row(text, words)
        rows = rows or self._expected_rows(b"the end of the file")
        if len(self.values) < 3 * rows:
            self._refuse(f"{rows} rows of three numbers", b"%d and the end of the file" % (len(self.values) // 3))
        return self._cube()

    def _lines(self, file: BinaryIO) -> Iterator[tuple[bytes, list[bytes]]]:
        """Each line that says something, and its words."""
        while text := file.readline(_LONGEST_LINE):
            self.line += 1
            if self.line == 1:
                text = text.removeprefix(b"\xef\xbb\xbf")
            if len(text) == _LONGEST_LINE or b"\0" in text:
                self._refuse(f"text, in lines of less than {_LONGEST_LINE} bytes", text)
            words = text.split()
            if words and not words[0].startswith(b"#"):
                yield text, words

    def _take_keyword(self, text: bytes, words: list[bytes]) -> None:
        # Quotation marks may follow at once.
        keyword = words[0].upper().decode("ascii", "replace").partition('"')[0]
        if keyword in self.keywords:
            self._refuse(f"{keyword} once", text)
        self.places[keyword] = (self.line, text)
        if keyword == "TITLE":
            self.keywords[keyword] = []
            self.title = text.strip()[len(keyword) :].strip().decode("utf-8", "replace").strip('"')
        elif keyword in _SIZES:
            most = _SIZES[keyword]
            if len(words) != 2 or not words[1].isdigit() or not 2 <= int(words[1][:9]) <= most:
                self._refuse(f"{keyword} and a whole number from 2 to {most}", text)
            self.keywords[keyword] = [int(words[1])]
        elif keyword in _RANGES:
            numbers = self._numbers(words[1:])
            if numbers is None or len(numbers) != _RANGES[keyword]:
                self._refuse(f"{keyword} and {_RANGES[keyword]} finite numbers", text)
            self.keywords[keyword] = numbers
        else:
            self._refuse(f"three numbers or one of TITLE, {', '.join((*_SIZES, *_RANGES))}", text)

    def _expected_rows(self, text: bytes) -> int:
        """How many rows there are to be, at the first of them; what the keywords say together is looked at here."""
        sizes = [self.keywords.get(keyword) for keyword in _SIZES]
        if sizes == [None, None]:
            self._refuse(f"{' or '.join(_SIZES)} before the first row", text)
        for group in (("DOMAIN_MIN", "DOMAIN_MAX"), ("LUT_1D_INPUT_RANGE",), ("LUT_3D_INPUT_RANGE",)):
            low, high = self._domain() if len(group) == 2 else self._input_range(group[0])
            if not all(first < last for first, last in zip(low, high, strict=True)):
                self._refuse_keyword("a range that ends above its beginning", group)
        domain, inputs = (
            [keyword for keyword in _RANGES if keyword in self.keywords and keyword.startswith(kind)] for kind in "DL"
        )
        if domain and inputs:
            self._refuse_keyword("either DOMAIN_MIN and DOMAIN_MAX or ranges of input", (*domain, *inputs))
        if domain and None not in sizes:
            self._refuse_keyword("ranges of input where there are curves and a table", domain)
        return sum(int(size[0]) ** power for size, power in zip(sizes, (1, 3), strict=True) if size)

    def _take_row(self, text: bytes, words: list[bytes]) -> None:
        numbers = self._numbers(words)
        if numbers is None or len(numbers) != 3:
            self._refuse("three finite numbers", text)
        self.values.extend(numbers)

    def _numbers(self, words: list[bytes]) -> list[float] | None:
        """The words as finite numbers; None if they are no such."""
        try:
            numbers = list(map(float, words))
        except ValueError:
            return None
        # Python takes 1_000 for a number. What is not finite makes the sum so.
        finite = sum(map(abs, numbers)) < _GREATEST
        return numbers if finite and not any(b"_" in word for word in words) else None

    def _domain(self) -> Range:
        return self.keywords.get("DOMAIN_MIN", UNIT[0]), self.keywords.get("DOMAIN_MAX", UNIT[1])

    def _input_range(self, keyword: str) -> Range:
        low, high = self.keywords.get(keyword, (0.0, 1.0))
        return (low,) * 3, (high,) * 3

    def _cube(self) -> Cube:
        rows = torch.from_numpy(np.frombuffer(self.values).reshape(-1, 3).astype(np.float32)).t()
        has_domain = any(keyword.startswith("DOMAIN") for keyword in self.keywords)
        curve_range, table_range = (
            self._domain() if has_domain else self._input_range(f"LUT_{kind}D_INPUT_RANGE") for kind in (1, 3)
        )
        entries, points = (int(self.keywords.get(keyword, [0])[0]) for keyword in _SIZES)
        return Cube(
            self.title,
            rows[:, :entries].contiguous() if entries else None,
            curve_range,
            rows[:, entries:].reshape(3, points, points, points).contiguous() if points else None,
            table_range,
        )

    def _refuse_keyword(self, expected: str, keywords: Iterable[str]) -> NoReturn:
        """Name the last line with one of these keywords."""
        self.line, text = max(self.places[keyword] for keyword in keywords if keyword in self.places)
        self._refuse(expected, text)

    def _refuse(self, expected: str, text: bytes) -> NoReturn:
        shown = text.strip().decode("utf-8", "replace")
        raise ValueError(f"{self.path}: line {max(1, self.line)}: expected {expected}, got {shown[:60]!r}")
