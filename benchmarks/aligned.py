"""How far aligned fits and distributions are from a known change of tone, where part of the picture is something else.

    python benchmarks/aligned.py

Each of 20 ordered pairs of photos: the first gets a known curve or a known matrix, noise of 2 levels on both sides, and a part
of the image or of its reference is replaced by the second photo. No mask tells where.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from functools import cache
from itertools import permutations, product
from typing import Any

import torch
from comfyui_histogram_match.clip.settings import MatchSettings
from comfyui_histogram_match.methods.transform import Picture, Step, Transform, complete
from skimage import data
from torch import Tensor
from torch.nn.functional import interpolate

PHOTOS = ("astronaut", "coffee", "chelsea", "rocket", "stereo_motorcycle")
METHODS = ("aligned-curve", "aligned-linear", "pytorch", "mkl", "hm-mkl-hm")
SHAPES = ("left", "top", "corner", "middle", "scattered")
SIZE = (300, 448)
GAIN, CAST = torch.tensor([1.155, 1.1, 1.012]), torch.tensor([-0.02, 0.0, 0.03])
MATRIX = torch.tensor([[0.9, 0.12, -0.05, 0.03], [-0.06, 1.02, 0.05, -0.02], [0.04, -0.1, 0.95, 0.05]])


@cache
def photo(name: str) -> Tensor:
    """A photo, scaled and cut to one size, ``[1, H, W, 3]``."""
    pixels = data.stereo_motorcycle()[0] if name == "stereo_motorcycle" else getattr(data, name)()
    planes = torch.from_numpy(pixels).movedim(-1, 0)[None].double() / 255
    scale = max(side / had for side, had in zip(SIZE, planes.shape[2:], strict=True))
    sides = [max(side, round(had * scale)) for side, had in zip(SIZE, planes.shape[2:], strict=True)]
    scaled = interpolate(planes, sides, mode="bilinear", antialias=True)[..., : SIZE[0], : SIZE[1]]
    return scaled.clamp(0, 1).float().movedim(1, -1).contiguous()


def curve(image: Tensor) -> Tensor:
    """Gamma 0.8, gain 1.1 and a color cast."""
    return (GAIN * image**0.8 + CAST).clamp(0, 1)


def matrix(image: Tensor) -> Tensor:
    """An affine map that mixes channels."""
    return (image @ MATRIX[:, :3].t() + MATRIX[:, 3]).clamp(0, 1)


def region(shape: str, share: float) -> Tensor:
    """Where something else is, ``[H, W, 1]``."""
    height, width = SIZE
    where = torch.zeros(height, width, dtype=torch.bool)
    rows, columns = round(height * share**0.5), round(width * share**0.5)
    if shape == "left":
        where[:, : round(width * share)] = True
    elif shape == "top":
        where[: round(height * share)] = True
    elif shape == "corner":
        where[height - rows :, width - columns :] = True
    elif shape == "middle":
        top, left = (height - rows) // 2, (width - columns) // 2
        where[top : top + rows, left : left + columns] = True
    else:
        blocks = torch.zeros(256)
        blocks[torch.randperm(256, generator=torch.Generator().manual_seed(7))[: round(256 * share)]] = 1
        where = interpolate(blocks.view(1, 1, 16, 16), SIZE)[0, 0] > 0
    return where[..., None]


def pair(image: Tensor, other: Tensor, truth: Any, where: Tensor, *, in_image: bool) -> tuple[Tensor, Tensor]:
    """An image and its reference, both with noise of 2 levels, of which one shows the other photo somewhere."""
    given, reference = image, truth(image)
    if in_image:
        given = torch.where(where, other, given)
    else:
        reference = torch.where(where, other, reference)
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(image.shape, generator=generator) * 2 / 255 for _ in range(2)]
    return (given + noise[0]).clamp(0, 1), (reference + noise[1]).clamp(0, 1)


@torch.no_grad()
def fitted(image: Tensor, reference: Tensor, method: str, color_space: str = "rgb") -> Transform:
    """The transform that a method finds from an image to a reference."""
    space, steps = MatchSettings(method, color_space=color_space).recipe()
    of_image, of_reference = (Picture(space.split(pixels[0].movedim(-1, 0))[0]) for pixels in (image, reference))
    prepared = [step.prepare(step.measure(of_reference)) if isinstance(step, Step) else None for step in steps]
    return complete(Transform(space), steps, of_image, prepared)[0]


def error(transform: Transform, image: Tensor, truth: Any) -> float:
    """How far a transform of a clean image is from the truth on average, in levels."""
    with torch.no_grad():
        matched = transform.apply(image[0].movedim(-1, 0).clone()).movedim(0, -1).clamp(0, 1)
    return float((matched - truth(image)[0]).abs().mean()) * 255


def cases(share: float, truth: Any, photos: tuple[str, ...] = PHOTOS) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Clean images, and images and references of which a share is something else."""
    for name, other in permutations(photos, 2):
        for shape, in_image in product(SHAPES if share else SHAPES[:1], (True, False) if share else (True,)):
            image = photo(name)
            yield image, *pair(image, photo(other), truth, region(shape, share), in_image=in_image)


def main() -> None:
    """Print a table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    shares = (0.0, 0.2, 0.4)
    print("| | " + " | ".join(f"{kind}, {share:.0%} replaced" for kind in ("curve", "matrix") for share in shares) + " |")
    print("| --- |" + " --: |" * 2 * len(shares))
    for method in METHODS:
        cells = []
        for truth, share in product((curve, matrix), shares):
            errors = [error(fitted(image, reference, method), clean, truth) for clean, image, reference in cases(share, truth)]
            cells.append(f"{statistics.median(errors):.2f} ({max(errors):.2f})")
        print(f"| `{method}` | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
