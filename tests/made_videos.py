"""Small videos made with PyAV, and what PyAV reads in videos, without this pack."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import Colorspace, Interpolation
from clips import pan_zoom
from comfyui_histogram_match.videos import svt_av1
from torch import Tensor

ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
UNIT = Fraction(1, 1000)
MATRICES = {1: Colorspace.ITU709, 9: Colorspace.BT2020}


def make_video(
    path: Path,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    stamps: Sequence[int] = tuple(range(0, 480, 40)),
    sound: str | None = None,
    container: dict[str, str] | None = None,
    size: tuple[int, int] = (48, 64),
    unit: Fraction = UNIT,
    frames: Tensor | None = None,
    ratio: Fraction | None = None,
    tags: tuple[int, int, int] | None = None,
) -> None:
    """Write frames ``[T, H, W, 3]``, or a pan over a photo, which are shown at ``stamps``, in units of ``unit`` seconds.

    ``tags``: primaries, transfer and matrix coefficients (ISO/IEC 23091-2); by default only the matrix of Rec. 709 is written.
    """
    if frames is None:
        frames = pan_zoom(len(stamps), *size).frames
    rate = Fraction(len(stamps) - 1, stamps[-1] - stamps[0]) / unit
    with av.open(str(path), "w", options=container or {}) as output:
        video: Any = output.add_stream(codec, rate=rate, options=options or {})
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = pix_fmt
        video.time_base = video.codec_context.time_base = unit
        if path.suffix == ".avi":
            video.codec_context.max_b_frames = 0
        if ratio:
            video.codec_context.sample_aspect_ratio = ratio
        matrix = MATRICES[tags[2] if tags else 1]
        if tags:
            video.codec_context.color_primaries, video.codec_context.color_trc, video.codec_context.colorspace = tags
        else:
            video.codec_context.colorspace = 1
        # The formats named yuvj are in full range.
        range_ = video.codec_context.color_range = 2 if pix_fmt.startswith("yuvj") else 1
        audio: Any = output.add_stream(sound, rate=48000, layout="mono") if sound else None
        output.metadata["title"] = "a title"
        with svt_av1.contained():
            output.start_encoding()
        made = 0
        for stamp, pixels in zip(stamps, frames, strict=True):
            values = (pixels.numpy() * 65535).round().astype(np.uint16)
            frame = av.VideoFrame.from_ndarray(values, format="rgb48le")
            both = {"src_colorspace": matrix, "dst_colorspace": matrix}
            ranges = {"src_color_range": 2, "dst_color_range": range_}
            frame = frame.reformat(format=pix_fmt, interpolation=ACCURATE, **both, **ranges)
            frame.pts, frame.time_base = stamp, unit
            output.mux(video.encode(frame))
            while audio and made * 960 < (stamp - stamps[0]) * unit * 48000 + 1920:
                noise = np.random.default_rng(made).normal(size=(1, 960)) / 20
                floats = audio.codec_context.format.name == "fltp"
                values = noise.astype(np.float32) if floats else (noise * 32767).astype(np.int16)
                part = av.AudioFrame.from_ndarray(values, format="fltp" if floats else "s16", layout="mono")
                part.sample_rate, part.pts, part.time_base = 48000, made * 960, Fraction(1, 48000)
                output.mux(audio.encode(part))
                made += 1
        output.mux(video.encode())
        if audio:
            output.mux(audio.encode())


def read_video(path: Path) -> dict[str, Any]:
    """What is in a video: its frames turned upright, ``[T, H, W, 3]`` in [0, 1], their times, the sound, and tags."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        # Decoders set what they find later.
        colors = (context.color_range, context.colorspace, context.color_primaries, context.color_trc)
        frames = []
        stamps = []
        for frame in container.decode(stream):
            full = 2 if frame.format.name.startswith("yuvj") or frame.color_range == 2 else 1
            matrix = MATRICES.get(frame.colorspace, Colorspace.ITU601)
            both = {"src_colorspace": matrix, "dst_colorspace": matrix, "src_color_range": full, "dst_color_range": 2}
            name, highest = ("rgb48le", 65535) if frame.format.components[0].bits > 8 else ("rgb24", 255)
            rgb = frame.reformat(format=name, interpolation=ACCURATE, **both).to_ndarray()
            frames.append(torch.from_numpy(np.rot90(rgb, frame.rotation // 90).astype(np.float32) / highest))
            stamps.append(frame.pts * frame.time_base)
        found = {
            "frames": torch.stack(frames) if frames else torch.zeros(0, 0, 0, 3),
            "codec": context.codec.canonical_name,
            "bits": stream.format.components[0].bits,
            "colors": colors,
            "title": container.metadata.get("title"),
        }
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
        # AVI stores no times: its frames are shown in the order of their numbers.
        if container.format.name == "avi":
            stamps = sorted(packet.dts * packet.time_base for packet in packets if packet.stream.type == "video")[: len(stamps)]
        found["stamps"] = stamps
        found["sound"] = [bytes(packet) for packet in packets if packet.stream.type == "audio"]
        found["heard"] = [packet.pts * packet.time_base for packet in packets if packet.stream.type == "audio"]
    return found


def packets_of(path: Path) -> list[tuple[int, int]]:
    """Where the frames of a video begin in its file, and how many bytes they take."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
