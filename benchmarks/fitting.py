"""Peak memory and time of fitting a transform to a clip and of applying it, in frames beyond clip and result. Linux only.

Each measurement is a process of its own: 300 frames of 720p, float32. Aligned methods are fitted to as many reference frames,
the others to one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from functools import partial

import torch
from comfyui_histogram_match import METHODS
from measures import RETURN_FREED_MEMORY

FITTED = tuple(name for name, method in METHODS.items() if not method.per_frame_only)

# Resets the peak when the clip is there and everything is imported.
SCRIPT = """
import json, sys, time
from pathlib import Path
import torch
from comfyui_histogram_match import METHODS, fit_transform

def status(field):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))

def clip(count, height, width):
    frames = torch.empty(count, height, width, 3)
    for index, frame in enumerate(frames):
        frame.copy_(torch.rand(height, width, 3, generator=torch.Generator().manual_seed(index)))
    return frames

def peak(call):
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    result = call()
    return result, 1024 * (status("VmHWM") - before), time.perf_counter() - started

count, height, width, method, space = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
with torch.inference_mode():
    small = clip(2, 64, 64)
    fit_transform(small, small, method, color_space=space).apply(small)
    image = clip(count, height, width)
    reference = image.flip(0) if METHODS[method].aligned else image[:1].clone()
    transform, fitting, fit_seconds = peak(lambda: fit_transform(image, reference, method, color_space=space))
    result, applying, apply_seconds = peak(lambda: transform.apply(image))
frame = image[0].nbytes
print(json.dumps({
    "fit": fitting / frame, "apply": (applying - result.nbytes) / frame,
    "fit seconds": fit_seconds, "apply seconds": apply_seconds, "frame": frame,
}))
"""


_start = partial(asyncio.create_subprocess_exec, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)


def measure(count: int, height: int, width: int, method: str, color_space: str = "rgb") -> dict[str, float]:
    """Peak memory in frames beyond what there is, and seconds, of one method in a process of its own."""

    async def run() -> tuple[int | None, bytes, bytes]:
        arguments = (str(count), str(height), str(width), method, color_space)
        process = await _start(sys.executable, "-c", SCRIPT, *arguments, env={**os.environ, **RETURN_FREED_MEMORY})
        answer, errors = await process.communicate()
        return process.returncode, answer, errors

    status, answer, errors = asyncio.run(run())
    if status:
        raise RuntimeError(f"{method}: {errors.decode()[-2000:]}")
    figures: dict[str, float] = json.loads(answer.splitlines()[-1])
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--methods", nargs="+", choices=FITTED, default=FITTED)
    parser.add_argument("--color-space", default="rgb")
    options = parser.parse_args()
    print("| method | fit, frames | seconds | apply, frames | seconds |\n| --- | --: | --: | --: | --: |")
    for method in options.methods:
        found = measure(options.frames, 720, 1280, method, options.color_space)
        print(
            f"| `{method}` | {found['fit']:.2f} | {found['fit seconds']:.1f} "
            f"| {found['apply']:.2f} | {found['apply seconds']:.1f} |",
            flush=True,
        )
    print(f"{options.frames} frames, torch {torch.__version__}, {torch.get_num_threads()} threads, {time.strftime('%F')}")


if __name__ == "__main__":
    main()
