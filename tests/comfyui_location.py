"""Find a real ComfyUI."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]


def find_comfyui() -> Path | None:
    """The folder named in the environment, else the one above this checkout, else the default of comfy-cli."""
    named = os.environ.get("COMFYUI_PATH")
    if named:
        return Path(named)
    candidates = [ROOT.parents[1]] if ROOT.parent.name == "custom_nodes" else []
    candidates.append(Path.home() / "comfy" / "ComfyUI")
    return next((candidate for candidate in candidates if (candidate / "main.py").is_file()), None)


def find_python(comfyui: Path) -> Path | None:
    """The interpreter named in the environment, else the one of the virtual environment in that folder."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named:
        return Path(named)
    scripts = ["bin/python", "Scripts/python.exe"]
    candidates = [comfyui / venv / script for venv in (".venv", "venv") for script in scripts]
    candidates.append(comfyui.parent / "python_embeded" / "python.exe")
    return next((candidate for candidate in candidates if candidate.is_file()), None)
