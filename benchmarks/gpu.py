"""Measure every method on a GPU: frames per second, peak memory on the device, and how far the result is from the CPU's.

    python benchmarks/gpu.py

Run it with the Python whose torch knows the GPU, such as ComfyUI's; the pack need not be installed there. It takes what torch
has: CUDA and ROCm, MPS, XPU, or DirectML by torch-directml. ComfyUI's Transfer Color is measured where a ComfyUI is found as
the tests find it, kornia where it is installed. Frames are in the CPU's memory before and after, where ComfyUI keeps them
between nodes, so that transfers count. The figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import compare  # noqa: E402
from apart import find_comfyui, load_pack  # noqa: E402
from video import look, moving  # noqa: E402

SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}
TRANSFER_COLOR = ("histogram", "reinhard_lab", "mkl_lab")
MEGABYTE = 1 << 20

Match = Callable[[Tensor, Tensor], Tensor]


def find_device(name: str | None) -> torch.device:
    """The device of this name, by default the GPU that torch or torch-directml has; ends the script where there is none."""
    if name is not None:
        return torch.device(name)
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is not None:
        return found
    if importlib.util.find_spec("torch_directml"):
        import torch_directml

        directml: torch.device = torch_directml.device()
        return directml
    raise SystemExit("torch finds no GPU here; --device cpu shows what would be measured")


def systems(device: torch.device) -> dict[str, tuple[Match, Match | None]]:
    """What is measured, and for the pack what the CPU does in its place, by what the table calls it."""
    pack = load_pack()
    found: dict[str, tuple[Match, Match | None]] = {
        f"**this pack, `{method}`**": (
            partial(pack.match_images, method=method, device=device),
            partial(pack.match_images, method=method, device="cpu"),
        )
        for method in pack.METHODS
    }
    if importlib.util.find_spec("kornia"):
        found["kornia `histogram_matching`, channel by channel"] = partial(kornia, device=device), None
    else:
        print("no kornia found, it is left out", file=sys.stderr)
    comfyui = find_comfyui()
    if comfyui is None:
        print("no ComfyUI found, its node is left out", file=sys.stderr)
        return found
    sys.path.insert(0, str(comfyui))
    try:
        from comfy.cli_args import args

        args.cpu = device.type == "cpu"
        from comfy_extras.nodes_post_processing import ColorTransfer
    except ImportError as error:
        print(f"ComfyUI does not load in this Python, its node is left out: {error}", file=sys.stderr)
        return found

    def transfer_color(image: Tensor, reference: Tensor, method: str) -> Tensor:
        result: Tensor = ColorTransfer.execute(image, reference, method, {"source_stats": "per_frame"}, 1.0).args[0]
        return result

    for method in TRANSFER_COLOR:
        found[f"ComfyUI Transfer Color `{method}`"] = partial(transfer_color, method=method), None
    return found


def kornia(image: Tensor, reference: Tensor, device: torch.device) -> Tensor:
    """Match frame by frame, since kornia has none."""
    match, target = compare.kornia(), reference.to(device)
    return torch.cat([match(frame.to(device), target).cpu() for frame in image.split(1)])


def memory_of(device: torch.device) -> Any:
    """What tells of memory on the device, where torch has something that knows its peak: CUDA, ROCm and XPU."""
    module = getattr(torch, device.type, None)
    return module if hasattr(module, "max_memory_allocated") else None


def frames_per_second(match: Match, clip: Tensor, reference: Tensor, rounds: int) -> float:
    """The median over the rounds. A result in the CPU's memory is complete, so that there is nothing to wait for."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        match(clip, reference)
        times.append(time.perf_counter() - started)
    return len(clip) / statistics.median(times)


def row(match: Match, on_cpu: Match | None, clip: Tensor, reference: Tensor, device: torch.device, rounds: int) -> list[str]:
    """Frames per second, peak memory in MB, and the mean and the largest difference to the CPU in 8-bit levels."""
    memory = memory_of(device)
    matched = match(clip[:1], reference)  # loads code, allocates
    if memory is not None:
        memory.reset_peak_memory_stats()
    fps = frames_per_second(match, clip, reference, rounds)
    peak = "-" if memory is None else f"{memory.max_memory_allocated() / MEGABYTE:,.0f}"
    if on_cpu is None:
        return [f"{fps:,.1f}", peak, "-", "-"]
    difference = (matched.cpu() - on_cpu(clip[:1], reference)).abs() * 255
    return [f"{fps:,.1f}", peak, f"{float(difference.mean()):.3f}", f"{float(difference.max()):.2f}"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="as torch names it; by default the GPU that there is")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["720p", "1080p", "4K"])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="systems whose names hold this")
    options = parser.parse_args()
    # Each time the CPU has done the work since the device has too little memory.
    warnings.simplefilter("always")
    device = find_device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    print(f"{name}, torch {torch.__version__}, {options.frames} frames, {options.rounds} rounds\n")
    print("| | | frames per second | peak MB on the device | levels from the CPU, mean | at most |")
    print("| --- | --- | --: | --: | --: | --: |")
    chosen = {system: pair for system, pair in systems(device).items() if options.only in system}
    with torch.inference_mode():
        for size in options.sizes:
            width, height = SIZES[size]
            clip, reference = moving(options.frames, width, height, "8-bit"), look(width, height, "8-bit")
            for system, (match, on_cpu) in chosen.items():
                try:
                    cells = row(match, on_cpu, clip, reference, device, options.rounds)
                except (RuntimeError, TypeError) as error:
                    # An operation or a type that the device does not have, or memory.
                    cells = [f"fails: {str(error).splitlines()[0]}", "-", "-", "-"]
                print(f"| {size} | {system} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
