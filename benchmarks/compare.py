"""This pack beside its peers, in one run: time, peak memory and what is left of the distance to the reference.

    python benchmarks/compare.py [--sizes 512 1024 2048 4096] [--content continuous] [--rounds 3] [--markdown FILE]

Each measurement is a process of its own. The rounds go through all systems in turn, so that a noisy minute does not fall on
one of them, and the medians over all rounds are printed. ComfyUI's own node, where a ComfyUI is found as the tests find it,
runs in ComfyUI's Python; so that versions of torch do not decide, this pack runs there as well.

Needs the extra ``benchmark`` and, for the column of memory, Linux.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage import data
from skimage.transform import resize
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]
from comfyui_server import find_comfyui, find_python  # noqa: E402
from measures import PeakMemory, wasserstein_1  # noqa: E402


def load_pack() -> Any:
    """This checkout as a package, in a Python where it is not installed."""
    spec = importlib.util.spec_from_file_location("comfyui_histogram_match", ROOT / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["comfyui_histogram_match"] = package
    spec.loader.exec_module(package)
    return package


Match = Callable[[Tensor, Tensor], Tensor]

# The predecessor needs seconds and gigabytes for a megapixel; the others are measured at every size.
LARGEST = {"predecessor": 1024}
SLOW = ("predecessor",)


def this_pack() -> Match:
    match: Match = load_pack().match_images
    return match


def this_pack_with_gradients() -> Match:
    module = load_pack().HistogramMatching()

    def match(image: Tensor, reference: Tensor) -> Tensor:
        with torch.enable_grad():
            planes = [frames.movedim(-1, 1).requires_grad_() for frames in (image.clone(), reference.clone())]
            result = module(*planes)
            result.square().mean().backward()
        return result.detach().movedim(1, -1)

    return match


def scikit_image() -> Match:
    from skimage.exposure import match_histograms

    return lambda image, reference: torch.from_numpy(match_histograms(image[0].numpy(), reference[0].numpy(), channel_axis=2))[
        None
    ]


def predecessor() -> Match:
    from pytorch_histogram_matching import Histogram_Matching

    module = Histogram_Matching(differentiable=True)
    return lambda image, reference: module(image.movedim(-1, 1), reference.movedim(-1, 1)).detach().movedim(1, -1)


def kornia() -> Match:
    from kornia.contrib import histogram_matching

    def match(image: Tensor, reference: Tensor) -> Tensor:
        return torch.stack([histogram_matching(image[..., c], reference[..., c]) for c in range(3)], dim=-1)

    return match


def color_matcher() -> Match:
    from color_matcher import ColorMatcher

    matcher = ColorMatcher()
    return lambda image, reference: torch.from_numpy(
        np.asarray(matcher.transfer(src=image[0].numpy(), ref=reference[0].numpy(), method="hm"))
    )[None]


def comfyui_transfer_color() -> Match:
    from comfy.cli_args import args

    args.cpu = True
    from comfy_extras.nodes_post_processing import ColorTransfer

    def match(image: Tensor, reference: Tensor) -> Tensor:
        result: Tensor = ColorTransfer.execute(image, reference, "histogram", {"source_stats": "per_frame"}, 1.0).args[0]
        return result

    return match


SYSTEMS: dict[str, tuple[str, Callable[[], Match]]] = {
    "pack": ("**this pack, `match_images`**", this_pack),
    "gradients": ("**this pack, `HistogramMatching`, forward and backward**", this_pack_with_gradients),
    "skimage": ("scikit-image `match_histograms`", scikit_image),
    "predecessor": ("`pytorch-histogram-matching`, differentiable, forward alone", predecessor),
    "kornia": ("kornia `histogram_matching`, channel by channel", kornia),
    "color-matcher": ("color-matcher `hm`", color_matcher),
    "pack in ComfyUI": ("**this pack in ComfyUI's Python**", this_pack),
    "comfyui": ("ComfyUI Transfer Color `histogram`", comfyui_transfer_color),
}
IN_COMFYUI = ("pack in ComfyUI", "comfyui")


def picture(name: str, size: int, content: str) -> Tensor:
    """A photo of scikit-image's, scaled to ``size`` squared: float32 ``[1, size, size, 3]`` of 8-bit or continuous values."""
    image = torch.from_numpy(resize(getattr(data, name)(), (size, size), order=1).astype(np.float32))[None]
    if content == "8-bit":
        return (image * 255).round() / 255
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(len(name))) * 0.004
    return (image + noise).clamp(0, 1)


