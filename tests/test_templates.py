"""The workflow templates in a real ComfyUI whose input folder is empty, as the page sends them there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_histogram_match import Uniform, match_images, specify_images
from comfyui_histogram_match.command.image_files import read_image
from comfyui_histogram_match.sample_photos import sample_photo
from comfyui_server import ComfyUI
from photos import photo, photo_8bit
from skimage.exposure import match_histograms
from workflows import NOTES, TEMPLATES, inputs_of, read, run_workflow, template, widgets_of

pytestmark = pytest.mark.comfyui

# Nodes that ComfyUI before 2026 has not.
NEEDS_2026 = {
    "Touch up with curves": "ImageCurvesApply",
    "Grade an EXR": "SaveImageAdvanced",
    # Save Video had other inputs before.
    "A long clip, one look": "SaveImageAdvanced",
}
PANELS = ("ImageHistogramMatch", "ImageHistogramSpecify", "ColorTransformFit")


@pytest.fixture
def server(comfyui: ComfyUI) -> ComfyUI:
    """ComfyUI as it is when it has just been installed."""
    for path in (comfyui.folder / "input").rglob("*"):
        if path.is_file():
            path.unlink()
    return comfyui


def run_template(server: ComfyUI, name: str) -> dict[str, np.ndarray]:
    """What the nodes of a template show by their titles."""
    if NEEDS_2026.get(name, "ImageHistogramMatch") not in server.get("/object_info"):
        pytest.skip(f"this ComfyUI has no {NEEDS_2026[name]}")
    shown = run_workflow(server, template(name))
    return {title: pictures.astype(int) for title, pictures in shown.items()}


def pixels(images: torch.Tensor) -> np.ndarray:
    """Images as they are saved."""
    return (255 * images).clamp(0, 255).numpy().astype(np.uint8).astype(int)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_links_lead_where_they_say_and_each_widget_has_its_value(path: Path, comfyui: ComfyUI) -> None:
    workflow, described = read(path), comfyui.get("/object_info")
    if NEEDS_2026.get(path.stem, "ImageHistogramMatch") not in described:
        pytest.skip(f"this ComfyUI has no {NEEDS_2026[path.stem]}")
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = {link[0] for link in workflow["links"]}
    for number, source, output, target, slot, kind in workflow["links"]:
        assert number in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][slot]["link"] == number
        assert described[nodes[source]["type"]]["output"][output] == kind
        assert kind in nodes[target]["inputs"][slot]["type"].split(",")
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        given = node.get("widgets_values", [])
        inputs, widgets = (of(described[node["type"]], given) for of in (inputs_of, widgets_of))
        assert {slot["name"] for slot in node["inputs"]} == inputs.keys()
        assert {slot["link"] for slot in node["inputs"]} - {None} <= links
        values = dict(zip(widgets, given, strict=True))
        for name, value in values.items():
            kind, options = inputs[name][0], inputs[name][1] if len(inputs[name]) > 1 else {}
            offered = kind if isinstance(kind, list) else options.get("options", [value])
            offered = [one.get("key", one) if isinstance(one, dict) else one for one in offered]
            # What the template itself writes in its first run is read by a node that is muted till then.
            assert value in offered or (node["type"], node["mode"]) == ("ColorTransformLoadLUT", 2), (node["type"], name)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_nodes_lie_apart_and_panels_are_open(path: Path) -> None:
    boxes = []
    for node in read(path)["nodes"]:
        (left, top), (width, height) = node["pos"], node["size"]
        # The title stands above, and is what is left of a node that is folded.
        boxes.append((left, top - 30, left + width, top + (0 if node["flags"].get("collapsed") else height)))
        if node["type"] in PANELS and node["properties"].get("histograms"):
            assert width >= 340
            assert height >= 700
    for number, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:number]:
            assert left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]


def test_each_template_has_a_small_picture_of_its_own() -> None:
    pictures = [path.with_suffix(".jpg").read_bytes() for path in TEMPLATES]
    assert len(pictures) == len(set(pictures))
    assert max(map(len, pictures)) <= 300_000
    assert {path.name for path in TEMPLATES[0].parent.glob("*.jpg")} == {path.with_suffix(".jpg").name for path in TEMPLATES}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_titles_can_be_file_names_everywhere(path: Path) -> None:
    assert all(character.isascii() and (character.isalnum() or character in " ,") for character in path.stem)
    assert path.stem[0].isupper()


def test_two_photos_are_matched(server: ComfyUI) -> None:
    shown = run_template(server, "Match two photos")
    expected = match_histograms(photo_8bit("chelsea"), photo_8bit("coffee"), channel_axis=-1)
    assert np.abs(shown["The cat in the colors of the coffee"][0] - expected).max() <= 2


def test_methods_are_compared(server: ComfyUI) -> None:
    shown = run_template(server, "Compare methods side by side")
    results = [pictures for title, pictures in shown.items() if title != "Reference"]
    assert len(results) == 6
    for number, result in enumerate(results):
        assert all(np.abs(result - other).mean() > 0.1 for other in results[:number])


def test_a_clip_does_not_flicker(server: ComfyUI) -> None:
    (clip,) = [frames for frames in run_template(server, "Match a clip without flicker").values() if len(frames) == 24]
    above, below = np.split(clip, 2, axis=1)
    # The upper edge, which the disk never reaches.
    flicker, smoothed = (np.abs(np.diff(frames[:, :60].mean((1, 2)), axis=0)).max() for frames in (above, below))
    assert flicker > 1
    assert smoothed < flicker / 5


def test_only_the_sky_changes(server: ComfyUI) -> None:
    shown = run_template(server, "Match only the sky")
    sky = shown["The mask"][0, :, :, 0] == 255
    result, before = shown["A sky in the colors of the coffee"][0], shown["As it was"][0]
    assert 0.5 < sky.mean() < 0.95
    assert np.array_equal(result[~sky], before[~sky])
    assert (result[sky] != before[sky]).any(-1).mean() > 0.99
    assert result[sky].mean(0)[0] > result[sky].mean(0)[2] + 50


def test_the_tone_of_an_inpainting_is_repaired(server: ComfyUI) -> None:
    shown = run_template(server, "Repair the tone of an inpainting")
    original = photo_8bit("astronaut").astype(int)
    outside = np.ones(original.shape[:2], dtype=bool)
    outside[:216, 332:] = False
    edited, repaired = shown["Edited: tinted all over"][0], shown["Repaired: in the tone of the original"][0]
    assert np.abs(edited - original)[outside].mean() > 10
    assert np.abs(repaired - original)[outside].mean() <= 1
    inserted = shown["Only the inpainting, set into the original"][0]
    assert np.array_equal(inserted[outside], original[outside])
    assert np.array_equal(inserted[~outside], repaired[~outside])
    # What was painted in has its own tone again, too.
    square = photo("rocket").movedim(-1, 1)[..., 142:498]
    painted = pixels(torch.nn.functional.interpolate(square, size=(216, 180), mode="area").movedim(1, -1))[0]
    assert np.abs(repaired[:216, 332:] - painted).mean() < 3
    assert np.abs(edited[:216, 332:] - painted).mean() > 10


def test_a_clip_goes_on_without_drift(server: ComfyUI) -> None:
    (clip,) = run_template(server, "Continue a clip without drift").values()
    above, below = np.split(clip, 2, axis=1)
    pan = pixels(sample_photo("coffee", "pan", 24))
    seen = np.concatenate([pan[:16], pan[8:]])
    assert np.abs(above[:16] - seen[:16]).max() <= 1
    assert np.abs(above[16:] - seen[16:]).mean() > 10
    assert np.abs(below - seen).mean() <= 1


def test_a_photo_is_equalized(server: ComfyUI) -> None:
    shown = run_template(server, "Equalize a photo")
    even = np.linspace(0, 255, shown["Equalized"][0, ..., 1].size)
    far = {title: np.abs(np.sort(picture[0, ..., 1], axis=None) - even).mean() for title, picture in shown.items()}
    assert far["Equalized"] < far["As it is"] / 2
    low, high = np.percentile(shown["Stretched"], (1, 99))
    assert low <= 10
    assert high >= 235


def test_many_references_make_one_look(server: ComfyUI) -> None:
    shown = run_template(server, "One look from many references")
    result = shown["In the look of all three"][0].reshape(-1, 3)
    pooled = np.concatenate([photo_8bit(name).reshape(-1, 3) for name in ("coffee", "rocket", "astronaut")])
    assert np.abs(result.mean(0) - pooled.mean(0)).max() < 8
    assert (server.folder / "output" / "histograms" / "my look.npz").exists()


def test_a_lut_is_exported_and_loaded_again(server: ComfyUI) -> None:
    name = "Grade and export a LUT"
    exact = run_template(server, name)["In the same look"]
    assert (server.folder / "output" / "luts" / "look.cube").exists()
    workflow = template(name)
    for node in workflow["nodes"]:
        node["mode"] = 0
    assert np.abs(run_workflow(server, workflow)["The same by the file"].astype(int) - exact).max() <= 1


def test_histograms_are_plotted(server: ComfyUI) -> None:
    shown = run_template(server, "Plot histograms before and after")
    assert shown["The plot, saved"].shape == (1, 768, 768, 3)
    assert shown["The plot, saved"].std() > 10


def test_curves_are_applied(server: ComfyUI) -> None:
    shown = run_template(server, "Touch up with curves")
    before, after = shown["As it is"][0], shown["By the curves"][0]
    for channel in range(3):
        order = np.argsort(before[..., channel], axis=None, kind="stable")
        # A curve that rises keeps the order of levels.
        assert np.diff(after[..., channel].ravel()[order]).min() >= 0
    assert np.abs(after - before).mean() > 5


def test_a_tiled_upscale_is_repaired(server: ComfyUI) -> None:
    shown = run_template(server, "Repair the tone of a tiled upscale")
    original = photo("coffee").movedim(-1, 1)
    scaled = pixels(torch.nn.functional.interpolate(original, (800, 1200), mode="bicubic").movedim(1, -1))[0]
    before, after = (
        np.abs(shown[title][0] - scaled).mean()
        for title in ("Upscaled: each tile in its own tone", "Repaired: in the tone of the original")
    )
    assert before > 8
    assert after < before / 3


def test_an_exr_is_graded(server: ComfyUI) -> None:
    for path in (server.folder / "output").glob("graded*.exr"):
        path.unlink()
    run_template(server, "Grade an EXR")
    (written,) = (server.folder / "output").glob("graded*.exr")
    light = read_image(written, any_values=True).pixels
    wanted = sample_photo("coffee", "linear light")
    expected = match_images(sample_photo("chelsea", "linear light"), wanted, range="data")
    torch.testing.assert_close(light, expected, rtol=1e-5, atol=1e-5)
    assert float(light.max()) == pytest.approx(float(wanted.max()), rel=1e-3)


def test_a_clip_is_equalized_in_cells(server: ComfyUI) -> None:
    (clip,) = [frames for frames in run_template(server, "Equalize a clip in cells").values() if len(frames) == 24]
    before, after = np.split(clip, 2, axis=1)
    spread = [np.abs(frames.mean(-1) - frames.mean()).mean() for frames in (before, after)]
    assert spread[1] > 1.1 * spread[0]
    expected = specify_images(
        sample_photo("rocket", "pan", 24), Uniform(), color_space="oklab", source_stats="smoothed", window=24, grid=8, clip=2.5
    )
    assert np.abs(after - pixels(expected)).max() <= 1


def test_a_long_clip_gets_one_look(server: ComfyUI) -> None:
    shown = run_template(server, "A long clip, one look")
    before, after = (shown[title] for title in ("As it is", "In the look of the reference"))
    assert len(before) == len(after) == 48
    clip, look = (torch.from_numpy(pictures) / 255 for pictures in (before, shown["The look"]))
    expected = pixels(match_images(clip, look, source_stats="smoothed"))
    # Both are encoded with loss.
    assert np.abs(after.mean((0, 1, 2)) - expected.mean((0, 1, 2))).max() <= 2
    assert np.abs(after - expected).mean() <= 6
    assert np.abs(before.mean((0, 1, 2)) - after.mean((0, 1, 2))).max() >= 20
