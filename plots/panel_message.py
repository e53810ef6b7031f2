"""What the panel on a node is told of a run, in few bytes: histograms and distances, frame by frame."""

import base64
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..clip.histograms import BINS, FrameHistograms

_Array: TypeAlias = NDArray[np.float64]

# Of the 64 KiB of a message, a part is taken by numbers of frames and by what ComfyUI writes around it.
_MOST = 61_000
_BINS = (256, 128, 64)
# Peaks of source and result, distances before and after, what is black and what is white, each of four histograms.
_NUMBERS = 24


def panel_message(observed: Sequence[FrameHistograms]) -> dict[str, Any]:
    """What is shown of a run over frames, at most 64 KiB as JSON: of many frames, some are left out, at even distances.

    Returns:
        ``bins`` of each histogram; the number ``total`` of frames; the indices ``frames`` of those that are there, each with a
        record in ``data``; whether channels are counted from a ``sampled`` part of the pixels; records of the different
        ``references``, and ``reference_of`` each frame its number among them, None where there is none. Records are little
        endian, in base64, rows in the order red, green, blue, luminance. A frame's: 16-bit numbers of which 65535 is 1, the
        peaks of the source as parts of all pixels, those of the result, W1 to the reference before and after, parts of the
        pixels that are black and white afterwards; 8-bit roots of heights as parts of the peak, for the source, then for the
        result. A reference's: peaks and heights.
    """
    references: list[Tensor] = []
    numbers: list[int] = []
    for frame in observed:
        if frame.reference is not None and not (references and references[-1] is frame.reference):
            references.append(frame.reference)
        numbers.append(len(references) - 1)
    bins, frames = _fitting(len(observed), len(references))
    chosen = [observed[frame] for frame in frames]
    used = sorted({numbers[frame] for frame in frames} - {-1})
    return {
        "version": 1,
        "bins": bins,
        "total": len(observed),
        "frames": frames,
        "sampled": not all(frame.exact for frame in chosen),
        "data": _text(_frame_records(chosen, bins)),
        "references": _text(_reference_records([references[number] for number in used], bins)),
        "reference_of": [used.index(numbers[frame]) for frame in frames] if used else None,
    }


def reference_message(counts: Tensor) -> dict[str, Any]:
    """The same of a reference alone, of counts ``[4, 256]``."""
    return panel_message(()) | {"references": _text(_reference_records([counts], BINS))}


def _fitting(frames: int, references: int) -> tuple[int, list[int]]:
    """How many bins there are, and which frames: as many of both as the message holds, frames first."""
    for bins in _BINS:
        of_frame, of_reference = 2 * _NUMBERS + 8 * bins, 8 + 4 * bins
        if (frames * of_frame + references * of_reference) * 4 // 3 <= _MOST:
            return bins, list(range(frames))
    # As many references as frames, if each has its own.
    most = _MOST * 3 // 4 // (of_frame + (of_reference if references > 1 else 0)) - 1
    return bins, [int(index) for index in np.linspace(0, frames - 1, most).round()]


def _shares(counts: Sequence[Tensor]) -> _Array:
    """Counts ``[4, 256]`` as shares of all in a row ``[N, 4, 256]``; 0 where nothing is counted."""
    rows: _Array = torch.stack(list(counts)).double().numpy()
    totals = rows.sum(axis=2, keepdims=True)
    shares: _Array = np.divide(rows, totals, out=np.zeros_like(rows), where=totals > 0)
    return shares


def _frame_records(frames: Sequence[FrameHistograms], bins: int) -> list[bytes]:
    if not frames:
        return []
    source, result = _shares([frame.source for frame in frames]), _shares([frame.result for frame in frames])
    distances = [np.zeros(source.shape[:2])] * 2
    if frames[0].reference is not None:
        beside = _shares([frame.source if frame.reference is None else frame.reference for frame in frames])
        # The area between the cumulative distributions: Vallender 1974.
        apart = (np.abs(np.cumsum(rows - beside, axis=2))[..., :-1] for rows in (source, result))
        distances = [areas.sum(axis=2) / (BINS - 1) for areas in apart]
    peaks, codes = zip(*(_bars(rows, bins) for rows in (source, result)), strict=True)
    numbers = _numbers(np.concatenate([*peaks, *distances, result[..., 0], result[..., -1]], axis=1))
    return _records(numbers, *codes)


def _reference_records(references: Sequence[Tensor], bins: int) -> list[bytes]:
    if not references:
        return []
    peaks, codes = _bars(_shares(references), bins)
    return _records(_numbers(peaks), codes)


def _bars(rows: _Array, bins: int) -> tuple[_Array, NDArray[np.uint8]]:
    """Peaks ``[N, 4]`` and heights in a byte each ``[N, 4, bins]``: by their roots, so that small ones keep their precision."""
    bars = rows.reshape(*rows.shape[:2], bins, -1).sum(axis=3)
    peaks = bars.max(axis=2)
    parts = np.divide(bars, peaks[..., None], out=np.zeros_like(bars), where=peaks[..., None] > 0)
    return peaks, (np.sqrt(parts) * 255).round().astype(np.uint8)


def _numbers(values: _Array) -> NDArray[np.uint16]:
    return (values.clip(0, 1) * 65535).round().astype("<u2")


def _records(*arrays: NDArray[Any]) -> list[bytes]:
    return [b"".join(array.tobytes() for array in one) for one in zip(*arrays, strict=True)]


def _text(records: Sequence[bytes]) -> str:
    return base64.b64encode(b"".join(records)).decode()
