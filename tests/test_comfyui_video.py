"""Video Histogram Match in a real ComfyUI over HTTP: all but the pixels comes out as it went in, and those as of images."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_histogram_match import ReferenceHistogram, fit_transform, match_images
from comfyui_server import ComfyUI, progress_of
from made_videos import make_video, packets_of, read_video
from photos import photo
from test_video_files import turn
from torch import Tensor

pytestmark = pytest.mark.comfyui

LOOK = photo("coffee")[:, :300:4, :451:4]
CONSTANT = tuple(range(0, 960, 40))
UNEVEN = tuple(itertools.accumulate([0, *[40, 41, 80] * 7, 40, 900]))
QUIET = {"x265-params": "log-level=none"}
HLG = {"options": {"crf": "4", **QUIET}, "codec": "libx265", "pix_fmt": "yuv420p10le", "tags": (9, 18, 9)}
VIDEOS: dict[str, dict[str, Any]] = {
    "constant.mp4": {"sound": "aac"},
    "uneven.mp4": {"sound": "aac", "stamps": UNEVEN},
    "uneven.mkv": {"sound": "libopus", "stamps": UNEVEN},
    "turned.mov": {"sound": "aac", "turn": 90},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"crf": "8", "b": "0", "deadline": "realtime"}, "sound": "libopus"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "sound": "pcm_s16le"},
    "hlg.mp4": {**HLG, "sound": "aac"},
    "pq.mkv": {**HLG, "tags": (9, 16, 9)},
    "silent.mp4": {},
    "odd.mkv": {"codec": "ffv1", "pix_fmt": "yuv444p", "size": (49, 67)},
    "odd.mp4": {"pix_fmt": "yuv444p", "size": (49, 67), "sound": "aac"},
    "ten.mkv": {"codec": "ffv1", "pix_fmt": "yuv444p10le"},
}


def write(comfyui: ComfyUI, name: str, **options: Any) -> Path:
    """A video among ComfyUI's inputs."""
    path = comfyui.folder / "input" / f"{uuid.uuid4().hex}{Path(name).suffix}"
    degrees, unique = options.pop("turn", 0), {"stamps": CONSTANT, "options": {"crf": "4"}, **options}
    if unique.get("codec") in ("ffv1", "prores_ks"):
        unique["options"] = {}
    make_video(path, **unique)
    if degrees:
        turn(path, degrees)
    return path


def nodes(comfyui: ComfyUI, source: Path, **inputs: Any) -> tuple[dict[str, Any], Path]:
    """Load Video, the node, and a copy of what it makes, in a folder that is returned."""
    folder = comfyui.folder / uuid.uuid4().hex
    folder.mkdir()
    settings = {"method": "pytorch", "factor": 1.0, "device": "auto", "codec": "as source", "crf": -1, **inputs}
    links = {"video": ["video", 0], "reference": ["look", 0]}
    return {
        "video": {"class_type": "LoadVideo", "inputs": {"file": source.name}},
        "look": {"class_type": "ProbeLoad", "inputs": {"path": str(comfyui.save(LOOK))}},
        "node": {"class_type": "VideoHistogramMatch", "inputs": {**links, **settings}},
        "save": {"class_type": "ProbeSaveVideo", "inputs": {"video": ["node", 0], "folder": str(folder)}},
    }, folder


def match(comfyui: ComfyUI, source: Path, more: dict[str, Any] | None = None, **inputs: Any) -> Path:
    """The file that the node makes of another, with other nodes that it may be linked to."""
    prompt, folder = nodes(comfyui, source, **inputs)
    comfyui.run(prompt | (more or {}))
    (path,) = folder.iterdir()
    return path


def matched(source: Path, **settings: Any) -> Tensor:
    """What Image Histogram Match makes of the frames of a file, as PyAV alone reads them."""
    return match_images(read_video(source)["frames"], LOOK, **settings)


def left(comfyui: ComfyUI) -> list[Path]:
    """What lies among ComfyUI's temporary files of videos that were not finished."""
    return [path for path in (comfyui.folder / "temp").rglob("*") if "histogram-match" in path.name]


