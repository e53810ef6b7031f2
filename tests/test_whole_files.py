"""Files that are there as a whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from comfyui_histogram_match.command.whole_files import write_whole_file


@pytest.fixture(params=["nameless", "hidden"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of writing; a system or a file system may have only the second."""
    if request.param == "hidden":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("no files without a name on this system")


@pytest.mark.usefixtures("_way")
def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for content in (b"first", b"a longer one", b""):
        write_whole_file(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("length", [200, 255])
@pytest.mark.usefixtures("_way")
def test_long_names(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("a" * length)
    for content in (b"first", b"second"):
        write_whole_file(path, content)
        assert path.read_bytes() == content


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mask of the process")
@pytest.mark.usefixtures("_way")
def test_others_may_read_what_the_mask_of_the_process_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole_file(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.usefixtures("_way")
def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    write_whole_file(tmp_path / "missing" / "a", b"x")
    assert (tmp_path / "missing" / "a").read_bytes() == b"x"


@pytest.mark.usefixtures("_way")
def test_a_file_that_cannot_be_written_is_named_as_the_user_knows_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(FileExistsError, match=r"cannot be written: File exists: '.*file.a'"):
        write_whole_file(tmp_path / "file" / "a", b"x")


@pytest.mark.usefixtures("_way")
def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_whole_file(path, b"before")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole_file(path, b"after")
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_file_system_without_nameless_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: object, flags: int, *rest: int, **more: int) -> int:
        if flags & getattr(os, "O_TMPFILE", 0) == getattr(os, "O_TMPFILE", -1):
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    write_whole_file(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="no files without a name on this system")
def test_nothing_has_a_name_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    linked = os.link
    monkeypatch.setattr(os, "link", lambda *names, **more: (seen.append(list(tmp_path.iterdir())), linked(*names, **more)))
    write_whole_file(tmp_path / "a", b"x")
    assert seen == [[]]
