"""Run a real ComfyUI with this checkout as its only custom node, and talk to it over HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]

PROBE_NODES = '''
import torch
from pathlib import Path


class ProbeLoad:
    """An IMAGE from a file of torch.save, of any shape."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"path": ("STRING", {})}})
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "probe"

    def run(self, path):
        return (torch.load(path),)


class ProbeSave:
    """An IMAGE into a file of torch.save."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"image": ("IMAGE",), "path": ("STRING", {})}})
    RETURN_TYPES = ()
    FUNCTION = "run"
    CATEGORY = "probe"
    OUTPUT_NODE = True

    def run(self, image, path):
        torch.save(image, path)
        return {}


NODE_CLASS_MAPPINGS = {"ProbeLoad": ProbeLoad, "ProbeSave": ProbeSave}
'''


def find_comfyui() -> Path | None:
    """The folder of ComfyUI: $COMFYUI_PATH, the one whose custom_nodes holds this checkout, or comfy-cli's default."""
    named = os.environ.get("COMFYUI_PATH")
    if named:
        return Path(named)
    candidates = [ROOT.parents[1]] if ROOT.parent.name == "custom_nodes" else []
    candidates.append(Path.home() / "comfy" / "ComfyUI")
    return next((candidate for candidate in candidates if (candidate / "main.py").is_file()), None)


def find_python(comfyui: Path) -> Path | None:
    """The interpreter that runs this ComfyUI: $COMFYUI_PYTHON, or the one of its own virtual environment."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named:
        return Path(named)
    scripts = ["bin/python", "Scripts/python.exe"]
    candidates = [comfyui / venv / script for venv in (".venv", "venv") for script in scripts]
    candidates.append(comfyui.parent / "python_embeded" / "python.exe")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


class ComfyUI:
    """A ComfyUI server on the CPU in a folder of its own, stopped by :meth:`stop`."""

    def __init__(self, comfyui: Path, python: Path, folder: Path) -> None:
        self.folder = folder
        (folder / "custom_nodes" / "probe").mkdir(parents=True)
        (folder / "custom_nodes" / "probe" / "__init__.py").write_text(PROBE_NODES)
        (folder / "custom_nodes" / "comfyui-histogram-match").symlink_to(ROOT, target_is_directory=True)
        for name in ("input", "output", "temp", "user", "models"):
            (folder / name).mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.log = folder / "log.txt"
        arguments = ["main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(folder)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(python), *arguments, "--disable-auto-launch"],
                cwd=comfyui,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        self._wait_until_up()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.get("/system_stats")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
            else:
                return
        self.stop()
        raise RuntimeError(f"ComfyUI did not start:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait(30)

    def get(self, path: str) -> Any:
        """GET ``path``, decoded from JSON."""
        with urllib.request.urlopen(self.address + path, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST ``body`` as JSON; the answer decoded, also that of a refusal."""
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as refusal:
            text = refusal.read()
        return json.loads(text) if text else None

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue ``prompt`` and return its id."""
        answer = self.post("/prompt", {"prompt": prompt})
        assert "prompt_id" in answer, answer
        return str(answer["prompt_id"])

    def wait(self, prompt_id: str, seconds: float = 120) -> dict[str, Any]:
        """What the history says of a prompt once it has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return dict(history[prompt_id])
            time.sleep(0.05)
        raise TimeoutError(f"prompt {prompt_id} still runs after {seconds} s\n{self.log.read_text()[-3000:]}")

    def match(self, image: Tensor, reference: Tensor, class_type: str = "ImageHistogramMatch", **inputs: Any) -> Tensor:
        """Send two tensors through the node and return what comes out."""
        paths = [self.folder / f"{uuid.uuid4()}.pt" for _ in range(3)]
        torch.save(image, paths[0])
        torch.save(reference, paths[1])
        ended = self.wait(self.queue(match_prompt(paths, class_type, **inputs)))
        if ended["status"]["status_str"] != "success":
            (error,) = [data for kind, data in ended["status"]["messages"] if kind == "execution_error"]
            raise RuntimeError(f"{error['exception_type']}: {error['exception_message']}")
        result: Tensor = torch.load(paths[2])
        return result


def match_prompt(paths: list[Path], class_type: str = "ImageHistogramMatch", **inputs: Any) -> dict[str, Any]:
    """The node between two files of torch.save and a third, in ComfyUI's API format."""
    settings = {"method": "pytorch", "factor": 1.0, "device": "auto", **inputs}
    return {
        "1": {"class_type": "ProbeLoad", "inputs": {"path": str(paths[0])}},
        "2": {"class_type": "ProbeLoad", "inputs": {"path": str(paths[1])}},
        "3": {
            "class_type": class_type,
            "inputs": {"image": ["1", 0], "reference": ["2", 0], **settings},
            "_meta": {"title": "match"},
        },
        "4": {"class_type": "ProbeSave", "inputs": {"image": ["3", 0], "path": str(paths[2])}},
    }
