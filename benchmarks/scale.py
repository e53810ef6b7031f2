"""Measure the command on several ranks: whether the files are the same, how much faster it gets, and the rates behind that.

200 photos of 2 megapixels, 8-bit PNG, ``--source-stats uniform``, each rank with one thread, medians. Beside it stands what
the machine gives to two processes that have nothing to do with one another: each matches half of the files. The rates are those
of one thread.
"""

from __future__ import annotations

import argparse
import asyncio
import filecmp
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from clips import photo
from comfyui_histogram_match import apply_transfer, cumulative_distribution, histogram, transfer_function
from comfyui_histogram_match.command.image_files import read_image, write_image
from comfyui_histogram_match.kernels.levels import LEVELS
from skimage import io

HEIGHT, WIDTH = 1200, 1600
NAMES = ("astronaut", "chelsea", "coffee", "rocket")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "VIPS_CONCURRENCY": "1"}
COMMAND = ("-m", "comfyui_histogram_match")

_start = partial(asyncio.create_subprocess_exec, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)


async def run(*commands: list[str]) -> float:
    """Run Python with each list of arguments at once, and return the seconds until the last has ended."""
    started = time.perf_counter()
    processes = [await _start(sys.executable, *arguments, env={**os.environ, **ONE_THREAD}) for arguments in commands]
    for process in processes:
        written, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(written.decode()[-2000:])
    return time.perf_counter() - started


async def output(arguments: list[str]) -> str:
    """Run Python with one thread and return what it has written."""
    process = await _start(sys.executable, *arguments, env={**os.environ, **ONE_THREAD})
    return (await process.communicate())[0].decode().rstrip()


def write_photos(folder: Path, count: int) -> list[Path]:
    """Write so many parts of photos."""
    folder.mkdir()
    large = [(photo(name, HEIGHT + 200, WIDTH + 200) * 255).round().byte().numpy() for name in NAMES]
    paths = []
    for index in range(count):
        top, left = index % 193, index * 7 % 197
        paths.append(folder / f"{index:04}.png")
        io.imsave(paths[-1], large[index % 4][top : top + HEIGHT, left : left + WIDTH], check_contrast=False)
    return paths


def matching(sources: list[str], folder: Path, output: str) -> list[str]:
    """The arguments of the command."""
    shutil.rmtree(folder / output, ignore_errors=True)
    reference = ["--reference", str(folder / "reference.png"), "--source-stats", "uniform"]
    return [*sources, *reference, "--output", str(folder / output)]


def ranks(count: int) -> list[str]:
    """The arguments that start so many."""
    return ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), *COMMAND]


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same bytes."""
    names = sorted(path.name for path in one.iterdir())
    return names == sorted(path.name for path in other.iterdir()) and not filecmp.cmpfiles(one, other, names, False)[1]


def measure_ranks(count: int, rounds: int) -> None:
    """Print times and comparisons."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_photos(folder / "sources", count)
        io.imsave(folder / "reference.png", (photo("coffee", 400, 600) * 255).round().byte().numpy())
        sources = [str(folder / "sources")]
        halves = [[str(path) for path in paths[first::2]] for first in range(2)]
        times: dict[str, list[float]] = {"alone": [], "1": [], "2": [], "4": [], "halves": []}
        for _ in range(rounds):
            times["alone"].append(asyncio.run(run([*COMMAND, *matching(sources, folder, "alone")])))
            for size in (1, 2, 4):
                seconds = asyncio.run(run([*ranks(size), *matching(sources, folder, f"ranks{size}")]))
                times[str(size)].append(seconds)
                equal = "the same bytes" if same(folder / "alone", folder / f"ranks{size}") else "DIFFERENT"
                print(f"  {size} ranks: {seconds:.1f} s, {equal}", flush=True)
            both = [[*COMMAND, *matching(half, folder, f"half{index}")] for index, half in enumerate(halves)]
            times["halves"].append(asyncio.run(run(*both)))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(f"{count} files, seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in medians.items()))
    print(f"2 ranks: {medians['1'] / medians['2']:.2f} x as fast as 1 rank")
    print(f"two runs that share nothing: {medians['alone'] / medians['halves']:.2f} x as fast as one of both halves")


def median_ms(function: Callable[[], Any], rounds: int) -> float:
    """Milliseconds of a call."""
    function()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1000


def measure_rates(rounds: int) -> None:
    """Print what each part takes for one picture."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (path,) = write_photos(folder / "sources", 1)
        jpeg = folder / "source.jpg"
        write_image(jpeg, read_image(path).pixels, read_image(path))
        files = {kind: read_image(source) for kind, source in (("PNG", path), ("JPEG", jpeg))}
        image = files["PNG"].pixels[0].movedim(-1, 0)
        counts = histogram(image, LEVELS)
        cdf = cumulative_distribution(counts)
        table = transfer_function(cdf, cdf)
        parts: dict[str, Callable[[], Any]] = {
            "read a PNG": lambda: read_image(path),
            "read a JPEG": lambda: read_image(jpeg),
            "count": lambda: histogram(image, LEVELS),
            "solve for the transfer function, once": lambda: transfer_function(cdf, cdf),
            "apply": lambda: apply_transfer(image, table),
            "write a PNG": lambda: write_image(folder / "a.png", files["PNG"].pixels, files["PNG"]),
            "write a JPEG": lambda: write_image(folder / "a.jpg", files["JPEG"].pixels, files["JPEG"]),
        }
        print(f"one thread, {WIDTH} x {HEIGHT}, milliseconds:")
        ms = {part: median_ms(call, rounds) for part, call in parts.items()}
        for part, milliseconds in ms.items():
            print(f"  {part}: {milliseconds:.1f}")
        print(f"  counts: {counts.numel() * 8:,} bytes a rank")
        print(f"1e9 pictures: {HEIGHT * WIDTH * 1e9:.3g} pixels in a channel, 2^53 is {2.0**53:.3g}")
        for kind, source in (("PNG", path), ("JPEG", jpeg)):
            each = 2 * ms[f"read a {kind}"] + ms["count"] + ms["apply"] + ms[f"write a {kind}"]
            ours = (ms["count"] + ms["apply"]) / each
            size = source.stat().st_size
            print(
                f"  {kind}: {size:,} bytes and {each:.0f} ms each, {each * 1e6 / 86400:,.0f} days of one thread, of that "
                f"{ours:.0%} counting and applying; {2 * size * 1e9 / 1e15:.2f} PB read, {size * 1e9 / 1e15:.2f} PB written"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["ranks", "rates"])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rates", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rates:
        measure_rates(9)
        return
    if "rates" in options.what:
        # In a process of its own: libvips looks for the number of its threads when it is loaded.
        print(asyncio.run(output([__file__, "--rates"])))
    if "ranks" in options.what:
        measure_ranks(options.files, options.rounds)


if __name__ == "__main__":
    main()
