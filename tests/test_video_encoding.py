"""What becomes of a video's frames on their way through the command: turned, timed, and within the room they had."""

from __future__ import annotations

import sys
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from comfyui_histogram_match import METHODS, Uniform, match_images, specify_images
from comfyui_histogram_match.clip.settings import SOURCE_STATS
from comfyui_histogram_match.command.run import main
from comfyui_histogram_match.videos.encoders import VideoEncoding
from comfyui_histogram_match.videos.rewriter import VideoRewriter
from comfyui_histogram_match.videos.source import VideoSource
from launching import python
from made_videos import make_video, read_video
from photos import counterpart, photo_8bit
from PIL import Image
from test_video_files import turn
from torch import Tensor

LOOK = photo_8bit("coffee")[:60, :80]
FINE = {"crf": "1"}
QUIET = {"x265-params": "log-level=none"}
CHECKING = next(Path("/").glob("lib/*/libc_malloc_debug.so.0"), None)
CODECS: dict[str, tuple[str, dict[str, str], str]] = {
    "h264": ("libx264", {"crf": "23"}, ".mp4"),
    "h264, low": ("libx264", {"crf": "28"}, ".mp4"),
    "hevc": ("libx265", {"crf": "26", **QUIET}, ".mp4"),
    "vp9": ("libvpx-vp9", {"crf": "34", "b": "0", "deadline": "realtime", "cpu-used": "8"}, ".webm"),
    "av1": ("libsvtav1", {"crf": "35"}, ".mp4"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with ``look.png``."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(LOOK).save("look.png")
    return tmp_path


def rewrite(source: Path, target: Path, crf: int | None = None) -> None:
    with VideoRewriter(VideoSource(source), target, VideoEncoding(crf=crf)) as video:
        for _, pixels in video.frames():
            video.write(pixels)


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Videos of 24 x 32 that are to be turned by 90, 180 and 270 degrees."""
    folder = tmp_path_factory.mktemp("turned")
    paths = {degrees: folder / f"{degrees}{'.mov' if degrees == 90 else '.mp4'}" for degrees in (90, 180, 270)}
    for degrees, path in paths.items():
        make_video(path, pix_fmt="yuv444p", options=FINE, stamps=range(0, 160, 40), size=(24, 32))
        turn(path, degrees)
    return paths


WAYS = {
    **{
        f"{method} {stats}": (["-m", method, "--source-stats", stats], {"method": method, "source_stats": stats})
        for method, stats in product(METHODS, SOURCE_STATS)
        if stats == "per_frame" or method not in ("skimage", "exact")
    },
    "target": (["--target", "uniform"], None),
    "factor": (["--factor", "0"], {"factor": 0.0}),
    "lab": (["--color-space", "lab"], {"color_space": "lab"}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_video_is_matched_upright(folder: Path, turned: dict[int, Path], degrees: int, way: str) -> None:
    arguments, settings = WAYS[way]
    upright = read_video(turned[degrees])["frames"]
    if settings is not None:
        look = torch.from_numpy(LOOK.astype(np.float32))[None] / 255
        look = (counterpart(settings.get("method", "pytorch"), upright, look) * 255).round() / 255
        Image.fromarray((look[0] * 255).round().byte().numpy()).save("upright.png")
        arguments = [*arguments, "-r", "upright.png", "--rotations", "4"]
    assert main([str(turned[degrees]), *arguments, "-o", "out.mkv"]) == 0
    assert upright.shape[1:3] == ((24, 32) if degrees == 180 else (32, 24))
    # The command takes the values of 8 bits.
    upright = (upright * 255).round() / 255
    expected = specify_images(upright, Uniform()) if settings is None else match_images(upright, look, rotations=4, **settings)
    made = read_video(folder / "out.mkv")["frames"]
    assert made.shape == expected.shape
    assert float((made - expected).abs().mean()) <= (8 if settings is None else 6) / 255
    assert float((made - expected).mean((1, 2)).abs().max()) <= 3 / 255


SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".m4v", ".avi")


def near(suffix: str) -> Fraction:
    """How far a time may be moved: Matroska counts milliseconds."""
    return Fraction(1, 2000) if suffix in (".mkv", ".webm") else Fraction(1, 20000)


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize(("source", "target"), list(product(SUFFIXES, SUFFIXES)))
def test_the_time_of_each_frame_is_kept(folder: Path, source: str, target: str, variable: bool) -> None:
    stamps = [0, 40, 81, 161, 201, 242, 322, 362] if variable else range(10)
    path = folder / f"source{source}"
    codec = {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}} if source == ".webm" else {"options": {"bf": "3"}}
    make_video(path, stamps=stamps, unit=Fraction(1, 1000) if variable else Fraction(1001, 30000), **codec)
    rewrite(path, folder / f"target{target}")
    before, after = (read_video(folder / name)["stamps"] for name in (path.name, f"target{target}"))
    assert len(before) == len(stamps)
    assert max(abs(new - old) for new, old in zip(after, before, strict=True)) <= near(target) + near(source)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("target", [".mp4", ".mkv", ".avi"])
def test_frames_of_an_avi_file_that_are_stored_out_of_order(folder: Path, codec: str, target: str) -> None:
    with av.open("source.avi", "w") as container:
        video: Any = container.add_stream(codec, rate=25, options={"bf": "2"})
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        for index in range(12):
            values = np.full((48, 64, 3), 20 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(values, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    rewrite(folder / "source.avi", folder / f"target{target}")
    made = read_video(folder / f"target{target}")
    assert [float(at) for at in made["stamps"]] == pytest.approx([index / 25 for index in range(12)], abs=1e-3)
    assert [round(float(frame.mean()) * 255 / 20) for frame in made["frames"]] == list(range(12))


@pytest.mark.parametrize("stamps", [[0, 7, 1000, 5001], [500, 540, 580]])
def test_times_that_avi_cannot_hold_are_refused(folder: Path, stamps: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    make_video(folder / "source.mp4", stamps=stamps, unit=Fraction(1, 10000))
    assert main(["source.mp4", "-r", "look.png", "-o", "out.avi"]) == 1
    expected = "source.mp4: expected frames at a constant rate, from 0 s on, for a container without time stamps\n"
    assert capsys.readouterr().err.startswith(expected)
    assert not Path("out.avi").exists()


def moving(count: int) -> Tensor:
    """A photo that moves, slowly and then fast, with some noise."""
    photo = torch.from_numpy(photo_8bit("rocket").astype(np.float32)) / 255
    noise = torch.Generator().manual_seed(0)
    frames = []
    for index in range(count):
        left = round(index * (1 if index < count // 2 else 2))
        frame = photo[100:280, left : left + 320]
        frames.append((frame + torch.randn(180, 320, 1, generator=noise) * 0.01).clamp(0, 1))
    return torch.stack(frames)


@pytest.mark.parametrize("name", CODECS)
def test_a_video_takes_about_the_room_of_its_source_and_encoders_are_quiet(
    folder: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    codec, options, suffix = CODECS[name]
    source, target = folder / f"source{suffix}", folder / f"target{suffix}"
    make_video(source, codec, options=options, stamps=range(75), unit=Fraction(1, 25), frames=moving(75))
    capfd.readouterr()
    rewrite(source, target)
    assert target.stat().st_size <= 1.3 * source.stat().st_size
    before, after = read_video(source), read_video(target)
    assert after["codec"] == before["codec"]
    error = float((after["frames"] - before["frames"]).square().mean())
    assert -10 * np.log10(error) >= 32
    written = capfd.readouterr()
    assert written.out + written.err == ""


@pytest.mark.parametrize("name", ["h264", "hevc", "vp9", "av1"])
def test_crf(folder: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    codec, options, suffix = CODECS[name]
    make_video(folder / f"source{suffix}", codec, options=options, frames=moving(12))
    capfd.readouterr()
    sizes = []
    for crf in (10, 30, 50):
        rewrite(folder / f"source{suffix}", folder / f"{crf}{suffix}", crf)
        sizes.append((folder / f"{crf}{suffix}").stat().st_size)
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]
    written = capfd.readouterr()
    assert written.out + written.err == ""
    highest = 51 if name in ("h264", "hevc") else 63
    for crf in (-1, highest + 1):
        with pytest.raises(ValueError, match=f"^crf: expected a number from [01] to {highest} for lib[a-z0-9-]+, got {crf}$"):
            rewrite(folder / f"source{suffix}", folder / f"out{suffix}", crf)
    assert not (folder / f"out{suffix}").exists()


@pytest.mark.parametrize(("codec", "name", "pix_fmt"), [("ffv1", "a.mkv", "yuv420p"), ("prores_ks", "a.mov", "yuv422p10le")])
def test_crf_where_an_encoder_has_none(folder: Path, codec: str, name: str, pix_fmt: str) -> None:
    make_video(folder / name, codec, pix_fmt)
    with pytest.raises(ValueError, match=f"^crf: expected none for {codec}, which has no such setting, got 20$"):
        rewrite(folder / name, folder / f"out{name}", 20)
    assert sorted(path.name for path in folder.iterdir()) == [name, "look.png"]


@pytest.mark.parametrize(
    ("name", "options", "output", "message"),
    [
        ("a.webm", {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"}, "b.webm", "a.webm: video with alpha cannot be matched"),
        ("a.mkv", {"codec": "ffv1", "pix_fmt": "yuva444p"}, "b.mkv", "a.mkv: video with alpha cannot be matched"),
        ("a.mp4", {"sound": "aac"}, "b.webm", "b.webm: .webm cannot hold sound in aac; .mkv can"),
        ("a.mkv", {"sound": "libopus"}, "b.avi", "b.avi: .avi cannot hold sound in opus; .mkv can"),
        ("a.mkv", {"codec": "ffv1", "pix_fmt": "yuv420p16le"}, "b.webm", "b.webm: .webm cannot hold 16 bits a channel here"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_one_line(
    folder: Path, name: str, options: dict[str, Any], output: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video(folder / name, **options)
    assert main([name, "-r", "look.png", "-o", output]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)
    assert not Path(output).exists()


def test_ten_bits_stay_ten_bits_in_webm(folder: Path) -> None:
    make_video(folder / "a.mkv", pix_fmt="yuv420p10le")
    rewrite(folder / "a.mkv", folder / "b.webm")
    made = read_video(folder / "b.webm")
    assert (made["codec"], made["bits"]) == ("av1", 10)


def test_pixels_that_are_not_square_are_turned_as_well(folder: Path) -> None:
    make_video(folder / "a.mp4", ratio=Fraction(4, 3))
    for degrees, expected in ((0, Fraction(4, 3)), (90, Fraction(3, 4))):
        turn(folder / "a.mp4", degrees)
        with av.open("a.mp4") as container:
            assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
        rewrite(folder / "a.mp4", folder / "b.mp4")
        with av.open("b.mp4") as container:
            assert container.streams.video[0].sample_aspect_ratio == expected


@pytest.mark.skipif(not CHECKING, reason="needs the debug allocator of the GNU C library 2.34, which is installed with it")
@pytest.mark.parametrize(("pix_fmt", "end"), [("yuv420p", 480), ("yuv420p10le", 1200)])
def test_the_encoder_stays_within_its_memory_where_videos_are_narrow(
    folder: Path, pix_fmt: str, end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(folder / "a.mp4", "libx265", pix_fmt, dict(QUIET), range(0, end, 40))
    turn(folder / "a.mp4", 90)
    monkeypatch.setenv("LD_PRELOAD", str(CHECKING))
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=3")
    call = "from comfyui_histogram_match.command.run import main; print(main('a.mp4 -r look.png -o b.mp4'.split()))"
    status, written = python(call, folder)
    assert (status, written.splitlines()[-1]) == (0, "0")
    made = read_video(folder / "b.mp4")
    assert (made["codec"], made["frames"].shape[1:3]) == ("hevc", (64, 48))


def test_av1_is_written_without_a_word_and_without_real_time(folder: Path) -> None:
    make_video(folder / "a.mp4", "libsvtav1", options={"preset": "10"})
    script = """
import os
from comfyui_histogram_match.command.run import main

status = main("a.mp4 -r look.png -o b.mp4".split())
threads = os.listdir("/proc/self/task") if os.path.exists("/proc/self/task") else []
print(status, [thread for thread in threads if os.sched_getscheduler(int(thread)) != os.SCHED_OTHER])
"""
    status, written = python(script, folder)
    said, found = written.splitlines()
    assert (status, found) == (0, "0 []")
    assert said.startswith("b.mp4: a.mp4 matched")
    assert read_video(folder / "b.mp4")["codec"] == "av1"


def test_a_ramp_of_ten_bits_keeps_its_levels(folder: Path) -> None:
    """From the decoder to 16-bit levels and back, nothing is rounded to 8 bits on the way."""
    ramp = torch.linspace(0, 1, 1024)[None, None, :, None].expand(2, 64, 1024, 3)
    make_video(folder / "a.mkv", "ffv1", "gbrp10le", stamps=(0, 40), frames=ramp)
    Image.fromarray(np.linspace(0, 255, 256).round().astype(np.uint8)[None].repeat(64, axis=0)).save("gray.png")
    assert main(["a.mkv", "-r", "gray.png", "-o", "b.mkv"]) == 0
    made = read_video(folder / "b.mkv")
    assert (made["codec"], made["bits"]) == ("ffv1", 10)
    assert min(len(channel.unique()) for channel in made["frames"][0].unbind(-1)) >= 1000


@pytest.mark.parametrize(("codec", "name"), [("h265", "hevc"), ("ffv1", "ffv1")])
def test_a_codec_can_be_asked_for(folder: Path, codec: str, name: str) -> None:
    make_video(folder / "clip.mp4", options=FINE, sound="aac")
    assert main(["clip.mp4", "-r", "look.png", "-o", "out.mkv", "--codec", codec, "-m", "mkl"]) == 0
    found, source = read_video(folder / "out.mkv"), read_video(folder / "clip.mp4")
    assert (found["codec"], found["bits"], found["sound"]) == (name, 8, source["sound"])
    expected = match_images(source["frames"], torch.from_numpy(LOOK.astype(np.float32))[None] / 255, "mkl")
    assert float((found["frames"] - expected).abs().max()) <= (0.52 / 255 if codec == "ffv1" else 1)


def test_a_codec_that_a_container_cannot_hold_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(folder / "clip.mp4")
    assert main(["clip.mp4", "-r", "look.png", "-o", "out.webm", "--codec", "ffv1"]) == 1
    assert capsys.readouterr().err == "out.webm: .webm cannot hold ffv1; .mkv can\n"
    assert not (folder / "out.webm").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_file_that_cannot_grow_is_told_and_not_there(folder: Path) -> None:
    make_video(folder / "clip.mkv", "ffv1", stamps=range(0, 2400, 40), size=(240, 320))
    script = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))
from comfyui_histogram_match.command.run import main
sys.exit(main(["clip.mkv", "-r", "look.png", "-o", "out.mkv"]))
"""
    status, written = python(script, folder)
    assert status == 1
    assert "out.mkv: File too large" in written
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mkv", "look.png"]


def test_chapters_belong_to_the_whole(folder: Path) -> None:
    make_video(folder / "plain.mkv")
    chapter = {"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "all of it"}}
    with av.open("plain.mkv") as source, av.open("clip.mkv", "w") as output:
        output.set_chapters([chapter])
        copy = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    for part, count in ((VideoSource(folder / "clip.mkv"), 1), (VideoSource(folder / "clip.mkv", 0, 0.2), 0)):
        with VideoRewriter(part, folder / "out.mkv") as video:
            for _, pixels in video.frames():
                video.write(pixels)
        with av.open("out.mkv") as container:
            assert len(container.chapters()) == count
