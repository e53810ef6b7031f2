"""Take the pictures of the node in ComfyUI's page: a template that has run, and the panel. Needs ComfyUI and Chromium."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from templates import ROOT, comfyui

# The tests' folder is on the path from here on.
from browser import Editor, editors, started_browser  # isort: skip
from workflows import TEMPLATES, read  # isort: skip

BOX = """() => {
    const { canvas, graph } = window.app;
    const { scale, offset } = canvas.ds;
    const edges = (axis, end) =>
        graph.nodes.map(({ pos, size }) => (pos[axis] + (end ? size[axis] : axis * -30) + offset[axis]) * scale);
    const [x, y] = [0, 1].map((axis) => Math.min(...edges(axis, false)));
    return { x, y, width: Math.max(...edges(0, true)) - x, height: Math.max(...edges(1, true)) - y };
}"""
PANEL = """() => {
    const node = window.app.graph.nodes.find((one) => one.type === "ImageHistogramMatch");
    const { x, y, width, height } = node.widgets.find((one) => one.name === "histograms").element.getBoundingClientRect();
    return { x, y, width, height };
}"""


def picture(editor: Editor, box: dict[str, float], margin: float) -> Image.Image:
    """A part of the page, with something around it."""
    size = editor.page.viewport_size
    assert size is not None
    left, top = max(0, box["x"] - margin), max(0, box["y"] - margin)
    width = min(size["width"] - left, box["width"] + 2 * margin)
    height = min(size["height"] - top, box["height"] + 2 * margin)
    clip = {"x": left, "y": top, "width": width, "height": height}
    return Image.open(io.BytesIO(editor.screenshot(clip=clip))).convert("RGB")


def save(image: Image.Image, path: Path) -> None:
    """As a file, and say how large that is."""
    image.save(path, quality=90)
    print(path.relative_to(ROOT), image.size, path.stat().st_size, "bytes")


def main() -> None:
    workflow = read(next(path for path in TEMPLATES if path.stem == "Match two photos"))
    with TemporaryDirectory() as folder, comfyui(Path(folder)) as server, started_browser() as browser:  # noqa: SIM117
        with editors(browser, server) as opened:
            editor = opened(nodes2=True)
            editor.load(workflow)
            editor.queue()
            # The toast that tells of it goes away.
            editor.page.wait_for_timeout(5000)
            save(picture(editor, editor.evaluate(BOX), 16), ROOT / "docs" / "node.jpg")
            editor.evaluate("() => { window.app.canvas.ds.scale = 1.3; window.app.canvas.ds.offset = [-250, -140]; }")
            editor.evaluate("() => window.app.canvas.setDirty(true, true)")
            editor.page.wait_for_timeout(1000)
            save(picture(editor, editor.evaluate(PANEL), 8), ROOT / "web" / "docs" / "images" / "panel.jpg")


if __name__ == "__main__":
    main()
