"""A picture that comes back from inpainting with another tone: how far its unmasked part is from the original.

A quarter of a photo is replaced by another photo, and all of it goes through something like a VAE: a gain, a gamma and a
cast, colors without their fine detail, noise of one level, 8 bits. The transform is fitted where the mask is black, or without
a mask, and applied to everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import torch
from comfyui_histogram_match import fit_transform, match_images
from drift import PHOTOS, Tone, round_trip, tone_error, whole_photo
from torch import Tensor
from torch.nn.functional import interpolate

SIDE = 384
TONE = Tone(1.03, 0.94, (4.0, -1.0, -5.0))
METHODS = ("pytorch", "mkl", "aligned-curve", "aligned-linear")


def square(name: str) -> Tensor:
    """A photo ``[1, 384, 384, 3]``."""
    photo = whole_photo(name)
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    planes = photo[top : top + side, left : left + side].movedim(-1, 0)[None]
    return interpolate(planes, (SIDE, SIDE), mode="bilinear", antialias=True).movedim(1, -1).clamp(0, 1)


def cases() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """An original, what comes back, and the mask that is white where it was inpainted, for each pair of photos."""
    for index, (name, other) in enumerate(permutations(PHOTOS, 2)):
        original, content = square(name), square(other)
        mask = torch.zeros(1, SIDE, SIDE)
        top, left = (37 * index) % (SIDE // 2), (61 * index) % (SIDE // 2)
        mask[:, top : top + SIDE // 2, left : left + SIDE // 2] = 1
        painted = torch.where(mask[..., None] > 0, content, original)
        yield original, round_trip(TONE(painted), 1.0, index), mask


def errors() -> dict[str, list[float]]:
    """The error of tone of the unmasked part, in levels, for each way, over all cases."""
    found: dict[str, list[float]] = {"nothing": []}
    for original, returned, mask in cases():
        outside = 1 - mask
        ways = {"nothing": returned}
        for method in METHODS:
            masks = {"image_mask": outside, "reference_mask": outside}
            ways[f"{method}, with the mask"] = fit_transform(returned, original, method, **masks).apply(returned)
            ways[f"{method}, without"] = match_images(returned, original, method)
        for name, image in ways.items():
            found.setdefault(name, []).append(tone_error(image, original, outside))
    return found


def main() -> None:
    """Print the table."""
    print("| corrected by | tone error where nothing was painted, mean | largest |\n| --- | --: | --: |")
    for name, values in errors().items():
        print(f"| {name} | {sum(values) / len(values):.2f} | {max(values):.2f} |")


if __name__ == "__main__":
    main()
