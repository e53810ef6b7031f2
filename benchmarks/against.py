"""Compare the pixels of this checkout with those of another checkout of the pack.

Each checkout runs in processes of its own with the same number of threads, and both get the same pictures: pairs of four photos
that scikit-image ships, at 256 x 256, with the values of 8-bit files and with continuous ones. Single pictures are matched in
every pair, clips and masks in a few pairs, by each method in each color space with each of its source_stats. In the end it
is checked that

- the channel by channel methods have the same bits in RGB, and in other color spaces differ by 0.01 of an 8-bit level at most;
- the linear methods differ by 0.01 of an 8-bit level at most;
- the others are not further from the reference than before: the mean joint distance grows by 1 % at most;
- every public name of the other checkout is there.

The exit status is 1 if one of these does not hold.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from apart import run_apart  # noqa: E402
from measures import joint_distance  # noqa: E402
from quality import PAIRS, photo  # noqa: E402

CHANNELS = ("pytorch", "nearest", "skimage", "exact")
LINEAR = ("reinhard", "mkl", "mvgd")
CONTENTS = ("8-bit", "continuous")
STATS = ("per_frame", "uniform", "target_frame", "smoothed")
CLOSE = 0.01
"""In 8-bit levels."""
FARTHER = 1.01
"""How many times the joint distance is allowed."""

SIZE = 256
FRAMES = 3


@dataclass(frozen=True)
class Case:
    """One picture or clip to match, and how."""

    pair: tuple[str, str]
    content: str
    source_stats: str = "per_frame"
    clip: bool = False
    masked: bool = False


@dataclass
class Difference:
    """How far results are from one another: the most, in 8-bit levels, and how many of how many values differ at all."""

    largest: float = 0.0
    differing: int = 0
    values: int = 0

    def add(self, old: Tensor, new: Tensor) -> None:
        """Take in two results of one case."""
        levels = (new.double() - old.double()).abs().mul(255)
        # A difference from NaN is the largest there is.
        self.largest = max(self.largest, float(levels.nan_to_num(nan=float("inf")).max()))
        self.differing += int((old != new).sum())
        self.values += old.numel()

    def cells(self) -> list[str]:
        """Its cells in the table."""
        return [f"{self.largest:.4g}", f"{self.differing / self.values:.3g}"] if self.values else ["", ""]


@dataclass
class Row:
    """What is found of a method: the differences, and the joint distances of both checkouts."""

    in_rgb: Difference = field(default_factory=Difference)
    elsewhere: Difference = field(default_factory=Difference)
    old: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The mean joint distance of the new results over that of the old ones."""
        return statistics.mean(self.new) / statistics.mean(self.old)


def load_checkout(folder: Path) -> Any:
    """A checkout of the pack as the package, whatever is installed."""
    spec = importlib.util.spec_from_file_location("comfyui_histogram_match", folder / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["comfyui_histogram_match"] = package
    spec.loader.exec_module(package)
    return package


def picture(name: str, content: str) -> Tensor:
    """A photo, float32 ``[1, SIZE, SIZE, 3]``."""
    image = photo(name, SIZE)
    if content == "8-bit":
        return (image * 255).round() / 255
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(len(name))) * 0.004
    return (image + noise).clamp(0, 1)


def clip(name: str, content: str) -> Tensor:
    """A pan over a photo that gets darker, float32 ``[FRAMES, SIZE - FRAMES, SIZE - FRAMES, 3]``."""
    wide, side = picture(name, content), SIZE - FRAMES
    frames = [wide[:, index : index + side, index : index + side] - 0.04 * index for index in range(FRAMES)]
    shifted = torch.cat(frames).clamp(0, 1)
    return (shifted * 255).round() / 255 if content == "8-bit" else shifted


def mask(side: int) -> Tensor:
    """The left part, with a soft edge, ``[1, side, side]``."""
    weights = torch.linspace(2.5, -1.5, side).clamp(0, 1)
    return weights.expand(1, side, side).contiguous()