@pytest.mark.parametrize("name", VIDEOS)
@pytest.mark.parametrize("codec", ["as source", "ffv1"])
def test_everything_but_the_pixels_stays(comfyui: ComfyUI, name: str, codec: str) -> None:
    source = write(comfyui, name, **VIDEOS[name])
    result = match(comfyui, source, codec=codec)
    before, after = read_video(source), read_video(result)
    # AAC begins before its time, which Matroska has no numbers for: there all begins later by as much.
    late = min(0, *before["heard"]) if before["heard"] and result.suffix == ".mkv" and source.suffix in (".mp4", ".mov") else 0
    for times in ("stamps", "heard"):
        assert list(map(float, after[times])) == pytest.approx([float(at - late) for at in before[times]], abs=0.001)
    assert after["sound"] == before["sound"]
    assert after["title"] == before["title"]
    assert after["bits"] == before["bits"]
    if codec == "as source":
        assert result.suffix == source.suffix
        assert (after["codec"], after["colors"]) == (before["codec"], before["colors"])
    else:
        # As RGB, which has no matrix, and all levels.
        assert (after["codec"], after["colors"]) == ("ffv1", (2, 0, *before["colors"][2:]))
        expected = matched(source)
        assert after["frames"].shape == expected.shape
        assert float((after["frames"] - expected).abs().max()) <= 0.52 / ((1 << before["bits"]) - 1)


@pytest.mark.parametrize("mode", ["uniform", "target_frame", "smoothed"])
def test_modes(comfyui: ComfyUI, mode: str) -> None:
    source = write(comfyui, "clip.mp4")
    settings: dict[str, Any] = {"source_stats": mode, "target_index": 5, "window": 6, "method": "mkl", "factor": 0.75}
    result = read_video(match(comfyui, source, codec="ffv1", **settings))["frames"]
    assert float((result - matched(source, **settings)).abs().max()) <= 0.51 / 255


def test_references(comfyui: ComfyUI) -> None:
    source, other = write(comfyui, "clip.mp4"), write(comfyui, "other.mkv", size=(60, 40), stamps=CONSTANT[:12])
    frames, looks = read_video(source)["frames"], read_video(other)["frames"]
    load = {"other": {"class_type": "LoadVideo", "inputs": {"file": other.name}}}
    for pooled in ("paired", "pooled"):
        result = match(comfyui, source, load, reference=["other", 0], codec="ffv1", reference_stats=pooled)
        expected = match_images(frames, looks, reference_stats=pooled)
        assert float((read_video(result)["frames"] - expected).abs().max()) <= 0.51 / 255
    kept = {"kept": {"class_type": "ReferenceHistogram", "inputs": {"images": ["look", 0]}}}
    result = match(comfyui, source, kept, reference=["kept", 0], codec="ffv1")
    expected = match_images(frames, ReferenceHistogram.of(LOOK))
    assert float((read_video(result)["frames"] - expected).abs().max()) <= 0.51 / 255
    fit = {"image": ["look", 0], "reference": ["look", 0], "method": "mkl"}
    fitted = {"fit": {"class_type": "ColorTransformFit", "inputs": {**fit, "image": ["first", 0]}}}
    fitted |= {"first": {"class_type": "ProbeLoad", "inputs": {"path": str(comfyui.save(frames[:1]))}}}
    result = match(comfyui, source, fitted, reference=["fit", 0], codec="ffv1", factor=0.5)
    expected = fit_transform(frames[:1], LOOK, "mkl").apply(frames, 0.5)
    assert float((read_video(result)["frames"] - expected).abs().max()) <= 0.51 / 255


def test_masks(comfyui: ComfyUI) -> None:
    source = write(comfyui, "clip.mp4")
    masks = torch.zeros(len(CONSTANT), 48, 64)
    for index, mask in enumerate(masks):
        mask[:, : 20 + index] = 1
    painted = {"mask": {"class_type": "ProbeLoadMask", "inputs": {"path": str(comfyui.save(masks))}}}
    expected = matched(source, image_mask=masks)
    result = read_video(match(comfyui, source, painted, image_mask=["mask", 0], codec="ffv1"))["frames"]
    assert float((result - expected).abs().max()) <= 0.51 / 255
    film = write(comfyui, "mask.mkv", codec="ffv1", pix_fmt="yuv444p", frames=masks[..., None].expand(-1, -1, -1, 3))
    load = {"mask": {"class_type": "LoadVideo", "inputs": {"file": film.name}}}
    result = read_video(match(comfyui, source, load, image_mask=["mask", 0], codec="ffv1"))["frames"]
    # Where brightness is summed up of three colors, white is 1 but for its last bit.
    assert float((result - expected).abs().max()) <= 0.6 / 255
    result = read_video(match(comfyui, source, load, change_mask=["mask", 0], codec="ffv1"))["frames"]
    assert float((result - matched(source, change_mask=masks)).abs().max()) <= 0.6 / 255
    few = {"mask": {"class_type": "ProbeLoadMask", "inputs": {"path": str(comfyui.save(masks[:5]))}}}
    with pytest.raises(RuntimeError, match=r"image_mask: expected .*24.*got"):
        match(comfyui, source, few, image_mask=["mask", 0])


