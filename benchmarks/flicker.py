"""Match clips with known trouble, here and by the peers, and print how much they flicker and how far off they are.

Flicker is the mean absolute change of the still background from frame to frame, less the source's own. W1 is the Wasserstein
distance of a frame's distribution to the reference's, mean over channels and frames. All figures are in 8-bit levels. Each
system runs in a process of its own, ComfyUI's in ComfyUI's Python, the others with the extra for benchmarks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from apart import has_comfyui, load_pack, run_apart  # noqa: E402
from clips import CLIPS, Clip, reference  # noqa: E402

Match = Callable[[Tensor, Tensor], Tensor]
MODES = ("per_frame", "uniform", "target_frame", "smoothed")


def this_pack(mode: str, detail: float = 0.0) -> Match:
    return partial(load_pack().match_images, source_stats=mode, detail=detail)


def transfer_color(mode: str) -> Match:
    from comfy.cli_args import args

    args.cpu = True
    from comfy_extras.nodes_post_processing import ColorTransfer

    return lambda clip, look: ColorTransfer.execute(clip, look, "histogram", {"source_stats": mode}, 1.0).args[0]


def color_matcher() -> Match:
    from color_matcher import ColorMatcher

    matcher = ColorMatcher()

    def match(clip: Tensor, look: Tensor) -> Tensor:
        frames = [matcher.transfer(src=frame.numpy(), ref=look[0].numpy(), method="hm") for frame in clip]
        return torch.from_numpy(np.stack(frames)).float()

    return match


SYSTEMS: dict[str, tuple[str, Callable[[], Match]]] = {
    **{mode: (f"**this pack, `{mode}`**", partial(this_pack, mode)) for mode in MODES},
    **{f"{mode} detail 1": (f"**this pack, `{mode}`**, `detail` 1", partial(this_pack, mode, 1.0)) for mode in MODES},
    "comfyui per_frame": ("ComfyUI Transfer Color `histogram`, `per_frame`", partial(transfer_color, "per_frame")),
    "comfyui uniform": ("ComfyUI Transfer Color `histogram`, `uniform`", partial(transfer_color, "uniform")),
    "color-matcher": ("color-matcher `hm`", color_matcher),
}


def flicker(matched: Tensor, clip: Clip) -> float:
    """How much more the still rows of ``matched`` change from frame to frame than the clip's do, in 8-bit levels."""
    own, result = ((frames[1:, clip.still] - frames[:-1, clip.still]).abs().mean().item() for frames in (clip.frames, matched))
    return 255 * (result - own)


def distances(matched: Tensor, look: Tensor) -> list[float]:
    """The distance of each frame's distribution to the reference's, mean over channels, in 8-bit levels."""
    wanted = look[0].flatten(0, 1).sort(0).values
    quantiles = (torch.arange(1 << 16) + 0.5) / (1 << 16)
    rows = []
    for frame in matched:
        values = frame.flatten(0, 1).sort(0).values
        pair = [ordered[(quantiles * len(ordered)).long()] for ordered in (values, wanted)]
        rows.append(255 * (pair[0] - pair[1]).abs().mean().item())
    return rows


def measure(system: str, frames: int, height: int, width: int) -> dict[str, dict[str, float]]:
    """What one system does to each clip."""
    match, look = SYSTEMS[system][1](), reference()
    figures = {}
    for name, make in CLIPS.items():
        clip = make(frames, height, width)
        with torch.inference_mode():
            matched = match(clip.frames, look)
        if not bool(matched.isfinite().all()):
            raise RuntimeError(f"{system} leaves values that are not finite in {name}")
        figures[name] = figures_of(name, clip, matched, look)
    return figures


def figures_of(name: str, clip: Clip, matched: Tensor, look: Tensor) -> dict[str, float]:
    """What there is to say of one clip: each figure with its name for the table."""
    if name == "white end":
        before, white = matched[: clip.first], matched[clip.first :]
        cast = (white.amax(-1) - white.amin(-1)).max().item()
        return {"W1 before": mean(distances(before, look)), "cast of white": 255 * cast}
    w1 = distances(matched, look)
    if name == "crossing object":
        return {"flicker": flicker(matched, clip), "W1": mean(w1)}
    if name == "cut":
        return {"W1": mean(w1), "W1 of the first frame after": w1[clip.first]}
    return {"W1": mean(w1)}


def table(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """The figures as a Markdown table."""
    first = next(iter(figures.values()))
    lines = [["", *(f"{clip}: {figure}" for clip, entry in first.items() for figure in entry)]]
    lines.append(["---"] + ["--:"] * (len(lines[0]) - 1))
    for system, clips in figures.items():
        lines.append([SYSTEMS[system][0], *(f"{value:.2f}" for entry in clips.values() for value in entry.values())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def strip(path: Path, frames: int, height: int, width: int) -> None:
    """Save frames of the fade: source, ``per_frame``, ``uniform`` and ``smoothed``, one to a row."""
    clip, look = CLIPS["fade"](frames, height, width), reference()
    rows = [clip.frames] + [this_pack(mode)(clip.frames, look) for mode in ("per_frame", "uniform", "smoothed")]
    shown = torch.linspace(0, frames - 1, 5).round().long()
    picture = torch.ones(4 * (height + 4) - 4, 5 * (width + 4) - 4, 3)
    for row, matched in enumerate(rows):
        for column, frame in enumerate(matched[shown]):
            picture[row * (height + 4) :, column * (width + 4) :][:height, :width] = frame
    Image.fromarray((picture * 255).round().byte().numpy()).save(path, quality=88)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--size", type=int, nargs=2, default=[640, 360], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--strip", type=Path, help="save frames of the fade as a picture, and measure nothing")
    parser.add_argument("--measure", choices=list(SYSTEMS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    width, height = options.size
    if options.strip:
        strip(options.strip, options.frames, height, width)
    elif options.measure:
        print(json.dumps(measure(options.measure, options.frames, height, width)))
    else:
        figures: dict[str, Any] = {}
        for system in options.systems:
            in_comfyui = system.startswith("comfyui")
            if in_comfyui and not has_comfyui():
                print(f"no ComfyUI found, {system} is left out", file=sys.stderr)
                continue
            arguments = ["--measure", system, "--frames", str(options.frames), "--size", str(width), str(height)]
            figures[system] = run_apart(__file__, arguments, in_comfyui)
        print(f"{options.frames} frames of {width} x {height}, in 8-bit levels")
        print(table(figures))


if __name__ == "__main__":
    main()
