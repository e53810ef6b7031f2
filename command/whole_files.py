"""Write files that are there as a whole or not at all."""

import contextlib
import os
import platform
import shutil
from pathlib import Path
from uuid import uuid4

_PREFIX = ".histogram-match-"


def hidden_prefix() -> str:
    """How names begin of what this process has not finished writing."""
    return f"{_PREFIX}{platform.node()}-{os.getpid()}-"


def remove_leftovers(folder: Path) -> None:
    """Remove what processes of this machine have left in a folder that were killed while they wrote."""
    import psutil

    for entry in folder.glob(f"{_PREFIX}{platform.node()}-*-*"):
        process = entry.name.rsplit("-", 2)[1]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            # Another run may be removing it as well.
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def write_whole_file(path: Path, content: bytes) -> None:
    """Write a file, and replace the one there is, if any, only once all of it is written; an OSError if it cannot be.

    A folder that is missing is made.

    On Linux not even a process that is killed leaves a part behind, since what is written has no name until it is complete.
    Where a file system has no files without a name, a hidden one in the same folder is renamed at the end.
    """
    # Not by the module tempfile, whose files nobody else may read.
    hidden = path.with_name(f"{hidden_prefix()}{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            linked = _write_nameless(path, hidden, content)
        except OSError:
            linked = hidden
            with open(hidden, "xb") as file:
                file.write(content)
        if linked != path:
            os.replace(linked, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            hidden.unlink()
        if isinstance(error, OSError):
            # By the name that the user knows.
            raise OSError(error.errno, f"cannot be written: {error.strerror}", str(path)) from error
        raise


def _write_nameless(path: Path, hidden: Path, content: bytes) -> Path:
    """Write without a name, then give it the name ``path`` or, where there is such a file, ``hidden``; and say which."""
    if not hasattr(os, "O_TMPFILE"):
        raise OSError("no files without a name on this system")
    with open(os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o666), "wb") as file:
        file.write(content)
        file.flush()
        name = hidden if path.exists() else path
        # Without src_dir_fd, Python would link to what is in /proc and not to the file.
        folder = os.open("/proc/self/fd", os.O_RDONLY)
        try:
            os.link(f"/proc/self/fd/{file.fileno()}", name, src_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(folder)
    return name
