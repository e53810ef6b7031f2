"""Several processes that work on the same files, started by torchrun, and histograms that they gather together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_histogram_match import histogram, pooled_histogram
from comfyui_histogram_match.command.ranks import RankError, Ranks, join_ranks
from comfyui_histogram_match.command.run import main
from comfyui_histogram_match.training import distributed
from counting_rank import images
from launching import torchrun
from photos import photo_8bit
from PIL import Image

TESTS = Path(__file__).parent
COMMAND = ("-m", "comfyui_histogram_match")
UNIFORM = ("--reference", "reference.png", "--source-stats", "uniform")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with eleven pictures of several sizes, two references and a mask with grays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots").mkdir()
    generator = np.random.default_rng(0)
    for index in range(11):
        values = photo_8bit(("astronaut", "chelsea", "rocket")[index % 3])
        top, left = generator.integers(0, 150, 2)
        picture = Image.fromarray(values[top : top + 90 + index, left : left + 120])
        picture.save(tmp_path / "shots" / f"{index:02}.{'jpg' if index % 4 == 0 else 'png'}")
    Image.fromarray(photo_8bit("coffee")).save(tmp_path / "reference.png")
    Image.fromarray(photo_8bit("retina")[300:900, 300:900]).save(tmp_path / "other.png")
    Image.fromarray(photo_8bit("camera")[..., 0]).save(tmp_path / "mask.png")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """All files in a folder, hidden ones too, by their names."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestCommand:
    @pytest.mark.parametrize("ranks", [1, 2, 4])
    def test_any_number_of_ranks_writes_the_same_bytes(self, folder: Path, ranks: int) -> None:
        assert main(["shots", *UNIFORM, "--output", "alone"]) == 0
        status, written = torchrun(ranks, *COMMAND, "shots", *UNIFORM, "--output", "together", folder=folder)
        assert status == 0, written
        assert len(contents(folder / "alone")) == 11
        assert contents(folder / "together") == contents(folder / "alone")

    @pytest.mark.parametrize(
        "arguments",
        [
            (*UNIFORM, "--image-mask", "mask.png"),
            (*UNIFORM, "--method", "hm-mkl-hm", "--image-mask", "mask.png"),
            (*UNIFORM, "--method", "reinhard", "--color-space", "oklab"),
            ("--target", "uniform", "--source-stats", "uniform", "--color-space", "luminance"),
            ("--reference", "*e*.png", "--source-stats", "per_frame"),
            ("--reference", "*e*.png", "--source-stats", "uniform", "--reference-stats", "pooled"),
            ("--reference", "reference.png", "--source-stats", "target_frame", "--target-index", "5"),
        ],
        ids=["weights", "steps", "moments", "target", "paired", "pooled", "target_frame"],
    )
    def test_whatever_is_measured(self, folder: Path, arguments: tuple[str, ...]) -> None:
        assert main(["shots", *arguments, "--output", "alone"]) == 0
        status, written = torchrun(3, *COMMAND, "shots", *arguments, "--output", "together", folder=folder)
        assert status == 0, written
        assert contents(folder / "together") == contents(folder / "alone")

    def test_more_ranks_than_files(self, folder: Path) -> None:
        sources = ["shots/01.png", "shots/02.png"]
        assert main([*sources, *UNIFORM, "--output", "alone"]) == 0
        status, written = torchrun(4, *COMMAND, *sources, *UNIFORM, "--output", "together", folder=folder)
        assert status == 0, written
        assert contents(folder / "together") == contents(folder / "alone")

    @pytest.mark.parametrize("where", ["histogram:3", "link:2"])
    def test_a_rank_that_is_killed(self, folder: Path, where: str) -> None:
        assert main(["shots", *UNIFORM, "--output", "alone"]) == 0
        expected = contents(folder / "alone")
        arguments = ("shots", *UNIFORM, "--output", "together")
        status, written = torchrun(2, TESTS / "dying_rank.py", where, *arguments, folder=folder)
        assert status != 0
        assert "stopped: " in written
        assert "the same command does the files that are missing" in written
        done = contents(folder / "together") if (folder / "together").exists() else {}
        assert len(done) < 11
        assert done.items() <= expected.items()
        before = {name: (folder / "together" / name).stat().st_mtime_ns for name in done}
        status, written = torchrun(2, *COMMAND, *arguments, folder=folder)
        assert status == 0, written
        assert contents(folder / "together") == expected
        assert {name: (folder / "together" / name).stat().st_mtime_ns for name in done} == before

    def test_a_second_run_writes_nothing(self, folder: Path) -> None:
        arguments = (*COMMAND, "shots", *UNIFORM, "--output", "together")
        assert torchrun(2, *arguments, folder=folder)[0] == 0
        for path in (folder / "shots").iterdir():
            path.write_bytes(b"no picture any more")
        status, written = torchrun(2, *arguments, folder=folder)
        assert status == 0
        assert "0 matched, 11 left, 0 failed in " in written

    def test_a_file_that_cannot_be_read_ends_the_clip_on_all_ranks(self, folder: Path) -> None:
        (folder / "shots/05.png").write_bytes(b"no picture")
        status, written = torchrun(2, *COMMAND, "shots", *UNIFORM, "--output", "together", folder=folder)
        assert status != 0
        assert written.count("shots/05.png: ") == 1
        assert "stopped: rank 1 has failed" in written
        assert not (folder / "together").exists()

    def test_per_frame_it_concerns_no_other_file(self, folder: Path) -> None:
        (folder / "shots/05.png").write_bytes(b"no picture")
        arguments = ("shots", "--reference", "reference.png", "--output", "together")
        status, written = torchrun(2, *COMMAND, *arguments, folder=folder)
        assert status != 0
        assert "10 matched, 0 left, 1 failed in " in written
        assert len(contents(folder / "together")) == 10

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--source-stats", "smoothed"], "smoothed follows image files in their order, which takes one process, got 2"),
            (["--source-stats", "uniform", "--method", "sliced"], "what sliced measures depends on the order of the files"),
            (["--save-reference", "look.npz"], "argument --save-reference: expected one process, got 2"),
        ],
    )
    def test_what_ranks_cannot_share(self, folder: Path, arguments: list[str], message: str) -> None:
        given = ("shots", "--reference", "reference.png", "--output", "together", *arguments)
        status, written = torchrun(2, *COMMAND, *given, folder=folder)
        assert status != 0
        assert written.count(message) == 1
        assert not (folder / "together").exists()

    def test_an_error_on_all_ranks_is_said_once(self, folder: Path) -> None:
        given = ("shots", "--reference", "missing.png", "--output", "together")
        status, written = torchrun(3, *COMMAND, *given, folder=folder)
        assert status != 0
        assert written.count("missing.png: no such file") == 1
        assert not (folder / "together").exists()

    def test_ranks_that_see_different_files_write_none(self, folder: Path) -> None:
        status, written = torchrun(
            2, TESTS / "dying_rank.py", "see:0", "shots", *UNIFORM, "--output", "together", folder=folder
        )
        assert status != 0
        assert "ranks have found different files" in written
        assert not (folder / "together").exists()

    @pytest.mark.parametrize("stats", ["uniform", "target_frame"])
    def test_in_place(self, folder: Path, stats: str) -> None:
        arguments = ("shots", "--reference", "reference.png", "--source-stats", stats)
        assert main([*arguments, "--output", "alone"]) == 0
        status, written = torchrun(2, *COMMAND, *arguments, "--output", "shots", folder=folder)
        assert status != 0
        assert "expected another place than the sources', or --overwrite, got shots" in written
        status, written = torchrun(2, *COMMAND, *arguments, "--output", "shots", "--overwrite", folder=folder)
        assert status == 0, written
        assert contents(folder / "shots") == contents(folder / "alone")

    @pytest.mark.parametrize("method", ["pytorch", "mkl", "reinhard"])
    def test_resume_of_one_file_makes_what_all_would_have(self, folder: Path, method: str) -> None:
        arguments = ["shots", *UNIFORM, "--method", method, "--output", "alone"]
        assert main(arguments) == 0
        expected = contents(folder / "alone")
        (folder / "alone/07.png").unlink()
        assert main([*arguments, "--resume"]) == 0
        assert contents(folder / "alone") == expected

    @pytest.mark.parametrize("stats", ["per_frame", "uniform", "smoothed", "target_frame"])
    def test_resume_in_one_process(self, folder: Path, stats: str, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["shots", "--reference", "*e*.png", "--source-stats", stats, "--output"]
        assert main([*arguments, "alone"]) == 0
        expected = contents(folder / "alone")
        for name in ("00.jpg", "03.png", "10.png"):
            (folder / "alone" / name).unlink()
        assert main([*arguments, "alone", "--resume"]) == 0
        assert contents(folder / "alone") == expected
        assert "3 matched, 8 left, 0 failed in " in capsys.readouterr().out
        assert main([*arguments, "alone"]) == 1


class TestRanks:
    def test_one_process_waits_for_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Whoever calls the command from a program with process groups of its own has no other ranks to meet.
        monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
        monkeypatch.setattr(distributed.dist, "all_gather_object", lambda *_: pytest.fail("waits for other ranks"))
        assert Ranks().total(3) == 3
        assert Ranks().first_with(None) is None

    def test_alone(self) -> None:
        with join_ranks() as ranks:
            assert (ranks.rank, ranks.size, ranks.launched, ranks.first) == (0, 1, False, True)
            assert ranks.share([1, 2, 3]) == [1, 2, 3]
            assert ranks.total(5) == ranks.finish(5) == 5
            counts = torch.rand(3)
            assert ranks.sum(counts) is counts
            ranks.fail()
            assert ranks.finish(2) == 2

    def test_shares_are_all_and_once(self) -> None:
        shares = [Ranks(rank, 4).share(range(10)) for rank in range(4)]
        assert sorted(number for share in shares for number in share) == list(range(10))

    def test_stops_when_told(self) -> None:
        ranks = Ranks()
        ranks.check()
        ranks.ended = True
        with pytest.raises(RankError, match="the run was ended"):
            ranks.check()


class TestPooledHistogram:
    def test_is_the_histogram_of_all(self) -> None:
        expected = torch.stack([histogram(image, 65536) for image in images()]).sum(0)
        assert torch.equal(pooled_histogram(iter(images())), expected)

    @pytest.mark.parametrize("ranks", [2, 4])
    def test_over_ranks(self, tmp_path: Path, ranks: int) -> None:
        torch.save(pooled_histogram(images()), tmp_path / "expected.pt")
        status, written = torchrun(ranks, TESTS / "counting_rank.py", "expected.pt", folder=tmp_path)
        assert status == 0, written

    def test_bins_do_not_depend_on_who_has_counted(self) -> None:
        parts = [pooled_histogram([image], 100) for image in images()]
        torch.testing.assert_close(pooled_histogram(images(), 100), torch.stack(parts).sum(0), rtol=1e-12, atol=0)
        whole = torch.cat([image.flatten(1) for image in images()], dim=1)[:, None]
        assert torch.equal(pooled_histogram(images(), 100), histogram(whole, 100))

    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            ([], ValueError, "images: expected at least one on some rank, got none"),
            (3, TypeError, "not iterable"),
            ([torch.zeros(3, 2, 2, dtype=torch.uint8)], TypeError, "images: expected a floating-point tensor"),
            ([torch.zeros(1, 1, 3, 2, 2)], ValueError, r"images: expected shape \[C, H, W\] or \[B, C, H, W\]"),
            ([torch.zeros(3, 2, 2), torch.zeros(1, 2, 2)], ValueError, "images: expected 3 channels as in the first, got 1"),
        ],
    )
    def test_bad_images(self, given: list[torch.Tensor], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            pooled_histogram(given)
