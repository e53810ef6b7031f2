"""Files as people have them, through the command: each is matched right or refused in one plain line."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comfyui_histogram_match.command.run import main
from generated_cases import COUNT, ENDINGS, TIFFS, Case, choose, drawn, pairs
from generated_files import (
    REFERENCE_TURN,
    frames_of,
    has,
    painted,
    reference_of,
    stored,
    turned,
    write_mask,
    write_reference,
    write_source,
)
from generated_oracle import COLORED, Shown, difference, match, read, references_of, unsteadiness, wrongly_told
from generated_profiles import convert, profile
from launching import python
from PIL import Image, ImageCms, ImageOps

CASES = choose()
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".gif": "GIF", ".bmp": "BMP", ".avif": "AVIF"}

_NOT_PLAIN = ("usage:", "Traceback", "Error", "Vips", "pyvips", "PIL", "object at")
_SCRIPT = "from comfyui_histogram_match.command.run import main; raise SystemExit(main({}))"


def run(case: Case, folder: Path) -> tuple[int, Path, Path]:
    """Make the files of a case and call the command: its exit status, the source and the result."""
    source, result = folder / f"picture{case.source_ending}", folder / "out" / f"result{case.ending}"
    result.parent.mkdir()
    write_source(source, case)
    write_reference(folder / "reference.png", case.reference)
    arguments = [str(source), "--reference", str(folder / "reference.png"), "--output", str(result), "--method", case.method]
    if case.mask != "none":
        turn, size = (case.orientation, (32, 48)) if case.mask == "image" else (REFERENCE_TURN[case.reference], (40, 56))
        upright = size[::-1] if turn > 4 else size
        write_mask(folder / "mask.png", painted(case.mask, *upright), case.turn)
        arguments += [f"--{case.mask}-mask", str(folder / "mask.png")]
    before = source.read_bytes()
    status = called(arguments)
    assert source.read_bytes() == before
    return status, source, result


def called(arguments: list[str]) -> int:
    """The exit status of the command."""
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(str(stop.code))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_file_is_matched_right_or_refused_in_one_line(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, source, result = run(case, tmp_path)
    said = capsys.readouterr().err
    assert case.verdict != "match" or status == 0, said
    assert case.verdict != "refuse" or status != 0, f"written without a word: {said!r}"
    if status:
        assert status in (1, 2)
        assert list(result.parent.iterdir()) == []
        check_refusal(said, source.name, result.name)
    else:
        assert [path.name for path in result.parent.iterdir()] == [result.name]
        assert ("CMYK" in said) == (case.color == "cmyk"), said
        check(case, read(source), read(result))


def check_refusal(said: str, *names: str) -> None:
    """One plain line that names a file."""
    assert len(said.splitlines()) == 1, said
    assert any(name in said for name in names), said
    assert not [word for word in ("usage:", "Traceback", "Error", "VipsJpeg", "pyvips", "PIL", "object at") if word in said], (
        said
    )


def check(case: Case, source: Shown, result: Shown) -> None:
    """Compare a result with what is right."""
    assert result.format == _FORMATS[case.ending]
    if result.format in ("WEBP", "AVIF", "GIF") and result.alphas[0] is None and case.alpha == "full":
        source = replace(source, frames=[frame[..., : (frame.shape[-1] - 1) // 2 * 2 + 1] for frame in source.frames])
    assert len(result.frames) == len(source.frames)
    if case.frames == "animated" and "AVIF" not in (source.format, result.format):
        assert (result.durations, result.loop) == (source.durations, source.loop)
    assert result.durations == source.durations
    assert [frame.dtype for frame in result.frames] == [frame.dtype for frame in source.frames]
    channels = {frame.shape[-1] for frame in source.frames} | {frame.shape[-1] for frame in result.frames}
    assert len(channels) == 1 or (result.format in COLORED and channels in ({1, 3}, {2, 4}))
    assert [frame.shape[:2] for frame in result.frames] == [frame.shape[:2] for frame in source.frames]
    for got, kept in zip(result.alphas, source.alphas, strict=True):
        assert kept is None or np.array_equal(got, kept)
    check_pixels(case, source, result)
    check_told(case, source, result)
    if source.format == result.format and case.color != "cmyk":
        assert result.coding == source.coding


def check_pixels(case: Case, source: Shown, result: Shown) -> None:
    """Compare the pixels of a result with what is right."""
    differences = []
    for reference in references_of(case):
        unsteady = unsteadiness(case, source, reference) if converted(case) else None
        frames = match(case, source, reference)
        differences.append([difference(colors, result, index, unsteady) for index, colors in enumerate(frames)])
    assert any(not any(found) for found in differences), differences
    # The method exact gives the very values of the reference, which has 8 bits.
    if result.highest == 65535 and case.alpha != "clear" and case.method != "exact":
        assert len(np.unique(result.frames[0][..., 0] % 257)) > 30, "quantized to 8 bits"


def converted(case: Case) -> bool:
    """Whether colors are brought from one profile to another, which no two do alike to the last bit."""
    own = case.profile if case.profile in ("p3", "adobe", "gray22") else "srgb"
    return case.color == "cmyk" or own != ("p3" if case.reference == "p3" else "srgb")


def check_told(case: Case, source: Shown, result: Shown) -> None:
    """Compare what a result tells beside its pixels with what the source tells, field by field."""
    wrong = wrongly_told(source, result)
    if case.color == "cmyk":
        assert result.told.get("icc") in (None, profile("srgb"))
        wrong.pop("icc", None)
    assert wrong == {}
    assert result.thumbnail is None or result.thumbnail != source.thumbnail


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "broken", "clear", "missing"])
@pytest.mark.parametrize("name", ["reference.png", "mask.png"])
def test_what_lies_beside_the_source_is_refused_in_one_line(
    name: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = next(case for case in CASES if case.verdict == "match" and case.format == "png")
    plain = replace(good, depth="8", color="rgb", alpha="none", frames="still", profile="none", meta="none", orientation=0)
    bad = {"broken": replace(plain, profile="broken"), "clear": replace(plain, alpha="clear")}
    for path in (tmp_path / "picture.png", tmp_path / "reference.png", tmp_path / "mask.png"):
        write_source(path, plain)
    if damage == "missing":
        (tmp_path / name).unlink()
    else:
        write_source(tmp_path / name, bad.get(damage, replace(plain, damage=damage)))
    arguments = [str(tmp_path / "picture.png"), "--reference", str(tmp_path / "reference.png")]
    arguments += ["--image-mask", str(tmp_path / "mask.png"), "--output", str(tmp_path / "result.png")]
    status = called(arguments)
    if name == "mask.png" and damage in ("broken", "clear"):
        # Of a mask, brightness counts alone.
        assert status == 0
        return
    assert status in (1, 2)
    assert not (tmp_path / "result.png").exists()
    check_refusal(capsys.readouterr().err, name)


@pytest.mark.parametrize("suffix", [".gif", ".bmp"])
def test_a_format_without_orientation(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exif = Image.Exif()
    exif[274] = 6
    values = reference_of("p3")
    Image.fromarray(values).save(tmp_path / "picture.png", exif=exif)
    status = called([str(tmp_path / "picture.png"), "-r", str(tmp_path / "picture.png"), "-o", str(tmp_path / f"out{suffix}")])
    if status:
        check_refusal(capsys.readouterr().err, "picture.png", f"out{suffix}")
    else:
        # There is no place to say that it lies on its side.
        assert read(tmp_path / f"out{suffix}").frames[0].shape[:2] == values.shape[1::-1]


@pytest.mark.parametrize("alpha", ["none", "cutout"])
@pytest.mark.parametrize("suffix", [".webp", ".avif"])
def test_a_format_without_gray(suffix: str, alpha: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = next(case for case in CASES if case.verdict == "match" and case.format == "png" and case.depth == "8")
    plain = replace(good, color="gray", profile="gray22", alpha=alpha, frames="still", orientation=0, meta="none")
    write_source(tmp_path / "picture.png", plain)
    status = called([str(tmp_path / "picture.png"), "-r", str(tmp_path / "picture.png"), "-o", str(tmp_path / f"out{suffix}")])
    if status:
        check_refusal(capsys.readouterr().err, "picture.png", f"out{suffix}")
    else:
        result = read(tmp_path / f"out{suffix}")
        # A profile for gray says nothing of colors, and those who read it refuse it.
        assert result.frames[0].shape[-1] < 3 or result.told.get("icc", bytes(20))[16:20] != b"GRAY"


@pytest.mark.parametrize("suffix", [".gif", ".bmp"])
def test_a_format_without_profile(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = reference_of("p3")
    Image.fromarray(values).save(tmp_path / "picture.png", icc_profile=profile("p3"))
    status = called([str(tmp_path / "picture.png"), "-r", str(tmp_path / "picture.png"), "-o", str(tmp_path / f"out{suffix}")])
    said = capsys.readouterr().err
    if status:
        check_refusal(said, "picture.png", f"out{suffix}")
    else:
        # Without a profile it counts as sRGB.
        expected = convert(values.astype(np.float32) / 255, "p3", "srgb")
        assert np.abs(read(tmp_path / f"out{suffix}").colors[0] - expected).mean() * 255 < 2.5


def test_an_avif_sequence_with_an_orientation(tmp_path: Path) -> None:
    # In a Python of its own: Pillow 13 crashes where it is to write one.
    exif = Image.Exif()
    exif[274] = 6
    frames = [Image.new("RGB", (48, 32), color) for color in ("red", "blue", "green")]
    frames[0].save(tmp_path / "picture.webp", save_all=True, append_images=frames[1:], exif=exif)
    write_reference(tmp_path / "reference.png", "srgb")
    arguments = ["picture.webp", "--reference", "reference.png", "--output", "result.avif"]
    status, said = python(_SCRIPT.format(arguments), tmp_path)
    if status:
        assert status in (1, 2), said
        assert not (tmp_path / "result.avif").exists()
        check_refusal(said, "picture.webp", "result.avif")
    else:
        assert read(tmp_path / "result.avif").told == {"orientation": 6}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    exact = 0
    for number, case in enumerate(case for case in CASES if case.damage == "none" and case.frames != "pages"):
        path = tmp_path / f"{number}{case.source_ending}"
        if case.format == "heic" or (case.color == "cmyk" and case.profile == "broken"):
            continue
        write_source(path, case)
        shown, frames = read(path), frames_of(case)
        assert len(shown.frames) == len(frames)
        lossless = case.format in ("png", *TIFFS) or (case.format == "webp-lossless" and case.alpha != "full")
        if lossless and case.depth in ("8", "16", "float") and case.color != "cmyk":
            exact += 1
            colors = [frame[..., : shown.frames[0].shape[-1]] for frame in frames]
            assert all(map(np.array_equal, shown.frames, colors))
        told = {"exif": {"exif 36867", "place 2", "tag 271"}, "chunks": {"gAMA", "cHRM"}}
        told["text"] = {{"png": "text", "jpg": "comment", "gif": "comment"}.get(case.format, "tag 305")}
        assert (set() if case.meta in ("none", "all") else told.get(case.meta, {case.meta})) <= set(shown.told)
        assert ("orientation" in shown.told) == (case.orientation > 1)
        assert ("icc" in shown.told) == (case.profile != "none")
        assert (shown.thumbnail is not None) == (has(case, "exif") and case.format not in TIFFS) or case.format == "avif"
    assert exact > 70


def test_all_pairs_of_values_are_there() -> None:
    assert len(CASES) == len(set(map(str, CASES))) == COUNT
    assert {case.format for case in CASES} == set(ENDINGS)
    found, covered = ({pair for case in cases for pair in pairs(case)} for cases in (drawn(), CASES))
    assert covered == found
    for name, value in [("orientation", 6), ("mask", "image"), ("profile", "p3"), ("meta", "all"), ("depth", "float")]:
        assert sum(case.verdict == "match" and getattr(case, name) == value for case in CASES) > 8


def test_turns_are_those_of_pillow() -> None:
    values = reference_of("srgb")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        file = io.BytesIO()
        Image.fromarray(values).save(file, "PNG", exif=exif)
        with Image.open(file) as picture:
            assert np.array_equal(np.array(ImageOps.exif_transpose(picture)), turned(values, orientation))
        assert np.array_equal(stored(turned(values, orientation), orientation), values)


@pytest.mark.parametrize(("source", "target"), [("p3", "srgb"), ("srgb", "p3"), ("srgb", "adobe"), ("adobe", "srgb")])
def test_conversions_are_those_of_littlecms(source: str, target: str) -> None:
    values = reference_of("srgb")
    given, wanted = (ImageCms.ImageCmsProfile(io.BytesIO(profile(name) or b"")) for name in (source, target))
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    picture = ImageCms.profileToProfile(Image.fromarray(values), given, wanted, intent, flags=ImageCms.Flags.NOOPTIMIZE)
    assert picture is not None
    assert np.abs(np.array(picture) - convert(values / 255, source, target) * 255).max() < 2.5


def mistaken(case: Case, mistake: str) -> bool:
    """Whether a mistake makes a difference in a case."""
    return (
        case.alpha != "clear"
        and {
            "turn": case.mask == "image" and case.orientation > 1,
            "alpha": case.alpha in ("cutout", "soft"),
            "profile": converted(case) and case.color == "rgb" and case.reference != "gray",
        }[mistake]
    )


@pytest.mark.parametrize("mistake", ["turn", "alpha", "profile"])
def test_the_oracle_tells_mistakes(mistake: str, tmp_path: Path) -> None:
    told = []
    for case in (case for case in CASES if case.verdict == "match" and mistaken(case, mistake)):
        path = tmp_path / f"picture{case.source_ending}"
        write_source(path, case)
        source, (right, *_) = read(path), references_of(case)
        values = reference_of(case.reference)
        unconverted = values[..., : 1 if values.shape[-1] < 3 else 3].astype(np.float32) / 255
        reference = (unconverted, right[1]) if mistake == "profile" else right
        unsteady = unsteadiness(case, source, right) if converted(case) else None
        wrong = match(case, source, reference, turn=mistake != "turn", visible=mistake != "alpha")
        shown = Shown("PNG", [np.round(match(case, source, right)[0] * 255).astype(np.uint8)])
        told.append(difference(wrong[0], shown, 0, unsteady) is not None)
    assert len(told) > 20
    assert np.mean(told) > 0.9
