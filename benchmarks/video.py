"""Measure what matters for video: speed beside ComfyUI's own node, memory, long clips, and the command on a minute of video.

Each measurement is a process of its own. Speed is measured on 48 frames of 720p in ComfyUI's Python, this pack and Transfer
Color in turn, for as many rounds as asked; the figures are medians. Memory is the peak beyond input and output. For the long
clips the C library is told to keep freed memory, as virtual machines differ much in what touching new memory costs.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from apart import load_pack, run_apart  # noqa: E402
from clips import photo  # noqa: E402
from measures import RETURN_FREED_MEMORY, PeakMemory  # noqa: E402

MODES = ("per_frame", "uniform", "target_frame", "smoothed")
KEEP_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


def moving(count: int, width: int, height: int, content: str) -> Tensor:
    """A pan over a photo, shape ``[count, height, width, 3]``, with the values of 8-bit video or with continuous ones."""
    wide = photo("astronaut", height + count // 4, width + count // 4)
    if content == "8-bit":
        wide = (wide * 255).round() / 255
    clip = torch.empty(count, height, width, 3)
    for index in range(count):
        clip[index] = wide[index // 4 :, index // 4 :][:height, :width]
    return clip


def look(width: int, height: int, content: str) -> Tensor:
    """The reference, shape ``[1, height, width, 3]``."""
    picture = photo("coffee", height, width)[None]
    return (picture * 255).round() / 255 if content == "8-bit" else picture


def speed(rounds: int, content: str) -> dict[str, float]:
    """Frames per second of each mode here and of Transfer Color, in this process."""
    from comfy.cli_args import args

    args.cpu = True
    from comfy_extras.nodes_post_processing import ColorTransfer

    match_images = load_pack().match_images
    clip, reference = moving(48, 1280, 720, content), look(1280, 720, content)
    systems = {mode: lambda mode=mode: match_images(clip, reference, source_stats=mode) for mode in MODES}
    for mode in ("per_frame", "uniform"):
        systems[f"Transfer Color {mode}"] = lambda mode=mode: ColorTransfer.execute(
            clip, reference, "histogram", {"source_stats": mode}, 1.0
        )
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    with torch.inference_mode():
        for name in systems:  # loads code, starts threads
            systems[name]()
        for _ in range(rounds):
            for name, run in systems.items():
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
    return {name: 48 / statistics.median(times) for name, times in seconds.items()}


def memory(mode: str, masked: bool) -> float:
    """Peak memory beyond input and output for 300 frames of 720p, in frames."""
    match_images = load_pack().match_images
    clip, reference = moving(300, 1280, 720, "8-bit"), look(1280, 720, "8-bit")
    mask = torch.rand(1, 720, 1280) if masked else None
    with torch.inference_mode():
        match_images(clip[:4], reference, source_stats=mode, image_mask=mask)
        with PeakMemory() as peak:
            result = match_images(clip, reference, source_stats=mode, image_mask=mask)
    return (peak.bytes - result.nbytes) / clip[0].nbytes


def length(mode: str, rounds: int) -> float:
    """How many times the time of 100 frames of 360p 1,000 take."""
    match_images = load_pack().match_images
    clip, reference = moving(1000, 640, 360, "8-bit"), look(640, 360, "8-bit")
    seconds: dict[int, list[float]] = {100: [], 1000: []}
    with torch.inference_mode():
        match_images(clip, reference, source_stats=mode)  # touches the memory for the result
        for _ in range(rounds):
            for frames, times in seconds.items():
                started = time.perf_counter()
                match_images(clip[:frames], reference, source_stats=mode)
                times.append(time.perf_counter() - started)
    return statistics.median(seconds[1000]) / statistics.median(seconds[100])


def write_clip(path: Path, seconds: int, width: int = 1280, height: int = 720, grain: float = 0) -> None:
    """Write a video with an uneven frame rate around 24, with sound, and with so many levels of noise as a camera has."""
    import av

    wide = photo("astronaut", height + 96, width + 96).mul_(255).round_().numpy()
    noise = np.random.default_rng(0)
    grains = [noise.normal(size=(height, width, 3)).astype(np.float32) * grain for _ in range(8 if grain else 0)]
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", options={"preset": "ultrafast", "crf": "18"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 24000)
        sound: Any = container.add_stream("aac", rate=48000, layout="stereo")
        stamp = 0
        for index in range(24 * seconds):
            step = index * 96 // (24 * seconds)
            picture = wide[step:, step:][:height, :width]
            if grains:
                picture = np.clip(picture + np.roll(grains[index % 8], index * 37, axis=1), 0, 255)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.astype(np.uint8)), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 24000)
            stamp += 1001 if index % 7 else 994
            container.mux(video.encode(frame))
            samples = noise.normal(size=(2, 2000)).astype(np.float32) / 20
            part = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
            part.sample_rate, part.pts, part.time_base = 48000, index * 2000, Fraction(1, 48000)
            container.mux(sound.encode(part))
        container.mux(video.encode())
        container.mux(sound.encode())


def stamps_and_sound(path: Path) -> tuple[list[Fraction], list[tuple[Fraction, bytes]]]:
    """The time of each frame, and each packet of sound with its time."""
    import av

    with av.open(str(path)) as container:
        frames = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        packets = [
            (packet.pts * packet.time_base, bytes(packet)) for packet in container.demux(audio=0) if packet.pts is not None
        ]
    return frames, packets


def command(source: str, target: str, mode: str) -> dict[str, float]:
    """Run the command on a video in this process: seconds and peak memory in MB."""
    load_pack()
    from comfyui_histogram_match.command.run import main as histogram_match
    from skimage import io

    reference = Path(target).with_suffix(".png")
    io.imsave(reference, (photo("coffee", 400, 600) * 255).round().byte().numpy())
    started = time.perf_counter()
    status = histogram_match([source, "--reference", str(reference), "--output", target, "--source-stats", mode])
    seconds = time.perf_counter() - started
    if status:
        raise RuntimeError("the command failed")
    return {"seconds": seconds, "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measure_speed(rounds: int) -> None:
    """Print frames per second."""
    print("48 frames of 720p, frames per second:")
    for content in ("8-bit", "continuous"):
        fps = run_apart(__file__, ["--measure", "speed", content, str(rounds)], True)
        print(f"  {content}: " + ", ".join(f"{name} {value:.0f}" for name, value in fps.items()))
        for mode in ("per_frame", "uniform"):
            print(f"    {mode}: {fps[mode] / fps[f'Transfer Color {mode}']:.1f} x Transfer Color")


def measure_memory() -> None:
    """Print peaks of memory."""
    print("300 frames of 720p, peak memory beyond input and output, in frames:")
    for mode in MODES:
        peaks = [run_apart(__file__, ["--measure", "memory", mode, kind], False, RETURN_FREED_MEMORY) for kind in ("", "mask")]
        print(f"  {mode}: {peaks[0]:.2f}, with a mask {peaks[1]:.2f}")


def measure_length(rounds: int) -> None:
    """Print how time grows with length."""
    print("1,000 frames of 360p, times the time of 100:")
    for mode in MODES:
        print(f"  {mode}: {run_apart(__file__, ['--measure', 'length', mode, str(rounds)], False, KEEP_FREED_MEMORY):.2f}")


def measure_command() -> None:
    """Print what the command takes for a minute, and whether timing and sound are the source's."""
    print("the command on 60 s of 720p:")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.mp4"
        write_clip(source, 60)
        frames, sound = stamps_and_sound(source)
        for mode in ("per_frame", "smoothed", "uniform"):
            target = Path(folder) / f"{mode}.mp4"
            figures = run_apart(__file__, ["--measure", "command", str(source), str(target), mode], False)
            same = stamps_and_sound(target) == (frames, sound)
            print(
                f"  {mode}: {figures['seconds']:.0f} s, peak {figures['MB']:.0f} MB, {len(frames)} frames, "
                f"time stamps and sound {'the same' if same else 'DIFFERENT'}"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["speed", "memory", "length", "command"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, *arguments = options.measure
        measured: Any = {
            "speed": lambda content, rounds: speed(int(rounds), content),
            "memory": lambda mode, kind="": memory(mode, kind == "mask"),
            "length": lambda mode, rounds: length(mode, int(rounds)),
            "command": command,
        }[name](*arguments)
        print(json.dumps(measured))
        return
    if "speed" in options.what:
        measure_speed(options.rounds)
    if "memory" in options.what:
        measure_memory()
    if "length" in options.what:
        measure_length(options.rounds)
    if "command" in options.what:
        measure_command()


if __name__ == "__main__":
    main()
