"""Colors are compared as people see them: equal looks in different ICC profiles give equal results."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
import torch
from comfyui_histogram_match.command import image_files
from comfyui_histogram_match.command.color_profiles import convert, same_colors
from comfyui_histogram_match.command.run import main
from photos import photo_8bit, pixels
from PIL import Image, ImageCms

COFFEE = photo_8bit("coffee")
CAT = photo_8bit("chelsea")


@cache
def profile(name: str) -> bytes:
    if name == "sRGB of LittleCMS":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if name == "gray":
        return gray_profile(1.8)
    return bytes(pyvips.Operation.call("profile_load", {"sRGB": "srgb", "Display P3": "p3"}[name]))


def gray_profile(gamma: float) -> bytes:
    """A small ICC profile, version 2, for gray of this gamma."""
    white = b"XYZ \0\0\0\0" + np.array([0xF6D6, 0x10000, 0xD32D], ">u4").tobytes()
    curve = b"curv\0\0\0\0" + np.array([1], ">u4").tobytes() + np.array([round(gamma * 256)], ">u2").tobytes() + b"\0\0"
    text = b"desc\0\0\0\0\0\0\0\x05gray\0" + bytes(78)
    text += bytes(-len(text) % 4)
    parts, place, table = [(b"desc", text), (b"wtpt", white), (b"kTRC", curve)], 128 + 4 + 36, b"\0\0\0\x03"
    for name, data in parts:
        table += name + np.array([place, len(data)], ">u4").tobytes()
        place += len(data)
    head = np.array([place], ">u4").tobytes() + b"\0\0\0\0\x02\x10\0\0mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28)
    head += np.array([0xF6D6, 0x10000, 0xD32D], ">u4").tobytes() + bytes(48)
    return head + table + b"".join(data for _, data in parts)


def in_profile(values: np.ndarray, name: str) -> np.ndarray:
    """An sRGB picture, uint8, as LittleCMS stores it in another profile."""
    inputs = io.BytesIO(profile("sRGB of LittleCMS")), io.BytesIO(profile(name))
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    changed = ImageCms.profileToProfile(Image.fromarray(values), *inputs, renderingIntent=1, flags=flags)
    assert changed is not None
    return np.array(changed)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same look in two profiles: ``coffee.png`` and ``coffee_p3.png``, ``cat.png`` and ``cat_p3.png``."""
    monkeypatch.chdir(tmp_path)
    for name, values in (("coffee", COFFEE), ("cat", CAT)):
        Image.fromarray(values).save(f"{name}.png")
        Image.fromarray(in_profile(values, "Display P3")).save(f"{name}_p3.png", icc_profile=profile("Display P3"))
    return tmp_path


@pytest.mark.parametrize("method", ["pytorch", "mkl", "reinhard"])
def test_a_look_gives_the_same_in_any_profile_of_the_reference(folder: Path, method: str) -> None:
    for reference in ("coffee", "coffee_p3"):
        assert main(["cat.png", "-r", f"{reference}.png", "-o", f"from_{reference}.png", "--method", method]) == 0
    difference = np.abs(pixels("from_coffee.png") - pixels("from_coffee_p3.png"))
    # Saturated colors of 8 bits are levels apart themselves; without conversion it is 7 levels in the mean.
    assert difference.mean() < 0.5
    assert np.quantile(difference, 0.999) <= 1


@pytest.mark.parametrize("reference", ["coffee", "coffee_p3"])
def test_result_and_profile_are_those_of_the_source(folder: Path, reference: str) -> None:
    assert main(["cat_p3.png", "-r", f"{reference}.png", "-o", "out.png"]) == 0
    with Image.open("out.png") as out:
        assert out.info["icc_profile"] == profile("Display P3")
    expected = in_profile(COFFEE, "Display P3").reshape(-1, 3).astype(int)
    assert np.abs(pixels("out.png").reshape(-1, 3).mean(axis=0) - expected.mean(axis=0)).max() < 1.5
    levels = np.linspace(0.01, 0.99, 50)
    difference = np.quantile(pixels("out.png").reshape(-1, 3), levels, axis=0) - np.quantile(expected, levels, axis=0)
    assert np.abs(difference).mean() <= 1


@pytest.mark.parametrize("name", ["sRGB", "sRGB of LittleCMS"])
def test_profiles_of_the_same_colors_change_no_bit(folder: Path, name: str) -> None:
    Image.fromarray(COFFEE).save("tagged.png", icc_profile=profile(name))
    Image.fromarray(CAT).save("tagged_cat.png", icc_profile=profile("sRGB"))
    for source, reference in (("cat", "coffee"), ("cat", "tagged"), ("tagged_cat", "coffee"), ("tagged_cat", "tagged")):
        assert main([f"{source}.png", "-r", f"{reference}.png", "-o", "out.png", "--overwrite"]) == 0
        out = pixels("out.png")
        if (source, reference) == ("cat", "coffee"):
            expected = out
        assert np.array_equal(out, expected)


def test_references_of_16_bits_and_of_floats_are_converted_as_well(folder: Path) -> None:
    p3 = in_profile(COFFEE, "Display P3")
    tifffile.imwrite("float.tif", p3.astype(np.float32) / 255 * 0.9999, photometric="rgb", iccprofile=profile("Display P3"))
    tifffile.imwrite("wide.tif", p3.astype(np.uint16) * 257, photometric="rgb", iccprofile=profile("Display P3"))
    for reference in ("coffee.png", "float.tif", "wide.tif"):
        assert main(["cat.png", "-r", reference, "-o", f"from_{reference}.png"]) == 0
    for reference in ("float.tif", "wide.tif"):
        difference = np.abs(pixels("from_coffee.png.png") - pixels(f"from_{reference}.png"))
        assert difference.mean() < 0.7
        assert np.quantile(difference, 0.999) <= 2


