"""What benchmarks and tests measure: memory, the distance between distributions, and the texture that is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

RETURN_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
"""Settings of glibc with which a freed block goes back to the system at once."""

# The part of a picture that is flat.
_FLAT = 0.3


class PeakMemory:
    """A context manager that leaves the growth of the resident memory to its peak in ``bytes``. Linux only.

    The process has to run with ``RETURN_FREED_MEMORY`` in its environment. Else memory that was freed before, but not
    returned to the system, is used again unseen.
    """

    bytes: int

    def __enter__(self) -> PeakMemory:
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


def joint_distance(image: Tensor, reference: Tensor, directions: int = 200) -> float:
    """Sliced Wasserstein-2 distance of the colors in [1, H, W, 3] to the reference's, of the same size."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.randn(3, directions, generator=generator, dtype=torch.float64)
    axes = (axes / axes.norm(dim=0)).float()
    # numpy sorts ten times as fast as torch.
    first, second = (np.sort((pixels[0].flatten(0, 1).float() @ axes).t().numpy(), axis=1) for pixels in (image, reference))
    return float(np.sqrt(np.square(first - second).mean(dtype=np.float64)))


def gradient_correlation(image: Tensor, source: Tensor) -> float:
    """Correlation of the differences between neighbouring pixels in the luma of [1, H, W, 3] with those of the source."""
    rows = []
    for pixels in (image, source):
        luma = pixels[0].double() @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)
        rows.append(torch.cat([luma.diff(dim=0).flatten(), luma.diff(dim=1).flatten()]))
    return float(torch.corrcoef(torch.stack(rows))[0, 1])


def amplification(result: Tensor, source: Tensor) -> tuple[float, float]:
    """How much more energy [1, H, W, 3] has than ``source`` where that is flat: in noise, and at the edges of 8 x 8 blocks."""
    planes = [pixels[0].movedim(-1, 0).double().numpy() for pixels in (result, source)]
    down, along = np.gradient(gaussian_filter(planes[1].mean(axis=0), 3))
    slope = np.hypot(down, along)
    flat = slope < np.quantile(slope, _FLAT)
    noise = [float(((plane - gaussian_filter(plane, (0, 2, 2)))[:, flat] ** 2).mean()) for plane in planes]
    blocks = [_block_edges(plane, flat) for plane in planes]
    return noise[0] / noise[1], blocks[0] / blocks[1]


def _block_edges(planes: NDArray[np.float64], flat: NDArray[np.bool_]) -> float:
    """The energy of steps between blocks, less what the steps beside them lead to expect."""
    steps = []
    for axis in (1, 2):
        differences = np.diff(planes, axis=axis)
        edges = np.arange(7, differences.shape[axis] - 1, 8)
        beside = [np.take(differences, edges + shift, axis) for shift in (-1, 1)]
        step = np.take(differences, edges, axis) - sum(beside) / 2
        steps.append(step[:, np.take(flat, edges, axis - 1)].ravel())
    return float((np.concatenate(steps) ** 2).mean())


def gaps(result: Tensor) -> float:
    """The part of the 8-bit levels between the darkest and the brightest of [1, H, W, 3] that no pixel has: bands."""
    parts = []
    for channel in (result[0] * 255).round().long().flatten(0, 1).unbind(-1):
        counts = torch.bincount(channel - channel.min())
        parts.append(float((counts == 0).double().mean()))
    return sum(parts) / len(parts)


def peak_frames(factor: float) -> float:
    """Peak memory of ``match_images`` at 4 megapixels beyond input and output, in frames."""
    from comfyui_histogram_match import match_images

    with torch.inference_mode():
        image, reference = (torch.rand(1, 2048, 2048, 3) for _ in range(2))
        match_images(image, reference, factor=factor)  # loads code, starts threads
        with PeakMemory() as peak:
            result = match_images(image, reference, factor=factor)
    return (peak.bytes - result.nbytes) / result.nbytes
