"""Drive ComfyUI's page in a real browser."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from comfyui_server import ComfyUI

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

SIZE = {"width": 1600, "height": 900}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nothing leaves the machine, and every test meets the same page.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# Queues what is on the canvas, and resolves with the message that ends it.
QUEUE = """async () => {
    const api = window.app.api;
    let told, failed;
    const ended = new Promise((resolve, reject) => { told = resolve; failed = reject; });
    const kinds = ["execution_success", "execution_error", "execution_interrupted"];
    const listeners = kinds.map((kind) => [kind, (event) => told({kind, ...event.detail})]);
    for (const [kind, listener] of listeners) api.addEventListener(kind, listener);
    try {
        const taken = await window.app.queuePrompt(0, 1);
        if (taken === false) failed(new Error("the prompt was refused: " + JSON.stringify(window.app.lastNodeErrors)));
        return await ended;
    } finally {
        for (const [kind, listener] of listeners) api.removeEventListener(kind, listener);
    }
}"""
READY = "() => window.app?.isGraphReady && window.app.extensionManager?.spinner === false"
# What the page says without this pack as well: it misses other machines and files that no new user has, and is too early.
ITS_OWN = (
    r"Failed to load resource: .* 404 .*http://127\.0\.0\.1:\d+/(api/userdata[/?]|user\.css)"
    r"|Failed to load resource: net::ERR_NAME_NOT_RESOLVED \(https://"
    r"|ComfyApp graph accessed before initialization \(http://127\.0\.0\.1:\d+/assets/settingStore-"
)
# Two frames drawn: what was changed has been laid out and painted.
SETTLE = "() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))"


def find_chromium() -> str | None:
    """Chromium at ``$CHROMIUM_PATH``, or on the path."""
    named = os.environ.get("CHROMIUM_PATH")
    if named:
        return named
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def started_browser() -> Iterator[Browser]:
    """A headless Chromium. Until it ends, asyncio can run nothing else in this thread."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright")
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium: CHROMIUM_PATH names none, and none is on the path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


class Editor:
    """ComfyUI's page.

    Attributes:
        page: Playwright's page, for whatever else a test needs.
        comfyui: the server.
        nodes2: nodes are drawn as HTML (Nodes 2.0), not on the canvas.
        errors: what went wrong in the page since it was opened.
    """

    def __init__(self, context: BrowserContext, comfyui: ComfyUI, nodes2: bool) -> None:
        self.comfyui, self.nodes2 = comfyui, nodes2
        self.errors: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(f"{error}\n{error.stack or ''}"))
        self.page.goto(comfyui.address)
        self.wait_until_ready()

    def _note(self, message: ConsoleMessage) -> None:
        text = f"{message.text} ({message.location.get('url', '')})"
        if message.type == "error" and not re.match(ITS_OWN, text):
            self.errors.append(text)

    def wait_until_ready(self) -> None:
        """Wait until the page knows its nodes and shows its canvas."""
        self.page.wait_for_function(READY, timeout=60_000)
        self.page.wait_for_selector("#graph-canvas", timeout=60_000)
        self.settle()

    def reload(self) -> None:
        """Reload the page, as the browser's button does."""
        self.page.reload()
        self.wait_until_ready()

    def settle(self) -> None:
        """Wait until what was changed is drawn."""
        self.page.evaluate(SETTLE)

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """What JavaScript, or a function of ``argument`` in it, gives in the page; ``window.app`` is ComfyUI's."""
        return self.page.evaluate(script, argument)

    def load(self, workflow: dict[str, Any]) -> None:
        """Put a workflow onto the canvas, as opening its file does."""
        self.evaluate("(workflow) => window.app.loadGraphData(workflow)", workflow)
        self.settle()

    def saved(self) -> dict[str, Any]:
        """The workflow on the canvas, as a file of it would hold it."""
        return dict(self.evaluate("() => window.app.graph.serialize()"))

    def prompt(self) -> dict[str, Any]:
        """What is on the canvas in ComfyUI's API format."""
        return dict(self.evaluate("async () => (await window.app.graphToPrompt()).output"))

    def queue(self) -> dict[str, Any]:
        """Run what is on the canvas, and wait for its end: the message of it, whose ``kind`` is execution_success."""
        ended = dict(self.evaluate(QUEUE))
        assert ended["kind"] == "execution_success", ended
        self.settle()
        return ended

    def screenshot(self, path: Path | str | None = None, **options: Any) -> bytes:
        """A PNG of the page, also as a file if it has a path."""
        return self.page.screenshot(path=path, **options)


OpenEditor = Callable[..., Editor]


def settings(nodes2: bool, palette: str, locale: str) -> dict[str, Any]:
    """The user's settings: nothing in the way of the canvas."""
    return {
        "Comfy.TutorialCompleted": True,
        # Without a GPU, drawing takes what the tests need.
        "Comfy.Minimap.Visible": False,
        "LiteGraph.Canvas.MaximumFps": 20,
        "Comfy.VueNodes.Enabled": nodes2,
        "Comfy.ColorPalette": palette,
        "Comfy.Locale": locale,
    }


@contextmanager
def editors(browser: Browser, comfyui: ComfyUI) -> Iterator[OpenEditor]:
    """A function that opens ComfyUI's page with settings; at the end all pages are closed, and none may hold an error."""
    contexts: list[BrowserContext] = []
    opened: list[Editor] = []

    def open_editor(nodes2: bool = False, palette: str = "dark", locale: str = "en", **more: Any) -> Editor:
        comfyui.post("/settings", settings(nodes2, palette, locale) | more)
        contexts.append(browser.new_context(viewport=SIZE, locale="en-US"))
        opened.append(Editor(contexts[-1], comfyui, nodes2))
        return opened[-1]

    yield open_editor
    errors = [error for editor in opened for error in editor.errors]
    for context in contexts:
        context.close()
    assert not errors, "\n".join(errors)
