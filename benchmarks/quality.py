"""Compare all methods, here and in the peers, on pairs of photos: what is left of the distances, texture, and time.

For each of the 12 ordered pairs of four photos that scikit-image ships, at 256 x 256: the Wasserstein-1 distance of each
channel's distribution to the reference's, the sliced Wasserstein-2 distance of the joint one over 200 directions, both in
8-bit levels, and the correlation of the luma gradients with the source's. Of the same pairs as JPEG files of quality 60:
how many times as much energy noise and the edges of blocks have in the flattest 30 % of the source, and the part of the 8-bit
levels that no pixel has afterwards, which shows as bands. The time is that of a pair of 1024 x 1024.
Every system runs in a process of its own, in turn with the others, for several rounds, and the table shows medians. Transfer
Color is measured where a real ComfyUI is found, in its Python, and this pack's methods there as well. color-matcher comes with
the extra for benchmarks.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage import data
from skimage.transform import resize
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from apart import has_comfyui, load_pack, run_apart  # noqa: E402
from measures import amplification, gaps, gradient_correlation, joint_distance, wasserstein_1  # noqa: E402

Match = Callable[[Tensor, Tensor], Tensor]
PHOTOS = {"astronaut": data.astronaut, "coffee": data.coffee, "chelsea": data.chelsea, "rocket": data.rocket}
PAIRS = tuple(itertools.permutations(PHOTOS, 2))
OURS = ("pytorch", "skimage", "nearest", "exact", "reinhard", "mkl", "mvgd", "hm-mkl-hm", "hm-mvgd-hm", "sliced")
COLOR_MATCHER = {"hm": "pytorch", **{name: name for name in ("reinhard", "mkl", "mvgd", "hm-mkl-hm", "hm-mvgd-hm")}}
TRANSFER_COLOR = {"histogram": ("pytorch", "rgb"), "reinhard_lab": ("reinhard", "lab"), "mkl_lab": ("mkl", "lab")}
DETAILS = (0.5, 1)
SPACES = ("luminance", "lab", "oklab", "ycbcr")


@cache
def photo(name: str, size: int) -> Tensor:
    """A photo, scaled to a square, float32 [1, size, size, 3]."""
    scaled = resize(PHOTOS[name](), (size, size), order=1, anti_aliasing=True)
    return torch.from_numpy(scaled.astype(np.float32))[None]


@cache
def jpeg(name: str, size: int) -> Tensor:
    """The same as a JPEG of quality 60 leaves it."""
    file = io.BytesIO()
    Image.fromarray((photo(name, size)[0] * 255).round().byte().numpy()).save(file, "JPEG", quality=60)
    with Image.open(file) as picture:
        return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255)[None]


def this_pack(method: str, color_space: str = "rgb", detail: float = 0.0) -> Match:
    """A method of this pack."""
    match_images = load_pack().match_images
    kept = {"detail": detail} if detail else {}
    return lambda image, reference: match_images(image, reference, method, color_space=color_space, **kept)


def before_regrain() -> Match:
    """The method sliced without its last step."""
    load_pack()
    from comfyui_histogram_match.methods.sliced import AXIS_BINS
    from comfyui_histogram_match.training.color_matching import ColorMatching

    module = ColorMatching("sliced", bins=AXIS_BINS, regrain=False)

    def match(image: Tensor, reference: Tensor) -> Tensor:
        result: Tensor = module(image.movedim(-1, 1), reference.movedim(-1, 1)).movedim(1, -1).clamp(0, 1)
        return result

    return match


def color_matcher(method: str) -> Match:
    """A method of color-matcher, called as Color Match calls it."""
    from color_matcher import ColorMatcher

    def match(image: Tensor, reference: Tensor) -> Tensor:
        # It replaces zeros in its arguments.
        source, look = (pixels[0].numpy().copy() for pixels in (image, reference))
        matched = ColorMatcher().transfer(src=source, ref=look, method=method)
        return torch.from_numpy(np.asarray(matched, dtype=np.float32))[None].clamp(0, 1)

    return match


def transfer_color(method: str) -> Match:
    """A method of ComfyUI's own node."""
    from comfy.cli_args import args

    args.cpu = True
    from comfy_extras.nodes_post_processing import ColorTransfer

    def match(image: Tensor, reference: Tensor) -> Tensor:
        result: Tensor = ColorTransfer.execute(image, reference, method, {"source_stats": "per_frame"}, 1.0).args[0]
        return result

    return match


