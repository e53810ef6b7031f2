"""Measure a LUT of 33 points beside its peers: times on an idle machine and with an endless loop on each core beside it.

The picture is a photo of 1024 x 1024. color-matcher's mkl finds and applies its map anew for each picture; Pillow applies the
very table of this pack, which pillow-lut loads, to a picture of 8 bits. Each measurement is a process of its own, as in
load.py, and the table shows medians over the rounds. The peers come with the extra for benchmarks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from apart import load_pack, run_apart  # noqa: E402
from compare import picture  # noqa: E402
from load import endless_loops, milliseconds  # noqa: E402

SIZE, POINTS = 1024, 33
NAMES = {
    "pack": "**this pack, a table applied**",
    "pillow-lut": "pillow-lut, the same table, 8 bits",
    "color-matcher": "color-matcher `mkl`, measured and applied",
}


def look(path: Path) -> Callable[[], object]:
    """Write a LUT that is no linear map, and give what applies it by this pack."""
    load_pack()
    from comfyui_histogram_match.luts.color_table import ColorTable, color_grid
    from comfyui_histogram_match.luts.cube_files import read_cube, write_cube
    from comfyui_histogram_match.methods.color_space import ColorSpace
    from comfyui_histogram_match.methods.transform import Transform

    grid = color_grid(POINTS)
    write_cube(path, Transform(ColorSpace("rgb"), (ColorTable(0.9 * grid**0.8 + 0.1 * grid.flip(0)),)), POINTS)
    transform = read_cube(path).transform()
    pixels = picture("astronaut", SIZE, "continuous")[0].movedim(-1, 0)
    return lambda: transform.apply(pixels)


def pillow(path: Path) -> Callable[[], object]:
    """The same by Pillow."""
    import pillow_lut

    look(path)
    table = pillow_lut.load_cube_file(str(path))
    image = Image.fromarray((picture("astronaut", SIZE, "8-bit")[0] * 255).round().byte().numpy())
    return lambda: image.filter(table)


def color_matcher() -> Callable[[], object]:
    """A match of the picture with another."""
    from color_matcher import ColorMatcher

    image, reference = (picture(name, SIZE, "continuous")[0].numpy() for name in ("astronaut", "coffee"))
    return lambda: np.asarray(ColorMatcher().transfer(src=image, ref=reference, method="mkl"))


def measure(system: str) -> list[float]:
    """Milliseconds of one system in this process, idle and under load."""
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / "look.cube"
        call = color_matcher() if system == "color-matcher" else (look if system == "pack" else pillow)(path)
        call()  # loads code, starts threads, touches memory
        idle = milliseconds(call)
        with endless_loops():
            return [idle, milliseconds(call)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=list(NAMES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    figures: dict[str, list[list[float]]] = {system: [] for system in NAMES}
    for _ in range(options.rounds):
        for system, rounds in figures.items():
            rounds.append(run_apart(__file__, ["--measure", system], False))
            print(f"{system}: {rounds[-1][0]:.1f} ms idle, {rounds[-1][1]:.1f} ms under load", file=sys.stderr)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {SIZE} x {SIZE}, {POINTS} points")
    print("| | idle, ms | under load, ms |\n| --- | --: | --: |")
    for system, rounds in figures.items():
        idle, loaded = (statistics.median(times) for times in zip(*rounds, strict=True))
        print(f"| {NAMES[system]} | {idle:.1f} | {loaded:.1f} |")


if __name__ == "__main__":
    main()
