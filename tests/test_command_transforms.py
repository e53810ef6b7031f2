"""Transforms and LUTs in the command: kept, applied to other files, converted, and refused where they make no sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_histogram_match import ColorTransform, fit_transform, load_cube, match_images
from comfyui_histogram_match.command.run import main
from made_videos import make_video, read_video
from photos import photo_8bit, pixels
from PIL import Image

LOOK = ["-r", "look.png"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in: two shots, ``a.png`` and ``b.png``, and ``look.png``."""
    monkeypatch.chdir(tmp_path)
    for name, path in (("chelsea", "a.png"), ("astronaut", "b.png"), ("coffee", "look.png")):
        Image.fromarray(photo_8bit(name)[:120, :160]).save(path)
    return tmp_path


def image(*paths: str) -> torch.Tensor:
    return torch.stack([torch.from_numpy(pixels(path).astype(np.float32) / 255) for path in paths])


def levels(values: torch.Tensor) -> np.ndarray:
    return (values * 255).round().numpy().astype(np.uint8)


@pytest.mark.parametrize("method", ["pytorch", "mkl", "hm-mkl-hm", "sliced"])
def test_a_match_is_kept_and_applied_to_other_files(folder: Path, method: str) -> None:
    assert main(["a.png", *LOOK, "-m", method, "--save-transform", "kept.npz"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.png", "kept.npz", "look.png"]
    assert main(["a.png", "b.png", "--transform", "kept.npz", "-o", "out"]) == 0
    fitted = fit_transform(image("a.png"), image("look.png"), method)
    for name in ("a.png", "b.png"):
        assert np.array_equal(pixels(f"out/{name}"), levels(fitted.apply(image(name)))[0])
    assert main(["b.png", "--transform", "kept.npz", "--factor", "0.3", "-o", "less.png"]) == 0
    assert np.array_equal(pixels("less.png"), levels(fitted.apply(image("b.png"), 0.3))[0])


def test_all_files_are_measured_together_and_written_by_one_transform(folder: Path) -> None:
    assert main(["a.png", "b.png", *LOOK, "-m", "mkl", "--save-transform", "kept.npz", "-o", "out"]) == 0
    assert main(["a.png", "b.png", *LOOK, "-m", "mkl", "--source-stats", "uniform", "-o", "uniform"]) == 0
    for name in ("a.png", "b.png"):
        assert np.array_equal(pixels(f"out/{name}"), pixels(f"uniform/{name}"))
    second = ["--source-stats", "target_frame", "--target-index", "1", "--save-transform", "second.npz"]
    assert main(["a.png", "b.png", *LOOK, "-m", "mkl", *second]) == 0
    expected = fit_transform(image("b.png"), image("look.png"), "mkl").apply(image("a.png"))
    torch.testing.assert_close(ColorTransform.load("second.npz").apply(image("a.png")), expected, rtol=0, atol=1e-4)


def test_a_video_is_measured_and_another_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(folder / "first.mp4", pix_fmt="yuv444p", options={"crf": "1"})
    make_video(folder / "second.mkv", pix_fmt="yuv444p", options={"crf": "1"}, stamps=range(0, 240, 40))
    assert main(["first.mp4", *LOOK, "-m", "mkl", "--save-transform", "kept.npz"]) == 0
    assert main(["second.mkv", "--transform", "kept.npz", "-o", "out.mkv", "--crf", "1"]) == 0
    before, after = read_video(folder / "second.mkv")["frames"], read_video(folder / "out.mkv")["frames"]
    expected = fit_transform(read_video(folder / "first.mp4")["frames"], image("look.png"), "mkl").apply(before)
    assert float((after - expected).abs().mean()) < 1.5 / 255 < float((after - before).abs().mean())
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["first.mp4", "second.mkv", *LOOK, "--save-transform", "both.npz"])
    assert "expected image files or one clip to measure together, got 2 files" in capsys.readouterr().err
    assert not (folder / "both.npz").exists()


@pytest.mark.parametrize("method", ["pytorch", "mkl"])
def test_a_lut_is_written_applied_and_converted(folder: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a.png", *LOOK, "-m", method, "--save-lut", "look.cube"]) == 0
    written = capsys.readouterr()
    assert "look.cube: written" in written.out
    assert "levels of 255 from the transform in the mean" in written.err
    exact = fit_transform(image("a.png"), image("look.png"), method).apply(image("b.png"))
    assert float((load_cube("look.cube").apply(image("b.png")) - exact).abs().max()) < 1 / 255
    assert main(["b.png", "--lut", "look.cube", "-o", "out.png"]) == 0
    assert np.abs(pixels("out.png").astype(int) - levels(exact)[0]).max() <= 1
    # As a transform, to be applied exactly as the LUT is.
    assert main(["--lut", "look.cube", "--save-transform", "kept.npz"]) == 0
    assert torch.equal(ColorTransform.load("kept.npz").apply(image("b.png")), load_cube("look.cube").apply(image("b.png")))
    assert main(["--transform", "kept.npz", "--save-lut", "small.cube", "--lut-size", "17"]) == 0
    size = "LUT_1D_SIZE 65536" if method == "pytorch" else "LUT_3D_SIZE 17"
    assert size in (folder / "small.cube").read_text().splitlines()


def test_clf_files(folder: Path) -> None:
    pytest.importorskip("PyOpenColorIO")
    assert main(["a.png", *LOOK, "-m", "mkl", "--save-lut", "look.clf"]) == 0
    assert main(["b.png", "--lut", "look.clf", "-o", "out.png"]) == 0
    exact = fit_transform(image("a.png"), image("look.png"), "mkl").apply(image("b.png"))
    assert np.abs(pixels("out.png").astype(int) - levels(exact)[0]).max() <= 1


def test_measured_in_one_place_and_changed_in_another(folder: Path) -> None:
    left, right = np.zeros((120, 160), np.uint8), np.zeros((120, 160), np.uint8)
    left[:, :80], right[:, 100:] = 255, 255
    Image.fromarray(left).save("left.png")
    Image.fromarray(right).save("right.png")
    assert main(["a.png", *LOOK, "--image-mask", "left.png", "--change-mask", "right.png", "-o", "out.png"]) == 0
    masks = [torch.from_numpy(mask.astype(np.float32) / 255)[None] for mask in (left, right)]
    expected = match_images(image("a.png"), image("look.png"), image_mask=masks[0], change_mask=masks[1])
    assert np.array_equal(pixels("out.png"), levels(expected)[0])
    assert np.array_equal(pixels("out.png")[:, :100], pixels("a.png")[:, :100])
    assert main(["a.png", *LOOK, "--image-mask", "left.png", "--save-transform", "kept.npz"]) == 0
    assert main(["a.png", "--transform", "kept.npz", "--change-mask", "right.png", "-o", "kept.png"]) == 0
    assert np.array_equal(pixels("kept.png"), pixels("out.png"))


def test_transparent_pixels_are_changed_with_the_others(folder: Path) -> None:
    values = np.dstack([pixels("b.png").astype(np.uint8), np.full((120, 160), 255, np.uint8)])
    values[:, :80, 3] = 0
    Image.fromarray(values).save("cut.png")
    assert main(["a.png", *LOOK, "--save-transform", "kept.npz"]) == 0
    assert main(["cut.png", "--transform", "kept.npz", "-o", "out.png"]) == 0
    expected = ColorTransform.load("kept.npz").apply(image("cut.png"))
    assert np.array_equal(pixels("out.png"), levels(expected)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("a.png -r look.png --transform kept.npz -o x.png", "argument --transform: expected no --reference with it"),
        ("a.png --lut look.cube --transform kept.npz -o x.png", "argument --transform: expected no --lut with it"),
        ("a.png --transform kept.npz -m mkl -o x.png", "argument --transform: expected no --method with it"),
        ("a.png --lut look.cube --target uniform -o x.png", "argument --lut: expected no --target with it"),
        ("a.png --transform nope.npz -o x.png", "nope.npz: no such file"),
        ("a.png --lut look.png -o x.png", "argument --lut: expected a name that ends in .cube or .clf, got look.png"),
        ("a.png --transform look.png -o x.png", "argument --transform: expected a name that ends in .npz, got look.png"),
        ("a.png -r look.png --save-lut x.txt", "argument --save-lut: expected a name that ends in .cube or .clf, got x.txt"),
        ("a.png -r look.png --save-transform x", "argument --save-transform: expected a name that ends in .npz, got x"),
        ("a.png -r look.png -m exact --save-transform x.npz", "got --method exact: it ranks the pixels of one frame"),
        ("a.png -r look.png -m skimage --save-lut x.cube", "got --method skimage: scikit-image compares two pictures"),
        ("a.png -r look.png -m sliced --save-lut x.cube", "restores the texture of a picture"),
        ("a.png --target uniform --save-transform x.npz", "got --target uniform"),
        ("a.png -r look.png --source-stats smoothed --save-transform x.npz", "expected --source-stats uniform or target_frame"),
        ("a.png -r look.png --save-lut x.cube --lut-size 20", "argument --lut-size: invalid choice: 20"),
        ("a.png -r look.png", "the following arguments are required: --output"),
        ("--save-lut x.cube", "the following arguments are required: SOURCE, --reference"),
        ("nope.png -r look.png --save-lut x.cube", "nope.png: no such file"),
        ("a.png --lut broken.cube -o x.png", "broken.cube: line 3: expected three finite numbers, got '0 0'"),
        ("a.png --transform reference.npz -o x.png", "reference.npz: expected a file of ColorTransform, got another"),
        ("a.png -r kept.npz -o x.png", "kept.npz: expected a file of Reference Histogram, got another"),
        ("a.png -r look.png --save-transform kept.npz", "kept.npz exists; --overwrite replaces it"),
    ],
)
def test_what_makes_no_sense_is_refused(folder: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a.png", *LOOK, "--save-transform", "kept.npz", "--save-lut", "look.cube"]) == 0
    assert main([*LOOK, "--save-reference", "reference.npz"]) == 0
    (folder / "broken.cube").write_text("LUT_1D_SIZE 2\n1 1 1\n0 0\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        raise SystemExit(main(arguments.split()))
    written = capsys.readouterr()
    assert message in written.err
    assert len(written.err.splitlines()) == 1
    assert stopped.value.code in (1, 2)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
