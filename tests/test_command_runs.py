"""What a run of the command says, leaves and cleans up."""

from __future__ import annotations

import os
import platform
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from comfyui_histogram_match import match_images
from comfyui_histogram_match.command.run import main
from launching import python
from photos import photo, photo_8bit
from PIL import Image

REFERENCE = ["--reference", "reference.png"]
# Starts the command in a process of its own, and sends it a signal once it writes.
SIGNALED = """
import os, signal, sys, threading
from comfyui_histogram_match.command import images
from comfyui_histogram_match.command.run import main

# What runs tests in the background may have had it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
written, write = 0, images.write_image

def write_two(*arguments, **named):
    global written
    write(*arguments, **named)
    written += 1
    if written == 2:
        os.kill(os.getpid(), {number})

images.write_image = write_two
raise SystemExit(main({arguments}))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in: ``reference.png`` and a tree of photos."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots" / "day" / "noon").mkdir(parents=True)
    pictures = [("coffee", "reference.png"), ("astronaut", "shots/a.png"), ("chelsea", "shots/b.png")]
    for name, path in [*pictures, ("rocket", "shots/day/a.png"), ("chelsea", "shots/day/noon/c.jpg")]:
        Image.fromarray(photo_8bit(name)[:200, :200]).save(path)
    return tmp_path


def tree(folder: Path) -> list[str]:
    """All files in a folder, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def loaded(*arguments: str, folder: Path) -> tuple[int, str]:
    """The exit status of the command in a process of its own, and what it says; last, whether it has loaded torch."""
    script = f"import sys\nfrom comfyui_histogram_match.command.run import main\ntry:\n    status = main({[*arguments]})\n"
    script += "except SystemExit as stop:\n    status = stop.code\nprint('torch' in sys.modules)\nraise SystemExit(status)"
    return python(script, folder)


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["--help"], 0, "usage: histogram-match SOURCE"),
        (["--version"], 0, "histogram-match 0."),
        (["--list-methods"], 0, "pytorch "),
        (["shots", *REFERENCE, "--output", "out", "--dry-run"], 0, "shots/a.png -> out/a.png"),
        (["nope.png", *REFERENCE, "--output", "out.png"], 1, "nope.png: no such file"),
        (["shots", "nope.png", *REFERENCE, "--output", "out", "--source-stats", "uniform"], 1, "nope.png: no such file"),
        (["shots", "--reference", "nope.png", "--output", "out"], 2, "nope.png: no such file"),
        (["shots", *REFERENCE], 2, "the following arguments are required: --output"),
        (["shots", *REFERENCE, "--output", "out", "--factor", "2"], 2, "factor: expected a number from 0 to 1, got 2.0"),
        (["shots", *REFERENCE, "--output", "out", "--crf", "20"], 2, "argument --crf: expected videos among the sources"),
        (["shots", *REFERENCE, "--output", "out", "--quality", "0"], 2, "argument --quality: expected 1 to 100, got 0"),
        (["shots", *REFERENCE, "--output", "out", "--quality", "50"], 2, "argument --quality: expected JPEG, WebP or AVIF"),
        (["shots", *REFERENCE, "--output", "out", "--contact-sheet", "s.txt"], 2, "argument --contact-sheet: expected a name"),
        (
            ["shots", *REFERENCE, "--output", "out", "--plot", "plot.txt"],
            2,
            "argument --plot: expected a name that ends in .png",
        ),
    ],
)
def test_answers_come_before_torch_is_loaded(folder: Path, arguments: list[str], status: int, line: str) -> None:
    ended, written = loaded(*arguments, folder=folder)
    assert ended == status
    assert written.replace(os.sep, "/").startswith(line)
    assert written.splitlines()[-1] == "False"
    # An error is one line.
    assert status == 0 or len(written.splitlines()) == 2
    assert not (folder / "out").exists()


def test_success_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shots/a.png", *REFERENCE, "--output", "out.png"]) == 0
    written = capsys.readouterr()
    assert written.out.startswith("out.png: a.png matched to reference.png in ")
    assert len(written.out.splitlines()) == 1
    assert written.err == ""


def test_files_that_exist_are_left(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shots/b.png", *REFERENCE, "--output", "out"]) == 0
    before = (folder / "out/b.png").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["shots", *REFERENCE, "--output", "out"]) == 1
    written = capsys.readouterr()
    assert written.out.startswith("1 matched, 1 left, 0 failed in ")
    assert "1 of 2 files exist; --overwrite replaces, --resume leaves what exists and does the rest" in written.err
    assert main(["shots", *REFERENCE, "--output", "out", "--resume"]) == 0
    written = capsys.readouterr()
    assert written.out.startswith("0 matched, 2 left, 0 failed in ")
    assert written.err == ""
    assert (folder / "out/b.png").stat().st_mtime_ns == before


