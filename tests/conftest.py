from __future__ import annotations

import os

# Tests run in two processes: torch's threads are to sleep, not to spin, while those of the other one work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from browser import OpenEditor, editors, started_browser
from comfyui_server import ComfyUI, make_base_directory, started
from photos import photo_8bit
from PIL import Image
from xprocess import XProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with ``coffee.png``."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo_8bit("coffee")).save("coffee.png")
    return tmp_path


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory: pytest.TempPathFactory, xprocess: XProcess) -> Iterator[ComfyUI]:
    """A server on the CPU, for all tests."""
    base = tmp_path_factory.mktemp("comfyui")
    make_base_directory(base)
    with started(base, xprocess) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for the tests of a file. While it runs, asyncio runs nothing else in the process, so no longer than that."""
    with started_browser() as started:
        yield started


@pytest.fixture
def open_editor(browser: Browser, comfyui: ComfyUI) -> Iterator[OpenEditor]:
    """Opens ComfyUI's page with settings; a test fails if a page has had an error."""
    with editors(browser, comfyui) as opened:
        yield opened


# Before pytest-xdist looks for groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file that talk to a ComfyUI in one process, with one server and one browser."""
    for item in items:
        if item.get_closest_marker("comfyui"):
            item.add_marker(pytest.mark.xdist_group(f"comfyui {item.path.stem}"))
