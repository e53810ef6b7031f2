"""How near a relit photo comes to the original, by the number of cells; and CLAHE beside scikit-image's.

For each of four photos: its tone is changed by an exponent, a factor and an offset that vary smoothly over the picture, and the
result is matched to the original. Errors are mean differences in levels of 255. Then how long a megapixel takes, as medians of
rounds, also with an endless loop on each core.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from comfyui_histogram_match import Uniform, match_images, specify_images
from load import endless_loops
from skimage import data
from skimage.exposure import equalize_adapthist
from torch import Tensor

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
GRIDS = (1, 2, 4, 8, 16, 32)
LIMITS = (0.01, 0.03)


def photo(name: str) -> Tensor:
    """A photo, float32 [1, H, W, 3] in [0, 1]."""
    return torch.from_numpy(getattr(data, name)()[None]).float() / 255


def medians(works: dict[str, Callable[[], object]], rounds: int) -> list[float]:
    """Seconds of each, in turn."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    # The first round loads code.
    return [statistics.median(taken[1:]) for taken in times.values()]


def smooth(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Points ``[C, h, w]`` as a smooth plane ``[H, W, C]``."""
    return torch.nn.functional.interpolate(points[None], size, mode="bicubic", align_corners=True)[0].movedim(0, -1)


def relit(image: Tensor, seed: int) -> Tensor:
    """A photo ``[1, H, W, C]`` whose tone changes smoothly over the picture, at 8-bit levels."""
    generator = torch.Generator().manual_seed(seed)

    def draw(channels: int, points: int, low: float, high: float) -> Tensor:
        values = low + (high - low) * torch.rand(channels, points, points, generator=generator)
        return smooth(values, (image.shape[1], image.shape[2]))

    changed = image ** draw(1, 2, 0.7, 1.4) * draw(1, 3, 0.6, 1.4) + draw(image.shape[-1], 3, -0.08, 0.08)
    return (changed.clamp(0, 1) * 255).round() / 255


def gray(name: str) -> np.ndarray:
    """The green of a photo, over the full range, cut to whole cells of an eighth."""
    values = photo(name)[0, ..., 1].numpy()
    values = values[: values.shape[0] // 8 * 8, : values.shape[1] // 8 * 8]
    return np.asarray((values - values.min()) / (values.max() - values.min()))


def table(head: list[str], rows: dict[str, list[str]]) -> str:
    """Rows by their names as a Markdown table."""
    lines = ["| | " + " | ".join(head) + " |", "| --- " + "| --: " * len(head) + "|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


def errors() -> dict[str, list[str]]:
    """How far each relit photo is from the original, matched in each grid."""
    rows = {}
    for index, name in enumerate(PHOTOS):
        look = photo(name)
        image = relit(look, index)
        found = (255 * float((match_images(image, look, grid=grid) - look).abs().mean()) for grid in GRIDS)
        rows[f"*{name}*"] = [f"{error:.2f}" for error in found]
    return rows


def clahe_differences() -> dict[str, list[str]]:
    """How far CLAHE is from scikit-image's."""
    rows = {}
    for name in PHOTOS:
        values, cells = gray(name), []
        for limit in LIMITS:
            expected = equalize_adapthist(values, kernel_size=tuple(side // 8 for side in values.shape), clip_limit=limit)
            result = specify_images(torch.from_numpy(values)[None, ..., None], Uniform(), grid=8, clip=256 * limit)
            cells.append(f"{255 * np.abs(result[0, ..., 0].numpy() - expected).mean():.2f}")
        rows[f"*{name}*"] = cells
    return rows


def times(rounds: int) -> dict[str, list[str]]:
    """Milliseconds for 1024 x 1024, on an idle machine and with loops."""
    large = torch.nn.functional.interpolate(photo("astronaut").movedim(-1, 1), (1024, 1024), mode="bicubic")
    image = large.clamp(0, 1).movedim(1, -1).contiguous()
    plane, values, look = image[..., 1:2].contiguous(), image[0, ..., 1].numpy(), image.flip(2)
    works: dict[str, Callable[[], object]] = {
        f"`pytorch`, `grid` {grid}": lambda grid=grid: match_images(image, look, grid=grid)  # type: ignore[misc]
        for grid in GRIDS
    }
    works["**CLAHE**, one channel"] = lambda: specify_images(plane, Uniform(), grid=8, clip=2.56)
    works["scikit-image `equalize_adapthist`"] = lambda: equalize_adapthist(values, kernel_size=128, clip_limit=0.01)
    quiet = medians(works, rounds)
    with endless_loops():
        loaded = medians(works, rounds)
    return {name: [f"{1000 * time:,.0f}" for time in taken] for name, *taken in zip(works, quiet, loaded, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print(table([f"`grid` {grid}" for grid in GRIDS], errors()), end="\n\n")
    print(table([f"`clip_limit` {limit}" for limit in LIMITS], clahe_differences()), end="\n\n")
    print(table(["ms", "ms, a loop on each core"], times(rounds)))


if __name__ == "__main__":
    main()
