"""Keep frames and sound that are in memory in a file, without loss of what levels of 16 bits hold."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from torch import Tensor

from .pixels import frame_of
from .survey import plain_errors

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def write_lossless(
    path: Path, images: Tensor, rate: Fraction, sound: tuple[Tensor, int] | None, check: Callable[[], None]
) -> None:
    """Write images as FFV1 in Matroska, and sound as AAC.

    Args:
        path: ends in ``.mkv``.
        images: floating point, shape ``[B, H, W, C]`` with C of 1 or 3; values outside [0, 1] are taken as the nearest end.
        rate: frames per second.
        sound: samples ``[channels, count]`` in [-1, 1], and how many there are in a second.
        check: called before each frame; what it raises ends the run.

    Raises:
        ValueError: another number of channels.
        OSError: the file cannot be written.
    """
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"video: expected frames of 1 or 3 channels, without alpha, got {images.shape[-1]}")
    with plain_errors(path), av.open(str(path), "w") as output:
        # No time is lost on a file that is read twice and thrown away.
        video: Any = output.add_stream("ffv1", rate=rate, options={"coder": "0", "slices": "16", "slicecrc": "0"})
        video.height, video.width = images.shape[1:3]
        video.pix_fmt = "gbrp16le"
        audio: Any = None if sound is None else _add_sound(output, *sound)
        for index, pixels in enumerate(images):
            check()
            frame = frame_of(pixels.detach().cpu().float().clamp(0, 1).expand(-1, -1, 3), video.codec_context)
            frame.pts = index
            output.mux(video.encode(frame))
        output.mux(video.encode())
        if sound is not None:
            samples = np.ascontiguousarray(sound[0].detach().cpu().float().numpy())
            part = av.AudioFrame.from_ndarray(samples, format="fltp", layout=_LAYOUTS[len(samples)])
            part.sample_rate, part.pts = sound[1], 0
            output.mux(audio.encode(part))
            output.mux(audio.encode())


def _add_sound(output: Any, samples: Tensor, rate: int) -> Any:
    if len(samples) not in _LAYOUTS:
        raise ValueError(f"video: expected sound of 1, 2 or 6 channels, got {len(samples)}")
    return output.add_stream("aac", rate=rate, layout=_LAYOUTS[len(samples)])
