"""Talk to a real ComfyUI over HTTP."""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests
import torch
import websocket
from comfyui_location import ROOT, find_comfyui, find_python
from torch import Tensor
from xprocess import ProcessStarter, XProcess

MASKS = ("image_mask", "reference_mask", "change_mask")


def make_base_directory(folder: Path) -> None:
    """Lay ``folder`` out as ComfyUI's base directory, with this checkout and the probes as the only custom nodes."""
    for name in ("custom_nodes", "input", "output", "temp", "user", "models"):
        (folder / name).mkdir()
    (folder / "custom_nodes" / "comfyui-histogram-match").symlink_to(ROOT, target_is_directory=True)
    (folder / "custom_nodes" / "probe").symlink_to(ROOT / "tests" / "probe_nodes", target_is_directory=True)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class RefusedError(Exception):
    """A prompt was refused before anything ran: ``inputs`` by their nodes, each with what is wrong with it."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(json.dumps(answer))
        self.inputs = {
            node: {error["extra_info"].get("input_name"): error["details"] for error in told["errors"]}
            for node, told in answer["node_errors"].items()
        }


class ComfyUI:
    """A running ComfyUI.

    Attributes:
        folder: its base directory.
        log: the file that holds what it printed.
        pid: the number of its process.
        client: the name under which this client is told of progress.
        address: where it answers over HTTP.
    """

    def __init__(self, port: int, folder: Path, log: Path, pid: int) -> None:
        self.folder, self.log, self.pid, self.client = folder, log, pid, str(uuid.uuid4())
        self._port = port
        self.address = f"http://127.0.0.1:{port}"
        self._session = requests.Session()

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

    def get(self, path: str) -> Any:
        """GET ``path``, decoded from JSON."""
        answer = self._session.get(self.address + path, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST ``body`` as JSON; the answer decoded, also that of a refusal."""
        answer = self._session.post(self.address + path, json=body, timeout=30)
        return answer.json() if answer.content else None

    def queue(self, prompt: dict[str, Any], workflow: dict[str, Any] | None = None) -> str:
        """Queue ``prompt`` and return its id; ``workflow`` comes along as from the page.

        Raises:
            RefusedError: a node does not take its inputs.
        """
        body: dict[str, Any] = {"prompt": prompt, "client_id": self.client}
        if workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        answer = self.post("/prompt", body)
        if "prompt_id" not in answer:
            raise RefusedError(answer)
        return str(answer["prompt_id"])

    def listen(self) -> websocket.WebSocket:
        """A connection over which messages about this client's prompts arrive."""
        connection = websocket.WebSocket()
        connection.connect(f"ws://127.0.0.1:{self._port}/ws?clientId={self.client}", timeout=60)
        return connection

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
        """Send two tensors, and masks among the inputs, through the node and return what comes out."""
        paths = [self.save(image), self.save(reference), self.folder / f"{uuid.uuid4()}.pt"]
        for name in MASKS:
            if name in inputs:
                inputs[name] = self.save(inputs[name])
        self.run(match_prompt(paths, class_type, **inputs))
        result: Tensor = torch.load(paths[2])
        return result

    def change(self, image: Tensor, nodes: dict[str, Any] | None = None, class_type: str = "", **inputs: Any) -> Tensor:
        """Send a tensor through a node that may be linked to other ``nodes``, to whom it is ``["image", 0]``."""
        target = self.folder / f"{uuid.uuid4()}.pt"
        self.run(
            {
                "image": {"class_type": "ProbeLoad", "inputs": {"path": str(self.save(image))}},
                **(nodes or {}),
                "node": {"class_type": class_type, "inputs": {"image": ["image", 0], **inputs}},
                "save": {"class_type": "ProbeSave", "inputs": {"image": ["node", 0], "path": str(target)}},
            }
        )
        result: Tensor = torch.load(target)
        return result

    def save(self, tensor: Tensor) -> Path:
        """A file of torch.save with ``tensor``, for the probes."""
        path = self.folder / f"{uuid.uuid4()}.pt"
        torch.save(tensor, path)
        return path

    def run(self, prompt: dict[str, Any], workflow: dict[str, Any] | None = None) -> dict[str, Any]:
        """Queue ``prompt``, wait for its end, and return what the history says of it.

        Raises:
            RuntimeError: a node has failed; its message.
        """
        ended = self.wait(self.queue(prompt, workflow))
        if ended["status"]["status_str"] != "success":
            (error,) = [data for kind, data in ended["status"]["messages"] if kind == "execution_error"]
            raise RuntimeError(f"{error['exception_type']}: {error['exception_message']}")
        return ended


