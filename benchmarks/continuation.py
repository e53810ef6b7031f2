"""A clip that is extended ten times, each time with a drift of tone: how far the tenth extension is from the right tone.

A camera moves over a photo. Each extension is generated from the last frames of what there is, which it begins with once more,
and everything in it has the tone of those and one more drift (gain, gamma and cast), what an autoencoder loses, and noise.
Corrected are: nothing; each extension by matching its frames to the one before it, to its last frame or to all, by histograms
(hm) or by mkl, as people do; and by an aligned fit on the frames that overlap, whose change is applied to the whole extension.
The frames that overlap are those of the clip as it stands, so that they have the tone of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from comfyui_histogram_match import fit_transform, match_images
from drift import PHOTOS, drifts, round_trip, tone_error, whole_photo
from torch import Tensor

EXTENSIONS, LENGTH, OVERLAP = 10, 12, 4
HEIGHT, WIDTH = 240, 288
NOISE = 1.0

Correction = Callable[[Tensor, Tensor], Tensor]
"""Makes of an extension, and of the clip as it stands, the extension with its tone corrected."""


def matched(method: str, frames: int) -> Correction:
    """Match each frame to the last frames of the clip."""
    return lambda extension, clip: match_images(extension, clip[-frames:], method, reference_stats="pooled")


def anchored(method: str) -> Correction:
    """Fit on the frames that overlap, and apply to all."""
    return lambda extension, clip: fit_transform(extension[:OVERLAP], clip[-OVERLAP:], method).apply(extension)


CORRECTIONS: dict[str, Correction] = {
    "nothing": lambda extension, clip: extension,
    "hm to the last frame": matched("pytorch", 1),
    "hm to the extension before": matched("pytorch", LENGTH),
    "mkl to the last frame": matched("mkl", 1),
    "mkl to the extension before": matched("mkl", LENGTH),
    "hm-mkl-hm to the extension before": matched("hm-mkl-hm", LENGTH),
    "aligned-curve on the overlap": anchored("aligned-curve"),
    "aligned-linear on the overlap": anchored("aligned-linear"),
}


def pan(name: str) -> Tensor:
    """The frames as they should be, ``[T, H, W, 3]``: first clip and extensions, which overlap nothing."""
    photo = whole_photo(name)
    count = LENGTH + EXTENSIONS * (LENGTH - OVERLAP)
    room = photo.shape[1] - WIDTH, photo.shape[0] - HEIGHT
    frames = []
    for index in range(count):
        left, top = (round(side * index / (count - 1)) for side in room)
        frames.append(photo[top : top + HEIGHT, left : left + WIDTH])
    return torch.stack(frames)


def in_tone(wanted: Tensor, last: Tensor) -> Tensor:
    """Frames in the tone that the ``last`` frames have, whose right colors are those of the first: a cubic for each channel."""
    channels = []
    for channel in range(3):
        right, now = wanted[: len(last), ..., channel].flatten().double(), last[..., channel].flatten().double()
        cubic = np.polynomial.Polynomial.fit(right.numpy(), now.numpy(), 3)
        channels.append(torch.from_numpy(cubic(wanted[..., channel].numpy())).float())
    return torch.stack(channels, dim=-1).clamp(0, 1)


def extended(right: Tensor, correct: Correction, seed: int) -> Tensor:
    """Extend a clip ten times. The tone of what is generated is that of the frames it is generated from, and a drift."""
    clip = right[:LENGTH]
    for number, drift in enumerate(drifts(EXTENSIONS, seed)):
        begin = len(clip) - OVERLAP
        wanted = right[begin : begin + LENGTH]
        generated = round_trip(drift(in_tone(wanted, clip[-OVERLAP:])), NOISE, seed * 100 + number)
        clip = torch.cat([clip, correct(generated, clip)[OVERLAP:]])
    return clip


def errors(names: Iterable[str], seeds: Iterable[int], corrections: Iterable[str]) -> dict[str, list[float]]:
    """The error of tone of the tenth extension, in levels, for each correction, over photos and drifts."""
    found: dict[str, list[float]] = {name: [] for name in corrections}
    seeds = list(seeds)
    for name in names:
        right = pan(name)
        for seed in seeds:
            for correction, values in found.items():
                clip = extended(right, CORRECTIONS[correction], seed)
                values.append(tone_error(clip[-LENGTH + OVERLAP :], right[-LENGTH + OVERLAP :]))
    return found


def main() -> None:
    """Print the table."""
    print("| corrected by | tone error of the tenth extension, mean | largest |\n| --- | --: | --: |")
    for name, values in errors(PHOTOS, range(3), CORRECTIONS).items():
        print(f"| {name} | {sum(values) / len(values):.2f} | {max(values):.2f} |")


if __name__ == "__main__":
    main()
