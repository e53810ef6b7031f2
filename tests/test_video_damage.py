"""Of damaged videos, every frame that can be read is matched, and the damage told; odd ones that are sound have none."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from comfyui_histogram_match.command.run import main
from comfyui_histogram_match.videos.source import VideoSource, read_frames
from made_videos import make_video, packets_of, read_video
from photos import photo_8bit
from PIL import Image

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
HIDDEN = {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "90k"}
FRONT = {"movflags": "faststart"}
STAMPS = range(0, 2400, 40)
QUIET = {"x265-params": "log-level=none"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with ``look.png``."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo_8bit("coffee")[:60, :80]).save("look.png")
    return tmp_path


def run(name: str, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[float]]:
    """Match a damaged file, which has to be told; the lines that are printed, and the times of the frames that are written."""
    output = Path(f"out{Path(name).suffix}")
    output.unlink(missing_ok=True)
    assert main([name, "--reference", "look.png", "--output", str(output)]) == 1
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]
    times = [float(stamp) for stamp in read_video(output)["stamps"]] if output.exists() else []
    return capsys.readouterr().err.splitlines(), times


@pytest.mark.parametrize("sound", [None, "aac"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mp4", {"container": FRONT}),
        ("clip.mov", {"container": FRONT}),
        ("clip.m4v", {"container": FRONT}),
        ("clip.mkv", {}),
        ("clip.avi", {}),
        ("clip.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
        ("fragments.mp4", {"container": FRAGMENTS, "options": {"g": "12"}}),
        ("hevc.mp4", {"codec": "libx265", "options": QUIET, "container": FRONT}),
        ("prores.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "container": FRONT}),
        ("ffv1.mkv", {"codec": "ffv1"}),
        ("mpeg4.avi", {"codec": "mpeg4"}),
    ],
)
def test_a_video_that_is_cut_off(
    folder: Path, name: str, options: dict[str, Any], sound: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video(folder / name, stamps=STAMPS, sound="libopus" if sound and name.endswith("webm") else sound, **options)
    content, whole = (folder / name).read_bytes(), [float(stamp) for stamp in read_video(folder / name)["stamps"]]
    positions = packets_of(folder / name)
    count = len(positions) // 2
    # In the middle of a frame, and between two.
    for end in (positions[count][0] + positions[count][1] // 2, positions[count][0]):
        (folder / name).write_bytes(content[:end])
        (line,), times = run(name, capsys)
        found = re.fullmatch(
            rf"{name}: (damaged at 1\.\d\d s \(([12]) frames? left out\), )?cut off at (\d\.\d\d) s \((\d+) frames\)", line
        )
        assert found, line
        assert abs(int(found[4]) - count) <= 1
        assert len(times) == int(found[4]) - int(found[2] or 0)
        assert abs(float(found[3]) - int(found[4]) * 0.04) <= 0.25
        assert times[:20] == pytest.approx(whole[:20], abs=0.001)


@pytest.mark.parametrize("content", [b"", b"no video", None])
def test_a_file_without_an_index_and_what_is_no_video(
    folder: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video(folder / "clip.mp4")
    # Without more ado, the index is at the end.
    whole = (folder / "clip.mp4").read_bytes()
    (folder / "clip.mp4").write_bytes(whole[: len(whole) * 2 // 3] if content is None else content)
    assert run("clip.mp4", capsys) == (["clip.mp4: damaged, or no video"], [])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mpeg4.mp4", {"codec": "mpeg4"}),
        ("mpeg4.avi", {"codec": "mpeg4"}),
        ("mpeg2.mkv", {"codec": "mpeg2video", "stamps": range(60), "unit": Fraction(1, 25)}),
        ("ffv1.mkv", {"codec": "ffv1"}),
        ("ffv1.avi", {"codec": "ffv1"}),
        ("cavlc.mp4", {"options": {"x264-params": "cabac=0:keyint=1"}}),
        ("cabac.mp4", {}),
        ("hevc.mp4", {"codec": "libx265", "options": QUIET}),
        ("prores.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
    ],
)
def test_a_video_with_wrong_bytes(folder: Path, name: str, options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    make_video(folder / name, size=(96, 128), **{"stamps": STAMPS, **options})
    position, size = packets_of(folder / name)[30]
    content = bytearray((folder / name).read_bytes())
    middle = slice(position + size // 3, position + size // 2)
    content[middle] = np.random.default_rng(3).bytes(len(content[middle]))
    (folder / name).write_bytes(content)
    whole = [stamp / 1000 for stamp in STAMPS]
    # What is wrong is told again when the file is read again.
    for _ in range(2):
        (line,), times = run(name, capsys)
        found = re.fullmatch(rf"{name}: damaged at (\d\.\d\d) s \(1 frame left out\)", line)
        assert found, line
        assert abs(float(found[1]) - 1.2) <= 0.15
        # All others are there, each at its time.
        lost = min(whole, key=lambda time: abs(time - float(found[1])))
        assert times == pytest.approx([time for time in whole if time != lost], abs=0.001)
    with pytest.raises(OSError, match=r"damaged (at|after) 1\.\d\d s"):
        list(read_frames(VideoSource(folder / name)))


def test_what_is_measured_first_leaves_out_the_same_frames(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(folder / "clip.mp4", "mpeg4", stamps=STAMPS)
    position, size = packets_of(folder / "clip.mp4")[30]
    content = bytearray((folder / "clip.mp4").read_bytes())
    content[position : position + size] = bytes(size)
    (folder / "clip.mp4").write_bytes(content)
    for mode in ("uniform", "smoothed"):
        output = f"{mode}.mp4"
        assert main(["clip.mp4", "--reference", "look.png", "--output", output, "--source-stats", mode]) == 1
        assert capsys.readouterr().err == "clip.mp4: damaged at 1.20 s (1 frame left out)\n"
        assert len(read_video(folder / output)["stamps"]) == len(STAMPS) - 1


def test_a_gap_is_told_and_what_follows_is_matched(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(folder / "gap.mkv", "mpeg2video", stamps=range(60), unit=Fraction(1, 25))
    position, size = packets_of(folder / "gap.mkv")[30]
    content = bytearray((folder / "gap.mkv").read_bytes())
    # The head of the next block is gone as well, so that the container goes on at its next cluster.
    content[position : position + size + 20] = bytes(size + 20)
    (folder / "gap.mkv").write_bytes(content)
    (line,), times = run("gap.mkv", capsys)
    found = re.fullmatch(r"gap\.mkv: damaged (after|at) (1\.\d\d) s.*", line)
    assert found, line
    assert abs(float(found[2]) - 1.2) <= 0.1
    assert times[-1] == pytest.approx(59 / 25, abs=0.001)


def cut(source: Path, target: Path, first: int, last: int | None = None, **options: Any) -> None:
    """Copy packets as ``ffmpeg -ss -to -c copy`` does: from one on, whatever it needs of those before."""
    with av.open(str(source)) as container, av.open(str(target), "w", **options) as output:
        copies = {stream.index: output.add_stream_from_template(stream) for stream in container.streams}
        packets = [packet for packet in container.demux() if packet.size]
        shown = [packet for packet in packets if packet.stream.type == "video"]
        begin = shown[first].pts * shown[first].time_base
        end = shown[last].pts * shown[last].time_base if last is not None else None
        for packet in packets:
            time = packet.dts * packet.time_base
            if time >= shown[first].dts * shown[first].time_base and (end is None or time < end):
                shift = round(begin / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copies[packet.stream.index]
                output.mux(packet)


def live(path: Path) -> None:
    """A file of a stream that was never closed: its head says neither how long it is nor how large."""
    make_video(path, stamps=STAMPS, container={"live": "1"})


def open_groups(path: Path) -> None:
    """A cut at a frame that the next ones are shown before, and cannot be decoded after."""
    make_video(path.with_name("long.mp4"), stamps=STAMPS, options={"x264-params": "open-gop=1:keyint=20:bframes=3:scenecut=0"})
    with av.open(str(path.with_name("long.mp4"))) as container:
        keys = [number for number, packet in enumerate(container.demux(video=0)) if packet.size and packet.is_keyframe]
    cut(path.with_name("long.mp4"), path, keys[1])


def trimmed(path: Path) -> None:
    """A file whose edit list leaves frames out, as phones write."""
    make_video(path.with_name("long.mp4"), stamps=STAMPS, sound="aac", options={"g": "12", "bf": "0"})
    cut(path.with_name("long.mp4"), path, 14)


def long_sound(path: Path) -> None:
    make_video(path.with_name("long.mkv"), stamps=STAMPS, sound="aac")
    with av.open(str(path.with_name("long.mkv"))) as container, av.open(str(path), "w") as output:
        copies = {stream.index: output.add_stream_from_template(stream) for stream in container.streams}
        for packet in container.demux():
            if packet.size and (packet.stream.type == "audio" or packet.pts < 1000):
                packet.stream = copies[packet.stream.index]
                output.mux(packet)


HEALTHY: dict[str, Callable[[Path], None]] = {
    "live.mkv": live,
    "open.mkv": open_groups,
    "trimmed.mp4": trimmed,
    "sound.mkv": long_sound,
    "sound.mp4": long_sound,
    "sound.avi": lambda path: make_video(path, sound="pcm_s16le", stamps=STAMPS),
    "bframes.mp4": lambda path: make_video(path, stamps=STAMPS, options={"bf": "4", "b-pyramid": "normal"}),
    "variable.mp4": lambda path: make_video(path, stamps=[0, 40, 41, 200, 900, 905, 2000]),
    "variable.mkv": lambda path: make_video(path, stamps=[0, 40, 41, 200, 900, 905, 5000]),
    "fragments.mp4": lambda path: make_video(
        path, stamps=STAMPS, sound="aac", container={"movflags": "frag_keyframe+empty_moov"}
    ),
    "alt.webm": lambda path: make_video(path, "libvpx", stamps=STAMPS, options=HIDDEN),
    "alt9.webm": lambda path: make_video(path, "libvpx-vp9", stamps=STAMPS, options=HIDDEN),
    "late.mkv": lambda path: make_video(path, stamps=range(5000, 6000, 40)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_what_is_odd_but_sound_is_matched(folder: Path, name: str) -> None:
    HEALTHY[name](folder / name)
    with av.open(name) as container:
        decoded = sum(1 for _ in container.decode(video=0))
    assert decoded
    assert main([name, "--reference", "look.png", "--output", "out.mkv"]) == 0
    with av.open("out.mkv") as container:
        assert sum(1 for _ in container.decode(video=0)) == decoded
