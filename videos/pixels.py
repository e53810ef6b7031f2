"""Convert between the frames of a video and upright pictures in RGB."""

import re
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from torch import Tensor

LIMITED, FULL = 1, 2
"""Ranges of values, as FFmpeg numbers them."""
# The scaler numbers matrix coefficients as ISO/IEC 23091-2 does, but has only the first of two equal ones.
_MATRICES = {matrix.value: matrix for matrix in Colorspace} | {6: Colorspace.ITU601}
# Without these, the scaler is faster and a level too dark.
_ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
# The planes of FFmpeg's planar RGB are green, blue and red.
_ORDER = (1, 2, 0)


def pixels_of(frame: av.VideoFrame) -> Tensor:
    """A frame upright, float32, shape ``[H, W, 3]``, values in [0, 1]; each channel is a plane in memory."""
    name, highest = _planar(frame.format)
    # Not by torch, which would share the work with threads of its own.
    values = np.empty((3, frame.height, frame.width), np.float32)
    planar = _reformat(frame, name, frame, src_color_range=None, dst_color_range=FULL)
    for channel, plane in zip(_ORDER, _planes(planar, highest), strict=True):
        np.divide(plane, np.float32(highest), out=values[channel], dtype=np.float32)
    # Where a display matrix turns the picture, PyAV gives degrees counterclockwise.
    upright = np.ascontiguousarray(np.rot90(values, frame.rotation // 90, (1, 2)))
    return torch.from_numpy(upright).movedim(0, -1)


def frame_of(pixels: Tensor, encoder: Any) -> av.VideoFrame:
    """Floating-point pixels ``[H, W, 3]`` in [0, 1] as an encoder takes them, in its format, matrix and range."""
    name, highest = _planar(encoder.format)
    planar = av.VideoFrame(pixels.shape[1], pixels.shape[0], name)
    for channel, plane in zip(_ORDER, _planes(planar, highest), strict=True):
        values = pixels[..., channel].numpy()
        levels = values * values.dtype.type(highest)
        plane[:] = np.rint(levels, out=levels)
    return _reformat(planar, encoder.format.name, encoder, src_color_range=FULL, dst_color_range=encoder.color_range or LIMITED)


def _planar(known: Any) -> tuple[str, int]:
    """The planar RGB that holds what a format does, and the highest of its values."""
    bits = known.components[0].bits
    if re.fullmatch("gbrp([0-9]+le)?", known.name):
        # As it is: the scaler would shift values, rather than stretch them.
        return known.name, (1 << bits) - 1
    return ("gbrp16le", 65535) if bits > 8 else ("gbrp", 255)


def _planes(frame: av.VideoFrame, highest: int) -> list[Any]:
    """The planes of a frame, ``[H, W]``, in its own memory."""
    kind = np.dtype(np.uint8 if highest == 255 else "<u2")
    buffers: list[Any] = list(frame.planes)
    rows = (np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize) for plane in buffers)
    return [lines[: frame.height, : frame.width] for lines in rows]


def _reformat(
    frame: av.VideoFrame, name: str, described: Any, src_color_range: int | None, dst_color_range: int
) -> av.VideoFrame:
    """Convert between YCbCr and RGB; where no matrix is given, by the one that players take for an image of this height."""
    matrix = _MATRICES.get(described.colorspace, Colorspace.ITU709 if described.height >= 720 else Colorspace.ITU601)
    return VideoReformatter().reformat(
        frame,
        format=name,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        interpolation=_ACCURATE,
        src_color_range=src_color_range,
        dst_color_range=dst_color_range,
        # In the thread that asks for it: other frames keep the others busy.
        threads=1,
    )