def test_kept_references_are_srgb(folder: Path) -> None:
    assert main(["-r", "coffee_p3.png", "--save-reference", "kept.npz"]) == 0
    for reference in ("coffee.png", "kept.npz"):
        for source in ("cat", "cat_p3"):
            assert main([f"{source}.png", "-r", reference, "-o", f"{source}_{reference}.png", "--method", "mkl"]) == 0
    for source in ("cat", "cat_p3"):
        difference = np.abs(pixels(f"{source}_coffee.png.png") - pixels(f"{source}_kept.npz.png"))
        assert difference.mean() < 0.7


def test_a_gray_source_gets_the_brightness_that_the_reference_has_in_srgb(folder: Path) -> None:
    Image.fromarray(CAT).convert("L").save("gray.png")
    for reference in ("coffee", "coffee_p3"):
        assert main(["gray.png", "-r", f"{reference}.png", "-o", f"from_{reference}.png"]) == 0
    assert np.abs(pixels("from_coffee.png") - pixels("from_coffee_p3.png")).max() <= 1


def test_a_gray_profile(folder: Path) -> None:
    gray = Image.fromarray(CAT).convert("L")
    linear = np.array(
        [((level + 0.055) / 1.055) ** 2.4 if level > 0.04045 else level / 12.92 for level in np.arange(256) / 255]
    )
    table = (linear ** (1 / 1.8) * 255).round().astype(np.uint8)
    gray.save("plain.png")
    Image.fromarray(table[np.array(gray)]).save("tagged.png", icc_profile=profile("gray"))
    # As a reference for colors, for gray, and as a source with a reference in sRGB.
    for source in ("cat.png", "plain.png"):
        for reference in ("plain", "tagged"):
            assert main([source, "-r", f"{reference}.png", "-o", f"{source}_{reference}.png"]) == 0
        assert np.abs(pixels(f"{source}_plain.png") - pixels(f"{source}_tagged.png")).max() <= 2
    assert main(["tagged.png", "-r", "plain.png", "-o", "out.png"]) == 0
    assert np.abs(pixels("out.png") - pixels("tagged.png")).mean() < 0.5


def test_gray_pixels_with_a_profile_for_colors(folder: Path) -> None:
    Image.fromarray(CAT).convert("L").save("gray.png", icc_profile=profile("Display P3"))
    assert main(["gray.png", "coffee.png", "-r", "coffee_p3.png", "-o", "out"]) == 0
    assert main(["coffee.png", "-r", "gray.png", "-o", "out2.png"]) == 0
    assert pixels("out/gray.png").ndim == 2


@pytest.mark.parametrize("damaged", [b"noise" * 40, "cut", "gray"])
def test_a_profile_that_cannot_be_used(folder: Path, damaged: bytes | str, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"cut": profile("Display P3")[:300], "gray": profile("gray")}.get(damaged, damaged)  # type: ignore[call-overload]
    Image.fromarray(CAT).save("bad.png", icc_profile=content)
    message = "expected a color profile for RGB, got one that is damaged or for other pictures"
    assert main(["bad.png", "-r", "coffee.png", "-o", "out.png"]) == 1
    assert f"bad.png: {message}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["cat.png", "-r", "bad.png", "-o", "out.png"])
    assert f"bad.png: {message}" in capsys.readouterr().err
    # Where nothing is measured elsewhere, nothing has to be understood.
    assert main(["bad.png", "--target", "uniform", "-o", "out.png"]) == 0
    with Image.open("out.png") as out:
        assert out.info["icc_profile"] == content


@pytest.mark.parametrize("stats", ["uniform", "smoothed", "target_frame"])
def test_frames_of_one_clip_have_one_profile(folder: Path, stats: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-r", "coffee.png", "-o", "out", "--source-stats", stats]
    assert main(["cat.png", "cat_p3.png", *arguments]) == 1
    assert "cat_p3.png: expected the color profile of cat.png, got another" in capsys.readouterr().err
    Image.fromarray(CAT).save("tagged.png", icc_profile=profile("sRGB"))
    assert main(["cat.png", "tagged.png", *arguments, "--overwrite"]) == 0


def test_a_reference_is_converted_once_for_a_profile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "many").mkdir()
    for index in range(12):
        Image.fromarray(in_profile(CAT[:20, : 20 + index], "Display P3")).save(
            f"many/{index}.png", icc_profile=profile("Display P3")
        )
    read: list[str] = []
    original = image_files.read_image

    def counting(path: Path, **options: bool) -> image_files.ImageFile:
        read.append(path.name)
        return original(path, **options)

    monkeypatch.setattr("comfyui_histogram_match.command.job.read_image", counting)
    assert main(["many", "-r", "coffee.png", "-o", "out"]) == 0
    # Once before the run, and then once for each thread at most.
    assert 2 <= read.count("coffee.png") <= 4


def test_conversion_keeps_16_bits_and_agrees_with_littlecms() -> None:
    sample = torch.from_numpy(COFFEE.astype(np.float32) / 255)
    there = convert(sample, None, profile("Display P3"), "")
    assert np.abs(there.numpy() * 255 - in_profile(COFFEE, "Display P3")).max() < 1.5
    assert (convert(there, profile("Display P3"), None, "") - sample).abs().max() < 1 / 255
    assert same_colors(profile("sRGB"), profile("sRGB of LittleCMS"))
    assert not same_colors(profile("sRGB"), profile("Display P3"))
