"""Video files: what goes in comes out, but for the pixels; and the command on them."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import Colorspace, Interpolation
from clips import crossing, pan_zoom, photo
from comfyui_histogram_match import command, match_images, videos
from comfyui_histogram_match.command.run import main
from comfyui_histogram_match.videos.pixels import pixels_of
from comfyui_histogram_match.videos.rewriter import VideoRewriter
from comfyui_histogram_match.videos.source import VideoSource, read_frames
from launching import python
from PIL import Image
from torch import Tensor

ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def write_video(
    path: Path,
    frames: Tensor,
    codec: str = "libx264",
    pix_fmt: str = "yuv444p",
    colorspace: int = 2,
    sound: bool = True,
    options: dict[str, str] | None = None,
) -> None:
    """Write frames ``[T, H, W, 3]`` at an uneven rate, nearly without loss."""
    matrix = {1: Colorspace.ITU709, 2: Colorspace.ITU601, 5: Colorspace.ITU601, 9: Colorspace.BT2020}[colorspace]
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(codec, options={"crf": "1"} if options is None else options)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = pix_fmt
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        video.codec_context.colorspace = video.codec_context.color_primaries = video.codec_context.color_trc = colorspace
        video.codec_context.color_range = 1
        audio: Any = container.add_stream("aac", rate=48000, layout="mono") if sound else None
        container.metadata["title"] = "a title"
        stamp = 0
        for index, pixels in enumerate(frames):
            deep = pix_fmt.endswith("10le")
            values = (pixels.numpy() * (65535 if deep else 255)).round().astype(np.uint16 if deep else np.uint8)
            frame = av.VideoFrame.from_ndarray(values, format="rgb48le" if deep else "rgb24")
            frame = frame.reformat(
                format=pix_fmt,
                src_colorspace=matrix,
                dst_colorspace=matrix,
                src_color_range=2,
                dst_color_range=1,
                interpolation=ACCURATE,
            )
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            stamp += (40, 41, 80)[index % 3]
            container.mux(video.encode(frame))
            if sound:
                samples = np.random.default_rng(index).normal(size=(1, 1600)).astype(np.float32) / 20
                part = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
                part.sample_rate, part.pts, part.time_base = 48000, index * 1600, Fraction(1, 48000)
                container.mux(audio.encode(part))
        container.mux(video.encode())
        if sound:
            container.mux(audio.encode())


def contents(path: Path) -> dict[str, Any]:
    """Everything of a video file but its pixels."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        colours = (context.color_range, context.colorspace, context.color_primaries, context.color_trc)
        found: dict[str, Any] = {"codec": context.name, "format": stream.format.name, "colours": colours}
        found["size"] = (stream.height, stream.width)
        found["title"] = container.metadata.get("title")
        found["stamps"] = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        if container.streams.audio:
            found["sound"] = [
                (packet.pts * packet.time_base, bytes(packet)) for packet in container.demux(audio=0) if packet.pts is not None
            ]
    return found


def frames_of(path: Path) -> Tensor:
    return torch.stack(list(read_frames(VideoSource(path))))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in: ``clip.mp4`` and ``look.png``."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mp4", crossing(12, 72, 96).frames)
    Image.fromarray((photo("coffee", 60, 80) * 255).round().byte().numpy()).save("look.png")
    return tmp_path


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp4", {}),
        (".mov", {"colorspace": 1}),
        (".mkv", {"pix_fmt": "yuv444p10le", "colorspace": 9}),
        (".mkv", {"codec": "ffv1", "pix_fmt": "yuv444p", "options": {}}),
        (".webm", {"codec": "libvpx-vp9", "sound": False, "options": {"crf": "4", "b:v": "0"}}),
        (".mp4", {"codec": "libx265", "options": {"crf": "1", "x265-params": "log-level=error"}}),
    ],
)
def test_a_rewritten_video_is_the_same_but_for_the_loss_of_its_codec(
    tmp_path: Path, suffix: str, options: dict[str, Any]
) -> None:
    source, target = tmp_path / f"source{suffix}", tmp_path / f"target{suffix}"
    clip = pan_zoom(9, 72, 96).frames
    write_video(source, clip, **options)
    decoded = frames_of(source)
    # The mean of each channel says whether the right matrix and range are used.
    assert float((decoded - clip).mean((0, 1, 2)).abs().max()) <= 0.5 / 255
    with VideoRewriter(VideoSource(source), target) as video:
        for _, pixels in video.frames():
            video.write(pixels)
    assert contents(target) == contents(source)
    again = frames_of(target)
    assert float((again - decoded).mean((0, 1, 2)).abs().max()) <= 0.7 / 255
    assert float((again - decoded).abs().mean()) <= 5 / 255