def match_prompt(paths: list[Path], class_type: str = "ImageHistogramMatch", **inputs: Any) -> dict[str, Any]:
    """The node between two files of torch.save and a third, in ComfyUI's API format; masks are files as well."""
    settings = {"method": "pytorch", "factor": 1.0, "device": "auto", **inputs}
    masks = {}
    for name in MASKS:
        if name in settings:
            masks[name] = {"class_type": "ProbeLoadMask", "inputs": {"path": str(settings[name])}}
            settings[name] = [name, 0]
    return masks | {
        "1": {"class_type": "ProbeLoad", "inputs": {"path": str(paths[0])}},
        "2": {"class_type": "ProbeLoad", "inputs": {"path": str(paths[1])}},
        "3": {
            "class_type": class_type,
            "inputs": {"image": ["1", 0], "reference": ["2", 0], **settings},
            "_meta": {"title": "match"},
        },
        "4": {"class_type": "ProbeSave", "inputs": {"image": ["3", 0], "path": str(paths[2])}},
    }


@contextmanager
def started(base: Path, xprocess: XProcess) -> Iterator[ComfyUI]:
    """A server on the CPU with a base directory."""
    folder = find_comfyui()
    if folder is None:
        pytest.skip("no ComfyUI: COMFYUI_PATH names none, and none is above this checkout or in the home folder")
    python = find_python(folder)
    if python is None:
        pytest.skip(f"no Python for {folder}: COMFYUI_PYTHON is not set, and it has no virtual environment")
    port = free_port()
    command = [python, folder / "main.py", "--cpu", "--port", port, "--base-directory", base, "--disable-auto-launch"]

    class Starter(ProcessStarter):
        pattern = "To see the GUI go to"
        args: ClassVar[list[str]] = [str(word) for word in command]
        timeout = 180
        max_read_lines = 1000
        terminate_on_interrupt = True

    pid, log = xprocess.ensure(f"comfyui-{port}", Starter)
    server = ComfyUI(port, base, Path(log), pid)
    yield server
    server.close()
    xprocess.getinfo(f"comfyui-{port}").terminate()


def progress_of(connection: websocket.WebSocket, total: int | None = None) -> Iterator[int]:
    """The steps that are told to be done, until the prompt ends; an error if there are more or fewer in all than ``total``."""
    kind = ""
    while kind not in ("execution_success", "execution_interrupted", "execution_error"):
        message = connection.recv()
        if isinstance(message, bytes):
            continue
        told = json.loads(message)
        kind = told["type"]
        if kind == "progress" and told["data"]["node"] in ("3", "reference", "node"):
            assert total in (None, told["data"]["max"])
            yield told["data"]["value"]
    connection.close()


def interrupt(comfyui: ComfyUI, prompt: dict[str, Any]) -> None:
    """Run a prompt over some hundred frames, and interrupt it when the third is done."""
    connection = comfyui.listen()
    prompt_id = comfyui.queue(prompt)
    values = progress_of(connection)
    next(value for value in values if value >= 3)
    comfyui.post("/interrupt", {})
    # What was on its way already is still counted: a part of the clip, however busy the machine is.
    assert max(values, default=0) <= 150
    ended = comfyui.wait(prompt_id)
    assert "execution_interrupted" in [kind for kind, _ in ended["status"]["messages"]]