@pytest.mark.parametrize("stats", ["uniform", "smoothed", "target_frame"])
def test_a_clip_of_which_frames_exist_is_not_done_by_half(folder: Path, stats: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shots/b.png", *REFERENCE, "--output", "out"]) == 0
    assert main(["shots", *REFERENCE, "--output", "out", "--source-stats", stats]) == 1
    assert "stopped: some frames of the clip exist; --overwrite replaces them, --resume leaves them" in capsys.readouterr().err
    assert tree(folder / "out") == ["b.png"]
    assert main(["shots", *REFERENCE, "--output", "out", "--source-stats", stats, "--resume"]) == 0
    assert tree(folder / "out") == ["a.png", "b.png"]


def test_recursive_keeps_the_tree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shots/**/*.png", *REFERENCE, "--output", "by pattern", "--recursive"]) == 0
    assert tree(folder / "by pattern") == ["a.png", "b.png", "day/a.png"]
    assert main(["shots", *REFERENCE, "--output", "shots/out", "--recursive"]) == 0
    assert tree(folder / "shots/out") == ["a.png", "b.png", "day/a.png", "day/noon/c.jpg"]
    # What the first run has written is not a source of the second.
    capsys.readouterr()
    assert main(["shots", *REFERENCE, "--output", "shots/out", "--recursive", "--resume"]) == 0
    assert capsys.readouterr().out.startswith("0 matched, 4 left")
    with pytest.raises(SystemExit):
        main(["shots/**/a.png", *REFERENCE, "--output", "flat"])
    assert "would both become" in capsys.readouterr().err


def test_other_files_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("notes.txt", "sound.wav", ".hidden.png", "._a.png"):
        (folder / "shots" / name).write_bytes(b"x")
    assert main(["shots", *REFERENCE, "--output", "out"]) == 0
    assert capsys.readouterr().err == "shots: 2 other files passed over\n"
    assert tree(folder / "out") == ["a.png", "b.png"]


def test_a_dry_run_says_what_it_would_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shots/a.png", *REFERENCE, "--output", "out"]) == 0
    capsys.readouterr()
    assert main(["shots", *REFERENCE, "--output", "out", "--dry-run"]) == 0
    lines = capsys.readouterr().out.replace(os.sep, "/").splitlines()
    assert lines == ["shots/a.png -> out/a.png (exists, would be left)", "shots/b.png -> out/b.png"]
    assert tree(folder / "out") == ["a.png"]


@pytest.mark.parametrize("stats", ["uniform", "smoothed", "target_frame"])
class TestUnreadable:
    def test_the_culprit_is_named_and_nothing_written(
        self, folder: Path, stats: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "shots/b.png").write_bytes((folder / "shots/b.png").read_bytes()[:5000])
        assert main(["shots", *REFERENCE, "--output", "out", "--source-stats", stats]) == 1
        errors = capsys.readouterr().err
        assert f"{Path('shots/b.png')}: " in errors
        assert "a.png" not in errors
        assert not (folder / "out").exists()

    def test_a_bad_first_file_can_be_skipped_with_pooled_references(self, folder: Path, stats: str) -> None:
        (folder / "shots/a.png").write_bytes(b"x")
        arguments = ["shots", *REFERENCE, "-r", "shots/day/a.png", "--reference-stats", "pooled", "--source-stats", stats]
        target = ["--target-index", "1", "--skip-unreadable", "--output", "out"]
        assert main([*arguments, *target]) == 1
        assert tree(folder / "out") == ["b.png"]

    def test_it_can_be_skipped(self, folder: Path, stats: str, capsys: pytest.CaptureFixture[str]) -> None:
        Image.fromarray(photo_8bit("rocket")[:200, :200]).save("shots/c.png")
        (folder / "shots/b.png").write_bytes(b"x")
        arguments = ["shots", *REFERENCE, "--source-stats", stats, "--target-index", "2"]
        assert main([*arguments, "--output", "out", "--skip-unreadable"]) == 1
        written = capsys.readouterr()
        assert f"{Path('shots/b.png')}: " in written.err
        assert written.out.startswith("2 matched, 0 left, 1 failed in ")
        (folder / "shots/b.png").unlink()
        assert main([*arguments[:-1], "1", "--output", "without"]) == 0
        for name in ("a.png", "c.png"):
            assert (folder / "out" / name).read_bytes() == (folder / "without" / name).read_bytes()


def test_references_stay_with_their_files_where_one_is_skipped(folder: Path) -> None:
    looks = ["reference.png", "shots/b.png", "shots/day/a.png"]
    (folder / "frames").mkdir()
    for index, name in enumerate(("astronaut", "chelsea", "rocket")):
        Image.fromarray(photo_8bit(name)[:150, :150]).save(f"frames/{index}.png")
    (folder / "frames/1.png").write_bytes(b"x")
    references = [word for look in looks for word in ("-r", look)]
    assert main(["frames", *references, "-o", "out", "--source-stats", "smoothed", "--window", "1", "--skip-unreadable"]) == 1
    look = photo("rocket")[:, :200, :200]
    expected = match_images(photo("rocket")[:, :150, :150], look, source_stats="smoothed", window=1)
    with Image.open("out/2.png") as written:
        assert np.abs(np.array(written).astype(int) - (expected[0] * 255).round().numpy()).max() <= 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_in_one_line(folder: Path, number: signal.Signals, status: int) -> None:
    for index in range(20):
        Image.fromarray(photo_8bit("rocket")[: 100 + index, :200]).save(f"shots/{index:02}.png")
    ended, written = python(SIGNALED.format(number=int(number), arguments=["shots", *REFERENCE, "--output", "out"]), folder)
    assert ended == status
    assert written == "stopped; what is written is whole, and the same command with --resume does the rest\n"
    assert 2 <= len(tree(folder / "out")) < 22
    for name in tree(folder / "out"):
        Image.open(folder / "out" / name).load()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_the_next_run_removes_what_a_killed_one_has_left(folder: Path) -> None:
    ended, _ = python("import os; print(os.getpid()); os.kill(os.getpid(), 9)", folder)
    assert ended == -signal.SIGKILL
    dead = int(python("import os; print(os.getpid())", folder)[1])
    (folder / "out").mkdir()
    prefix = f".histogram-match-{platform.node()}-"
    (folder / "out" / f"{prefix}{dead}-abc").mkdir()
    (folder / "out" / f"{prefix}{dead}-abc" / "part.mp4").write_bytes(b"x")
    (folder / "out" / f"{prefix}{dead}-def").write_bytes(b"x")
    mine, foreign = f"{prefix}{os.getpid()}-ghi", f".histogram-match-another-{dead}-jkl"
    for name in (mine, foreign):
        (folder / "out" / name).write_bytes(b"x")
    assert main(["shots/a.png", *REFERENCE, "--output", "out"]) == 0
    assert tree(folder / "out") == sorted([mine, foreign, "a.png"])


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_contact_sheet(folder: Path, suffix: str) -> None:
    before = photo_8bit("astronaut")[:200, :200]
    arguments = ["shots", *REFERENCE, "--output", "shots", "--overwrite", "--contact-sheet", f"sheets/sheet.{suffix}"]
    assert main(arguments) == 0
    with Image.open(f"sheets/sheet.{suffix}") as sheet:
        cells = np.array(sheet.convert("RGB")).astype(int)
    assert cells.shape[1] > 3 * 320
    with Image.open("shots/a.png") as after, Image.open("reference.png") as reference:
        rows = [before, np.array(reference), np.array(after)]
    for column, picture in enumerate(rows):
        shown = cells[20:320, 20 + column * 330 : 320 + column * 330].mean((0, 1))
        assert np.abs(shown - picture.mean((0, 1))).max() < 4


def test_a_place_that_cannot_be_written_is_told_in_plain_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_bytes(b"x")
    assert main(["shots/a.png", *REFERENCE, "--output", "file/out.png"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{Path('file/out.png')}: cannot be written: ")
    assert "Errno" not in line


def test_a_sheet_that_cannot_be_written_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_bytes(b"x")
    assert main(["shots", *REFERENCE, "--output", "out", "--contact-sheet", "file/sheet.png"]) == 1
    written = capsys.readouterr()
    (line,) = written.err.splitlines()
    assert line.startswith(f"{Path('file/sheet.png')}: cannot be written: ")
    assert written.out.startswith("2 matched, 0 left, 1 failed in ")


def test_messages_do_not_stay_in_a_progress_bar(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    (folder / "shots/aa.png").write_bytes(b"x")
    assert main(["shots", *REFERENCE, "--output", "out"]) == 1
    line = f"{Path('shots/aa.png')}: not an image file"
    assert line in [text.rsplit("\r", 1)[-1] for text in capsys.readouterr().err.splitlines()]


def test_what_is_kept_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*REFERENCE, "-r", "shots/a.png", "--save-reference", "looks/two.npz"]) == 0
    assert capsys.readouterr().out == "looks/two.npz: 2 references kept\n"
