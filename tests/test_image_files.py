"""Files: what comes in goes out again, in bits, alpha, profile and metadata."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
import torch
from comfyui_histogram_match.command.image_files import read_image, write_image
from photos import photo_8bit
from PIL import Image, ImageCms
from skimage.metrics import structural_similarity

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def write(path: Path, values: np.ndarray) -> None:
    """Write uint8 or uint16 [H, W, C] without the code under test."""
    wide = values.dtype == np.uint16
    spaces = {1: "grey16" if wide else "b-w", 2: "grey16" if wide else "b-w"}
    pyvips.Image.new_from_array(values, interpretation=spaces.get(values.shape[2], "rgb16" if wide else "srgb")).write_to_file(
        str(path)
    )


def values_of(path: Path) -> np.ndarray:
    values = pyvips.Image.new_from_file(str(path)).numpy()
    return values.reshape(*values.shape[:2], -1)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".PNG"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_formats_keep_every_bit(tmp_path: Path, suffix: str, channels: int, dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (13, 17, channels), endpoint=True).astype(dtype)
    source, copy = tmp_path / f"source{suffix}", tmp_path / f"copy{suffix}"
    write(source, values)
    image = read_image(source)
    assert image.pixels.shape == (1, 13, 17, {1: 1, 2: 1, 3: 3, 4: 4}[channels])
    assert image.pixels.dtype == torch.float32
    assert 0 <= float(image.pixels.min()) <= float(image.pixels.max()) <= 1
    write_image(copy, image.pixels, image)
    assert values_of(copy).dtype == dtype
    assert np.array_equal(values_of(copy), values)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_formats_stay_close(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "source.png", photo_8bit("chelsea"))
    image = read_image(tmp_path / "source.png")
    write_image(tmp_path / f"copy{suffix}", image.pixels, image)
    assert structural_similarity(values_of(tmp_path / f"copy{suffix}"), photo_8bit("chelsea"), channel_axis=2) > 0.97


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_profile_metadata_and_resolution_stay(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    exif[0x0112] = 6
    picture = Image.fromarray(photo_8bit("chelsea"))
    picture.save(tmp_path / f"source{suffix}", icc_profile=SRGB, exif=exif, dpi=(300, 300))
    image = read_image(tmp_path / f"source{suffix}")
    write_image(tmp_path / f"copy{suffix}", image.pixels, image)
    with Image.open(tmp_path / f"copy{suffix}") as copy, Image.open(tmp_path / f"source{suffix}") as source:
        assert copy.info["icc_profile"] == SRGB
        assert copy.getexif().get(0x0112) == source.getexif().get(0x0112) == 6
        assert copy.size == source.size
        if suffix != ".webp":
            assert copy.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        if suffix in (".png", ".jpg", ".webp"):
            assert copy.getexif()[0x010E] == "a cat"


def test_a_palette_becomes_colours(tmp_path: Path) -> None:
    Image.fromarray(photo_8bit("chelsea")).quantize(16).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").pixels.shape[-1] == 3


def floats(*values: float) -> Callable[[Path], object]:
    return lambda path: tifffile.imwrite(path, np.array([values], np.float32))


def several_pages(path: Path) -> None:
    pages = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    pages[0].save(path, save_all=True, append_images=pages[1:])


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("missing.png", lambda path: None, "no such file"),
        ("folder.png", Path.mkdir, "expected a file, got a folder"),
        ("empty.jpg", Path.touch, "an empty file"),
        ("noise.png", lambda path: path.write_bytes(b"noise"), "not an image file"),
        ("pages.tif", several_pages, "expected one picture, got 2 pages"),
        ("pages.webp", several_pages, "expected one picture, got 2 frames"),
        ("pages.gif", several_pages, "expected one picture, got 2 frames"),
        ("lab.tif", lambda path: Image.new("LAB", (4, 4)).save(path), "damaged TIFF, or one of a kind that is not read"),
        ("integer.tif", lambda path: Image.new("I", (4, 4)).save(path), "expected .*, got 1 channels of b-w as int"),
        ("large.tif", floats(0, 12.5), "expected values from 0 to 1, got 0 to 12.5"),
        ("negative.tif", floats(-0.25, 1), "expected values from 0 to 1, got -0.25 to 1"),
        ("missing.tif", floats(0, math.nan), "expected values from 0 to 1, got nan to nan"),
        (
            "double.tif",
            lambda path: tifffile.imwrite(path, np.zeros((4, 4))),
            "damaged TIFF, or one of a kind that is not read",
        ),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path / name)
    with pytest.raises(OSError, match=f"^{message}"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".gif", ".bmp", ".avif"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.95])
def test_a_damaged_file_is_an_error(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"cat{suffix}"
    Image.fromarray(photo_8bit("chelsea")).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    kind = {".tif": "TIFF, or one of a kind that is not read", ".jpg": "JPEG", ".webp": "WebP"}
    with pytest.raises(OSError, match=f"^damaged {kind.get(suffix, suffix[1:].upper())}$"):
        read_image(path)


@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        (np.zeros((4, 4, 3), np.uint16), "out.jpg", "out.jpg: expected PNG or TIFF for 16 bits"),
        (np.zeros((4, 4, 3), np.uint16), "out.webp", "out.webp: expected PNG or TIFF for 16 bits"),
        (np.zeros((4, 4, 4), np.uint8), "out.jpg", "out.jpg: expected PNG, TIFF or WebP for a picture with alpha"),
        (np.zeros((4, 4, 2), np.uint8), "out.jpeg", "out.jpeg: expected PNG, TIFF or WebP for a picture with alpha"),
        (np.zeros((4, 4, 3), np.uint8), "out.tga", "out.tga: expected a name that ends in .png"),
        (np.zeros((1, 65501, 3), np.uint8), "out.jpg", "out.jpg: expected at most 65500 pixels a side for .jpg, got 65501"),
        (np.zeros((16384, 1, 3), np.uint8), "out.webp", "out.webp: expected at most 16383 pixels a side"),
        (np.zeros((4, 4, 4), np.uint8), "out.bmp", "out.bmp: expected PNG, TIFF or WebP for a picture with alpha"),
        (np.full((4, 4, 4), 99, np.uint8), "out.gif", "out.gif: expected PNG, TIFF or WebP for a picture that is transparent"),
        (np.zeros((4, 4, 3), np.uint16), "out.gif", "out.gif: expected PNG or TIFF for 16 bits"),
    ],
)
def test_nothing_is_lost_in_a_format_that_holds_less(tmp_path: Path, values: np.ndarray, name: str, message: str) -> None:
    write(tmp_path / "source.png", values)
    image = read_image(tmp_path / "source.png")
    with pytest.raises(ValueError, match=message):
        write_image(tmp_path / name, image.pixels, image)
    assert [path.name for path in tmp_path.iterdir()] == ["source.png"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "source.png", photo_8bit("chelsea"))
    image = read_image(tmp_path / "source.png")
    before = (tmp_path / "source.png").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise pyvips.Error("the disk is full")

    monkeypatch.setattr(pyvips.Image, "write_to_buffer", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_image(tmp_path / "source.png", image.pixels, image)
    assert [path.name for path in tmp_path.iterdir()] == ["source.png"]
    assert (tmp_path / "source.png").read_bytes() == before


def test_a_file_that_has_changed_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    for level in (10, 200):
        Image.new("L", (4, 4), level).save(path)
        assert read_image(path).pixels.unique().item() == pytest.approx(level / 255)
