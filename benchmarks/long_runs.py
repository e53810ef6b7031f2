"""Measure long runs in one process: 10,000 frames of 360p in each mode, and 2,000 files through the command.

For each tenth of what is written: resident memory and speed, as parts of those of the second tenth.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from apart import load_pack, run_apart  # noqa: E402
from clips import photo  # noqa: E402
from video import write_clip  # noqa: E402

TENTHS = 10


def resident() -> float:
    """What this process takes, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


class Sampler:
    """A context manager that looks every tenth of a second how much memory the process takes and how much is ``done``."""

    def __enter__(self) -> Sampler:
        self.samples: list[tuple[float, float, int]] = []
        self.done, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.samples.append((time.perf_counter(), resident(), self.count()))

    def count(self) -> int:
        """How much is done."""
        return self.done

    def tenths(self, total: int) -> dict[str, list[float]]:
        """Mean memory in MB and speed in each tenth of what is done."""
        memory, speed = [], []
        for tenth in range(TENTHS):
            part = [at for at in self.samples if at[2] > 0 and tenth * total <= at[2] * TENTHS < (tenth + 1) * total]
            memory.append(statistics.mean(sample[1] for sample in part))
            speed.append((part[-1][2] - part[0][2]) / (part[-1][0] - part[0][0]))
        return {"memory": memory, "speed": speed}


class Written(Sampler):
    """Counts the files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def count(self) -> int:
        """How many are there."""
        return sum(1 for path in self._folder.glob("*.png")) if self._folder.exists() else 0


def frames(source: str, mode: str) -> dict[str, list[float]]:
    """Match a video in this process."""
    load_pack()
    from comfyui_histogram_match.clip.settings import MatchSettings
    from comfyui_histogram_match.videos.match import VideoMatch
    from comfyui_histogram_match.videos.rewriter import VideoRewriter
    from comfyui_histogram_match.videos.source import VideoSource

    match = VideoMatch(photo("coffee", 400, 600)[None], MatchSettings(source_stats=mode), torch.device("cpu"))
    rewriter = VideoRewriter(VideoSource(Path(source)), Path(source).with_name("result.mp4"))
    with Sampler() as sampler, rewriter as video:
        # Steps of a first pass, which writes nothing, come before.
        match.run(video, lambda done, steps: setattr(sampler, "done", max(0, done - (steps - video.frame_count))))
        return sampler.tenths(video.frame_count)


def files(folder: str, count: str) -> dict[str, list[float]]:
    """Match pictures in this process."""
    load_pack()
    from comfyui_histogram_match.command.run import main as histogram_match
    from PIL import Image

    source, target = Path(folder) / "pictures", Path(folder) / "matched"
    source.mkdir()
    values = (photo("astronaut", 360, 640) * 255).round().byte()
    for index in range(int(count)):
        Image.fromarray(values.roll(index * 7, 1).numpy()).save(source / f"{index:05}.png", compress_level=1)
    Image.fromarray((photo("coffee", 400, 600) * 255).round().byte().numpy()).save(Path(folder) / "look.png")
    with Written(target) as sampler:
        if histogram_match([str(source), "-r", str(Path(folder) / "look.png"), "-o", str(target)]):
            raise RuntimeError("the command failed")
    return sampler.tenths(int(count))


def show(name: str, found: dict[str, list[float]]) -> None:
    """Print what was found, beside the second tenth."""
    for what, unit in (("memory", "MB"), ("speed", "a second")):
        values = found[what]
        parts = ", ".join(f"{value / values[1]:.3f}" for value in values)
        print(f"  {name}: {what} {values[1]:.0f} {unit} in the second tenth; {parts}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--modes", nargs="*", default=["per_frame", "uniform", "smoothed"])
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, *arguments = options.measure
        print(json.dumps({"frames": frames, "files": files}[what](*arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "clip.mp4"
        write_clip(source, -(-options.frames // 24), 640, 360)
        for mode in options.modes:
            show(f"{options.frames} frames, {mode}", run_apart(__file__, ["--measure", "frames", str(source), mode], False))
        if options.files:
            show(f"{options.files} files", run_apart(__file__, ["--measure", "files", folder, str(options.files)], False))


if __name__ == "__main__":
    main()
