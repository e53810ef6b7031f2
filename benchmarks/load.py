"""Measure how steady the pack is under load: times on an idle machine and with an endless loop on each core beside it.

Pictures are squares with continuous values; with ``--video``, clips are 48 frames of 720p. Each measurement is a process of its
own that measures idle first and then, with the loops running, once more. The rounds go through all systems in turn, so that a
noisy minute does not fall on one of them, and the table shows medians over the rounds. ComfyUI's Transfer Color is measured
where a real ComfyUI is found, in its Python, and the pack there as well.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from against import load_checkout  # noqa: E402
from apart import has_comfyui, run_apart  # noqa: E402
from compare import picture, scikit_image  # noqa: E402
from video import look, moving  # noqa: E402

NAMES = {
    "pack": "**this pack**",
    "other": "the other checkout",
    "skimage": "scikit-image `match_histograms`",
    "pack in ComfyUI": "**this pack in ComfyUI's Python**",
    "other in ComfyUI": "the other checkout in ComfyUI's Python",
    "comfyui": "ComfyUI Transfer Color `histogram`",
}
IN_COMFYUI = ("pack in ComfyUI", "other in ComfyUI", "comfyui")
STATS = ("per_frame", "uniform", "smoothed")
FRAMES = 48


@contextmanager
def endless_loops() -> Iterator[None]:
    """Keep each core busy."""
    # Forked, since a new interpreter would first have to import this script.
    loops = [get_context("fork").Process(target=_loop, daemon=True) for _ in range(os.cpu_count() or 1)]
    for loop in loops:
        loop.start()
    try:
        time.sleep(0.5)  # until they run
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.join()


def _loop() -> None:
    """Never end, as long as the process that has started this lives."""
    parent = os.getppid()
    while os.getppid() == parent:
        for _ in range(1_000_000):
            pass


def matcher(system: str, method: str, source_stats: str, other: Path | None) -> Callable[[Tensor, Tensor], object]:
    """What a system does."""
    if system == "skimage":
        return scikit_image()
    if system == "comfyui":
        from comfy.cli_args import args

        args.cpu = True
        from comfy_extras.nodes_post_processing import ColorTransfer

        return lambda image, reference: ColorTransfer.execute(
            image, reference, "histogram", {"source_stats": source_stats}, 1.0
        )
    folder = other if system.startswith("other") else ROOT
    assert folder is not None
    match_images = load_checkout(folder).match_images
    return lambda image, reference: match_images(image, reference, method, source_stats=source_stats)


def milliseconds(call: Callable[[], object]) -> float:
    """The median of 3 to 20 calls, which take about a second if 20 do not take less."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 1 and len(times) < 20):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def measure(system: str, what: str, options: argparse.Namespace) -> list[float]:
    """Milliseconds of one system in this process, idle and under load: of pictures of a size, or of a clip in a mode."""
    match = matcher(system, options.method, what if options.video else STATS[0], options.other)
    if options.video:
        image, reference = moving(FRAMES, 1280, 720, "continuous"), look(1280, 720, "continuous")
    else:
        image, reference = (picture(name, int(what), "continuous") for name in ("astronaut", "coffee"))
    with torch.inference_mode():
        match(image, reference)  # loads code, starts threads, touches memory
        idle = milliseconds(lambda: match(image, reference))
        with endless_loops():
            return [idle, milliseconds(lambda: match(image, reference))]


def measure_apart(system: str, what: str, options: argparse.Namespace) -> list[float]:
    """Call :func:`measure` in a process of its own."""
    arguments = ["--measure", system, what, "--method", options.method]
    arguments += ["--video"] if options.video else []
    arguments += ["--other", str(options.other)] if options.other else []
    figures: list[float] = run_apart(__file__, arguments, system in IN_COMFYUI)
    return figures


def chosen_systems(options: argparse.Namespace) -> list[str]:
    """The systems that can be measured here."""
    systems = [name for name in NAMES if options.other or not name.startswith("other")]
    if options.video:
        systems.remove("skimage")
    if not has_comfyui():
        print("no ComfyUI found, its node is left out", file=sys.stderr)
        systems = [system for system in systems if system not in IN_COMFYUI]
    return [system for system in systems if system in options.systems]


def table(figures: dict[tuple[str, str], list[list[float]]], video: bool) -> str:
    """The medians over the rounds as a Markdown table."""
    unit = "frames per second" if video else "ms"
    lines = [f"| | | idle, {unit} | under load, {unit} | times the time |", "| --- | --- | --: | --: | --: |"]
    for (what, system), rounds in figures.items():
        idle, loaded = (statistics.median(times) for times in zip(*rounds, strict=True))
        shown = [1000 * FRAMES / idle, 1000 * FRAMES / loaded] if video else [idle, loaded]
        cells = [what if video else f"{what}²", NAMES[system], *(f"{value:,.0f}" for value in shown), f"{loaded / idle:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="the folder of another checkout, to measure as well")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--method", default="pytorch", help="of the pack")
    parser.add_argument("--video", action="store_true", help="clips in place of pictures")
    parser.add_argument("--systems", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure, options)))
        return
    figures: dict[tuple[str, str], list[list[float]]] = {}
    systems = chosen_systems(options)
    for _ in range(options.rounds):
        for what in STATS if options.video else map(str, options.sizes):
            for system in systems:
                # Transfer Color does not smooth.
                if system == "comfyui" and what == "smoothed":
                    continue
                times = measure_apart(system, what, options)
                figures.setdefault((what, system), []).append(times)
                print(f"{what}, {system}: {times[0]:.1f} ms idle, {times[1]:.1f} ms under load", file=sys.stderr)
    print(f"{options.method}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(table(figures, options.video))


if __name__ == "__main__":
    main()