def untouched() -> Match:
    """Nothing at all."""
    return lambda image, reference: image.clone()


def _systems() -> dict[str, tuple[str, bool, Callable[[], Match]]]:
    """For each system its name in the table, whether it runs in ComfyUI's Python, and what makes it."""
    systems: dict[str, tuple[str, bool, Callable[[], Match]]] = {"untouched": ("untouched", False, untouched)}
    for method in OURS:
        systems[method] = (f"**`{method}`**", False, lambda method=method: this_pack(method))  # type: ignore[misc]
    systems["before regrain"] = ("**`sliced`** before its regrain", False, before_regrain)
    for space in SPACES:
        name = f"pytorch {space}"
        systems[name] = (f"**`pytorch`**, `{space}`", False, lambda space=space: this_pack("pytorch", space))  # type: ignore[misc]
    for method, detail in itertools.product(OURS, DETAILS):
        made = partial(this_pack, method, detail=detail)
        systems[f"{method} detail {detail}"] = (f"**`{method}`**, `detail` {detail}", False, made)
    for method in COLOR_MATCHER:
        name = f"color-matcher {method}"
        systems[name] = (f"color-matcher `{method}`", False, lambda method=method: color_matcher(method))  # type: ignore[misc]
    for method, (ours, space) in TRANSFER_COLOR.items():
        systems[f"ours for {method}"] = (
            f"**`{ours}`**{f', `{space}`' if space != 'rgb' else ''}, in ComfyUI's Python",
            True,
            lambda ours=ours, space=space: this_pack(ours, space),  # type: ignore[misc]
        )
        systems[f"Transfer Color {method}"] = (
            f"ComfyUI Transfer Color `{method}`",
            True,
            lambda method=method: transfer_color(method),  # type: ignore[misc]
        )
    return systems


SYSTEMS = _systems()


def measure(system: str, with_quality: bool) -> dict[str, Any]:
    """Measure one system in this process."""
    match = SYSTEMS[system][2]()
    figures: dict[str, Any] = {}
    with torch.inference_mode():
        image, reference = photo("astronaut", 1024), photo("coffee", 1024)
        match(image[:, :64, :64], reference[:, :64, :64])  # loads code, starts threads
        seconds: list[float] = []
        while len(seconds) < 3 or (sum(seconds) < 2 and len(seconds) < 20):
            started = time.perf_counter()
            match(image, reference)
            seconds.append(time.perf_counter() - started)
        figures["milliseconds"] = 1000 * statistics.median(seconds)
        if with_quality:
            results = [(match(photo(a, 256), photo(b, 256)), photo(a, 256), photo(b, 256)) for a, b in PAIRS]
            figures["w1"] = [255 * float(wasserstein_1(result, look).mean()) for result, _, look in results]
            figures["joint"] = [255 * joint_distance(result, look) for result, _, look in results]
            figures["texture"] = [gradient_correlation(result, source) for result, source, _ in results]
            compressed = [(match(jpeg(a, 256), jpeg(b, 256)), jpeg(a, 256)) for a, b in PAIRS]
            figures["noise"], figures["blocks"] = zip(*(amplification(*pair) for pair in compressed), strict=True)
            figures["gaps"] = [gaps(result) for result, _ in compressed]
    return figures


