"""The example, from the package with the pictures to the table, on a few pictures."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import train_classifier
from PIL import Image


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Pictures in which the class is the brighter channel, packed as the npm package is."""
    generator = np.random.default_rng(0)
    path = tmp_path / "pictures.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for count, pictures, classes in (
            (300, "data_batch_1.png", "train_lables.json"),
            (60, "test_batch.png", "test_lables.json"),
        ):
            labels = generator.integers(0, 3, count)
            values = generator.integers(0, 120, (count, 1024, 3))
            values[np.arange(count), :, labels] += 100
            png = io.BytesIO()
            Image.fromarray(values.astype(np.uint8)).save(png, "png")
            for name, content in ((pictures, png.getvalue()), (classes, json.dumps(labels.tolist()).encode())):
                member = tarfile.TarInfo(f"package/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def test_runs_from_the_package_to_the_table(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "plot.png"
    arguments = [str(package), "--seeds", "2", "--epochs", "3", "--processes", "1", "--plot", str(plot)]
    monkeypatch.setattr(sys, "argv", ["train_classifier.py", *arguments])
    train_classifier.main()
    printed = capsys.readouterr().out
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    assert [row[0].strip("| *") for row in rows[2:7]] == list(train_classifier.METHODS)
    assert len(rows) == 2 + 5 + 4
    assert {len(row) for row in rows} == {8}
    # Untouched, which channel is brighter is plain to see. After equalization it is not.
    assert float(rows[2][1].split()[0]) > 90
    assert float(rows[3][1].split()[0]) < 60
    with Image.open(plot) as drawn:
        assert drawn.width > 300


@pytest.mark.parametrize("name", train_classifier.CONDITIONS)
def test_conditions_get_worse_with_their_strength(name: str) -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    worsened = [
        train_classifier.to_8bit(train_classifier.CONDITIONS[name](images, strength))
        for strength in range(train_classifier.STRENGTHS)
    ]
    changes = [float((one - images).abs().mean()) for one in worsened]
    assert changes == sorted(changes)
    assert changes[0] > 0


def test_intervals_are_students_over_seeds() -> None:
    mean, half = train_classifier.interval(np.array([0.5, 0.6, 0.7])[:, None].repeat(1000, axis=1))
    assert mean == pytest.approx(60)
    # 4.303 is the 97.5 % quantile of Student's t with two degrees of freedom, in any table.
    assert half == pytest.approx(4.303 * 10 / 3**0.5, rel=1e-3)


def test_intervals_hold_for_other_seeds_and_pictures() -> None:
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        effects = 0.5 + generator.normal(0, 0.01, (10, 1)) + generator.normal(0, 0.3, (1, 500))
        mean, half = train_classifier.interval(effects + generator.normal(0, 0.2, (10, 500)))
        inside += abs(mean - 50) <= half
    assert 0.94 * 400 <= inside <= 400


def test_a_package_without_the_pictures(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tgz", "w:gz"):
        pass
    with pytest.raises(KeyError, match=r"package/data_batch_1.png"):
        train_classifier.read_pictures(tmp_path / "other.tgz")