@pytest.mark.parametrize("name", ["uneven.mp4", "vp9.webm"])
def test_a_trimmed_video(comfyui: ComfyUI, name: str) -> None:
    if "Trim Video" not in str(comfyui.get("/object_info")):
        pytest.skip("this ComfyUI trims no videos")
    source = write(comfyui, name, **VIDEOS[name])
    cut = {"cut": {"class_type": "Video Slice", "inputs": {"video": ["video", 0], "start_time": 0.3, "duration": 0.42}}}
    cut["cut"]["inputs"]["strict_duration"] = False
    result = match(comfyui, source, cut, video=["cut", 0], codec="ffv1", source_stats="uniform")
    before, after = read_video(source), read_video(result)
    kept = [index for index, stamp in enumerate(before["stamps"]) if 0.3 <= stamp < 0.72]
    begin = before["stamps"][kept[0]]
    assert list(map(float, after["stamps"])) == pytest.approx(
        [float(before["stamps"][index] - begin) for index in kept], abs=0.001
    )
    expected = match_images(before["frames"][kept], LOOK, source_stats="uniform")
    assert float((after["frames"] - expected).abs().max()) <= 0.51 / 255
    heard = [(at, packet) for at, packet in zip(before["heard"], before["sound"], strict=True) if begin <= at < 0.72]
    assert after["sound"] == [packet for _, packet in heard]
    assert list(map(float, after["heard"])) == pytest.approx([float(at - begin) for at, _ in heard], abs=0.001)


def test_videos_that_are_in_memory(comfyui: ComfyUI) -> None:
    source = write(comfyui, "clip.mp4", sound="aac")
    memory = {"memory": {"class_type": "ProbeVideoInMemory", "inputs": {"path": str(source)}}}
    result = read_video(match(comfyui, source, memory, video=["memory", 0], codec="ffv1"))
    assert result["sound"] == read_video(source)["sound"]
    assert float((result["frames"] - matched(source)).abs().max()) <= 0.51 / 255
    # Frames that no file holds, and their sound.
    clip = photo("chelsea")[:, :240:6, :360:6].expand(6, -1, -1, -1)
    made = {
        "images": {"class_type": "ProbeLoad", "inputs": {"path": str(comfyui.save(clip))}},
        "parts": {"class_type": "GetVideoComponents", "inputs": {"video": ["video", 0]}},
        "made": {"class_type": "CreateVideo", "inputs": {"images": ["images", 0], "fps": 12.0, "audio": ["parts", 1]}},
    }
    result = read_video(match(comfyui, source, made, video=["made", 0], codec="ffv1"))
    assert float((result["frames"] - match_images(clip, LOOK)).abs().max()) <= 0.51 / 255
    assert list(map(float, result["stamps"])) == pytest.approx([index / 12 for index in range(6)], abs=0.001)
    assert len(result["sound"]) >= 20
    result = read_video(match(comfyui, source, made, video=["made", 0]))
    assert (result["codec"], result["bits"], len(result["frames"])) == ("h264", 8, 6)


@pytest.mark.parametrize(
    ("codec", "crf", "suffix", "name"),
    [
        ("h264", 14, ".mp4", "h264"),
        ("h265", -1, ".mp4", "hevc"),
        ("vp9", 16, ".mp4", "vp9"),
        ("av1", 16, ".mp4", "av1"),
        ("prores", -1, ".mov", "prores"),
    ],
)
def test_codecs(comfyui: ComfyUI, codec: str, crf: int, suffix: str, name: str) -> None:
    source = write(comfyui, "clip.mp4", sound="aac")
    result = match(comfyui, source, codec=codec, crf=crf)
    assert result.suffix == suffix
    found = read_video(result)
    assert (found["codec"], found["sound"]) == (name, read_video(source)["sound"])
    assert float((found["frames"] - matched(source)).abs().mean()) <= 8 / 255


def test_what_a_container_cannot_hold_goes_into_another(comfyui: ComfyUI) -> None:
    source = write(comfyui, "clip.mkv", sound="libopus", codec="mpeg4", options={"qscale": "2"})
    result = match(comfyui, source, codec="prores")
    assert result.suffix == ".mkv"
    assert read_video(result)["sound"] == read_video(source)["sound"]


