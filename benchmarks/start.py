"""Measure how long the command and the import take before anything is matched.

Each row is the median over processes of their own. The import is measured beside that of torch alone in the same rounds. With
``--other``, another checkout of the pack is measured in turn; color-matcher's command, where it is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from apart import wait_for

ROOT = Path(__file__).parents[1]
MODULE = ("-m", "comfyui_histogram_match")
RUNS: dict[str, tuple[str, ...]] = {
    "`--help`": (*MODULE, "--help"),
    "an argument that makes no sense": (*MODULE, "shots", "--method", "x"),
    "a file that is not there": (*MODULE, "nope.jpg", "--reference", "nope.png", "--output", "out.jpg"),
    "`--demo`": (*MODULE, "--demo", "--overwrite"),
    "`import torch`": ("-c", "import torch"),
    "`import torch, comfyui_histogram_match`": ("-c", "import torch, comfyui_histogram_match"),
    "and `match_images` taken from it": ("-c", "import torch\nfrom comfyui_histogram_match import match_images"),
    "and everything public": ("-c", "import torch\nfrom comfyui_histogram_match import *"),
}


def seconds(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """How long a command takes."""
    started = time.perf_counter()
    wait_for(command, folder, environment)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--other", type=Path, help="the folder of another checkout, named comfyui_histogram_match")
    options = parser.parse_args()
    matcher = shutil.which("color-matcher", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "this").mkdir()
        (folder / "this" / "comfyui_histogram_match").symlink_to(ROOT)
        packs = {"this pack": folder / "this"}
        if options.other is not None:
            packs["the other checkout"] = options.other.resolve().parent
        systems = {
            (row, pack): ([sys.executable, *run], {**os.environ, "PYTHONPATH": str(path)})
            for row, run in RUNS.items()
            for pack, path in packs.items()
        }
        if matcher is not None:
            systems["`--help`", "color-matcher"] = ([matcher, "--help"], dict(os.environ))
        times: dict[tuple[str, str], list[float]] = {system: [] for system in systems}
        for _ in range(options.rounds + 1):
            for system, (command, environment) in systems.items():
                times[system].append(seconds(command, folder, environment))
    columns = [*packs, *(["color-matcher"] if matcher else [])]
    print(f"| seconds | {' | '.join(columns)} |\n| --- |{' --: |' * len(columns)}")
    for row in RUNS:
        # The first time reads files from disk and writes bytecode.
        medians = [statistics.median(times[row, column][1:]) if (row, column) in times else None for column in columns]
        print(f"| {row} | {' | '.join('' if median is None else f'{median:.2f}' for median in medians)} |")


if __name__ == "__main__":
    main()
