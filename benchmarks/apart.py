"""Run a benchmark's measurements in processes of their own, in this Python or in ComfyUI's."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from comfyui_location import find_comfyui, find_python  # noqa: E402

_start = partial(asyncio.create_subprocess_exec, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)


def load_pack() -> Any:
    """This checkout as a package, in a Python where it is not installed."""
    spec = importlib.util.spec_from_file_location("comfyui_histogram_match", ROOT / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["comfyui_histogram_match"] = package
    spec.loader.exec_module(package)
    return package


def has_comfyui() -> bool:
    """Whether a ComfyUI and its Python are found, as the tests find them."""
    comfyui = find_comfyui()
    return comfyui is not None and find_python(comfyui) is not None


def run_apart(script: str, arguments: Sequence[str], in_comfyui: bool, environment: Mapping[str, str] | None = None) -> Any:
    """Run ``script`` with ``arguments`` and return what its last line of output says in JSON."""
    python, variables = sys.executable, {**os.environ, **(environment or {})}
    if in_comfyui:
        comfyui = find_comfyui()
        assert comfyui is not None
        python = str(find_python(comfyui))
        variables["PYTHONPATH"] = str(comfyui)
    return asyncio.run(_run(python, script, arguments, variables))


def wait_for(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Run a command in ``folder`` to its end, whatever it says and however it ends."""

    async def run() -> None:
        await (await _start(*command, cwd=folder, env=environment)).communicate()

    asyncio.run(run())


async def _run(python: str, script: str, arguments: Sequence[str], variables: Mapping[str, str]) -> Any:
    process = await _start(python, script, *arguments, env=variables)
    answer, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {errors.decode()[-2000:]}")
    return json.loads(answer.splitlines()[-1])
