"""The arguments of the command, read and checked without torch, which takes a second to load."""

from __future__ import annotations

import argparse
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from .. import __version__
from ..clip.settings import RANGES, REFERENCE_STATS, SOURCE_STATS, MatchSettings
from ..luts.kinds import SIZES, SUFFIXES
from ..methods.table import COLOR_SPACES, METHODS
from ..methods.targets import LinearStretch, Normal, Uniform
from ..videos.codecs import CODECS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_DEFAULT = "; default: %(default)s"
_SETTINGS = {field.name: field.default for field in fields(MatchSettings) if field.name != "target"}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = _Parser(
        prog="histogram-match",
        formatter_class=partial(argparse.HelpFormatter, max_help_position=30),
        usage="%(prog)s SOURCE [SOURCE ...] -r REF [-r REF ...] -o OUT [options]",
        description="Give image and video files the colors of a reference.",
        epilog=(
            "An 8-bit file stays 8-bit, a 16-bit file 16-bit; alpha, color profile and metadata are kept. A video keeps its "
            "sound and the time of each frame. With --source-stats other than per_frame, all image files together are the "
            "frames of one clip, in the order of their names. Started by torchrun, processes share the files."
        ),
    )
    parser.add_argument("sources", metavar="SOURCE", nargs="*", help="a file, a folder or a pattern such as 'shots/*.png'")
    parser.add_argument(
        "-r",
        "--reference",
        metavar="REF",
        action="append",
        default=[],
        help="whose colors are wanted: an image, a video or what --save-reference has written; several by repeating this",
    )
    output = "a file for one source file, else a folder, made if missing; the format follows the name"
    parser.add_argument("-o", "--output", metavar="OUT", help=output)
    method = f"one of {', '.join(METHODS)}; --list-methods says what each is for; default: {_SETTINGS['method']}"
    parser.add_argument("-m", "--method", metavar="METHOD", choices=tuple(METHODS), help=method)
    channels = "in which channels are matched; luminance changes brightness only"
    _add_setting(parser, "--color-space", channels, choices=COLOR_SPACES)
    _add_setting(parser, "--rotations", "of sliced: more are slower and nearer", type=int, metavar="N")
    _add_setting(parser, "--factor", "0 (unchanged) to 1 (matched)", type=float)
    texture = "0 to 1, how much of the files' own texture is kept: no grain, JPEG blocks or bands are amplified"
    _add_setting(parser, "--detail", texture, type=float)
    noise = "add noise of half an 8-bit level before files are measured, the same at every run, against bands"
    parser.add_argument("--dither", action="store_true", help=noise)
    cells = "in how many cells along each side the change is measured, for references of the same scene"
    _add_setting(parser, "--grid", cells, type=int, metavar="N")
    slope = "the greatest slope of the change, 0 for any: with --grid and --target uniform this is CLAHE"
    _add_setting(parser, "--clip", slope, type=float, metavar="SLOPE")
    values = "values from 0 to 1, or all that float TIFF and EXR hold, with nothing clamped"
    _add_setting(parser, "--range", values, choices=RANGES)
    device = "where to compute; auto takes the GPU if there is one"
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help=device + _DEFAULT)
    group = parser.add_argument_group("histograms without a reference")
    group.add_argument(
        "--target",
        choices=("uniform", "normal", "linear_stretch"),
        help="what each channel gets, or the lightness alone in other color spaces than rgb: all levels equally often "
        "(equalization), a normal distribution, or the full range",
    )
    group.add_argument("--mean", type=float, default=Normal.mean, help="of normal" + _DEFAULT)
    group.add_argument("--deviation", type=float, default=Normal.deviation, help="of normal" + _DEFAULT)
    for name, default, color in (("--clip-low", LinearStretch.low, "black"), ("--clip-high", LinearStretch.high, "white")):
        help_text = f"of linear_stretch: pixels that may become {color}" + _DEFAULT
        group.add_argument(name, type=float, default=default, metavar="PERCENT", help=help_text)
    clip = parser.add_argument_group("video and image sequences")
    _add_setting(
        clip,
        "--source-stats",
        "what the change is computed from: each frame by itself, all frames pooled, one frame for all, or each frame but "
        "slowly, with a new start at cuts",
        choices=SOURCE_STATS,
    )
    _add_setting(clip, "--target-index", "the frame for target_frame, counted from 0", type=int, metavar="N")
    _add_setting(clip, "--window", "how slow smoothed is, in frames", type=int, metavar="N")
    several = "of several references: the first for the first frame and so on, or all as one"
    _add_setting(clip, "--reference-stats", several, choices=REFERENCE_STATS)
    region = parser.add_argument_group("regions")
    for name, where in (
        ("image", "files are measured and changed; gray blends"),
        ("reference", "references are measured"),
        ("change", "files are changed, in place of the image mask, which then says only what is measured"),
    ):
        region.add_argument(f"--{name}-mask", metavar="FILE", action=_Once, help=f"a picture, white where {where}")
    region.add_argument("--ignore-alpha", action="store_true", help="measure transparent pixels like others")
    _add_transforms(parser.add_argument_group("transforms and LUTs"))
    _add_files(parser.add_argument_group("files"))
    parser.add_argument("--list-methods", action=_ListMethods, nargs=0, help="say what each method is for, and exit")
    parser.add_argument("--version", action="version", help="say which this is, and exit", version=f"%(prog)s {__version__}")
    return parser


