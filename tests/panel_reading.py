"""Read what a panel is told, as the page does."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import wasserstein_distance
from torch import Tensor

NUMBERS = ("source_peaks", "result_peaks", "before", "after", "black", "white")
LUMA = np.array([0.2126, 0.7152, 0.0722])


@dataclass
class ShownFrame:
    """A frame: shares of pixels ``[4, bins]``, and four numbers each by name."""

    source: np.ndarray
    result: np.ndarray
    numbers: dict[str, np.ndarray]


def read_frames(message: dict[str, Any]) -> list[ShownFrame]:
    """The frames of a message."""
    data, bins = b64decode(message["data"]), message["bins"]
    size = 48 + 8 * bins
    assert len(data) == size * len(message["frames"])
    records = []
    for first in range(0, len(data), size):
        rows = np.frombuffer(data, "<u2", 24, first).reshape(6, 4) / 65535
        codes = np.frombuffer(data, np.uint8, 8 * bins, first + 48)
        source, result = (codes[4 * bins * n : 4 * bins * (n + 1)].reshape(4, bins) for n in (0, 1))
        bars = [rows[n][:, None] * (part / 255) ** 2 for n, part in enumerate((source, result))]
        records.append(ShownFrame(*bars, dict(zip(NUMBERS, rows, strict=True))))
    return records


def read_references(message: dict[str, Any]) -> list[np.ndarray]:
    """Shares of pixels ``[4, bins]`` of each reference of a message."""
    data, bins = b64decode(message["references"]), message["bins"]
    size = 8 + 4 * bins
    rows = []
    for first in range(0, len(data), size):
        peaks = np.frombuffer(data, "<u2", 4, first)[:, None] / 65535
        rows.append(peaks * (np.frombuffer(data, np.uint8, 4 * bins, first + 8).reshape(4, bins) / 255) ** 2)
    return rows


def values(frame: Tensor) -> np.ndarray:
    """Red, green, blue and luminance ``[4, H * W]`` of a frame ``[H, W, C]``."""
    colors = frame[..., :3].double().numpy().reshape(-1, min(3, frame.shape[-1])).clip(0, 1)
    colors = np.broadcast_to(colors, (len(colors), 3))
    return np.concatenate([colors.T, (colors @ LUMA)[None]])


def distances(frame: Tensor, reference: Tensor) -> np.ndarray:
    """W1 of each row of :func:`values` to that of a reference, at 16-bit levels."""
    levels = np.arange(1 << 16) / 65535
    first, second = (np.rint(values(one) * 65535).astype(int) for one in (frame, reference))
    counts = [[np.bincount(row, minlength=1 << 16) for row in pair] for pair in zip(first, second, strict=True)]
    return np.array([wasserstein_distance(levels, levels, *pair) for pair in counts])


def shares(frame: Tensor, bins: int, weights: np.ndarray | None = None) -> np.ndarray:
    """The histograms ``[4, bins]`` of 8-bit levels of a frame, as parts of all pixels, by weights ``[H * W]``."""
    levels = np.floor(values(frame) * 255 + 0.5).astype(int) * bins // 256
    counts = np.stack([np.bincount(row, weights, minlength=bins) for row in levels])
    return counts / counts.sum(axis=1, keepdims=True)