def cases(source_stats: Sequence[str], pairs: int, few: int) -> Iterator[Case]:
    """Every picture and clip that a method matches in one color space."""
    for content in CONTENTS:
        for pair in PAIRS[:pairs]:
            yield Case(pair, content)
        for pair in PAIRS[:: max(1, len(PAIRS) // few)][:few]:
            yield Case(pair, content, masked=True)
            for stats in source_stats:
                for masked in (False, True):
                    yield Case(pair, content, stats, clip=True, masked=masked)


def inputs(case: Case) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """The image, the reference and the other arguments of a case."""
    image = (clip if case.clip else picture)(case.pair[0], case.content)
    options: dict[str, Any] = {"source_stats": case.source_stats}
    if case.source_stats == "target_frame":
        options["target_index"] = 1
    if case.source_stats == "smoothed":
        options["window"] = 2
    if case.masked:
        options |= {"image_mask": mask(image.shape[1]), "reference_mask": mask(SIZE).mT.contiguous()}
    return image, picture(case.pair[1], case.content), options


def match_all(options: argparse.Namespace) -> None:
    """Match every case in this process by one method of a checkout, and write the results of each color space to a file."""
    match_images = load_checkout(options.other).match_images
    prepared = [inputs(case) for case in cases(options.stats, options.pairs, options.few)]
    with torch.inference_mode():
        for space in options.spaces:
            results = [match_images(image, look, options.run, color_space=space, **given) for image, look, given in prepared]
            torch.save(results, options.target / f"{space}.pt")


def distance(result: Tensor, case: Case) -> float:
    """The joint distance of a result's middle frame to the reference, in 8-bit levels; under the masks where there are masks.

    That is measured at every other pixel of every other row and in 50 directions, else it would take most of the time.
    """
    frame, side = result[len(result) // 2][None], result.shape[1]
    look = picture(case.pair[1], case.content)[:, :side, :side]
    if case.masked:
        inside = mask(side) == 1
        # The reference's mask is this one turned over, so that there are as many pixels under it.
        frame, look = frame[inside].view(1, side, -1, 3), look.transpose(1, 2)[inside].view(1, side, -1, 3)
    return 255 * joint_distance(frame[:, ::2, ::2], look[:, ::2, ::2], directions=50)


def public_names(folder: Path) -> list[str]:
    """The public names of a checkout that can be had, in this process."""
    package = load_checkout(folder)
    return [name for name in package.__all__ if hasattr(package, name)]


def run_checkout(folder: Path, what: str, options: argparse.Namespace, *arguments: str) -> Any:
    """Run this script for one checkout in a process of its own."""
    given = ["--threads", options.threads, "--pairs", options.pairs, "--few", options.few]
    return run_apart(__file__, [str(folder), "--run", what, *map(str, given), *arguments], False)


def compare(method: str, spaces: Sequence[str], stats: Sequence[str], options: argparse.Namespace) -> Row:
    """Run both checkouts and compare what they have written."""
    row = Row()
    with tempfile.TemporaryDirectory() as folder:
        targets = [Path(folder) / name for name in ("old", "new")]
        for target, checkout in zip(targets, (options.other, ROOT), strict=True):
            target.mkdir()
            run_checkout(checkout, method, options, "--target", str(target), "--spaces", *spaces, "--stats", *stats)
        for space in spaces:
            results = [torch.load(target / f"{space}.pt") for target in targets]
            for case, old, new in zip(cases(stats, options.pairs, options.few), *results, strict=True):
                (row.in_rgb if space == "rgb" else row.elsewhere).add(old, new)
                if method not in (*CHANNELS, *LINEAR):
                    row.old.append(distance(old, case))
                    row.new.append(row.old[-1] if torch.equal(old, new) else distance(new, case))
    return row


def broken(method: str, row: Row) -> list[str]:
    """What does not hold of a method."""
    messages = []
    if method in (*CHANNELS, *LINEAR):
        for where, difference in (("rgb", row.in_rgb), ("other color spaces", row.elsewhere)):
            if difference.largest > CLOSE:
                messages.append(f"{method} in {where}: differs by {difference.largest:.4f} levels, more than {CLOSE}")
    if method in CHANNELS and row.in_rgb.differing:
        messages.append(f"{method} in rgb: {row.in_rgb.differing} values are not the same bits")
    if row.old and not row.ratio <= FARTHER:
        messages.append(f"{method}: {row.ratio:.4f} x the joint distance, more than {FARTHER}")
    return messages


def parse_arguments() -> argparse.Namespace:
    """What the user, or this script itself, asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the folder of the other checkout")
    parser.add_argument("--methods", nargs="+", help="all by default")
    parser.add_argument("--spaces", nargs="+", help="all by default")
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="pairs of single pictures")
    parser.add_argument("--few", type=int, default=2, help="pairs of clips and of pictures with masks")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--stats", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Compare, print a table and return the exit status."""
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    if options.run:
        if options.run == "names":
            print(json.dumps(public_names(options.other)))
        else:
            match_all(options)
            print(json.dumps(options.run))
        return 0
    pack = load_checkout(ROOT)
    gone = set(run_checkout(options.other, "names", options)) - set(run_checkout(ROOT, "names", options))
    problems = [f"{name} is no longer a public name" for name in sorted(gone)]
    print("| | in rgb, largest difference in levels | values that differ | in other spaces | values | joint distance, times |")
    print("| --- | --: | --: | --: | --: | --: |")
    for method in options.methods or pack.METHODS:
        stats = STATS[:1] if pack.METHODS[method].per_frame_only else STATS
        row = compare(method, options.spaces or pack.COLOR_SPACES, stats, options)
        cells = [f"`{method}`", *row.in_rgb.cells(), *row.elsewhere.cells(), f"{row.ratio:.4f}" if row.old else ""]
        print("| " + " | ".join(cells) + " |", flush=True)
        problems += broken(method, row)
    print("\n" + "\n".join(problems or ["nothing is amiss"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
