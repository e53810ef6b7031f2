"""Which files are read and written."""

import argparse
import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

HISTOGRAM_SUFFIX = ".npz"
"""The ending of the names of kept references and transforms."""
IMAGE_KINDS = {
    ".png": "PNG",
    ".apng": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".exr": "EXR",
}
"""The formats of images that can be read and written, by the endings of names."""
LOSSY_KINDS = ("JPEG", "WEBP", "AVIF", "HEIF")
"""Those that can be written in more or less quality."""
_VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".m4v", ".avi")
_SUFFIXES = (*IMAGE_KINDS, *_VIDEO_SUFFIXES)

Pair = tuple[Path, Path]
"""A source, and the file that it becomes."""


@dataclass(frozen=True)
class Files:
    """What a call of the command reads and writes, and what it should say about files that it passes over.

    ``sources`` are measured where a transform is kept, whether they are written or not.
    """

    pairs: list[Pair]
    references: list[Path]
    notes: list[str] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name."""
    return path.suffix.lower() in _VIDEO_SUFFIXES


def is_histogram(path: Path) -> bool:
    """Whether a file is a kept :class:`ReferenceHistogram` by its name."""
    return path.suffix.lower() == HISTOGRAM_SUFFIX


def name_files(options: argparse.Namespace) -> Files:
    """Name an output file for each source file, and the files of references; a ValueError for bad arguments."""
    if options.demo:
        return _demo(options)
    others = [f"--{name}" for name in ("target", "transform", "lut") if getattr(options, name)]
    if others and options.reference:
        raise ValueError(f"argument {others[0]}: expected no --reference with it")
    keeps = options.save_transform or options.save_lut
    converts = keeps and (options.transform or options.lut) and not options.sources and not options.output
    required = {
        "SOURCE": options.sources or converts,
        "--reference": options.reference or others,
        "--output": options.output or keeps,
    }
    saves_only = options.save_reference and not options.sources and not options.output
    if lacking := [name for name in (["--reference"] if saves_only else required) if not required[name]]:
        raise ValueError(f"the following arguments are required: {', '.join(lacking)}")
    notes: list[str] = []
    references = [path for path, _ in _files(options.reference, "--reference", options, notes)]
    if missing := [str(path) for path in references if not path.exists()]:
        raise ValueError(f"{missing[0]}: no such file")
    if saves_only or converts:
        return Files([], references, notes)
    sources = list(_files(options.sources, "SOURCE", options, notes))
    images = not any(is_video(path) for path in [*references, *(path for path, _ in sources)])
    if images and len(references) > len(sources) and options.reference_stats == "paired":
        raise ValueError(
            f"argument --reference: expected one, or one for each of {len(sources)} files, got {len(references)}; "
            "--reference-stats pooled takes all of them as one"
        )
    if not options.output:
        return Files([], references, notes, [path for path, _ in sources])
    return Files(_pairs(sources, options), references, notes, [path for path, _ in sources])


def _pairs(sources: list[tuple[Path, Path]], options: argparse.Namespace) -> list[Pair]:
    """Each source with its target: the output itself for one file, else a file in that folder."""
    output = Path(options.output)
    if output.suffix.lower() in _SUFFIXES and not output.is_dir():
        if [path for path, _ in sources] != [Path(options.sources[0])]:
            raise ValueError(f"argument --output: expected a folder for more than one source file, got {output}")
        return [(sources[0][0], output)]
    # A folder with a dot in its name, such as v1.2, is one; what looks like a file is rather a format that is not written.
    named = re.fullmatch(r"\.[a-z][a-z0-9]{1,4}", output.suffix.lower()) and not options.output.endswith(("/", os.sep))
    if named and not output.is_dir():
        endings = ", ".join(_SUFFIXES)
        raise ValueError(f"argument --output: expected a name that ends in {endings}, or in / for a folder, got {output}")
    pairs: dict[Path, Path] = {}
    for source, inside in sources:
        target = output / inside
        if target in pairs:
            raise ValueError(
                f"argument SOURCE: {pairs[target]} and {source} would both become {target}; --recursive keeps their folders"
            )
        pairs[target] = source
    return [(source, target) for target, source in pairs.items()]


def _demo(options: argparse.Namespace) -> Files:
    """Write two photos, and name what to match to what."""
    from PIL import Image
    from skimage import data

    if options.sources or options.reference:
        raise ValueError("argument --demo: expected neither SOURCE nor --reference with it")
    folder = Path(options.output or "demo")
    source, reference, result = (folder / f"{name}.png" for name in ("source", "reference", "result"))
    for path in (source, reference, result):
        if path.exists() and not options.overwrite:
            raise ValueError(f"argument --demo: {path} exists; --overwrite replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.coffee()).save(source)
    Image.fromarray(data.rocket()).save(reference)
    return Files([(source, result)], [reference], sources=[source])


def _files(sources: Iterable[str], argument: str, options: argparse.Namespace, notes: list[str]) -> Iterator[tuple[Path, Path]]:
    """Resolve files, folders and patterns into files, each with its place below the folder that it was found in."""
    for source in sources:
        path = Path(source)
        if path.is_dir():
            root = path
            entries: Iterable[Path] = path.rglob("*") if options.recursive else path.iterdir()
        elif path.exists() or not glob.has_magic(source):
            yield path, Path(path.name)
            continue
        else:
            root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
            entries = map(Path, glob.iglob(source, recursive=True))
        # Names that begin with a dot are other programs' own.
        files = sorted(entry for entry in entries if entry.is_file() and not entry.name.startswith("."))
        if options.recursive and options.output and Path(options.output).resolve() != root.resolve():
            # What a run before has written is not a source.
            output = Path(options.output).resolve()
            files = [file for file in files if output not in file.resolve().parents]
        known = (*_SUFFIXES, HISTOGRAM_SUFFIX) if argument == "--reference" and not path.is_dir() else _SUFFIXES
        found = [file for file in files if file.suffix.lower() in known]
        if not found:
            raise ValueError(f"argument {argument}: expected {', '.join(_SUFFIXES)} files in {source}, found none")
        if passed := len(files) - len(found):
            notes.append(f"{source}: {passed} other file{'s' * (passed > 1)} passed over")
        for file in found:
            yield file, file.relative_to(root) if options.recursive else Path(file.name)