@pytest.mark.parametrize(("height", "matrix"), [(64, 5), (720, 1)])
def test_without_tags_the_height_decides_on_the_matrix(tmp_path: Path, height: int, matrix: int) -> None:
    colour = torch.tensor([0.8, 0.2, 0.1])
    write_video(tmp_path / "tagged.mkv", colour.expand(1, height, 64, 3), "ffv1", sound=False, colorspace=matrix, options={})
    with av.open(str(tmp_path / "tagged.mkv")) as container:
        frame = next(container.decode(video=0))
    frame.colorspace = 2
    torch.testing.assert_close(pixels_of(frame)[0, 0], colour, rtol=0, atol=2.5 / 255)


def turn(path: Path, degrees: int) -> None:
    """Give an MP4 or MOV file the display matrix of a phone that was held so (ISO/IEC 14496-12, 8.3.2); PyAV writes none."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44
    # The first track is the video; before the matrix are version, times, number, duration, layer and volume.
    cos, sin = ({0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)})[degrees]
    content[start : start + 36] = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotated_video_comes_out_upright(tmp_path: Path, degrees: int, suffix: str) -> None:
    source, target = tmp_path / f"source{suffix}", tmp_path / "target.mp4"
    clip = pan_zoom(3, 72, 96).frames
    write_video(source, clip)
    # The matrix turns clockwise, torch counterclockwise.
    expected = torch.rot90(frames_of(source), -degrees // 90, (1, 2))
    turn(source, degrees)
    assert torch.equal(frames_of(source), expected)
    with VideoRewriter(VideoSource(source), target) as video:
        for _, pixels in video.frames():
            video.write(pixels)
    assert contents(target)["size"] == tuple(expected.shape[1:3])
    assert float((frames_of(target) - expected).abs().mean()) <= 5 / 255


@pytest.mark.parametrize(
    ("source", "target", "codec", "pix_fmt"),
    [
        ({"codec": "libx264rgb", "pix_fmt": "rgb24"}, ".mp4", "h264", "yuv444p"),
        ({"codec": "ffv1", "pix_fmt": "gbrp10le", "options": {}}, ".mkv", "ffv1", "gbrp10le"),
        ({"pix_fmt": "yuv422p"}, ".webm", "vp9", "yuv422p"),
        ({"codec": "mpeg4", "pix_fmt": "yuv420p", "options": {"qscale": "1"}}, ".mp4", "h264", "yuv420p"),
    ],
)
def test_what_a_container_or_an_encoder_cannot_hold_becomes_the_nearest(
    tmp_path: Path, source: dict[str, Any], target: str, codec: str, pix_fmt: str
) -> None:
    clip = pan_zoom(3, 72, 96).frames
    write_video(tmp_path / "source.mkv", clip, sound=False, **source)
    with VideoRewriter(VideoSource(tmp_path / "source.mkv"), tmp_path / f"target{target}") as video:
        for _, pixels in video.frames():
            video.write(pixels)
    found = contents(tmp_path / f"target{target}")
    assert (found["codec"].removeprefix("lib"), found["format"]) == (codec, pix_fmt)
    assert float((frames_of(tmp_path / f"target{target}") - clip).mean((0, 1, 2)).abs().max()) <= 1.2 / 255


def test_frames_are_counted_before_they_are_read(folder: Path) -> None:
    with VideoRewriter(VideoSource(folder / "clip.mp4"), folder / "out.mp4") as video:
        assert video.frame_count == 12
        for _, pixels in video.frames():
            video.write(pixels)


def test_a_failure_leaves_no_file_behind(folder: Path) -> None:
    def write_one_frame() -> None:
        with VideoRewriter(VideoSource(folder / "clip.mp4"), folder / "out.mp4") as video:
            video.write(next(video.frames())[1])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_one_frame()
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mp4", "look.png"]


def test_what_is_no_video_is_refused(folder: Path) -> None:
    (folder / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(OSError, match=r"bad.mp4: "):
        next(read_frames(VideoSource(folder / "bad.mp4")))
    with pytest.raises(OSError, match=r"missing.mp4: "):
        next(read_frames(VideoSource(folder / "missing.mp4")))
    write_video(folder / "alpha.mkv", torch.rand(2, 16, 16, 3), "ffv1", "yuva444p", sound=False, options={})
    with pytest.raises(ValueError, match=r"alpha.mkv: video with alpha cannot be matched"):
        next(read_frames(VideoSource(folder / "alpha.mkv")))


@pytest.mark.parametrize("mode", ["per_frame", "uniform", "target_frame", "smoothed"])
def test_the_command_does_what_match_images_does(folder: Path, mode: str) -> None:
    arguments = ["clip.mp4", "--reference", "look.png", "--output", "made/out.mp4", "--source-stats", mode]
    assert main([*arguments, "--target-index", "7", "--window", "5", "--factor", "0.9"]) == 0
    assert contents(folder / "made/out.mp4") == contents(folder / "clip.mp4")
    look = torch.from_numpy(np.array(Image.open("look.png")).astype(np.float32))[None] / 255
    expected = match_images(frames_of(folder / "clip.mp4"), look, factor=0.9, source_stats=mode, target_index=7, window=5)
    difference = frames_of(folder / "made/out.mp4") - expected
    assert float(difference.abs().mean()) <= 5 / 255
    assert float(difference.mean((1, 2)).abs().max()) <= 1.5 / 255


def test_masks(folder: Path) -> None:
    for name, rows in (("image.png", slice(0, 36)), ("reference.png", slice(20, 40))):
        mask = np.zeros((72, 96) if name == "image.png" else (60, 80), np.uint8)
        mask[rows] = 255
        Image.fromarray(mask).save(name)
    arguments = ["clip.mp4", "--reference", "look.png", "--output", "out.mp4"]
    assert main([*arguments, "--image-mask", "image.png", "--reference-mask", "reference.png"]) == 0
    before, after = frames_of(folder / "clip.mp4"), frames_of(folder / "out.mp4")
    assert float((after - before)[:, 40:].abs().mean()) <= 5 / 255
    look = torch.from_numpy(np.array(Image.open("look.png")).astype(np.float32))[None, 20:40] / 255
    expected = match_images(before[:, :36], look)
    assert float((after[:, :34] - expected[:, :34]).abs().mean()) <= 6 / 255


@pytest.mark.parametrize("stats", ["paired", "pooled"])
def test_a_video_as_reference(folder: Path, stats: str) -> None:
    looks = pan_zoom(4, 40, 50).frames
    write_video(folder / "look.mp4", looks)
    arguments = ["clip.mp4", "--reference", "look.mp4", "--output", "out.mp4", "--reference-stats", stats]
    assert main(arguments) == 0
    expected = match_images(frames_of(folder / "clip.mp4"), frames_of(folder / "look.mp4"), reference_stats=stats)
    assert float((frames_of(folder / "out.mp4") - expected).abs().mean()) <= 5 / 255


def test_pictures_are_the_frames_of_one_clip(folder: Path) -> None:
    clip = (crossing(5, 40, 60).frames * 255).round()
    (folder / "frames").mkdir()
    for index, frame in enumerate(clip):
        Image.fromarray(frame.byte().numpy()).save(f"frames/{index}.png")
    arguments = ["frames", "--reference", "look.png", "--output", "out", "--source-stats", "uniform"]
    assert main(arguments) == 0
    look = torch.from_numpy(np.array(Image.open("look.png")).astype(np.float32))[None] / 255
    expected = match_images(clip / 255, look, source_stats="uniform")
    for index in range(5):
        written = np.array(Image.open(f"out/{index}.png"))
        assert np.array_equal(written, (expected[index] * 255).round().byte().numpy())
    Image.new("L", (4, 4)).save("frames/5.png")
    assert main([*arguments, "--overwrite"]) == 1


def test_failures_are_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.mp4").write_bytes(b"no video")
    assert main(["clip.mp4", "bad.mp4", "--reference", "look.png", "--output", "out"]) == 1
    written = capsys.readouterr()
    assert "bad.mp4: " in written.err
    assert "1 matched, 0 left, 1 failed in " in written.out
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["clip.mp4"]
    assert main(["clip.mp4", "--reference", "look.png", "--output", "out"]) == 1
    assert "exists; --overwrite replaces" in capsys.readouterr().err
    arguments = ["clip.mp4", "--reference", "look.png", "--output", "x.mp4", "--source-stats", "target_frame", "--target-index"]
    assert main([*arguments, "99"]) == 1
    assert "target_index: expected the index of a frame of the image, got 99" in capsys.readouterr().err
    assert not (folder / "x.mp4").exists()


def test_progress_is_shown(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["clip.mp4", "--reference", "look.png", "--output", "out.mp4", "--source-stats", "uniform"]) == 0
    assert "24/24" in capsys.readouterr().err


def test_without_pyav_videos_are_refused_and_pictures_work(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for folder_of, name in ((command, "videos"), (videos, "rewriter"), (videos, "source")):
        monkeypatch.delitem(sys.modules, f"{folder_of.__name__}.{name}", raising=False)
        monkeypatch.delattr(folder_of, name, raising=False)
    assert main(["look.png", "--reference", "look.png", "--output", "out.png"]) == 0
    with pytest.raises(SystemExit):
        main(["clip.mp4", "--reference", "look.png", "--output", "out.mp4"])
    assert capsys.readouterr().err == f'videos need PyAV: {sys.executable} -m pip install "av>=18"\n'


KILLED = """
import os
from comfyui_histogram_match.command.run import main
from comfyui_histogram_match.videos.rewriter import VideoRewriter

write, written = VideoRewriter.write, []

def write_three(self, pixels):
    write(self, pixels)
    written.append(pixels)
    if len(written) == 3:
        os.kill(os.getpid(), 9)

VideoRewriter.write = write_three
main(["clip.mp4", "--reference", "look.png", "--output", "out/clip.mp4"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_the_next_run_removes_what_a_killed_one_has_left(folder: Path) -> None:
    assert python(KILLED, folder)[0] == -9
    (left,) = (folder / "out").iterdir()
    assert left.name.startswith(".histogram-match-")
    assert main(["clip.mp4", "--reference", "look.png", "--output", "out/clip.mp4"]) == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["clip.mp4"]