def measure(system: str, size: int, content: str) -> dict[str, Any]:
    """Time one system for a while, after one call that also measures memory and distance."""
    image, reference = picture("astronaut", size, content), picture("coffee", size, content)
    match = SYSTEMS[system][1]()
    with torch.inference_mode(mode=system not in ("gradients", "predecessor")):
        part = slice(64) if system in SLOW else slice(None)
        match(image[:, part, part], reference[:, part, part])  # loads code, starts threads
        with PeakMemory() as peak:
            started = time.perf_counter()
            matched = match(image, reference)
            seconds = [time.perf_counter() - started]
        while sum(seconds) < 2 and len(seconds) < 20:
            started = time.perf_counter()
            match(image, reference)
            seconds.append(time.perf_counter() - started)
    figures = {"milliseconds": 1000 * statistics.median(seconds), "frames": (peak.bytes - matched.nbytes) / image.nbytes}
    if size <= 1024:
        figures["w1"] = (255 * wasserstein_1(matched, reference)).tolist()
        figures["untouched"] = (255 * wasserstein_1(image, reference)).tolist()
    return figures


def measure_apart(system: str, size: int, content: str) -> dict[str, Any]:
    """Call :func:`measure` in a process of its own."""
    python, environment = sys.executable, dict(os.environ)
    if system in IN_COMFYUI:
        comfyui = find_comfyui()
        assert comfyui is not None
        python = str(find_python(comfyui))
        environment["PYTHONPATH"] = str(comfyui)
    run = subprocess.run(
        [python, __file__, "--measure", system, "--sizes", str(size), "--content", content],
        capture_output=True,
        text=True,
        env=environment,
    )
    if run.returncode:
        raise RuntimeError(f"{system} at {size}: {run.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return figures


def table(figures: dict[tuple[str, int], list[dict[str, Any]]], systems: list[str], sizes: list[int]) -> str:
    """The medians as a Markdown table."""

    def median(system: str, size: int, key: str) -> float | None:
        rounds = figures.get((system, size))
        return statistics.median(entry[key] for entry in rounds) if rounds else None

    shown_memory = min(sizes, key=lambda size: abs(size - 2048))
    shown_w1 = max((size for size in sizes if size <= 1024), default=None)
    header = ["", *(f"{size}² ms" for size in sizes), f"memory, {shown_memory}² frames", "W1 R / G / B, levels"]
    lines = [" | ".join(header), " | ".join(["---"] + ["--:"] * (len(header) - 1))]
    for system in systems:
        times = [median(system, size, "milliseconds") for size in sizes]
        memory = median(system, shown_memory, "frames")
        row = [SYSTEMS[system][0], *("" if value is None else f"{value:,.0f}" for value in times)]
        row.append("" if memory is None else f"{memory:.2f}")
        entries = figures.get((system, shown_w1), []) if shown_w1 else []
        row.append(" / ".join(f"{level:.2f}" for level in entries[0]["w1"]) if entries else "")
        lines.append(" | ".join(row))
    return "\n".join(f"| {line} |" for line in lines)


def ratios(figures: dict[tuple[str, int], list[dict[str, Any]]], systems: list[str], size: int) -> str:
    """How many times this pack is faster at one size, from the medians."""

    def milliseconds(system: str) -> float:
        return statistics.median(entry["milliseconds"] for entry in figures[system, size])

    lines = []
    for system in systems:
        if "pack" in system or system == "gradients" or (system, size) not in figures:
            continue
        ours = "pack in ComfyUI" if system == "comfyui" else "pack"
        lines.append(f"{SYSTEMS[system][0]}: {milliseconds(system) / milliseconds(ours):,.1f} x the time of `match_images`")
        if system == "predecessor" and ("gradients", size) in figures:
            times = milliseconds(system) / milliseconds("gradients")
            lines.append(f"{SYSTEMS[system][0]}: {times:,.1f} x the time of `HistogramMatching`, forward and backward")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--content", choices=["continuous", "8-bit"], default="continuous")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    parser.add_argument("--measure", choices=list(SYSTEMS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.sizes[0], options.content)))
        return
    systems = options.systems
    comfyui = find_comfyui()
    if comfyui is None or find_python(comfyui) is None:
        print("no ComfyUI found, its node is left out", file=sys.stderr)
        systems = [system for system in systems if system not in IN_COMFYUI]
    figures: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for size in options.sizes:
            for system in systems:
                if size > LARGEST.get(system, size):
                    continue
                entry = measure_apart(system, size, options.content)
                figures.setdefault((system, size), []).append(entry)
                print(f"{system} at {size}: {entry['milliseconds']:.1f} ms, {entry['frames']:.2f} frames", file=sys.stderr)
    print(f"{options.content} content, torch {torch.__version__}, {torch.get_num_threads()} threads, numpy {np.__version__}")
    untouched = next((entry[0]["untouched"] for entry in figures.values() if "untouched" in entry[0]), None)
    if untouched:
        print("W1 untouched: " + " / ".join(f"{level:.2f}" for level in untouched))
    text = table(figures, systems, options.sizes)
    print(text)
    for size in options.sizes:
        print(f"\nat {size} x {size}:\n{ratios(figures, systems, size)}")
    if options.markdown:
        options.markdown.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
