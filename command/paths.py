"""Which files are read and written."""

import argparse
import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from skimage import data

from ..reference_histogram import SUFFIX as HISTOGRAM_SUFFIX
from .image_files import SUFFIXES

_VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".m4v", ".avi")
_SUFFIXES = SUFFIXES + _VIDEO_SUFFIXES

Pair = tuple[Path, Path]
"""A source, and the file that it becomes."""


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name."""
    return path.suffix.lower() in _VIDEO_SUFFIXES


def is_histogram(path: Path) -> bool:
    """Whether a file is a kept :class:`ReferenceHistogram` by its name."""
    return path.suffix.lower() == HISTOGRAM_SUFFIX


def name_files(options: argparse.Namespace) -> tuple[list[Pair], list[Path]]:
    """Name an output file for each source file, and the files of references; a ValueError for bad arguments."""
    if options.demo:
        return _demo(options)
    if options.target and options.reference:
        raise ValueError("argument --target: expected no --reference with it")
    required = {"SOURCE": options.sources, "--reference": options.reference or options.target, "--output": options.output}
    saves_only = options.save_reference and not options.sources and not options.output
    for name in ["--reference"] if saves_only else required:
        if not required[name]:
            raise ValueError(f"the following arguments are required: {name}")
    references = list(_files(options.reference, "--reference"))
    if saves_only:
        return [], references
    output = Path(options.output)
    sources = list(_files(options.sources, "SOURCE"))
    known = not any(map(is_video, [*references, *sources]))
    if known and len(references) > len(sources) and options.reference_stats == "paired":
        raise ValueError(
            f"argument --reference: expected one, or one for each of {len(sources)} files, got {len(references)}; "
            "--reference-stats pooled takes all of them as one"
        )
    if output.suffix.lower() in _SUFFIXES and not output.is_dir():
        if sources != [Path(options.sources[0])]:
            raise ValueError(f"argument --output: expected a folder for more than one source file, got {output}")
        return [(sources[0], output)], references
    # A folder with a dot in its name, such as v1.2, is one; what looks like a file is rather a format that is not written.
    named = re.fullmatch(r"\.[a-z][a-z0-9]{1,4}", output.suffix.lower()) and not options.output.endswith(("/", os.sep))
    if named and not output.is_dir():
        endings = ", ".join(_SUFFIXES)
        raise ValueError(f"argument --output: expected a name that ends in {endings}, or in / for a folder, got {output}")
    pairs: dict[Path, Path] = {}
    for source in sources:
        target = output / source.name
        if target in pairs:
            raise ValueError(f"argument SOURCE: {pairs[target]} and {source} would both become {target}")
        pairs[target] = source
    return [(source, target) for target, source in pairs.items()], references


def _demo(options: argparse.Namespace) -> tuple[list[Pair], list[Path]]:
    """Write two photos, and name what to match to what."""
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
    return [(source, result)], [reference]


def _files(sources: Iterable[str], argument: str) -> Iterable[Path]:
    """Resolve files, folders and patterns into files."""
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in _SUFFIXES)
        elif path.exists() or not glob.has_magic(source):
            found = [path]
        else:
            found = sorted(entry for entry in map(Path, glob.glob(source, recursive=True)) if entry.is_file())
        if not found:
            raise ValueError(f"argument {argument}: expected {', '.join(_SUFFIXES)} files in {source}, found none")
        yield from found
