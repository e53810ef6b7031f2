"""Measure what training through the pack costs: the layer beside a convolution, the losses, and the transform for pipelines.

A batch of 32 x 3 x 224 x 224 on two threads, float32, forward and backward, medians of all rounds. What the layer is measured
against is what pipelines have in any case: the normalization of torchvision, written out, and one 3 x 3 convolution to 16
channels.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from clips import photo
from comfyui_histogram_match import (
    HistogramLoss,
    HistogramMatching,
    HistogramMatchingTransform,
    ParametricHistogramMatching,
    SlicedHistogramLoss,
)
from torch import Tensor

BATCH, SIDE = 32, 224
NAMES = ("astronaut", "chelsea", "coffee", "rocket")
MEAN, DEVIATION = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def batch() -> Tensor:
    """A batch of parts of photos, with the values of bytes."""
    photos = [photo(name, SIDE + 32, SIDE + 32).movedim(-1, 0) for name in NAMES]
    parts = [photos[index % 4][:, index:, 32 - index :][:, :SIDE, :SIDE] for index in range(BATCH)]
    return torch.stack(parts).mul(255).round().div(255)


def medians(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds of each call, all of them in turn in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for count in range(rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if count:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) * 1000 for name, values in seconds.items()}


def backward(module: Callable[[Tensor], Tensor], images: Tensor, parameters: list[Tensor]) -> Callable[[], None]:
    """Forward and backward, as in a step of training."""

    def step() -> None:
        for tensor in [images, *parameters]:
            tensor.grad = None
        module(images).square().mean().backward()

    return step


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(2)
    images, reference = batch(), photo("coffee", SIDE, SIDE).movedim(-1, 0)[None]
    convolution, layer = torch.nn.Conv2d(3, 16, 3, padding=1), ParametricHistogramMatching()
    matching, losses = HistogramMatching(), (HistogramLoss(), HistogramLoss(2), SlicedHistogramLoss())
    rows = {}
    for gradient in (False, True):
        pixels = images.clone().requires_grad_(gradient)
        calls = {
            "normalization and convolution": backward(
                lambda pixels: convolution((pixels - MEAN) / DEVIATION), pixels, list(convolution.parameters())
            ),
            "ParametricHistogramMatching": backward(layer, pixels, list(layer.parameters())),
        }
        if gradient:
            calls["HistogramMatching"] = backward(lambda pixels: matching(pixels, reference), pixels, [])
            for loss in losses:
                calls[repr(loss)] = backward(lambda pixels, loss=loss: loss(pixels, reference), pixels, [])
        rows[gradient] = medians(calls, rounds)
    print("| forward and backward, ms | parameters alone | and the image | x normalization and convolution |")
    print("| --- | --: | --: | --: |")
    for name, milliseconds in rows[True].items():
        alone = f"{rows[False][name]:.0f}" if name in rows[False] else ""
        ratios = [
            rows[kind][name] / rows[kind]["normalization and convolution"] for kind in (False, True) if name in rows[kind]
        ]
        print(f"| {name} | {alone} | {milliseconds:.0f} | {' / '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    torch.set_num_threads(1)
    transform = HistogramMatchingTransform(reference)
    bytes_ = (images[0] * 255).to(torch.uint8)
    calls = {"uint8": lambda: transform(bytes_), "float32": lambda: transform(images[0])}
    for name, milliseconds in medians(calls, 50 * rounds).items():
        print(f"the transform in a worker with one thread, an image of {SIDE} x {SIDE}, {name}: {milliseconds:.2f} ms")


if __name__ == "__main__":
    main()
