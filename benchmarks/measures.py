"""What benchmarks and tests measure: memory, and the distance between distributions."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor


class PeakMemory:
    """``with PeakMemory() as peak: ...`` leaves the growth of the resident memory to its peak in ``peak.bytes``. Linux."""

    bytes: int

    def __enter__(self) -> PeakMemory:
        ctypes.CDLL(None).malloc_trim(0)  # else freed memory would be used again unseen
        Path("/proc/self/clear_refs").write_text("5")  # 5 resets the peak to what is resident now
        self._before = _status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = _status("VmHWM") - self._before


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def wasserstein_1(image: Tensor, reference: Tensor) -> Tensor:
    """Distance of each channel's distribution in [1, H, W, C] to the reference's, the area between the quantile functions."""
    quantiles = (torch.arange(1 << 18, dtype=torch.float64) + 0.5) / (1 << 18)
    rows = []
    for pixels in (image, reference):
        ordered = pixels[0].flatten(0, 1).double().sort(0).values
        rows.append(ordered[(quantiles * len(ordered)).long()])
    return (rows[0] - rows[1]).abs().mean(0)
