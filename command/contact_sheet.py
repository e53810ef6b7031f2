"""A picture of sources, references and results side by side."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from .clips import is_clip, read_clip, read_clip_header
from .encoders import Encoding, encode, to_picture
from .file_kinds import NamedError, about
from .image_files import colors_of, read_image, to_values
from .job import Job
from .metadata import Metadata
from .orientation import upright
from .paths import Pair, is_histogram
from .whole_files import write_whole_file

# A WebP has at most 16383 lines.
_MOST_ROWS = 40
_SIDE, _MARGIN, _TEXT = 320, 10, 18


class ContactSheet:
    """Rows of source, reference and result, made before sources are replaced and written when all results are there.

    Of more than 40 files, 40 from the first to the last are shown; of a video, its first frame.
    """

    def __init__(self, job: Job, pairs: list[Pair]) -> None:
        rows = torch.linspace(0, len(pairs) - 1, min(len(pairs), _MOST_ROWS)).round().int().tolist()
        self._results = [pairs[row][1] for row in rows]
        self._cells = [[_thumbnail(pairs[row][0]), self._reference(job, row)] for row in rows]

    def write(self, path: Path) -> None:
        """Write the sheet."""
        heights = []
        for cells, result in zip(self._cells, self._results, strict=True):
            cells.append(_thumbnail(result) if result.exists() else _blank(f"{result.name}: not there"))
            heights.append(max(cell.height for cell in cells) + _MARGIN)
        sheet = Image.new("RGB", (3 * (_SIDE + _MARGIN) + _MARGIN, sum(heights) + _MARGIN), "white")
        top = _MARGIN
        for cells, height in zip(self._cells, heights, strict=True):
            for column, cell in enumerate(cells):
                sheet.paste(cell, (_MARGIN + column * (_SIDE + _MARGIN), top))
            top += height
        write_whole_file(path, encode(path.suffix.lower(), np.asarray(sheet), Metadata(), Encoding("PNG")))

    @staticmethod
    def _reference(job: Job, row: int) -> Image.Image:
        if not job.references:
            return _blank("a histogram without a picture" if job.transform is None else "a transform that was kept")
        path = job.references[min(row, len(job.references) - 1)]
        return _blank(path.name) if is_histogram(path) else _thumbnail(path)


def _thumbnail(path: Path) -> Image.Image:
    """The first picture of a file, upright and small, over its name."""
    try:
        with about(path):
            pixels = _first_picture(path)
    except NamedError as error:
        return _blank(str(error))
    picture = to_picture(to_values(pixels, "uint8"))
    picture = ImageOps.contain(picture, (_SIDE, _SIDE))
    cell = _blank(path.name, picture.height)
    cell.paste(picture, (0, 0))
    return cell


def _first_picture(path: Path) -> Tensor:
    """The first picture of a file, upright, ``[H, W, 3]``."""
    if is_clip(path):
        pixels, orientation = next(read_clip(path)), read_clip_header(path).metadata.orientation
    else:
        file = read_image(path, any_values=True)
        pixels, orientation = file.pixels[0].nan_to_num(0).clamp(0, 1), file.orientation
    return upright(colors_of(pixels), orientation).expand(-1, -1, 3)


def _blank(text: str, height: int = 0) -> Image.Image:
    cell = Image.new("RGB", (_SIDE, height + _TEXT), "white")
    ImageDraw.Draw(cell).text((0, height + 2), text, fill="black")
    return cell
