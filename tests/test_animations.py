"""Animated pictures are clips: frames, times, loops and alpha come out again, as Pillow reads them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import torch
from comfyui_histogram_match import match_images
from comfyui_histogram_match.command.animations import AnimationRewriter, count_frames, is_animation, read_frames
from comfyui_histogram_match.command.run import main
from photos import photo_8bit
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TIMES = [40, 120, 80, 250]
SUFFIXES = [".png", ".apng", ".gif", ".webp", ".avif"]
LOSSLESS: dict[str, dict[str, Any]] = {".webp": {"lossless": True}}


def frames(alpha: bool = False) -> list[Image.Image]:
    """Frames of a photo that moves, of at most 256 colors each, so that a GIF holds them."""
    made = []
    for index in range(len(TIMES)):
        part = Image.fromarray(photo_8bit("chelsea")[index * 7 : index * 7 + 50, index * 9 : index * 9 + 60])
        frame = part.quantize(120).convert("RGB")
        if alpha:
            frame.putalpha(
                Image.fromarray(np.where(np.arange(60) > 10 * index, 255, 0).astype(np.uint8)[None].repeat(50, axis=0))
            )
        made.append(frame)
    return made


def animate(path: Path, alpha: bool = False, **more: Any) -> list[Image.Image]:
    made = frames(alpha)
    options: dict[str, Any] = {"duration": TIMES, "loop": 3} | LOSSLESS.get(path.suffix, {})
    if path.suffix == ".gif" and alpha:
        options["disposal"] = 2
    made[0].save(path, save_all=True, append_images=made[1:], **options, **more)
    return made


def read(path: Path) -> tuple[list[np.ndarray], list[float]]:
    values, times = [], []
    with Image.open(path) as opened:
        for index in range(getattr(opened, "n_frames", 1)):
            opened.seek(index)
            values.append(np.array(opened.convert("RGBA")))
            times.append(opened.info["duration"])
    return values, times


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("alpha", [False, True])
def test_frames_times_and_loops_stay(tmp_path: Path, suffix: str, alpha: bool) -> None:
    source, target = tmp_path / f"source{suffix}", tmp_path / f"copy{suffix}"
    animate(source, alpha)
    before, times = read(source)
    assert is_animation(source)
    assert count_frames(source) == len(TIMES)
    with AnimationRewriter(source, target) as animation:
        for _, pixels in animation.frames():
            # GIF and WebP do not say at the beginning whether there is alpha.
            assert pixels.shape[-1] in ((4,) if alpha else (3, 4))
            animation.write(pixels)
    after, written = read(target)
    assert written == times == TIMES
    for one, other in zip(before, after, strict=True):
        seen = one[..., 3] > 0
        assert np.array_equal(one[..., 3], other[..., 3])
        difference = np.abs(one[seen].astype(int) - other[seen])
        assert difference.max() == 0 if suffix != ".avif" else difference.mean() < 3
    if suffix != ".avif":
        with Image.open(target) as opened:
            assert opened.info["loop"] == 3


@pytest.mark.parametrize("target", [".png", ".webp", ".avif", ".gif"])
@pytest.mark.parametrize("source", [".png", ".webp", ".avif", ".gif"])
def test_from_each_format_to_each(tmp_path: Path, source: str, target: str) -> None:
    animate(tmp_path / f"source{source}")
    with AnimationRewriter(tmp_path / f"source{source}", tmp_path / f"copy{target}") as animation:
        for _, pixels in animation.frames():
            animation.write(pixels)
    before, times = read(tmp_path / f"source{source}")
    after, written = read(tmp_path / f"copy{target}")
    assert written == times
    assert max(np.abs(one.astype(int) - other).mean() for one, other in zip(before, after, strict=True)) < 4


def test_times_that_a_format_cannot_hold_do_not_drift(tmp_path: Path) -> None:
    made = [Image.new("RGB", (16, 16), (index * 20, 0, 0)) for index in range(12)]
    made[0].save(tmp_path / "a.png", save_all=True, append_images=made[1:], duration=1000 / 30)
    for suffix, tolerance in ((".png", 0.01), (".webp", 1), (".gif", 10), (".avif", 1)):
        with AnimationRewriter(tmp_path / "a.png", tmp_path / f"b{suffix}") as animation:
            for _, pixels in animation.frames():
                animation.write(pixels)
        times = read(tmp_path / f"b{suffix}")[1]
        assert len(times) == 12
        assert np.allclose(np.cumsum(times), np.arange(1, 13) * 1000 / 30, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("loop", "expected"), [(None, None), (0, 0), (1, 1)])
def test_loops_of_a_gif(tmp_path: Path, loop: int | None, expected: int | None) -> None:
    made = frames()
    made[0].save(tmp_path / "a.gif", save_all=True, append_images=made[1:], **({} if loop is None else {"loop": loop}))
    for name in ("b.gif", "b.png"):
        with AnimationRewriter(tmp_path / "a.gif", tmp_path / name) as animation:
            for _, pixels in animation.frames():
                animation.write(pixels)
    with Image.open(tmp_path / "b.gif") as opened:
        assert opened.info.get("loop") == expected
    with Image.open(tmp_path / "b.png") as opened:
        assert opened.info["loop"] == (1 if loop is None else loop)


def test_what_an_animated_png_says_stays(tmp_path: Path) -> None:
    text, exif = PngInfo(), Image.Exif()
    text.add_text("workflow", '{"nodes": []}')
    text.add_itxt("prompt", "{}")
    exif[270] = "a cat"
    animate(tmp_path / "a.png", pnginfo=text, icc_profile=SRGB, exif=exif)
    with AnimationRewriter(tmp_path / "a.png", tmp_path / "b.png") as animation:
        for _, pixels in animation.frames():
            animation.write(pixels)
    with Image.open(tmp_path / "b.png") as opened:
        assert (opened.info["workflow"], opened.info["prompt"]) == ('{"nodes": []}', "{}")
        assert opened.info["icc_profile"] == SRGB
        assert opened.getexif()[270] == "a cat"
        assert opened.n_frames == len(TIMES)


def test_a_picture_that_is_not_part_of_its_animation(tmp_path: Path) -> None:
    made = frames()
    made[0].save(tmp_path / "a.png", save_all=True, append_images=made[1:], default_image=True, duration=TIMES[1:])
    with AnimationRewriter(tmp_path / "a.png", tmp_path / "b.png") as animation:
        for _, pixels in animation.frames():
            animation.write(1 - pixels)
    with Image.open(tmp_path / "a.png") as before, Image.open(tmp_path / "b.png") as after:
        assert after.info["default_image"]
        assert after.n_frames == before.n_frames == len(TIMES)
        for index in range(len(TIMES)):
            before.seek(index)
            after.seek(index)
            assert np.array_equal(255 - np.array(before), np.array(after))
            assert after.info.get("duration") == before.info.get("duration")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_still_picture_is_no_animation(tmp_path: Path, suffix: str) -> None:
    frames()[0].save(tmp_path / f"still{suffix}", format="PNG" if suffix == ".apng" else None)
    assert not is_animation(tmp_path / f"still{suffix}")
    assert not is_animation(tmp_path / f"missing{suffix}")
    (tmp_path / f"noise{suffix}").write_bytes(b"noise")
    assert not is_animation(tmp_path / f"noise{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damage(tmp_path: Path, suffix: str) -> None:
    animate(tmp_path / f"a{suffix}")
    content = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"b{suffix}").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(OSError, match=r"^damaged "):
        list(read_frames(tmp_path / f"b{suffix}"))


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".bmp"])
def test_a_target_that_cannot_be_animated(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    animate(tmp_path / "a.gif")
    frames()[0].save(tmp_path / "r.png")
    assert main([str(tmp_path / "a.gif"), "-r", str(tmp_path / "r.png"), "-o", str(tmp_path / f"out{suffix}")]) == 1
    assert (
        f"out{suffix}: expected a name that ends in .png, .apng, .webp, .gif, .avif for an animation" in capsys.readouterr().err
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "r.png"]


@pytest.mark.parametrize("suffix", [".png", ".gif", ".webp"])
@pytest.mark.parametrize("stats", ["per_frame", "uniform", "smoothed"])
def test_an_animation_is_matched_as_a_clip(tmp_path: Path, suffix: str, stats: str) -> None:
    made = animate(tmp_path / f"a{suffix}")
    Image.fromarray(photo_8bit("coffee")).save(tmp_path / "r.png")
    arguments = [str(tmp_path / f"a{suffix}"), "-r", str(tmp_path / "r.png"), "-o", str(tmp_path / f"out{suffix}")]
    assert main([*arguments, "--source-stats", stats, "--method", "mkl"]) == 0
    batch = torch.stack([torch.from_numpy(np.array(frame).astype(np.float32) / 255) for frame in made])
    coffee = torch.from_numpy(photo_8bit("coffee").astype(np.float32) / 255)[None]
    expected = match_images(batch, coffee, "mkl", source_stats=stats)
    values, times = read(tmp_path / f"out{suffix}")
    assert times == TIMES
    difference = np.stack(values)[..., :3].astype(int) - (expected * 255).round().numpy()
    assert np.abs(difference).max() <= 1


def test_an_animation_in_place(tmp_path: Path) -> None:
    animate(tmp_path / "a.png")
    Image.fromarray(photo_8bit("coffee")).save(tmp_path / "r.png")
    assert main([str(tmp_path / "a.png"), "-r", str(tmp_path / "r.png"), "-o", str(tmp_path / "a.png"), "--overwrite"]) == 0
    assert len(read(tmp_path / "a.png")[0]) == len(TIMES)


def test_an_animated_reference_gives_its_frames(tmp_path: Path) -> None:
    made = frames()
    for index, frame in enumerate(made):
        frame.rotate(180).save(tmp_path / f"{index}.png")
    animate(tmp_path / "r.webp")
    sources = [str(tmp_path / f"{index}.png") for index in range(len(made))]
    assert main([*sources, "-r", str(tmp_path / "r.webp"), "-o", str(tmp_path / "out")]) == 0
    for index, frame in enumerate(made):
        with Image.open(tmp_path / "out" / f"{index}.png") as out:
            # The same colors in other places: each picture has the histogram of its own frame already.
            assert np.array_equal(np.array(out), np.array(frame.rotate(180)))


def test_transparent_parts_of_frames_are_not_measured(tmp_path: Path) -> None:
    made = frames(alpha=True)
    made[0].save(tmp_path / "a.webp", save_all=True, append_images=made[1:], duration=TIMES, lossless=True, exact=True)
    Image.fromarray(photo_8bit("coffee")).save(tmp_path / "r.png")
    arguments = [str(tmp_path / "a.webp"), "-r", str(tmp_path / "r.png"), "-o", str(tmp_path / "out.webp")]
    assert main([*arguments, "--method", "mkl"]) == 0
    for frame, value in zip(made, read(tmp_path / "out.webp")[0], strict=True):
        seen = np.array(frame)[..., 3] > 0
        assert np.array_equal(value[..., 3] > 0, seen)
        assert np.abs(value[seen][:, :3].mean(axis=0) - photo_8bit("coffee").mean(axis=(0, 1))).max() < 12


def test_more_than_8_bits_are_refused(tmp_path: Path) -> None:
    animate(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[24] = 16
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "b.png").write_bytes(content)
    with pytest.raises(OSError, match="expected an animation of 8 bits, got 16"):
        list(read_frames(tmp_path / "b.png"))


def gray_frames(alpha: bool) -> list[Image.Image]:
    """Gray frames, with alpha from nothing to all if asked for."""
    made = [frame.convert("L") for frame in frames()]
    slope = Image.fromarray(np.linspace(0, 255, 60).round().astype(np.uint8)[None].repeat(50, axis=0))
    return [Image.merge("LA", [frame, slope]) for frame in made] if alpha else made


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("stats", ["per_frame", "uniform"])
def test_gray_stays_gray(tmp_path: Path, stats: str, alpha: bool) -> None:
    made = gray_frames(alpha)
    made[0].save(tmp_path / "a.png", save_all=True, append_images=made[1:], duration=TIMES)
    Image.fromarray(photo_8bit("coffee")).save(tmp_path / "r.png")
    arguments = [str(tmp_path / "a.png"), "-r", str(tmp_path / "r.png"), "-o", str(tmp_path / "out.png"), "--ignore-alpha"]
    assert main([*arguments, "--source-stats", stats]) == 0
    batch = torch.stack([torch.from_numpy(np.array(frame.getchannel("L")).astype(np.float32) / 255) for frame in made])
    coffee = torch.from_numpy(photo_8bit("coffee").astype(np.float32) / 255)[None]
    expected = (match_images(batch[..., None], coffee, source_stats=stats) * 255).round().numpy()[..., 0]
    with Image.open(tmp_path / "out.png") as out:
        for index, frame in enumerate(made):
            out.seek(index)
            assert out.mode == frame.mode
            assert np.array_equal(np.array(out.getchannel("L")), expected[index])
            assert not alpha or np.array_equal(np.array(out.getchannel("A")), np.array(frame.getchannel("A")))


def test_a_gray_animation_as_a_reference(tmp_path: Path) -> None:
    made = gray_frames(alpha=True)
    made[0].save(tmp_path / "r.png", save_all=True, append_images=made[1:], duration=TIMES)
    made[0].save(tmp_path / "still.png")
    frames()[0].save(tmp_path / "a.png")
    for name in ("r.png", "still.png"):
        assert main([str(tmp_path / "a.png"), "-r", str(tmp_path / name), "-o", str(tmp_path / f"of_{name}")]) == 0
    assert (tmp_path / "of_r.png").read_bytes() == (tmp_path / "of_still.png").read_bytes()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def test_a_reference_mask_is_turned_for_an_animated_reference(tmp_path: Path) -> None:
    made = frames()
    made[0].save(tmp_path / "r.webp", save_all=True, append_images=made[1:], lossless=True, exif=turned(6))
    made[0].save(tmp_path / "still.webp", lossless=True, exif=turned(6))
    Image.fromarray((np.indices((60, 50)).sum(axis=0) < 40).astype(np.uint8) * 255).save(tmp_path / "mask.png")
    made[1].save(tmp_path / "a.png")
    for name in ("r.webp", "still.webp"):
        arguments = [str(tmp_path / "a.png"), "-r", str(tmp_path / name), "-o", str(tmp_path / f"{name}.png")]
        assert main([*arguments, "--reference-mask", str(tmp_path / "mask.png")]) == 0
    assert (tmp_path / "r.webp.png").read_bytes() == (tmp_path / "still.webp.png").read_bytes()


def test_a_gif_is_upright_and_srgb(tmp_path: Path) -> None:
    p3 = bytes(pyvips.Operation.call("profile_load", "p3"))
    made = frames(alpha=True)
    made[0].save(tmp_path / "a.png", save_all=True, append_images=made[1:], duration=TIMES, exif=turned(8), icc_profile=p3)
    made[0].save(tmp_path / "r.png", icc_profile=p3)
    arguments = ["--ignore-alpha", "--source-stats", "target_frame"]
    assert main([str(tmp_path / "a.png"), "-r", str(tmp_path / "r.png"), "-o", str(tmp_path / "out.gif"), *arguments]) == 0
    srgb = ImageCms.createProfile("sRGB")
    for value, frame in zip(read(tmp_path / "out.gif")[0], made, strict=True):
        upright = frame.transpose(Image.Transpose.ROTATE_90)
        colors = ImageCms.profileToProfile(upright.convert("RGB"), io.BytesIO(p3), srgb, renderingIntent=1)
        assert colors is not None
        seen = np.array(upright)[..., 3] > 0
        assert np.array_equal(value[..., 3] > 0, seen)
        # A profile that is lost would make them differ by several levels, and a turn by dozens.
        assert np.abs(value[seen][:, :3].astype(int) - np.array(colors)[seen].astype(int)).mean() < 2


@pytest.mark.parametrize("suffix", [".png", ".webp", ".avif", ".gif"])
def test_a_broken_profile_names_the_animation(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    animate(tmp_path / "a.png", icc_profile=SRGB[:200])
    frames()[0].save(tmp_path / "r.png")
    assert main([str(tmp_path / "a.png"), "-r", str(tmp_path / "r.png"), "-o", str(tmp_path / f"out{suffix}")]) == 1
    said = f"{tmp_path / 'a.png'}: expected a color profile for RGB, got one that is damaged or for other pictures\n"
    assert capsys.readouterr().err == said


def test_an_avif_of_more_bits_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    animate(tmp_path / "a.avif")
    frames()[0].save(tmp_path / "r.png")
    # The flag of 10 bits in the codec's configurations; its decoder goes by what is in the frames.
    first, *others = (tmp_path / "a.avif").read_bytes().split(b"av1C")
    deep = [other[:2] + bytes([other[2] | 0x40]) + other[3:] for other in others]
    (tmp_path / "a.avif").write_bytes(b"av1C".join([first, *deep]))
    assert main([str(tmp_path / "a.avif"), "-r", str(tmp_path / "r.png"), "-o", str(tmp_path / "out.avif")]) == 0
    assert f"{tmp_path / 'a.avif'}: 10 bits, written as 8\n" in capsys.readouterr().err


def test_a_webp_does_not_get_the_memory_that_it_claims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    animate(tmp_path / "a.webp")
    frames()[0].save(tmp_path / "r.png")
    content = bytearray((tmp_path / "a.webp").read_bytes())
    content[24:30] = (24000 - 1).to_bytes(3, "little") * 2
    (tmp_path / "a.webp").write_bytes(content)
    assert main([str(tmp_path / "a.webp"), "-r", str(tmp_path / "r.png"), "-o", str(tmp_path / "out.webp")]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'a.webp'}: expected a WebP of at most 16384 pixels a side, got 24000\n"
