"""Compare this pack with its peers in one run: time, peak memory and the distance that is left to the reference.

The command line is described by the option for help. Each measurement is a process of its own. The rounds go through all
systems in turn, so that a noisy minute does not fall on one of them, and the table shows the medians over the rounds. Where
a real ComfyUI is found, as the tests find it, its node is measured in its own interpreter, and so that not the version of
torch decides, this pack is measured there as well. The other peers come with the extra for benchmarks, and the column of
memory is measured on Linux.
"""

from __future__ import annotations

import argparse
import json
import statistics
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
sys.path.insert(0, str(ROOT / "benchmarks"))
from apart import has_comfyui, load_pack, run_apart  # noqa: E402
from measures import RETURN_FREED_MEMORY, PeakMemory, wasserstein_1  # noqa: E402

Match = Callable[[Tensor, Tensor], Tensor]

# The predecessor needs seconds and gigabytes for a megapixel; the others are measured at every size.
LARGEST = {"predecessor": 1024}


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
    """A photo that scikit-image ships, scaled to a square, with the values of 8-bit files or with continuous ones."""
    photo = {"astronaut": data.astronaut, "coffee": data.coffee}[name]()
    image = torch.from_numpy(resize(photo, (size, size), order=1).astype(np.float32))[None]
    if content == "8-bit":
        return (image * 255).round() / 255
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(len(name))) * 0.004
    return (image + noise).clamp(0, 1)


def run_once(match: Match, image: Tensor, reference: Tensor) -> tuple[Tensor, float]:
    """The result and the seconds it took."""
    started = time.perf_counter()
    matched = match(image, reference)
    return matched, time.perf_counter() - started


def measure(system: str, size: int, content: str, memory: bool) -> dict[str, Any]:
    """Measure one system in this process: its time and what it leaves of the distance, or its peak memory."""
    image, reference = picture("astronaut", size, content), picture("coffee", size, content)
    match = SYSTEMS[system][1]()
    # After it has freed a large block once, as any process with a model in it has, glibc keeps freed memory at hand.
    torch.ones(1 << 23, dtype=torch.uint8).repeat(3)
    with torch.inference_mode(mode=system not in ("gradients", "predecessor")):
        part = slice(64 if system == "predecessor" else None)
        run_once(match, image[:, part, part], reference[:, part, part])  # loads code, starts threads
        if memory:
            with PeakMemory() as peak:
                matched, _ = run_once(match, image, reference)
            return {"frames": (peak.bytes - matched.nbytes) / image.nbytes}
        matched, first = run_once(match, image, reference)
        seconds = [first]
        while sum(seconds) < 2 and len(seconds) < 20:
            seconds.append(run_once(match, image, reference)[1])
    figures: dict[str, Any] = {"milliseconds": 1000 * statistics.median(seconds)}
    if size <= 1024:
        figures["w1"] = (255 * wasserstein_1(matched, reference)).tolist()
        figures["untouched"] = (255 * wasserstein_1(image, reference)).tolist()
    return figures


def measure_apart(system: str, size: int, content: str, memory: bool = False) -> dict[str, Any]:
    """Call :func:`measure` in a process of its own."""
    arguments = ["--measure", system, "--sizes", str(size), "--content", content]
    if memory:
        arguments.append("--memory")
    return run_apart(__file__, arguments, system in IN_COMFYUI, RETURN_FREED_MEMORY if memory else {})


def memory_size(sizes: list[int]) -> int:
    """The size at which memory is measured."""
    return min(sizes, key=lambda size: abs(size - 2048))


def table(figures: dict[tuple[str, int], list[dict[str, Any]]], systems: list[str], sizes: list[int]) -> str:
    """The medians as a Markdown table."""

    def median(system: str, size: int, key: str) -> float | None:
        values = [entry[key] for entry in figures.get((system, size), []) if key in entry]
        return statistics.median(values) if values else None

    shown_memory = memory_size(sizes)
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
        return statistics.median([entry["milliseconds"] for entry in figures[system, size] if "milliseconds" in entry])

    lines = []
    for system in systems:
        if "pack" in system or system == "gradients" or size > LARGEST.get(system, size):
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
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.sizes[0], options.content, options.memory)))
        return
    systems = options.systems
    if not has_comfyui():
        print("no ComfyUI found, its node is left out", file=sys.stderr)
        systems = [system for system in systems if system not in IN_COMFYUI]
    tasks = [(system, size, False) for _ in range(options.rounds) for size in options.sizes for system in systems]
    tasks += [(system, memory_size(options.sizes), True) for system in systems]
    figures: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for system, size, memory in tasks:
        if size > LARGEST.get(system, size):
            continue
        entry = measure_apart(system, size, options.content, memory)
        figures.setdefault((system, size), []).append(entry)
        print(f"{system} at {size}: {entry}", file=sys.stderr)
    print(f"{options.content} content, torch {torch.__version__}, {torch.get_num_threads()} threads, numpy {np.__version__}")
    first = next((entries[0] for entries in figures.values() if "untouched" in entries[0]), None)
    if first:
        print("W1 untouched: " + " / ".join(f"{level:.2f}" for level in first["untouched"]))
    text = table(figures, systems, options.sizes)
    print(text)
    for size in options.sizes:
        print(f"\nat {size} x {size}:\n{ratios(figures, systems, size)}")
    if options.markdown:
        options.markdown.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
