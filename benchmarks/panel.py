"""What the panel on a node costs: the time it takes to measure histograms beside a match, and the size of its message.

python benchmarks/panel.py [--frames 64] [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median

import torch
from comfyui_histogram_match.clip.histograms import FrameHistograms
from comfyui_histogram_match.clip.settings import MatchSettings
from comfyui_histogram_match.matching import match_batch
from comfyui_histogram_match.plots.panel_message import panel_message
from comfyui_histogram_match.sample_photos import sample_photo

SETTINGS = (
    {},
    {"source_stats": "uniform"},
    {"source_stats": "smoothed"},
    {"method": "mkl"},
    {"method": "hm-mkl-hm"},
    {"color_space": "lab"},
)


def timed(image: torch.Tensor, reference: torch.Tensor, settings: MatchSettings, observed: bool) -> tuple[float, int]:
    """Seconds for a match, with the message if it is ``observed``, and the size of that."""
    shown: list[FrameHistograms] = []
    start = time.perf_counter()
    match_batch(image, reference, settings, observe=shown.append if observed else None)
    size = len(json.dumps(panel_message(shown))) if observed else 0
    return time.perf_counter() - start, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    frames = torch.nn.functional.interpolate(
        sample_photo("rocket", "fade", options.frames).movedim(-1, 1), size=(720, 1280), mode="bilinear"
    )
    image, reference = frames.movedim(1, -1).contiguous(), sample_photo("coffee")
    print(f"{options.frames} frames of 1280 x 720, medians of {options.rounds} rounds in turn\n")
    print("| settings | match, ms a frame | with the panel's histograms | more | message, bytes |")
    print("| --- | --: | --: | --: | --: |")
    for chosen in SETTINGS:
        settings = MatchSettings(**chosen)  # type: ignore[arg-type]
        alone, observed, sizes = [], [], []
        for _ in range(options.rounds):
            alone.append(timed(image, reference, settings, observed=False)[0])
            seconds, size = timed(image, reference, settings, observed=True)
            observed.append(seconds)
            sizes.append(size)
        # Of pairs, so that what else the machine does meets both.
        more = median(b / a - 1 for a, b in zip(alone, observed, strict=True))
        each = [1000 * median(times) / options.frames for times in (alone, observed)]
        name = ", ".join(map(str, chosen.values())) or "pytorch, per_frame"
        print(f"| {name} | {each[0]:.2f} | {each[1]:.2f} | {100 * more:+.1f} % | {max(sizes)} |")


if __name__ == "__main__":
    main()
