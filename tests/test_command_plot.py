"""The picture of histograms that a run of the command writes, held against one that is drawn of the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_histogram_match import plot_histograms
from comfyui_histogram_match.command.clips import read_clip
from comfyui_histogram_match.command.run import main
from made_videos import make_video
from numpy.typing import NDArray
from photos import photo, photo_8bit
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.uint8]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in: ``reference.png`` and two pictures of one size in ``shots``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots").mkdir()
    for name, path in (("coffee", "reference.png"), ("astronaut", "shots/a.png"), ("chelsea", "shots/b.png")):
        Image.fromarray(photo_8bit(name)[:200, :240]).save(path)
    return tmp_path


def read(*paths: str | Path) -> Tensor:
    """Pictures of one size as a batch."""
    return torch.stack([torch.from_numpy(np.array(Image.open(path))) for path in paths]).float() / 255


def drawn(path: str) -> Pixels:
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))


def expected(**images: Tensor) -> Pixels:
    plot: Pixels = (plot_histograms(images, "all", "linear", 1024, 1024)[0] * 255).round().byte().numpy()
    return plot


def assert_same(plot: Pixels, other: Pixels) -> None:
    """Equal but for few pixels: results are counted before they are rounded for a file."""
    assert plot.shape == other.shape
    assert (plot != other).any(axis=2).mean() < 0.01


@pytest.mark.parametrize("stats", ["per_frame", "uniform", "smoothed"])
def test_all_of_a_run_together(folder: Path, stats: str) -> None:
    arguments = ["shots", "-r", "reference.png", "-o", "out", "--source-stats", stats, "--plot", "plots/plot.png"]
    assert main(arguments) == 0
    sources, results = read("shots/a.png", "shots/b.png"), read("out/a.png", "out/b.png")
    assert_same(drawn("plots/plot.png"), expected(reference=read("reference.png"), source=sources, result=results))
    one = expected(reference=read("reference.png"), source=sources, result=results[:1])
    assert (drawn("plots/plot.png") != one).any(axis=2).mean() > 0.03


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_other_formats_and_results_that_replace_sources(folder: Path, suffix: str) -> None:
    sources = read("shots/a.png", "shots/b.png")
    assert main(["shots", "-r", "reference.png", "-o", "shots", "--overwrite", "--plot", f"plot.{suffix}"]) == 0
    plot = expected(reference=read("reference.png"), source=sources, result=read("shots/a.png", "shots/b.png"))
    assert np.abs(drawn(f"plot.{suffix}").astype(int) - plot).mean() < 3


def test_all_frames_of_a_video(folder: Path) -> None:
    make_video(folder / "clip.mkv", "ffv1", size=(96, 128), stamps=range(0, 1000, 40))
    assert main(["clip.mkv", "-r", "reference.png", "-o", "out.mkv", "--factor", "0", "--plot", "plot.png"]) == 0
    frames = torch.stack(list(read_clip(folder / "clip.mkv")))
    assert len(frames) == 25
    assert_same(drawn("plot.png"), expected(reference=read("reference.png"), source=frames, result=frames))


def test_all_frames_of_an_animation(folder: Path) -> None:
    pictures = [Image.fromarray(np.roll(photo_8bit("chelsea")[:90, :120] // (1 + index), 7 * index, 1)) for index in range(6)]
    pictures[0].save("clip.png", save_all=True, append_images=pictures[1:], duration=40)
    arguments = ["clip.png", "-r", "reference.png", "-o", "out.png", "--source-stats", "uniform", "--plot", "plot.png"]
    assert main(arguments) == 0
    clips = [torch.stack(list(read_clip(Path(name))))[..., :3] for name in ("clip.png", "out.png")]
    assert len(clips[0]) == 6
    assert_same(drawn("plot.png"), expected(reference=read("reference.png"), source=clips[0], result=clips[1]))


def test_what_is_transparent_does_not_count(folder: Path) -> None:
    rgba = np.dstack([photo_8bit("astronaut")[:200, :240], np.full((200, 240), 255, np.uint8)])
    rgba[:100, :, 3] = 0
    for name in ("source.png", "reference.png"):
        Image.fromarray(rgba if name == "source.png" else np.roll(rgba, 60, 1)).save(name)
    arguments = ["source.png", "-r", "reference.png", "-o", "out.png", "--overwrite", "--plot", "plot.png"]
    assert main(arguments) == 0
    source, reference, result = (read(name)[:, 100:] for name in ("source.png", "reference.png", "out.png"))
    assert_same(drawn("plot.png"), expected(reference=reference, source=source, result=result))
    assert main([*arguments, "--ignore-alpha"]) == 0
    source, reference, result = (read(name) for name in ("source.png", "reference.png", "out.png"))
    assert_same(drawn("plot.png"), expected(reference=reference, source=source, result=result))


def test_masks_say_what_counts(folder: Path) -> None:
    mask = np.zeros((200, 240), np.uint8)
    mask[:, :80] = 255
    Image.fromarray(mask).save("left.png")
    Image.fromarray(255 - mask).save("right.png")
    arguments = ["shots/a.png", "-r", "reference.png", "-o", "out.png", "--image-mask", "left.png", "--plot", "plot.png"]
    assert main([*arguments, "--reference-mask", "right.png", "--change-mask", "right.png"]) == 0
    measured, looked_at, changed = read("shots/a.png")[:, :, :80], read("reference.png")[:, :, 80:], read("out.png")[:, :, 80:]
    assert_same(drawn("plot.png"), expected(reference=looked_at, source=measured, result=changed))


def test_references_that_were_kept_and_none(folder: Path) -> None:
    assert main(["-r", "reference.png", "--save-reference", "kept.npz"]) == 0
    assert main(["shots/a.png", "-r", "kept.npz", "-o", "out.png", "--plot", "plot.png"]) == 0
    whole = expected(reference=read("reference.png"), source=read("shots/a.png"), result=read("out.png"))
    # Of the luminance, only a sample is kept, which is all of so small a picture.
    assert_same(drawn("plot.png"), whole)
    assert main(["shots/a.png", "--target", "uniform", "-o", "even.png", "--plot", "plot.png"]) == 0
    assert_same(drawn("plot.png"), expected(source=read("shots/a.png"), result=read("even.png")))


def test_gray_and_16_bits(folder: Path) -> None:
    values = (photo("chelsea")[0, :200, :240, 1] * 65535).numpy().astype(np.uint16)
    Image.fromarray(values).save("gray.png")
    assert main(["gray.png", "-r", "reference.png", "-o", "out.png", "--plot", "plot.png"]) == 0
    gray, result = (
        torch.from_numpy(np.array(Image.open(name)).astype(np.float32) / 65535)[None, ..., None]
        for name in ("gray.png", "out.png")
    )
    assert_same(drawn("plot.png"), expected(reference=read("reference.png"), source=gray, result=result))


def test_nothing_matched_is_nothing_to_plot(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["shots", "-r", "reference.png", "-o", "out", "--resume"]
    assert main(arguments) == 0
    capsys.readouterr()
    assert main([*arguments, "--plot", "plot.png"]) == 1
    assert "plot.png: expected files that are matched, to plot their histograms, got none" in capsys.readouterr().err
    assert not Path("plot.png").exists()


def test_a_plot_that_cannot_be_written_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_bytes(b"x")
    assert main(["shots", "-r", "reference.png", "-o", "out", "--plot", "file/plot.png"]) == 1
    written = capsys.readouterr()
    (line,) = written.err.splitlines()
    assert line.startswith(f"{Path('file/plot.png')}: cannot be written: ")
    assert written.out.startswith("2 matched, 0 left, 1 failed in ")