def _add_transforms(group: argparse._ActionsContainer) -> None:
    """Add what keeps a match, and what is kept."""
    once = "; SOURCE, several files or one clip, is measured together, and OUT may be left out then"
    group.add_argument("--save-transform", metavar="FILE.npz", help="keep the match for --transform" + once)
    group.add_argument("--save-lut", metavar="FILE", help=f"write the match as a LUT, {' or '.join(SUFFIXES)}" + once)
    group.add_argument("--transform", metavar="FILE.npz", help="what --save-transform has kept, in place of a reference")
    group.add_argument("--lut", metavar="FILE", help=f"a LUT of anyone, {' or '.join(SUFFIXES)}, in place of a reference")
    points = f"of a LUT that is not made of curves: points along each axis, {', '.join(map(str, SIZES))}"
    group.add_argument("--lut-size", type=int, choices=SIZES, default=33, metavar="N", help=points + _DEFAULT)


def _add_files(group: argparse._ActionsContainer) -> None:
    """Add what is done with files."""
    group.add_argument("--recursive", action="store_true", help="folders with all in them; OUT gets the same tree")
    group.add_argument("--overwrite", action="store_true", help="replace files that exist")
    resume = "leave files that exist, and do the others as if all were done; under torchrun, this is so without asking"
    group.add_argument("--resume", action="store_true", help=resume)
    unreadable = "where files are frames of one clip, go on without those that cannot be read"
    group.add_argument("--skip-unreadable", action="store_true", help=unreadable)
    group.add_argument("--dry-run", action="store_true", help="say what would be written, and exit")
    quality = "1 to 100, of JPEG, WebP and AVIF; default: the source's own, where it can be read"
    group.add_argument("--quality", type=int, metavar="N", help=quality)
    codec = "codec of video; ffv1 loses nothing; default: the source's, where there is an encoder"
    group.add_argument("--codec", choices=CODECS, help=codec)
    group.add_argument("--crf", type=int, metavar="N", help="constant rate factor of video, less is better; default: as large")
    sheet = "also write a picture of sources, references and results side by side"
    group.add_argument("--contact-sheet", metavar="FILE", help=sheet)
    plot = "also write a picture of the histograms of references, sources and results, all of each together"
    group.add_argument("--plot", metavar="FILE", help=plot)
    save = "pool all references, write them to this file, which serves as --reference later; SOURCE may be left out then"
    group.add_argument("--save-reference", metavar="FILE.npz", help=save)
    demo = "match a photo of scikit-image's to another and write source, reference and result to OUT (demo by default)"
    group.add_argument("--demo", action="store_true", help=demo)


def settings_of(options: argparse.Namespace) -> MatchSettings:
    """How to match, as the arguments say; a ValueError where they make no sense."""
    target: Callable[[Tensor], Tensor] | None = None
    if options.target == "uniform":
        target = Uniform()
    elif options.target == "normal":
        target = Normal(options.mean, options.deviation)
    elif options.target == "linear_stretch":
        target = LinearStretch(options.clip_low, options.clip_high)
    if target is not None and options.method is not None:
        raise ValueError(f"argument --target: expected no --method with it, got {options.method}")
    if replaced := [name for name in ("transform", "lut") if getattr(options, name)]:
        if len(replaced) > 1 or options.method is not None or target is not None:
            unwanted = "--lut" if len(replaced) > 1 else "--target" if options.method is None else "--method"
            raise ValueError(f"argument --{replaced[0]}: expected no {unwanted} with it")
        return MatchSettings(factor=options.factor)
    given = {name: getattr(options, name) for name in _SETTINGS if getattr(options, name) is not None}
    return MatchSettings(**given, target=target)


class _Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Say it, and exit."""
        self.exit(2, f"{message}\n")


class _Once(argparse.Action):
    """An argument that is stored, and refused where it comes again."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, _: Any = None) -> None:
        """Store."""
        if getattr(namespace, self.dest) is not None:
            parser.error(f"argument {'/'.join(self.option_strings)}: expected once, got {values} as well")
        setattr(namespace, self.dest, values)


class _ListMethods(argparse.Action):
    """Say what each method is for, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print."""
        print("\n".join(f"{name:<16}{method.use}" for name, method in METHODS.items()))
        parser.exit()


def _add_setting(group: argparse._ActionsContainer, name: str, description: str, **more: Any) -> None:
    """Add the argument for one of :class:`MatchSettings`."""
    default = _SETTINGS[name.removeprefix("--").replace("-", "_")]
    group.add_argument(name, default=default, help=description + _DEFAULT, **more)
