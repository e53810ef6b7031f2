"""The command ``histogram-match``: histogram matching of image files, without ComfyUI."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image
from skimage import data
from tqdm import tqdm

from .clip_matching import METHODS
from .image_files import SUFFIXES, read_image, write_image
from .matching import match_images


def main(arguments: Sequence[str] | None = None) -> int:
    """Match image files to a reference.

    Args:
        arguments: what follows the command's name; ``sys.argv[1:]`` by default.

    Returns:
        The exit status: 0 if all files were matched, 1 if some were not. Arguments that make no sense exit with 2.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        device = _device(options.device)
        if options.demo:
            pairs, reference_path = _demo(options)
        else:
            pairs, reference_path = _pairs(options), Path(options.reference)
        reference = read_image(reference_path)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    failed = 0
    with tqdm(pairs, unit="file", disable=None if len(pairs) > 1 else True) as bar:
        for source_path, output_path in bar:
            try:
                if output_path.exists() and not options.overwrite:
                    raise ValueError(f"{output_path} exists; --overwrite replaces it")
                source = read_image(source_path)
                matched = match_images(source.pixels, reference.pixels, options.method, options.factor, device)
                output_path.parent.mkdir(parents=True, exist_ok=True)
                write_image(output_path, matched, source)
            except (OSError, ValueError) as error:
                failed += 1
                bar.write(f"{source_path}: {error}", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(pairs)} files failed", file=sys.stderr)
    elif options.demo:
        print(f"{pairs[0][0]} matched to {reference_path}: {pairs[0][1]}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="histogram-match",
        description="Give image files the histogram of a reference, channel by channel.",
        epilog="An 8-bit file stays 8-bit, a 16-bit file 16-bit; alpha, colour profile and metadata are kept.",
    )
    parser.add_argument("sources", metavar="SOURCE", nargs="*", help="a file, a folder or a pattern such as 'shots/*.png'")
    parser.add_argument("--reference", metavar="REF", help="the file whose histogram is wanted")
    parser.add_argument(
        "--output",
        metavar="OUT",
        help="a file for one source file, else a folder, made if missing; the format follows the name",
    )
    parser.add_argument("--method", choices=METHODS, default=METHODS[0], help="default: %(default)s")
    parser.add_argument("--factor", type=_factor, default=1.0, help="0 (unchanged) to 1 (matched); default: %(default)s")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="where pytorch computes; auto takes the GPU if there is one; default: %(default)s",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--demo",
        action="store_true",
        help="match a photo of scikit-image's to another and write source, reference and result to OUT (demo by default)",
    )
    return parser


def _factor(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")
    return value


def _device(name: str) -> torch.device:
    accelerator = None if name == "cpu" else torch.accelerator.current_accelerator(check_available=True)
    if name == "gpu" and accelerator is None:
        raise ValueError("argument --device: expected a GPU for gpu, torch finds none")
    return accelerator or torch.device("cpu")


def _demo(options: argparse.Namespace) -> tuple[list[tuple[Path, Path]], Path]:
    """Write two photos, and return what to match to what."""
    if options.sources or options.reference:
        raise ValueError("argument --demo: expected neither SOURCE nor --reference with it")
    folder = Path(options.output or "demo")
    source, reference, result = (folder / f"{name}.png" for name in ("source", "reference", "result"))
    for path in (source, reference, result):
        if path.exists() and not options.overwrite:
            raise ValueError(f"argument --demo: {path} exists; --overwrite replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.chelsea()).save(source)
    Image.fromarray(data.coffee()).save(reference)
    return [(source, result)], reference


def _pairs(options: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Name an output file for each source file."""
    for name, value in (("SOURCE", options.sources), ("--reference", options.reference), ("--output", options.output)):
        if not value:
            raise ValueError(f"the following arguments are required: {name}")
    output = Path(options.output)
    sources = list(_files(options.sources))
    single = len(options.sources) == 1 and sources == [Path(options.sources[0])]
    if output.suffix.lower() in SUFFIXES and not output.is_dir():
        if not single:
            raise ValueError(f"argument --output: expected a folder for more than one source file, got {output}")
        return [(sources[0], output)]
    pairs: dict[Path, Path] = {}
    for source in sources:
        target = output / source.name
        if target in pairs:
            raise ValueError(f"argument SOURCE: {pairs[target]} and {source} would both become {target}")
        pairs[target] = source
    return [(source, target) for target, source in pairs.items()]


def _files(sources: Iterable[str]) -> Iterable[Path]:
    """Resolve files, folders and patterns into files."""
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES)
        elif path.exists() or not glob.has_magic(source):
            found = [path]
        else:
            found = sorted(entry for entry in map(Path, glob.glob(source, recursive=True)) if entry.is_file())
        if not found:
            raise ValueError(f"argument SOURCE: expected {', '.join(SUFFIXES)} files in {source}, found none")
        yield from found
