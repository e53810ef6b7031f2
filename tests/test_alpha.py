"""What nobody sees is not measured: cut-outs with black, or anything else, behind what is transparent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_histogram_match import ReferenceHistogram, match_images
from comfyui_histogram_match.command.run import main
from photos import photo, photo_8bit, pixels
from PIL import Image

METHODS = ("pytorch", "skimage", "exact", "mkl", "sliced")
COFFEE = photo_8bit("coffee")


def cut_out(dtype: type = np.uint8) -> np.ndarray:
    """A photo whose right half is black and transparent, uint8 or uint16 [H, W, 4]."""
    cat = photo_8bit("chelsea")[:, :, :3]
    values = np.concatenate([cat, np.full((*cat.shape[:2], 1), 255, np.uint8)], axis=-1)
    values[:, values.shape[1] // 2 :] = 0
    return values if dtype == np.uint8 else values.astype(np.uint16) * 257


def as_image(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32) / 255)[None]


@pytest.mark.parametrize("method", METHODS)
def test_a_source_is_measured_where_it_can_be_seen(folder: Path, method: str) -> None:
    source = cut_out()
    Image.fromarray(source).save("cut.png")
    assert main(["cut.png", "-r", "coffee.png", "-o", "out.png", "--method", method]) == 0
    out, seen = pixels("out.png"), source[..., 3] > 0
    assert np.array_equal(out[..., 3], source[..., 3])
    left = source[:, : source.shape[1] // 2, :3]
    expected = (match_images(as_image(left), photo("coffee"), method)[0] * 255).round().numpy()
    assert np.abs(out[:, : source.shape[1] // 2, :3] - expected).mean() < 1.5
    assert np.abs(out[seen][:, :3].mean(axis=0) - COFFEE.reshape(-1, 3).mean(axis=0)).max() < 4


@pytest.mark.parametrize("method", METHODS)
def test_a_reference_is_measured_where_it_can_be_seen(folder: Path, method: str) -> None:
    reference = cut_out()
    Image.fromarray(reference).save("cut.png")
    assert main(["coffee.png", "-r", "cut.png", "-o", "out.png", "--method", method]) == 0
    left = as_image(reference[:, : reference.shape[1] // 2, :3])
    expected = (match_images(photo("coffee"), left, method)[0] * 255).round().numpy()
    assert np.abs(pixels("out.png") - expected).mean() < 1


def test_what_is_kept_of_a_reference_is_what_can_be_seen(folder: Path) -> None:
    reference = cut_out()
    Image.fromarray(reference).save("cut.png")
    assert main(["-r", "cut.png", "--save-reference", "kept.npz"]) == 0
    kept = ReferenceHistogram.load("kept.npz")
    expected = ReferenceHistogram.of(as_image(reference[:, : reference.shape[1] // 2, :3]))
    assert torch.equal(kept.counts, expected.counts)


def test_transparent_pixels_are_changed_too_and_half_of_one_counts_half(folder: Path) -> None:
    source = np.zeros((1, 4, 4), np.uint8)
    source[0, :, 0] = source[0, :, 1] = source[0, :, 2] = [10, 10, 20, 200]
    source[0, :, 3] = [255, 255, 51, 0]
    Image.fromarray(source).save("source.png")
    assert main(["source.png", "-r", "coffee.png", "-o", "out.png", "--method", "reinhard", "--color-space", "rgb"]) == 0
    out = pixels("out.png")
    assert np.array_equal(out[..., 3], source[..., 3])
    assert (out[0, 3, :3] == 255).all()
    weights = source[0, :, 3] / 255
    mean = (weights * source[0, :, 0]).sum() / weights.sum()
    deviation = np.sqrt((weights * (source[0, :, 0] - mean) ** 2).sum() / weights.sum())
    red = COFFEE[..., 0].astype(float)
    assert out[0, 2, 0] == pytest.approx(min((20 - mean) / deviation * red.std() + red.mean(), 255), abs=1)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("method", ["pytorch", "mkl"])
def test_full_alpha_changes_no_bit(folder: Path, gray: bool, method: str) -> None:
    cat = Image.fromarray(photo_8bit("chelsea")).convert("L" if gray else "RGB")
    cat.save("plain.png")
    cat.putalpha(255)
    cat.save("full.png")
    assert main(["plain.png", "full.png", "-r", "coffee.png", "-o", "out", "--method", method]) == 0
    plain, full = pixels("out/plain.png"), pixels("out/full.png")
    assert np.array_equal(full[..., -1], np.full(full.shape[:2], 255))
    assert np.array_equal(full[..., :-1].reshape(plain.shape), plain)


def test_a_gray_picture_with_alpha(folder: Path) -> None:
    gray = Image.fromarray(cut_out()).convert("LA")
    gray.save("cut.png")
    assert main(["cut.png", "-r", "coffee.png", "-o", "out.png"]) == 0
    out = pixels("out.png")
    assert np.array_equal(out[..., 1], np.array(gray)[..., 1])
    brightness = COFFEE @ np.array([0.2126, 0.7152, 0.0722])
    assert out[..., 0][out[..., 1] > 0].mean() == pytest.approx(brightness.mean(), abs=2)


def test_alpha_of_16_bits(folder: Path) -> None:
    import pyvips

    pyvips.Image.new_from_array(cut_out(np.uint16), interpretation="rgb16").write_to_file("cut.png")
    assert main(["cut.png", "-r", "coffee.png", "-o", "out.png"]) == 0
    out = pyvips.Image.new_from_file("out.png").numpy()
    assert np.array_equal(out[..., 3], cut_out(np.uint16)[..., 3])
    assert np.abs(out[out[..., 3] > 0][:, :3].mean(axis=0) / 257 - COFFEE.reshape(-1, 3).mean(axis=0)).max() < 2


def test_an_image_mask_and_alpha_together(folder: Path) -> None:
    source = cut_out()
    source[source[..., 3] == 0] = (90, 90, 90, 0)
    Image.fromarray(source).save("cut.png")
    height, width = source.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2] = 255
    Image.fromarray(mask).save("mask.png")
    assert main(["cut.png", "-r", "coffee.png", "-o", "out.png", "--image-mask", "mask.png", "--method", "mkl"]) == 0
    out = pixels("out.png")
    assert np.array_equal(out[height // 2 :], source[height // 2 :])
    # What cannot be seen is changed as well where the mask says so, though it is not measured.
    assert (out[: height // 2, width // 2 :, :3] != 90).all()
    counted = (mask > 0) & (source[..., 3] > 0)
    assert np.abs(out[counted][:, :3].mean(axis=0) - COFFEE.reshape(-1, 3).mean(axis=0)).max() < 4


@pytest.mark.parametrize("stats", ["per_frame", "uniform", "smoothed"])
def test_a_source_that_is_transparent_throughout_stays(folder: Path, stats: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = cut_out()
    values[..., 3] = 0
    Image.fromarray(values).save("a.png")
    Image.fromarray(cut_out()).save("b.png")
    assert main(["a.png", "b.png", "-r", "coffee.png", "-o", "out", "--source-stats", stats]) == 0
    assert np.array_equal(pixels("out/a.png"), values)
    assert "image: transparent throughout in 1 frames, which are left as they are" in capsys.readouterr().err
    assert not np.array_equal(pixels("out/b.png"), cut_out())


@pytest.mark.parametrize("arguments", [["coffee.png", "-o", "out.png"], ["--save-reference", "kept.npz"]])
def test_a_reference_that_is_transparent_throughout_is_refused(
    folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGBA", (4, 4)).save("nothing.png")
    with pytest.raises(SystemExit):
        main([*arguments, "-r", "nothing.png"])
    assert "nothing.png: expected pixels that are not transparent, got none" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["coffee.png", "nothing.png"]


def test_alpha_can_be_ignored(folder: Path) -> None:
    Image.fromarray(cut_out()).save("cut.png")
    Image.fromarray(cut_out()[..., :3]).save("plain.png")
    for reference in ("coffee.png", "cut.png"):
        for source in ("cut.png", "plain.png"):
            assert main([source, "-r", reference, "-o", f"matched {source}", "--ignore-alpha", "--overwrite"]) == 0
        assert np.array_equal(pixels("matched cut.png")[..., :3], pixels("matched plain.png"))
