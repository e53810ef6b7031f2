"""Measure Video Histogram Match: the memory of a real ComfyUI with a minute of 1080p, and how the parts of the work overlap.

``memory``: Load Video, the node and Save Video in a ComfyUI that is started for it, in each mode: the server's peak beyond what
it takes idle, seconds, and whether the number of frames, their times and the sound are the source's. ``overlap``: in one
process, in turn, the video is read (in ``uniform`` twice) while frames that were matched before are written, so that the
encoder has the same work, its frames are matched in memory, and all of it; medians over the rounds, on a clip with grain, as
of a camera, and on a clean one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from apart import load_pack, run_apart  # noqa: E402
from clips import photo  # noqa: E402
from templates import comfyui  # noqa: E402
from video import stamps_and_sound, write_clip  # noqa: E402

GRAIN = 2.5


def peak(pid: int) -> int:
    """The most that a process has taken since it was last reset, in bytes."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def measure_memory(modes: list[str], seconds: int, size: tuple[int, int]) -> None:
    """Print what the server takes."""
    print(f"{seconds} s of {size[0]} x {size[1]} through Load Video, Video Histogram Match and Save Video:", flush=True)
    with tempfile.TemporaryDirectory() as folder, comfyui(Path(folder)) as server:
        write_clip(server.folder / "input" / "clip.mp4", seconds, *size, grain=GRAIN)
        look = server.save(photo("coffee", 400, 600)[None])
        expected = stamps_and_sound(server.folder / "input" / "clip.mp4")
        for mode in modes:
            settings = {"method": "pytorch", "factor": 1.0, "device": "auto", "codec": "as source", "crf": -1}
            links = {"video": ["video", 0], "reference": ["look", 0], "source_stats": mode}
            save = {"video": ["node", 0], "filename_prefix": mode, "format": "auto", "codec": "auto"}
            prompt = {
                "video": {"class_type": "LoadVideo", "inputs": {"file": "clip.mp4"}},
                "look": {"class_type": "ProbeLoad", "inputs": {"path": str(look)}},
                "node": {"class_type": "VideoHistogramMatch", "inputs": {**settings, **links}},
                "save": {"class_type": "SaveVideo", "inputs": save},
            }
            Path(f"/proc/{server.pid}/clear_refs").write_text("5")
            idle, started = peak(server.pid), time.perf_counter()
            ended = server.wait(server.queue(prompt), seconds=3600)
            took = time.perf_counter() - started
            assert ended["status"]["status_str"] == "success", ended["status"]
            (saved,) = (server.folder / "output").glob(f"{mode}*")
            same = stamps_and_sound(saved) == expected
            print(
                f"  {mode}: {(peak(server.pid) - idle) / 1e9:.2f} GB beyond {idle / 1e9:.2f} GB idle, {took:.0f} s, "
                f"{len(expected[0])} frames, time stamps and sound {'the same' if same else 'DIFFERENT'}",
                flush=True,
            )


def overlap(source: str, mode: str, rounds: int) -> dict[str, float]:
    """The seconds that reading and writing, matching, and all of it take, in this process."""
    load_pack()
    from comfyui_histogram_match.clip.settings import MatchSettings
    from comfyui_histogram_match.matching import match_batch
    from comfyui_histogram_match.videos.match import VideoMatch
    from comfyui_histogram_match.videos.rewriter import VideoRewriter
    from comfyui_histogram_match.videos.source import VideoSource, read_frames

    target, look = Path(source).with_name("result.mp4"), photo("coffee", 400, 600)[None]
    settings, video = MatchSettings(source_stats=mode), VideoSource(Path(source))
    # As many frames as fit in memory.
    frames = torch.stack([pixels for _, pixels in zip(range(48), read_frames(video), strict=False)])
    matched, _ = match_batch(frames, look, settings)

    def rewrite(match: bool) -> None:
        with VideoRewriter(video, target) as rewriter:
            if match:
                VideoMatch(look, settings, torch.device("cpu")).run(rewriter)
                return
            for _ in rewriter.measured() if mode == "uniform" else ():
                pass
            for place, _ in rewriter.frames():
                rewriter.write(matched[place % len(matched)])

    count = len(video.survey().stamps)
    runs: dict[str, Callable[[], Any]] = {
        "decode + encode": partial(rewrite, False),
        "match": lambda: match_batch(frames, look, settings),
        "together": partial(rewrite, True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        match_batch(frames[:2], look, settings)
        for _ in range(rounds):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                scale = count / len(frames) if name == "match" else 1
                seconds[name].append((time.perf_counter() - started) * scale)
    return {name: statistics.median(times) for name, times in seconds.items()}


def measure_overlap(modes: list[str], rounds: int, size: tuple[int, int]) -> None:
    """Print how the parts of the work overlap."""
    with tempfile.TemporaryDirectory() as folder:
        for name, grain in (("with grain", GRAIN), ("clean", 0.0)):
            source = Path(folder) / "clip.mp4"
            write_clip(source, 5, *size, grain=grain)
            rate = source.stat().st_size * 8 / 5e6
            print(f"5 s of {size[0]} x {size[1]}, {name} ({rate:.1f} Mbit/s), seconds:", flush=True)
            for mode in modes:
                found = run_apart(__file__, ["--measure", str(source), mode, str(rounds)], False)
                ratio = found["together"] / max(found["decode + encode"], found["match"])
                told = ", ".join(f"{part} {value:.1f}" for part, value in found.items())
                print(f"  {mode}: {told}: {ratio:.2f} x the larger", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["memory", "overlap"])
    parser.add_argument("--modes", nargs="+", default=["per_frame", "uniform", "smoothed"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--size", type=int, nargs=2, default=(1920, 1080), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        source, mode, rounds = options.measure
        print(json.dumps(overlap(source, mode, int(rounds))))
        return
    if "memory" in options.what:
        measure_memory(options.modes, options.seconds, tuple(options.size))
    if "overlap" in options.what:
        measure_overlap(options.modes, options.rounds, tuple(options.size))


if __name__ == "__main__":
    main()
