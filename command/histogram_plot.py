"""A picture of the histograms of references, sources and results."""

from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from ..clip.frames import Frame, Reference, fit_mask
from ..clip.histograms import BINS
from ..plots.drawing import draw_histograms
from ..plots.level_counts import ROWS, by_rows, count_levels
from .encoders import Encoding, encode
from .image_files import ImageFile, coverage
from .metadata import Metadata
from .whole_files import write_whole_file

_SIZE = 1024, 1024


class HistogramPlot:
    """Counts the pixels of sources and results as they are matched, and draws them over those of the references.

    As where they are matched, pixels of the source count as far as they are measured, and those of the result as far as they
    are changed; unless ``ignore_alpha``, as far as they are opaque.
    """

    def __init__(self, ignore_alpha: bool) -> None:
        self._ignore_alpha = ignore_alpha
        self._profile: bytes | None = None
        self._source, self._result = (torch.zeros(len(ROWS), BINS, dtype=torch.float64) for _ in range(2))
        # Image files are matched by several threads.
        self._lock = Lock()

    def add(self, frame: Frame) -> None:
        """Count a frame that is done."""
        alpha = None if self._ignore_alpha else _coverage(frame)
        measured, changed = frame.fitted_mask(), frame.fitted_change()
        source = count_levels(frame.pixels, alpha if measured is None else measured)
        result = count_levels(frame.out, alpha if changed is None else changed if alpha is None else changed * alpha)
        with self._lock:
            if isinstance(frame.source, ImageFile) and not self._source.any():
                self._profile = frame.source.profile
            self._source += source
            self._result += result

    def write(self, path: Path, read_references: Callable[[bytes | None], Iterable[Reference]]) -> None:
        """Draw what has been counted over the references, which are read in the colors of the first source, and write it."""
        reference = torch.zeros_like(self._source)
        for one in read_references(self._profile):
            reference += _count_reference(one)
        counts = {"reference": reference, "source": self._source, "result": self._result}
        shown = {name: rows for name, rows in counts.items() if rows.any(dim=1).all()}
        if not self._source.any():
            raise ValueError("expected files that are matched, to plot their histograms, got none")
        drawn = draw_histograms(shown, "all", "linear", *_SIZE)
        write_whole_file(path, encode(path.suffix.lower(), np.asarray(drawn), Metadata(), Encoding("PNG")))


def _coverage(frame: Frame) -> Tensor | None:
    """How opaque the pixels of a frame are: its file knows, or the whole result that was made for a clip."""
    if isinstance(frame.source, ImageFile):
        return frame.source.coverage
    return coverage(frame.source.movedim(0, -1))


def _count_reference(reference: Reference) -> Tensor:
    """Count a picture, or a histogram that was kept, whose luminance only a sample of its colors knows."""
    if reference.counts is None:
        mask = None if reference.mask is None else fit_mask("reference_mask", reference.mask, reference.pixels)
        return count_levels(reference.pixels, mask)
    sample = count_levels(reference.pixels, reference.weights)[3:]
    known = by_rows(reference.counts)
    return torch.cat([known, sample * known[0].sum() / sample.sum()])
