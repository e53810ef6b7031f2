"""What a video becomes by being encoded anew, unchanged: its size and what is lost, by encoder and quality of the source."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from comfyui_histogram_match.videos import svt_av1
from comfyui_histogram_match.videos.rewriter import VideoRewriter
from comfyui_histogram_match.videos.source import VideoSource
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

HEIGHT, WIDTH, RATE = 270, 480, 30
QUIET = {"x265-params": "log-level=none"}
SOURCES: list[tuple[str, dict[str, str], str]] = [
    *(("libx264", {"crf": crf}, ".mp4") for crf in ("18", "23", "28")),
    *(("libx265", {"crf": crf, **QUIET}, ".mp4") for crf in ("20", "24", "28")),
    *(("libvpx-vp9", {"crf": crf, "b": "0"}, ".webm") for crf in ("24", "31", "38")),
    *(("libsvtav1", {"crf": crf}, ".mp4") for crf in ("25", "35", "45")),
]


def scene(photo: Any, count: int, noise: float, speed: float) -> Iterator[np.ndarray]:
    """A camera that moves over a photo."""
    height, width = photo.shape[0] - HEIGHT, photo.shape[1] - WIDTH
    random = np.random.default_rng(0)
    for index in range(count):
        top = round(height * (0.5 + 0.5 * np.sin(speed * index / 17)))
        left = round(width * (0.5 + 0.5 * np.cos(speed * index / 23)))
        pixels = photo[top : top + HEIGHT, left : left + WIDTH] + random.normal(0, noise, (HEIGHT, WIDTH, 1))
        yield pixels.clip(0, 255).astype(np.uint8)


def scenes(seconds: float) -> list[np.ndarray]:
    """A slow, a fast, a noisy and a still scene."""
    count = round(seconds * RATE / 4)
    frames = [*scene(data.coffee(), count, 1, 0.3), *scene(data.rocket(), count, 2, 2)]
    return [*frames, *scene(data.astronaut(), count, 6, 3), *scene(data.coffee(), count, 0, 0)]


def write(path: Path, frames: list[np.ndarray], codec: str, options: dict[str, str]) -> None:
    """Encode frames."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE, options=options)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        with svt_av1.contained():
            container.start_encoding()
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def brightness(path: Path) -> Iterator[np.ndarray]:
    """The luma of each frame."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="gray")


def main() -> None:
    """Print the table."""
    print(
        "| source | seconds | size, of the source's | PSNR to it, mean | lowest | SSIM |\n| --- | --: | --: | --: | --: | --: |"
    )
    with tempfile.TemporaryDirectory() as folder:
        for seconds in (2, 6):
            frames = scenes(seconds)
            for codec, options, suffix in SOURCES:
                source, target = Path(folder) / f"source{suffix}", Path(folder) / f"target{suffix}"
                write(source, frames, codec, options)
                with VideoRewriter(VideoSource(source), target) as video:
                    for _, pixels in video.frames():
                        video.write(pixels)
                size = target.stat().st_size / source.stat().st_size
                pairs = list(zip(brightness(source), brightness(target), strict=True))
                noise = [peak_signal_noise_ratio(*pair) if (pair[0] != pair[1]).any() else 99.0 for pair in pairs]
                alike = np.mean([structural_similarity(*pair) for pair in pairs])
                figures = f"{size:.2f} | {np.mean(noise):.1f} | {min(noise):.1f} | {alike:.3f}"
                print(f"| {codec} crf {options['crf']} | {seconds} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
