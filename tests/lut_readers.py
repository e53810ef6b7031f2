"""What other programs make of a LUT file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import PyOpenColorIO
import torch
from torch import Tensor


def by_opencolorio(path: Path, colors: Tensor) -> Tensor:
    """Colors ``[3, H, W]`` by OpenColorIO, tables of colors in tetrahedra."""
    PyOpenColorIO.ClearAllCaches()
    file = PyOpenColorIO.FileTransform(str(path), interpolation=PyOpenColorIO.INTERP_TETRAHEDRAL)
    processor = PyOpenColorIO.Config.CreateRaw().getProcessor(file).getOptimizedCPUProcessor(PyOpenColorIO.OPTIMIZATION_NONE)
    rows = colors.flatten(1).t().float().contiguous().clone()
    processor.apply(PyOpenColorIO.PackedImageDesc(rows.numpy(), len(rows), 1, 3))
    return rows.t().reshape(colors.shape)


def by_ffmpeg(path: Path, pixels: np.ndarray, curves: bool) -> Tensor:
    """A picture of 16 bits ``[H, W, 3]`` by FFmpeg, through PyAV: as ``[3, H, W]`` in [0, 1]."""
    height, width = pixels.shape[:2]
    graph = av.filter.Graph()
    layout = f"video_size={width}x{height}:pix_fmt=gbrp16le:time_base=1/25:pixel_aspect=1/1"
    look_up = ("lut1d", f"file={path}:interp=linear") if curves else ("lut3d", f"file={path}:interp=tetrahedral")
    nodes = [graph.add(*node) for node in (("buffer", layout), look_up, ("format", "gbrp16le"), ("buffersink",))]
    for before, after in pairwise(nodes):
        before.link_to(after)
    graph.configure()
    nodes[0].push(av.VideoFrame.from_ndarray(pixels, format="gbrp16le"))
    return torch.from_numpy(nodes[-1].pull().to_ndarray().astype(np.float32) / 65535).movedim(-1, 0)
