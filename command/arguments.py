"""The arguments of the command."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from torch import Tensor

from .. import __version__
from ..clip.settings import REFERENCE_STATS, SOURCE_STATS, MatchSettings
from ..methods.table import COLOR_SPACES, METHODS
from ..methods.targets import LinearStretch, Normal, Uniform

_DEFAULT = "; default: %(default)s"
_SETTINGS = {field.name: field.default for field in fields(MatchSettings) if field.name != "target"}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="histogram-match",
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
        help="the file whose colors are wanted, an image, a video or what --save-reference has written; several are given by "
        "repeating this, or as a pattern",
    )
    output = "a file for one source file, else a folder, made if missing; the format follows the name"
    parser.add_argument("-o", "--output", metavar="OUT", help=output)
    method = f"how to match; --list-methods says what each is for; default: {_SETTINGS['method']}"
    parser.add_argument("-m", "--method", choices=tuple(METHODS), help=method)
    channels = "in which channels are matched; luminance changes brightness only"
    _add_setting(parser, "--color-space", channels, choices=COLOR_SPACES)
    _add_setting(parser, "--rotations", "of sliced: more are slower and nearer", type=int, metavar="N")
    _add_setting(parser, "--factor", "0 (unchanged) to 1 (matched)", type=float)
    device = "where to compute; auto takes the GPU if there is one"
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help=device + _DEFAULT)
    group = parser.add_argument_group("histograms without a reference")
    group.add_argument(
        "--target",
        choices=("uniform", "normal", "linear_stretch"),
        help="what to give each channel in place of a reference's histogram, in color spaces other than rgb to the lightness "
        "alone: all levels equally often (equalization), a normal distribution, or the full range",
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
    for name, where in (("image", "files are measured and changed; gray blends"), ("reference", "references are measured")):
        region.add_argument(f"--{name}-mask", metavar="FILE", action=_Once, help=f"a picture, white where the {where}")
    save = "pool all references, write them to this file, which serves as --reference later; SOURCE may be left out then"
    parser.add_argument("--save-reference", metavar="FILE.npz", help=save)
    flags = {
        "--overwrite": "replace files that exist",
        "--resume": "leave files that exist, and do the others as if all were done; under torchrun, this is so without asking",
        "--demo": "match a photo of scikit-image's to another and write source, reference and result to OUT (demo by default)",
    }
    for name, description in flags.items():
        parser.add_argument(name, action="store_true", help=description)
    parser.add_argument("--list-methods", action=_ListMethods, nargs=0, help="say what each method is for, and exit")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


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
    given = {name: getattr(options, name) for name in _SETTINGS if getattr(options, name) is not None}
    return MatchSettings(**given, target=target)


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
        print("\n".join(f"{name:<12}{method.use}" for name, method in METHODS.items()))
        parser.exit()


def _add_setting(group: argparse._ActionsContainer, name: str, description: str, **more: Any) -> None:
    """Add the argument for one of :class:`MatchSettings`."""
    default = _SETTINGS[name.removeprefix("--").replace("-", "_")]
    group.add_argument(name, default=default, help=description + _DEFAULT, **more)
