"""The formats that people have, through the command, compared with what Pillow and tifffile read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from comfyui_histogram_match.command.run import main
from photos import photo_8bit, pixels
from PIL import Image, ImageCms
from skimage.exposure import match_histograms

CAT = photo_8bit("chelsea")
COFFEE = photo_8bit("coffee")


def match(source: str, target: str, *more: str) -> None:
    assert main([source, "-r", "coffee.png", "-o", target, *more]) == 0


def expected(values: np.ndarray) -> np.ndarray:
    return match_histograms(values.astype(float), COFFEE.astype(float), channel_axis=2)


@pytest.mark.parametrize("target", ["out.bmp", "out.png", "out.tif"])
@pytest.mark.parametrize("source", ["cat.bmp", "cat.gif", "cat.avif"])
def test_more_formats_are_read(folder: Path, source: str, target: str) -> None:
    Image.fromarray(CAT).save(source)
    with Image.open(source) as picture:
        stored = np.array(picture.convert("RGB"))
    match(source, target)
    assert np.abs(pixels(target).astype(int) - expected(stored)).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P"])
@pytest.mark.parametrize("suffix", ["bmp", "gif", "png", "tif"])
def test_gray_and_palettes(folder: Path, suffix: str, mode: str) -> None:
    picture = Image.fromarray(CAT).quantize(40) if mode == "P" else Image.fromarray(CAT).convert(mode)
    picture.save(f"cat.{suffix}")
    match(f"cat.{suffix}", "out.png")
    out = pixels("out.png")
    if mode == "P":
        assert np.abs(out.astype(int) - expected(np.array(picture.convert("RGB")))).max() <= 1
    else:
        brightness = COFFEE @ np.array([0.2126, 0.7152, 0.0722])
        stored = np.array(picture.convert("L")).astype(float)
        assert np.abs(out.astype(int) - match_histograms(stored, brightness)).max() <= 1


def test_gif_comes_out_with_the_colors_that_were_found(folder: Path) -> None:
    Image.fromarray(CAT).quantize(200).save("cat.gif")
    match("cat.gif", "out.gif")
    match("cat.gif", "out.png")
    with Image.open("out.gif") as out:
        assert out.mode == "P"
        assert np.array_equal(np.array(out.convert("RGB")), pixels("out.png"))


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_a_palette_with_a_transparent_color(folder: Path, suffix: str) -> None:
    picture = Image.fromarray(CAT).convert("RGBA")
    picture.putalpha(Image.fromarray(np.where(np.arange(CAT.shape[1]) < 200, 0, 255).astype(np.uint8)[None].repeat(300, 0)))
    picture.save(f"cat.{suffix}")
    match(f"cat.{suffix}", f"out.{suffix}")
    with Image.open(f"out.{suffix}") as out:
        values = np.array(out.convert("RGBA"))
    assert np.array_equal(values[..., 3], np.array(picture)[..., 3])
    seen = values[values[..., 3] > 0][:, :3]
    # With what cannot be seen, it would be 30 levels.
    assert np.abs(seen.mean(axis=0) - COFFEE.reshape(-1, 3).mean(axis=0)).max() < 8


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_floats_stay_floats(folder: Path, channels: int) -> None:
    values = np.random.default_rng(0).random((40, 50, channels)).astype(np.float32)
    if channels == 4:
        values[..., 3] = 1
    stored = values[..., 0] if channels == 1 else values
    tifffile.imwrite("noise.tif", stored, photometric="minisblack" if channels == 1 else "rgb")
    match("noise.tif", "out.tif", "--factor", "0")
    assert np.array_equal(tifffile.imread("out.tif"), stored)
    match("noise.tif", "matched.tif")
    out = tifffile.imread("matched.tif").reshape(40, 50, channels)
    assert out.dtype == np.float32
    red = COFFEE @ np.array([0.2126, 0.7152, 0.0722]) if channels == 1 else COFFEE[..., 0]
    assert np.abs(np.quantile(out[..., 0], [0.1, 0.5, 0.9]) - np.quantile(red / 255, [0.1, 0.5, 0.9])).max() < 0.01


@pytest.mark.parametrize("target", ["out.png", "out.jpg", "out.gif"])
def test_floats_go_into_a_tiff_alone(folder: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("noise.tif", np.zeros((4, 4), np.float32))
    assert main(["noise.tif", "-r", "coffee.png", "-o", target]) == 1
    assert f"{target}: expected TIFF or EXR for floating-point values" in capsys.readouterr().err


def test_floats_beyond_1_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("x.tif", np.array([[0, 12.5]], np.float32))
    assert main(["x.tif", "-r", "coffee.png", "-o", "out.tif"]) == 1
    assert "x.tif: expected values from 0 to 1, got 0 to 12.5" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_rgb_and_is_told(folder: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    cmyk = pyvips.Image.new_from_array(CAT, interpretation="srgb").icc_transform(
        "cmyk", intent="relative", input_profile="srgb"
    )
    cmyk.write_to_file(f"cat.{suffix}", **({"Q": 98} if suffix == "jpg" else {}))
    with Image.open(f"cat.{suffix}") as picture:
        assert picture.mode == "CMYK"
        embedded = picture.info["icc_profile"]
        profiles = io.BytesIO(embedded), io.BytesIO(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        seen = ImageCms.profileToProfile(picture, *profiles, renderingIntent=1, outputMode="RGB", flags=flags)
        assert seen is not None
    match(f"cat.{suffix}", "same.png", "--factor", "0")
    assert f"cat.{suffix}: CMYK, written as RGB" in capsys.readouterr().err
    assert np.abs(pixels("same.png").astype(int) - np.array(seen)).mean() < 1
    match(f"cat.{suffix}", f"out.{suffix}")
    with Image.open(f"out.{suffix}") as out:
        assert out.mode == "RGB"
        assert "icc_profile" not in out.info
    assert np.abs(pixels(f"out.{suffix}").reshape(-1, 3).mean(axis=0) - COFFEE.reshape(-1, 3).mean(axis=0)).max() < 3


def test_cmyk_without_a_profile(folder: Path) -> None:
    Image.fromarray(CAT).convert("CMYK").save("cat.jpg", quality=95)
    match("cat.jpg", "out.png")
    assert np.abs(pixels("out.png").reshape(-1, 3).mean(axis=0) - COFFEE.reshape(-1, 3).mean(axis=0)).max() < 3


def test_cmyk_as_a_reference(folder: Path) -> None:
    Image.fromarray(COFFEE).convert("CMYK").save("reference.tif")
    Image.fromarray(CAT).save("cat.png")
    assert main(["cat.png", "-r", "reference.tif", "-o", "out.png"]) == 0


def test_more_than_is_kept_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = Image.fromarray(CAT)
    picture.save("two.jpg", format="MPO", save_all=True, append_images=[picture])
    pyvips.Image.new_from_array(CAT.astype(np.uint16) * 257, interpretation="rgb16").write_to_file("deep.avif", bitdepth=10)
    assert main(["two.jpg", "deep.avif", "-r", "coffee.png", "-o", "out"]) == 0
    told = capsys.readouterr().err
    assert "two.jpg: 2 pictures, the first of which is written" in told
    assert "deep.avif: 10 bits, written as 8" in told


def test_an_ending_may_lie_about_what_is_in_a_file(folder: Path) -> None:
    Image.fromarray(CAT).save("cat.png", format="JPEG")
    match("cat.png", "out.png")
    assert np.abs(pixels("out.png").astype(int) - expected(pixels("cat.png"))).max() <= 1


def test_heic_says_what_it_takes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert main(["x.heic", "-r", "coffee.png", "-o", "out.png"]) == 1
    told = capsys.readouterr().err
    assert "x.heic: HEIC takes pillow-heif: " in told or "x.heic: damaged" in told


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nope.jpg", None, "no such file"),
        ("bad.jpg", b"\xff\xd8\xff\xe0 and noise", "damaged JPEG"),
        ("x.png", b"a letter", "not an image file"),
        ("x.gif", b"", "an empty file"),
    ],
)
@pytest.mark.parametrize("argument", ["source", "-r", "--image-mask", "--reference-mask"])
def test_errors_are_plain_and_name_the_file(
    folder: Path, name: str, content: bytes | None, message: str, argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    files: dict[str, Any] = {"source": "coffee.png", "-r": "coffee.png"} | {argument: name}
    source = files.pop("source")
    try:
        status = main([source, "-o", "out.png", *(part for pair in files.items() for part in pair)])
    except SystemExit as stop:
        status = int(str(stop.code))
    assert status == (1 if argument == "source" else 2)
    assert f"{name}: {message}\n" in capsys.readouterr().err
    assert not Path("out.png").exists()


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
@pytest.mark.parametrize("part", [300, None])
def test_cmyk_with_a_profile_that_cannot_be_used(
    folder: Path, suffix: str, part: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    unusable = bytes(pyvips.Operation.call("profile_load", "srgb" if part is None else "cmyk"))[:part]
    Image.fromarray(CAT).convert("CMYK").save(f"cat.{suffix}", icc_profile=unusable)
    assert main([f"cat.{suffix}", "-r", "coffee.png", "-o", "out.png"]) == 1
    said = "expected a color profile for CMYK, got one that is damaged or for other pictures"
    assert capsys.readouterr().err == f"cat.{suffix}: {said}\n"


@pytest.mark.parametrize("layout", [{}, {"tile": (64, 64)}, {"rowsperstrip": 16}, {"byteorder": ">"}, {"bigtiff": True}])
def test_a_deflated_tiff_is_checked(folder: Path, layout: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    options = {name: value for name, value in layout.items() if name in ("byteorder", "bigtiff")}
    more = {name: value for name, value in layout.items() if name not in options}
    with tifffile.TiffWriter("cat.tif", **options) as writer:
        writer.write(CAT, compression="deflate", photometric="rgb", **more)
    assert main(["cat.tif", "-r", "coffee.png", "-o", "out.tif"]) == 0
    capsys.readouterr()
    with tifffile.TiffFile("cat.tif") as file:
        ends = [sum(place) for place in zip(file.pages[0].dataoffsets, file.pages[0].databytecounts, strict=True)]
    content = bytearray(Path("cat.tif").read_bytes())
    # The last byte of a checksum: no pixel looks damaged.
    content[ends[-1] - 1] ^= 1
    Path("bad.tif").write_bytes(content)
    assert main(["bad.tif", "-r", "coffee.png", "-o", "bad_out.tif"]) == 1
    assert capsys.readouterr().err == "bad.tif: damaged TIFF, or one of a kind that is not read\n"


def test_gray_and_alpha_in_avif(folder: Path) -> None:
    gray, alpha = Image.fromarray(CAT).convert("L"), Image.fromarray(COFFEE).convert("L").resize(CAT.shape[1::-1])
    gray.save("gray.png")
    Image.merge("RGBA", [*Image.fromarray(CAT).split(), alpha]).save("color.png")
    for name in ("gray", "color"):
        assert main([f"{name}.png", "-r", f"{name}.png", "-o", f"{name}.avif", "--quality", "60"]) == 0
    with Image.open("gray.avif") as out:
        assert out.mode == "L"
    with Image.open("color.avif") as out:
        assert np.array_equal(np.array(out.getchannel("A")), np.array(alpha))
