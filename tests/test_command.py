"""The command on real files."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_histogram_match import METHODS, LinearStretch, Normal, ReferenceHistogram, Uniform, match_images, specify_images
from comfyui_histogram_match.command.run import main
from photos import counterpart, photo, photo_8bit, pixels
from PIL import Image
from skimage.exposure import match_histograms
from torch import Tensor


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in: ``reference.png`` and two photos in ``shots``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots").mkdir()
    for name, path in [("coffee", "reference.png"), ("astronaut", "shots/a.png"), ("chelsea", "shots/b.jpg")]:
        Image.fromarray(photo_8bit(name)).save(path)
    return tmp_path


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("method", ["pytorch", "skimage"])
def test_a_file(folder: Path, method: str) -> None:
    assert main(["shots/a.png", "--reference", "reference.png", "--output", "out.png", "--method", method]) == 0
    expected = match_histograms(photo_8bit("astronaut"), photo_8bit("coffee"), channel_axis=2)
    assert np.abs(pixels("out.png") - expected).max() <= 1


def test_factor(folder: Path) -> None:
    assert main(["shots/a.png", "--reference", "reference.png", "--output", "out.png", "--factor", "0"]) == 0
    assert np.array_equal(pixels("out.png"), photo_8bit("astronaut"))


@pytest.mark.parametrize("sources", [["shots"], ["shots/*"], ["shots/a.png", "shots/b.jpg"], ["**/[ab].*"]])
def test_a_folder_a_pattern_and_a_list(folder: Path, sources: list[str]) -> None:
    assert main([*sources, "--reference", "reference.png", "--output", "made/here"]) == 0
    assert sorted(path.name for path in (folder / "made/here").iterdir()) == ["a.png", "b.jpg"]
    assert pixels("made/here/a.png").shape == photo_8bit("astronaut").shape


def test_one_file_into_a_folder(folder: Path) -> None:
    assert main(["shots/a.png", "--reference", "reference.png", "--output", "made"]) == 0
    assert (folder / "made/a.png").is_file()


def test_one_bad_file_is_reported_and_the_others_are_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "shots/aa.png").write_bytes(b"no picture")
    assert main(["shots", "--reference", "reference.png", "--output", "out"]) == 1
    written = capsys.readouterr()
    assert f"{Path('shots/aa.png')}: " in written.err
    assert "2 matched, 0 left, 1 failed in " in written.out
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "b.jpg"]


@pytest.mark.parametrize("pooled", [False, True])
def test_a_gray_file_gets_the_brightness_of_a_colored_reference(folder: Path, pooled: bool) -> None:
    Image.fromarray(photo_8bit("astronaut")).convert("L").save("gray.png")
    references = ["-r", "reference.png"]
    if pooled:
        references = [*references, *references, "--reference-stats", "pooled"]
    assert main(["gray.png", *references, "--output", "out.png"]) == 0
    brightness = photo_8bit("coffee") @ np.array([0.2126, 0.7152, 0.0722])
    expected = match_histograms(pixels("gray.png"), brightness)
    assert pixels("out.png").ndim == 2
    assert np.abs(pixels("out.png") - expected).max() <= 1


def test_nothing_is_overwritten_unasked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "shots/a.png").read_bytes()
    arguments = ["shots/a.png", "--reference", "reference.png", "--output", "shots"]
    assert main(arguments) == 1
    assert f"{Path('shots/a.png')} exists; --overwrite replaces, --resume leaves" in capsys.readouterr().err
    assert (folder / "shots/a.png").read_bytes() == before
    assert main([*arguments, "--overwrite"]) == 0
    assert (folder / "shots/a.png").read_bytes() != before


def test_several_files_show_progress(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["shots", "--reference", "reference.png", "--output", "out"]) == 0
    written = capsys.readouterr()
    assert "2/2" in written.err
    assert re.fullmatch(r"2 matched, 0 left, 0 failed in \d+\.\d s: out\n", written.out)


def test_demo(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--demo"]) == 0
    assert sorted(path.name for path in (folder / "demo").iterdir()) == ["reference.png", "result.png", "source.png"]
    expected = match_histograms(pixels("demo/source.png"), pixels("demo/reference.png"), channel_axis=2)
    assert np.abs(pixels("demo/result.png") - expected).max() <= 1
    assert str(Path("demo/result.png")) in capsys.readouterr().out
    assert "exists; --overwrite replaces it" in failure(["--demo"], capsys)
    assert main(["--demo", "--overwrite"]) == 0


def test_as_a_module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["shots/a.png", "--reference", "reference.png", "--device", "cpu", "--output"]
    monkeypatch.setattr(sys, "argv", ["histogram-match", *arguments, "out.png"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("comfyui_histogram_match", run_name="__main__")
    assert stop.value.code == 0
    main([*arguments, "again.png"])
    assert (folder / "out.png").read_bytes() == (folder / "again.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: SOURCE"),
        (["shots"], "the following arguments are required: --reference"),
        (["shots", "--reference", "reference.png"], "the following arguments are required: --output"),
        (["shots", "--reference", "missing.png", "--output", "out"], "missing.png"),
        (["*.gif", "--reference", "reference.png", "--output", "out"], "argument SOURCE: expected .png,"),
        (["shots", "--reference", "reference.png", "--output", "out.png"], "argument --output: expected a folder"),
        (["shots", "shots/a.png", "--reference", "reference.png", "--output", "out"], "would both become"),
        (["shots", "--reference", "reference.png", "--output", "out", "--factor", "2"], "expected a number from 0 to 1, got 2"),
        (["shots", "--reference", "reference.png", "--output", "out", "--factor", "nan"], "from 0 to 1, got nan"),
        (["shots", "--reference", "reference.png", "--output", "out", "--factor", "x"], "argument --factor"),
        (["shots", "--reference", "reference.png", "--output", "out", "--method", "x"], "argument -m/--method: invalid choice"),
        (
            ["shots/a.png", "-r", "reference.png", "-r", "shots/b.jpg", "-o", "out.png"],
            "argument --reference: expected one, or one for each of 1 files, got 2; --reference-stats pooled takes all",
        ),
        (["shots/a.png", "-r", "shots", "-o", "out.png"], "--reference-stats pooled takes all of them as one"),
        (
            ["shots", "-r", "reference.png", "-o", "out", "--image-mask", "a.png", "--image-mask", "b.png"],
            "argument --image-mask: expected once, got b.png as well",
        ),
        (
            ["shots", "--target", "uniform", "-m", "mkl", "-o", "out"],
            "argument --target: expected no --method with it, got mkl",
        ),
        (["shots/a.png", "-r", "reference.png", "-o", "x.hdr"], "argument --output: expected a name that ends in .png,"),
        (["shots", "-r", "reference.png", "-o", "notes.txt"], "or in / for a folder, got notes.txt"),
        (["shots", "--target", "uniform"], "the following arguments are required: --output"),
        (["shots", "--target", "uniform", "--reference", "reference.png", "--output", "out"], "argument --target: expected no"),
        (["shots", "--target", "equal", "--output", "out"], "argument --target: invalid choice"),
        (
            ["shots", "--target", "normal", "--deviation", "0", "--output", "out"],
            "deviation: expected a number from 0.001 to inf, got 0.0",
        ),
        (["shots", "--reference", "reference.png", "--output", "out", "--rotations", "1"], "rotations: expected 2 or more"),
        (["shots", "--reference", "reference.png", "--output", "out", "--color-space", "x"], "argument --color-space: invalid"),
        (["--reference", "reference.png", "--save-reference", "look.png"], "expected a name that ends in .npz, got look.png"),
        (["--save-reference", "look.npz"], "the following arguments are required: --reference"),
        (
            ["shots", "--reference", "reference.png", "--output", "out", "--method", "exact", "--source-stats", "uniform"],
            "source_stats: expected per_frame with the method exact, since it ranks the pixels of one frame, got uniform",
        ),
        (["shots", "--demo"], "argument --demo: expected neither SOURCE nor --reference"),
    ],
)
def test_arguments_that_make_no_sense(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in failure(arguments, capsys)
    assert sorted(path.name for path in folder.iterdir()) == ["reference.png", "shots"]


@pytest.mark.parametrize("method", METHODS)
def test_methods_and_color_spaces(folder: Path, method: str) -> None:
    look = (counterpart(method, photo("astronaut"), photo("coffee"))[0] * 255).round()
    Image.fromarray(look.byte().numpy()).save("look.png")
    arguments = ["shots/a.png", "--reference", "look.png", "--output", "out.png", "--rotations", "5"]
    assert main([*arguments, "--method", method, "--color-space", "oklab"]) == 0
    expected = match_images(photo("astronaut"), look[None] / 255, method, color_space="oklab", rotations=5)
    assert np.abs(pixels("out.png") - (expected[0] * 255).round().numpy()).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (["uniform"], Uniform()),
        (["normal", "--mean", "0.3", "--deviation", "0.1"], Normal(0.3, 0.1)),
        (["linear_stretch", "--clip-low", "3", "--clip-high", "4"], LinearStretch(3, 4)),
    ],
)
def test_targets(folder: Path, arguments: list[str], target: Callable[[Tensor], Tensor]) -> None:
    assert main(["shots", "--output", "out", "--target", *arguments, "--color-space", "lab"]) == 0
    expected = specify_images(photo("astronaut"), target, color_space="lab")
    assert np.abs(pixels("out/a.png") - (expected[0] * 255).round().numpy()).max() <= 1
    assert (folder / "out" / "b.jpg").exists()


def test_a_target_for_a_sequence(folder: Path) -> None:
    Image.fromarray(photo_8bit("astronaut")[::-1]).save("shots/c.png")
    arguments = ["shots/a.png", "shots/c.png", "--output", "out", "--target", "uniform", "--source-stats", "uniform"]
    assert main(arguments) == 0
    assert np.array_equal(pixels("out/a.png"), pixels("out/c.png")[::-1])


def test_a_reference_is_kept_and_serves_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looks = ["--reference", "reference.png", "--reference", "shots/b.jpg"]
    assert main([*looks, "--save-reference", "looks/warm.npz"]) == 0
    assert main(["shots/a.png", *looks, "--reference-stats", "pooled", "--output", "out.png"]) == 0
    assert main(["shots/a.png", "--reference", "looks/warm.npz", "--output", "again.png"]) == 0
    assert np.array_equal(pixels("out.png"), pixels("again.png"))
    # What has been kept can be added to, while it is used.
    more = ["--reference", "looks/warm.npz", "--reference", "shots/a.png"]
    pooled = ["--reference-stats", "pooled", "--save-reference", "looks/more.npz"]
    assert main(["shots/a.png", *more, *pooled, "--output", "third.png"]) == 0
    assert ReferenceHistogram.load("looks/more.npz").pictures == 3
    assert "looks/more.npz exists; --overwrite replaces it" in failure([*more, "--save-reference", "looks/more.npz"], capsys)
    masked = ["shots/a.png", "--reference", "looks/warm.npz", "--reference-mask", "reference.png", "--output", "x.png"]
    assert "argument --reference-mask: expected no .npz among the references" in failure(masked, capsys)
    (folder / "broken.npz").write_bytes(b"x")
    arguments = ["shots/a.png", "--reference", "broken.npz", "--output", "fourth.png"]
    assert "broken.npz: expected a file of Reference Histogram" in failure(arguments, capsys)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="torch finds a GPU here")
def test_a_gpu_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["shots", "--reference", "reference.png", "--output", "out", "--device", "gpu"]
    assert "argument --device: expected a GPU for gpu, torch finds none" in failure(arguments, capsys)


@pytest.mark.parametrize("name", ["v1.2", "x.hdr/"])
def test_a_folder_may_have_a_dot_in_its_name(folder: Path, name: str) -> None:
    assert main(["shots", "-r", "reference.png", "-o", name]) == 0
    assert sorted(path.name for path in (folder / name).iterdir()) == ["a.png", "b.jpg"]


@pytest.mark.parametrize(("argument", "words"), [("--version", ["histogram-match 0."]), ("--list-methods", list(METHODS))])
def test_what_it_says_of_itself(argument: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([argument])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert [line.split(" ")[0] for line in text.splitlines()] == [word.split(" ")[0] for word in words]
    assert all(word in text for word in words)


def test_help_names_every_choice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for word in ("SOURCE", "--reference", "--output", "pytorch", "skimage", "auto", "gpu", "--demo", "--overwrite"):
        assert word in text


def test_pooled_references_of_gray_and_color(folder: Path) -> None:
    Image.fromarray(photo_8bit("camera")[..., 0]).save("gray.png")
    arguments = ["shots/a.png", "--reference", "gray.png", "--reference", "reference.png", "--reference-stats", "pooled"]
    assert main([*arguments, "--method", "mkl", "--output", "out.png"]) == 0
    expected = match_images(
        photo("astronaut"), ReferenceHistogram.of(photo("camera")) + ReferenceHistogram.of(photo("coffee")), "mkl"
    )
    assert np.abs(pixels("out.png") - (expected[0] * 255).round().numpy()).max() <= 2


@pytest.mark.parametrize("method", ["pytorch", "mkl"])
@pytest.mark.parametrize("stats", [[], ["--reference-stats", "pooled"]])
def test_a_gray_file_among_colored_ones_gets_the_brightness(folder: Path, method: str, stats: list[str]) -> None:
    Image.fromarray(photo_8bit("camera")[..., 0]).save("shots/z.png")
    assert main(["shots", "--reference", "reference.png", *stats, "--method", method, "--output", "out"]) == 0
    expected = match_images(photo("camera")[..., :1], photo("coffee"), method)
    assert pixels("out/z.png").shape == photo_8bit("camera").shape[:2]
    assert np.abs(pixels("out/z.png") - (expected[0, ..., 0] * 255).round().numpy()).max() <= 1


@pytest.mark.parametrize("method", ["pytorch", "mkl"])
def test_a_gray_frame_of_a_colored_clip_is_told(folder: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (4, 4)).save("shots/z.png")
    arguments = ["shots", "--reference", "reference.png", "--source-stats", "target_frame", "--method", method]
    assert main([*arguments, "--output", "out"]) == 1
    assert f"{Path('shots/z.png')}: expected 3 channels as in a.png, got 1" in capsys.readouterr().err
    assert not (folder / "out").exists()
