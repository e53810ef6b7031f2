"""Make the pictures of the workflow templates of what they show in a real ComfyUI, which is started for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import STDOUT, Popen
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from comfyui_location import find_comfyui, find_python  # noqa: E402
from comfyui_server import ComfyUI, free_port, make_base_directory  # noqa: E402
from workflows import TEMPLATES, read, run_workflow  # noqa: E402

# The template browser shows squares.
SIDE = 400
GAP = 4

Shown = dict[str, np.ndarray]


@contextmanager
def comfyui(base: Path) -> Iterator[ComfyUI]:
    """A server on the CPU with a base directory of its own."""
    folder = find_comfyui()
    python = folder and find_python(folder)
    if folder is None or python is None:
        raise SystemExit("no ComfyUI with a Python of its own: set COMFYUI_PATH and COMFYUI_PYTHON")
    make_base_directory(base)
    port, log = free_port(), base / "log"
    command = [python, folder / "main.py", "--cpu", "--port", str(port), "--base-directory", base, "--disable-auto-launch"]
    with log.open("wb") as written, Popen(command, stdout=written, stderr=STDOUT) as process:
        while "To see the GUI go to" not in log.read_text():
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.2)
        server = ComfyUI(port, base, log, process.pid)
        yield server
        server.close()
        process.terminate()


def split(*titles: str) -> Callable[[Shown], Image.Image]:
    """One picture in several states, of which each takes a part of the width."""

    def draw(shown: Shown) -> Image.Image:
        square = _white()
        edges = [round(SIDE * part / len(titles)) for part in range(len(titles) + 1)]
        for title, left, right in zip(titles, edges, edges[1:], strict=False):
            box = (left + GAP // 2 * (left > 0), 0, right - GAP // 2 * (right < SIDE), SIDE)
            square.paste(_fitted(shown[title][0], SIDE, SIDE).crop(box), box[:2])
        return square

    return draw


def rows(*rows_of_pictures: list[tuple[str, int]]) -> Callable[[Shown], Image.Image]:
    """Rows of pictures, each given by its title and the number of its frame; rows with fewer pictures are higher."""

    def draw(shown: Shown) -> Image.Image:
        square, top = _white(), 0
        shares = [1 / len(row) for row in rows_of_pictures]
        for row, share in zip(rows_of_pictures, shares, strict=True):
            height = round((SIDE - GAP * (len(shares) - 1)) * share / sum(shares))
            width = (SIDE - GAP * (len(row) - 1)) / len(row)
            for place, (title, frame) in enumerate(row):
                left, right = round(place * (width + GAP)), round(place * (width + GAP) + width)
                square.paste(_fitted(shown[title][frame], right - left, height), (left, top))
            top += height + GAP
        return square

    return draw


def _white() -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), "white")


def _fitted(picture: np.ndarray, width: int, height: int) -> Image.Image:
    """The middle of a picture, at a size."""
    return ImageOps.fit(Image.fromarray(picture), (width, height), Image.Resampling.LANCZOS)


LAYOUTS = {
    "Match two photos": split("As it is", "The cat in the colors of the coffee"),
    "Compare methods side by side": rows(
        [("pytorch", 0), ("reinhard", 0)], [("mkl", 0), ("hm-mkl-hm", 0)], [("sliced", 0), ("exact", 0)]
    ),
    "Match a clip without flicker": rows([("Above frame by frame, below smoothed", frame) for frame in (0, 15)]),
    "Match only the sky": split("As it was", "A sky in the colors of the coffee"),
    "Repair the tone of an inpainting": split("Edited: tinted all over", "Repaired: in the tone of the original"),
    "Continue a clip without drift": rows([("Above as it came, below repaired", frame) for frame in (15, 16)]),
    "Equalize a photo": split("As it is", "Stretched", "Equalized"),
    "One look from many references": rows(
        [(f"{number} reference", 0) for number in ("First", "Second", "Third")], [("In the look of all three", 0)]
    ),
    "Grade and export a LUT": rows([("Graded", 0), ("In the same look", 0)]),
    "Plot histograms before and after": split("The plot, saved"),
    "Repair the tone of a tiled upscale": split("Upscaled: each tile in its own tone", "Repaired: in the tone of the original"),
    "Grade an EXR": split("As it is, cut off at 1", "Graded, cut off at 1"),
    "Equalize a clip in cells": rows([("Above as it is, below in cells", 0)]),
    "A long clip, one look": rows(
        [("As it is", 0), ("In the look of the reference", 0)], [("As it is", 47), ("In the look of the reference", 47)]
    ),
    "Touch up with curves": split("As it is", "By the curves"),
}

if __name__ == "__main__":
    assert LAYOUTS.keys() == {path.stem for path in TEMPLATES}
    with TemporaryDirectory() as folder, comfyui(Path(folder)) as server:
        for path in TEMPLATES:
            if len(sys.argv) == 1 or path.stem in sys.argv[1:]:
                picture = LAYOUTS[path.stem](run_workflow(server, read(path)))
                picture.save(path.with_suffix(".jpg"), quality=88)
