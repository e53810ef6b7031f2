"""Start Python and torchrun from a test."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

_start = partial(asyncio.create_subprocess_exec, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)


def python(script: str, folder: Path | None = None, seconds: float = 120) -> tuple[int, str]:
    """Run a script in a Python of its own, return the exit status and what it wrote; end it and its children if it hangs."""
    return asyncio.run(_python(script, folder, seconds))


async def _python(script: str, folder: Path | None, seconds: float) -> tuple[int, str]:
    process = await _start(sys.executable, "-c", script, cwd=folder, start_new_session=True)
    reading = asyncio.create_task(process.communicate())
    ended, _ = await asyncio.wait([reading], timeout=seconds)
    if not ended:
        os.killpg(process.pid, signal.SIGKILL)
    written = (await reading)[0].decode()
    return process.returncode or 0, written if ended else f"{written}\nno end within {seconds} seconds"


def torchrun(ranks: int, *arguments: object, folder: Path) -> tuple[int, str]:
    """Start so many ranks with one thread each in ``folder``, wait for them, and return the exit status and what they wrote."""
    if sys.platform == "win32":
        pytest.skip("torchrun needs a torch with libuv on Windows, and ranks cannot be killed there")
    return asyncio.run(_torchrun(ranks, [str(argument) for argument in arguments], folder))


async def _torchrun(ranks: int, arguments: list[str], folder: Path) -> tuple[int, str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    process = await _start(sys.executable, *launcher, *arguments, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        written, _ = await asyncio.wait_for(process.communicate(), 300)
    except asyncio.TimeoutError:
        # Ranks that wait for one another would wait for a month.
        process.kill()
        raise
    return process.returncode or 0, written.decode()
