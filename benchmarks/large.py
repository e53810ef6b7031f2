"""Measure peak memory and time of every method on one large picture, here and in another checkout of the pack.

Each measurement is a process of its own that loads one picture and matches it once: by `match_images` from float32 tensors, and
by the command from a PNG file to a PNG file. What the process holds at its peak beyond what the imports take is given in
pictures, which are float32 in memory. So `match_images` cannot have less than 2, one for the image and one for the result, and
the size of the reference besides. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from skimage import data
from torch.nn.functional import interpolate

ROOT = Path(__file__).parents[1]
METHODS = ("pytorch", "skimage", "nearest", "exact", "reinhard", "mkl", "mvgd", "hm-mkl-hm", "hm-mvgd-hm", "sliced")
WAYS = ("match_images", "command")

# Run in a checkout: resets the peak, which the imports may have raised, when they are done.
LIBRARY = """
import json, sys, time
from pathlib import Path
import numpy as np, torch
from comfyui_histogram_match import match_images

def status(field):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))

image, reference, method, space = sys.argv[1:]
with torch.inference_mode():
    small = torch.rand(1, 64, 64, 3)
    match_images(small, small, method, color_space=space)
    before = status("VmRSS")
    image, reference = (torch.from_numpy(np.load(path)) for path in (image, reference))
    Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    match_images(image, reference, method, color_space=space)
    seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "bytes": 1024 * (status("VmHWM") - before), "before": 1024 * before}))
"""

# As the command, but for the report at its end.
COMMAND = """
import json, sys, time
from pathlib import Path

def status(field):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))

started = time.perf_counter()
try:
    from comfyui_histogram_match.command.run import main
    import comfyui_histogram_match.command.images, pyvips, torch
except ModuleNotFoundError:
    from comfyui_histogram_match.command import main
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
image, reference, method, space, output = sys.argv[1:]
assert main([image, "--reference", reference, "--output", output, "--method", method, "--color-space", space]) == 0
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "bytes": 1024 * (status("VmHWM") - before), "before": 1024 * before}))
"""


def write_picture(folder: Path, name: str, size: int) -> None:
    """A photo that scikit-image ships, scaled to a square, with noise: continuous as NPY and of 8 bits as PNG."""
    import pyvips

    photo = torch.from_numpy({"astronaut": data.astronaut, "coffee": data.coffee}[name]().astype(np.float32) / 255)
    pixels = interpolate(photo.movedim(-1, 0)[None], (size, size), mode="bilinear")[0].movedim(0, -1).contiguous()
    generator = torch.Generator().manual_seed(len(name))
    for stripe in pixels.split(256):
        stripe.add_(torch.randn(stripe.shape, generator=generator), alpha=0.004).clamp_(0, 1)
    np.save(folder / f"{name}{size}.npy", pixels[None].numpy())
    levels = (pixels * 255).round_().byte().numpy()
    pyvips.Image.new_from_array(levels, interpretation="srgb").write_to_file(str(folder / f"{name}{size}.png"), compression=1)


_start = partial(asyncio.create_subprocess_exec, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)


async def measure(checkout: Path, way: str, method: str, space: str, image: Path, reference: Path) -> dict[str, float]:
    """Measure one method of a checkout in a process of its own."""
    suffix = {"match_images": ".npy", "command": ".png"}[way]
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(image.with_suffix(suffix)), str(reference.with_suffix(suffix)), method, space]
        arguments += [f"{folder}/out.png"] if way == "command" else []
        process = await _start(
            *(sys.executable, "-c", {"match_images": LIBRARY, "command": COMMAND}[way], *arguments),
            env={**os.environ, "PYTHONPATH": str(checkout)},
        )
        answer, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{way} {method}: {errors.decode()[-2000:]}")
    figures: dict[str, float] = json.loads(answer.splitlines()[-1])
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8000)
    parser.add_argument("--reference-size", type=int, default=1024)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--color-space", default="rgb")
    parser.add_argument("--against", type=Path, help="the folder that holds another checkout, named comfyui_histogram_match")
    parser.add_argument("--package", type=Path, help="the folder through which this checkout is imported by that name")
    options = parser.parse_args()
    checkouts = [path for path in (options.against, options.package or Path(os.environ.get("PYTHONPATH", ROOT.parent))) if path]
    print("| | | " + " | ".join("pictures | seconds" for _ in checkouts) + " |")
    print("| --- | --- | " + " | ".join("--: | --:" for _ in checkouts) + " |")
    before = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, size in (("astronaut", options.size), ("coffee", options.reference_size)):
            write_picture(Path(folder), name, size)
        image, reference = (
            Path(folder, f"{name}{size}") for name, size in (("astronaut", options.size), ("coffee", options.reference_size))
        )
        for way in options.ways:
            for method in options.methods:
                cells = []
                for checkout in checkouts:
                    figures = asyncio.run(measure(checkout, way, method, options.color_space, image, reference))
                    before = figures["before"]
                    cells += [f"{figures['bytes'] / (options.size**2 * 12):.2f}", f"{figures['seconds']:.1f}"]
                print(f"| {way} | `{method}` | " + " | ".join(cells) + " |", flush=True)
    print(
        f"imports: {before / 1e6:.0f} MB, torch {torch.__version__}, {torch.get_num_threads()} threads, {time.strftime('%F')}"
    )


if __name__ == "__main__":
    main()
