"""A picture that comes back from inpainting with another tone: how far its unmasked part is from the original.

A quarter of a photo is replaced by another photo, and all of it goes through something like a VAE: a gain, a gamma and a
cast, colors without their fine detail, noise of one level, 8 bits. The transform is fitted where the mask is black, or without
a mask, and applied to everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

import torch
from comfyui_histogram_match import fit_transform
from drift import PHOTOS, Tone, round_trip, tone_error, whole_photo
from torch import Tensor
from torch.nn.functional import interpolate

SIDE = 384
METHODS = ("pytorch", "mkl", "hm-mkl-hm", "aligned-curve", "aligned-linear")
WAYS = ("nothing", *(f"{method}, {how}" for method in METHODS for how in ("with the mask", "without")))
TONE = Tone(1.03, 0.94, (4.0, -1.0, -5.0))


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


def corrected(way: str, returned: Tensor, original: Tensor, outside: Tensor) -> Tensor:
    """A picture, corrected by a method with or without a mask that is white where it may be measured."""
    method, _, masked = way.partition(", ")
    if method == "nothing":
        return returned
    masks = {"image_mask": outside, "reference_mask": outside} if masked == "with the mask" else {}
    return fit_transform(returned, original, method, **masks).apply(returned)


def errors(ways: Sequence[str] = WAYS) -> dict[str, list[float]]:
    """The error of tone of the unmasked part, in levels, for each way, over all cases."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    for original, returned, mask in cases():
        for way, values in found.items():
            values.append(tone_error(corrected(way, returned, original, 1 - mask), original, 1 - mask))
    return found


def main() -> None:
    """Print the table."""
    print("| corrected by | tone error where nothing was painted, mean | largest |\n| --- | --: | --: |")
    for name, values in errors().items():
        print(f"| {name} | {sum(values) / len(values):.2f} | {max(values):.2f} |")


if __name__ == "__main__":
    main()