@pytest.mark.parametrize("mode", ["per_frame", "uniform", "smoothed"])
def test_an_interrupt_leaves_nothing(comfyui: ComfyUI, mode: str) -> None:
    large = torch.nn.functional.interpolate(photo("astronaut").movedim(-1, 1), (1080, 1920)).movedim(1, -1)
    clip = large.clamp(0, 1).expand(100, -1, -1, -1)
    source = write(comfyui, "long.mp4", frames=clip, stamps=range(0, 4000, 40), options={"preset": "ultrafast"})
    prompt, _ = nodes(comfyui, source, source_stats=mode)
    passes = 2 if mode == "uniform" else 1
    for done in (10, 110)[:passes]:
        before = set(left(comfyui))
        connection = comfyui.listen()
        prompt_id = comfyui.queue(prompt)
        next(value for value in progress_of(connection) if value >= done)
        started = time.monotonic()
        comfyui.post("/interrupt", {})
        ended = comfyui.wait(prompt_id)
        assert time.monotonic() - started <= 1
        assert "execution_interrupted" in [kind for kind, _ in ended["status"]["messages"]]
        assert set(left(comfyui)) == before
        connection.close()
    assert len(read_video(match(comfyui, write(comfyui, "next.mp4")))["frames"]) == len(CONSTANT)


def test_an_interrupt_while_frames_are_kept_in_a_file(comfyui: ComfyUI) -> None:
    # The tensor that is saved has the memory of one frame.
    clip = torch.rand(1, 1080, 1920, 3).expand(500, -1, -1, -1)
    made = {
        "images": {"class_type": "ProbeLoad", "inputs": {"path": str(comfyui.save(clip))}},
        "made": {"class_type": "CreateVideo", "inputs": {"images": ["images", 0], "fps": 24.0}},
    }
    prompt, folder = nodes(comfyui, write(comfyui, "clip.mp4"), video=["made", 0])
    connection = comfyui.listen()
    prompt_id = comfyui.queue(prompt | made)
    messages = (json.loads(message) for message in iter(connection.recv, None) if isinstance(message, str))
    next(one for one in messages if one["type"] == "executing" and one["data"]["node"] == "node")
    time.sleep(1)
    started = time.monotonic()
    comfyui.post("/interrupt", {})
    ended = comfyui.wait(prompt_id)
    assert time.monotonic() - started <= 1
    assert "execution_interrupted" in [kind for kind, _ in ended["status"]["messages"]]
    assert not list(folder.iterdir())
    connection.close()


def test_damage_is_told_on_the_node(comfyui: ComfyUI) -> None:
    source = write(comfyui, "clip.mp4", codec="mpeg4", options={"qscale": "2"})
    position, size = packets_of(source)[12]
    content = bytearray(source.read_bytes())
    content[position : position + size] = bytes(size)
    source.write_bytes(content)
    prompt, folder = nodes(comfyui, source)
    (note,) = comfyui.run(prompt)["outputs"]["node"]["histogram_match_notes"]
    assert note.endswith("damaged at 0.48 s (1 frame left out)")
    (path,) = folder.iterdir()
    assert len(read_video(path)["frames"]) == len(CONSTANT) - 1


def test_save_video_takes_the_result(comfyui: ComfyUI) -> None:
    source = write(comfyui, "uneven.mp4", sound="aac", stamps=UNEVEN)
    prompt, _ = nodes(comfyui, source)
    name = uuid.uuid4().hex
    saved = {"video": ["node", 0], "filename_prefix": name, "format": "auto", "codec": "auto"}
    comfyui.run(prompt | {"saved": {"class_type": "SaveVideo", "inputs": saved}})
    (path,) = (comfyui.folder / "output").glob(f"{name}*")
    before, after = read_video(source), read_video(path)
    assert list(map(float, after["stamps"])) == pytest.approx(list(map(float, before["stamps"])), abs=0.001)
    assert after["sound"] == before["sound"]


def test_wrong_settings_are_refused(comfyui: ComfyUI) -> None:
    source = write(comfyui, "clip.mp4")
    with pytest.raises(RuntimeError, match="target_index: expected 0 to 23, the frames of the video, got 24"):
        match(comfyui, source, source_stats="target_frame", target_index=24)
    with pytest.raises(RuntimeError, match="crf: expected a number from 0 to 51 for libx264, got 60"):
        match(comfyui, source, crf=60)
    ten = write(comfyui, "ten.mkv", codec="ffv1", pix_fmt="yuv444p10le")
    with pytest.raises(RuntimeError, match="codec: expected one that holds 10 bits a channel, as ffv1 does, got vp9"):
        match(comfyui, ten, codec="vp9")
    assert left(comfyui) == [path for path in left(comfyui) if path.is_file()]