def table(figures: dict[str, dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    head = "| | W1 of the channels | joint distance | texture kept | noise | block edges | levels left out | ms at 1024² |"
    lines = [head, "| --- " + "| --: " * 7 + "|"]
    for system, figure in figures.items():
        w1, joint, texture = (statistics.mean(figure[key]) for key in ("w1", "joint", "texture"))
        noise, blocks = (f"{statistics.mean(figure[key]):.1f} (most {max(figure[key]):.1f})" for key in ("noise", "blocks"))
        # What there is before regraining takes the differentiable way, whose time says nothing about the other.
        timed = system not in ("untouched", "before regrain")
        cells = [f"{w1:.2f}", f"{joint:.2f}", f"{texture:.3f}", noise, blocks, f"{statistics.mean(figure['gaps']):.0%}"]
        cells.append(f"{figure['milliseconds']:,.0f}" if timed else "")
        lines.append(f"| {SYSTEMS[system][0]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ratios(figures: dict[str, dict[str, Any]]) -> str:
    """Each peer's method against the same one here: joint distance and time."""
    pairs = [(f"color-matcher {theirs}", ours) for theirs, ours in COLOR_MATCHER.items()]
    pairs += [(f"Transfer Color {theirs}", f"ours for {theirs}") for theirs in TRANSFER_COLOR]
    pairs.append(("color-matcher hm-mkl-hm", "sliced"))
    lines = []
    for theirs, ours in pairs:
        if theirs not in figures or ours not in figures:
            continue
        joint = statistics.mean(figures[ours]["joint"]) / statistics.mean(figures[theirs]["joint"])
        times = figures[theirs]["milliseconds"] / figures[ours]["milliseconds"]
        lines.append(f"`{ours}` has {joint:.3f} x the joint distance of {theirs} and is {times:.1f} x as fast")
    return "\n".join(lines)


def contact_sheet(path: Path) -> None:
    """Write a picture of one pair matched by every method."""
    from PIL import ImageDraw

    size, margin, line = 200, 8, 18
    source, look = photo("chelsea", 400), photo("coffee", 400)
    pictures = {"source": source, "reference": look}
    pictures |= {method: this_pack(method)(source, look) for method in OURS if "mvgd" not in method and method != "skimage"}
    pictures |= {f"pytorch, {space}": this_pack("pytorch", space)(source, look) for space in ("luminance", "oklab")}
    columns = 4
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (size + margin) + margin, rows * (size + line + margin) + margin), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (name, picture) in enumerate(pictures.items()):
        left = margin + index % columns * (size + margin)
        top = margin + index // columns * (size + line + margin)
        values = (picture[0] * 255).round().byte().numpy()
        sheet.paste(Image.fromarray(values).resize((size, size), Image.Resampling.LANCZOS), (left, top))
        draw.text((left, top + size + 2), name, fill="black", font_size=13)
    sheet.save(path, quality=88)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--sheet", type=Path, help="only write a picture of one pair matched by every method")
    parser.add_argument("--measure", choices=list(SYSTEMS), help=argparse.SUPPRESS)
    parser.add_argument("--quality", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.quality)))
        return
    if options.sheet:
        contact_sheet(options.sheet)
        return
    systems = options.systems
    if not has_comfyui():
        print("no ComfyUI found, its node is left out", file=sys.stderr)
        systems = [system for system in systems if not SYSTEMS[system][1]]
    figures: dict[str, dict[str, Any]] = {}
    times: dict[str, list[float]] = {}
    for number in range(options.rounds):
        for system in systems:
            arguments = ["--measure", system, *(["--quality"] if number == 0 else [])]
            measured = run_apart(__file__, arguments, SYSTEMS[system][1])
            print(f"{system}: {measured['milliseconds']:.1f} ms", file=sys.stderr)
            figures.setdefault(system, measured)
            times.setdefault(system, []).append(measured["milliseconds"])
    for system, figure in figures.items():
        figure["milliseconds"] = statistics.median(times[system])
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, numpy {np.__version__}")
    print(table(figures))
    print(ratios(figures))


if __name__ == "__main__":
    main()
