"""Generated videos through the command: each is matched right, as PyAV alone reads it, or its damage told in a plain line."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_histogram_match import match_images
from comfyui_histogram_match.command.run import main
from made_videos import make_video, packets_of, read_video
from photos import photo_8bit
from PIL import Image
from test_video_files import turn

QUIET = {"x265-params": "log-level=none"}
FAST = {"deadline": "realtime", "cpu-used": "8"}
# For each codec: the encoder, options, formats of 8 and 10 bits, containers, and what the codec becomes where it can stay.
CODECS: dict[str, tuple[str, dict[str, str], tuple[str | None, str | None], str, str]] = {
    "h264": ("libx264", {"crf": "4", "bf": "2"}, ("yuv420p", "yuv420p10le"), ".mp4 .mov .mkv .avi .m4v", "h264"),
    "hevc": ("libx265", {"crf": "4", **QUIET}, ("yuv420p", "yuv420p10le"), ".mp4 .mov .mkv", "hevc"),
    "vp8": ("libvpx", {"b": "2M", **FAST}, ("yuv420p", None), ".webm .mkv", "vp9"),
    "vp9": ("libvpx-vp9", {"crf": "8", "b": "0", **FAST}, ("yuv420p", None), ".webm .mkv .mp4", "vp9"),
    "av1": ("libsvtav1", {"crf": "10", "preset": "10"}, ("yuv420p", "yuv420p10le"), ".mp4 .mkv .webm", "av1"),
    "ffv1": ("ffv1", {}, ("yuv420p", "yuv420p10le"), ".mkv .avi", "ffv1"),
    "prores": ("prores_ks", {}, (None, "yuv422p10le"), ".mov .mkv", "prores"),
    "mpeg4": ("mpeg4", {"qscale": "2"}, ("yuv420p", None), ".mp4 .mov .mkv .avi .m4v", "h264"),
    "mjpeg": ("mjpeg", {"qscale": "2"}, ("yuvj420p", None), ".mov .mkv .avi", "h264"),
}
SOUNDS = {".mp4": "aac", ".mov": "pcm_s16le", ".mkv": "libopus", ".webm": "libopus", ".avi": "pcm_s16le", ".m4v": "aac"}
VALUES: dict[str, tuple[Any, ...]] = {
    "codec": tuple(CODECS),
    "container": tuple(SOUNDS),
    "rotation": (0, 90, 180, 270),
    "bits": (8, 10),
    "variable": (False, True),
    "sound": (False, True),
    "damage": ("none", "none ", "cut", "wrong", "empty"),
}
CONSTANT, UNEVEN = list(range(0, 480, 40)), [0, 40, 81, 161, 201, 242, 322, 362, 403, 483, 523, 564]


def exists(case: dict[str, Any]) -> bool:
    """Whether there are such files: what a container can hold, and turns only where they are stored."""
    _, _, formats, suffixes, _ = CODECS[case["codec"]]
    turned = case["rotation"] == 0 or case["container"] in (".mp4", ".mov", ".m4v")
    held = case["container"] in suffixes.split()
    return held and turned and formats[case["bits"] == 10] is not None


def pairs_of(case: dict[str, Any]) -> set[tuple[tuple[str, Any], ...]]:
    return set(combinations(case.items(), 2))


def cases(count: int) -> list[dict[str, Any]]:
    """Cases that cover all pairs of values that exist, chosen greedily from random ones, and random ones after that."""
    random = np.random.default_rng(0)
    pool = [{name: values[random.integers(len(values))] for name, values in VALUES.items()} for _ in range(6000)]
    pool = [case for case in pool if exists(case)]
    missing = set().union(*map(pairs_of, pool))
    chosen = []
    for _ in range(count):
        best = max(pool, key=lambda case: len(pairs_of(case) & missing))
        pool.remove(best)
        chosen.append(best)
        missing -= pairs_of(best)
    assert not missing
    return chosen


CASES = cases(60)


def damaged(path: Path, damage: str) -> None:
    """Cut a file off in the middle of its frames, put wrong bytes into one, or leave nothing of it."""
    content = bytearray(path.read_bytes())
    position, size = packets_of(path)[6]
    if damage == "cut":
        content = content[: position + size // 2]
    elif damage == "wrong":
        content[position + size // 3 : position + size // 2] = np.random.default_rng(2).bytes(size // 2 - size // 3)
    elif damage == "empty":
        content = bytearray()
    path.write_bytes(content)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_generated_video_is_matched_right_or_told(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    case = CASES[number]
    codec, options, formats, _, expected_codec = CODECS[case["codec"]]
    source, target = Path(f"source{case['container']}"), Path(f"target{case['container']}")
    make_video(
        source,
        codec,
        str(formats[case["bits"] == 10]),
        options,
        UNEVEN if case["variable"] else CONSTANT,
        SOUNDS[case["container"]] if case["sound"] else None,
        {"movflags": "faststart"} if case["container"] in (".mp4", ".mov", ".m4v") else None,
    )
    if case["rotation"]:
        turn(source, case["rotation"])
    damaged(source, case["damage"].strip())
    look = photo_8bit("coffee")[:60, :80]
    Image.fromarray(look).save("look.png")
    capfd.readouterr()
    status = main([str(source), "-r", "look.png", "-m", "mkl", "--factor", "0.5", "-o", str(target)])
    written = capfd.readouterr()
    if status == 1:
        assert case["damage"] in ("cut", "wrong", "empty")
        (told,) = written.err.splitlines()
        assert told.startswith((f"{source}: damaged", f"{source}: cut off"))
        made = [target.name] if target.exists() else []
        assert sorted(path.name for path in Path().iterdir()) == sorted(["look.png", source.name, *made])
        # What was cut off may have held the index, without which no frame can be found.
        assert made or re.search("or no video|first frames cannot be decoded", told)
        if made:
            assert 1 <= len(read_video(target)["frames"]) < 12
        return
    assert status == 0
    assert written.err == ""
    # Bytes may be wrong so that they still decode: then what the decoder makes of them is matched.
    assert case["damage"] not in ("cut", "empty")
    before, after = read_video(source), read_video(target)
    reference = torch.from_numpy(look.astype(np.float32))[None] / 255
    expected = match_images(before["frames"], reference, method="mkl", factor=0.5)
    assert after["frames"].shape == expected.shape
    assert float((after["frames"] - expected).abs().mean()) <= 6 / 255
    assert float((after["frames"] - expected).mean((1, 2)).abs().max()) <= 4 / 255
    counted = Fraction(1, 1000) if case["container"] in (".mkv", ".webm") else Fraction(1, 10000)
    assert max(abs(new - old) for new, old in zip(after["stamps"], before["stamps"], strict=True)) <= counted
    assert after["codec"] == expected_codec
    for name in ("bits", "colors", "title"):
        assert after[name] == before[name], name
    # PCM may be cut into other packets.
    assert b"".join(after["sound"]) == b"".join(before["sound"])
    if after["sound"] == before["sound"]:
        assert list(map(float, after["heard"])) == pytest.approx(list(map(float, before["heard"])), abs=0.001)
