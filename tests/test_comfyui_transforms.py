"""Matches that are fitted once and applied anywhere, in a real ComfyUI over HTTP."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_histogram_match import ColorTransform, Uniform, fit_transform, match_images, specify_images
from comfyui_histogram_match.luts.cube_files import read_cube, write_cube
from comfyui_histogram_match.methods.table import METHODS
from comfyui_server import ComfyUI, RefusedError, interrupt
from photos import continuous_photo, photo
from torch import Tensor

pytestmark = pytest.mark.comfyui


FITTED = [name for name, method in METHODS.items() if not method.per_frame_only]
IMAGE, LOOK = photo("chelsea")[:, ::4, ::4], photo("coffee")[:, :300:4, :451:4]


def load(comfyui: ComfyUI, kind: str = "", **tensors: Tensor) -> dict[str, Any]:
    """Nodes that load tensors, by the names that they are given."""
    return {
        name: {"class_type": f"ProbeLoad{kind}", "inputs": {"path": str(comfyui.save(tensor))}}
        for name, tensor in tensors.items()
    }


def fit(image: str = "image", reference: str = "look", method: str = "mkl", **inputs: Any) -> dict[str, Any]:
    """Fit Color Transform between two nodes."""
    links = {"image": [image, 0], "reference": [reference, 0]}
    return {"fit": {"class_type": "ColorTransformFit", "inputs": {**links, "method": method, **inputs}}}


def apply(comfyui: ComfyUI, image: Tensor, nodes: dict[str, Any], transform: str = "fit", **inputs: Any) -> Tensor:
    """What Apply Color Transform makes of a tensor with what another node puts out."""
    settings = {"transform": [transform, 0], "factor": 1.0, "device": "auto", **inputs}
    return comfyui.change(image, nodes, class_type="ColorTransformApply", **settings)


def save_lut(comfyui: ComfyUI, method: str, name: str, size: int = 33) -> str:
    """Fit and write a LUT; what the node says."""
    prompt = load(comfyui, image=IMAGE, look=LOOK) | fit(method=method)
    inputs = {"transform": ["fit", 0], "name": name, "size": size}
    ended = comfyui.run(prompt | {"lut": {"class_type": "ColorTransformSaveLUT", "inputs": inputs}})
    (told,) = ended["outputs"]["lut"]["text"]
    return str(told)


def luts(comfyui: ComfyUI) -> list[str]:
    """What Load LUT offers, as the page asks for it when r is pressed."""
    node = comfyui.get("/object_info/ColorTransformLoadLUT")["ColorTransformLoadLUT"]
    return list(node["input"]["required"]["lut"][1]["options"])


def load_lut(name: str | list[Any]) -> dict[str, Any]:
    """Load LUT."""
    return {"lut": {"class_type": "ColorTransformLoadLUT", "inputs": {"lut": name}}}


def left_half(height: int, width: int) -> Tensor:
    """A mask of the left half."""
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


def test_measured_here_and_changed_there(comfyui: ComfyUI) -> None:
    image, look = IMAGE, LOOK
    masks = {"image_mask": left_half(75, 113), "change_mask": 1 - left_half(75, 113)}
    result = comfyui.match(image, look, **masks)
    torch.testing.assert_close(result, match_images(image, look, **masks), rtol=0, atol=1e-6)
    assert torch.equal(result[:, :, :56], image[:, :, :56])
    assert not torch.equal(result, image)
    black = torch.zeros(1, 8, 8)
    assert torch.equal(comfyui.match(image, look, change_mask=black), image)


def test_specified_here_and_changed_there(comfyui: ComfyUI) -> None:
    image, mask = IMAGE, left_half(75, 113)
    described = comfyui.get("/object_info/ImageHistogramSpecify")["ImageHistogramSpecify"]
    assert described["input_order"]["optional"][-6:] == ["change_mask", "detail", "dither", "grid", "clip", "range"]
    nodes = load(comfyui, "Mask", mask=mask, all=torch.ones(1, 8, 8))
    node = {"class_type": "ImageHistogramSpecify", "target": "uniform", "factor": 1.0, "device": "auto"}
    result = comfyui.change(image, nodes, **node, image_mask=["mask", 0], change_mask=["all", 0])
    expected = specify_images(image, Uniform(), image_mask=mask, change_mask=torch.ones(1, 8, 8))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_the_nodes_are_described_in_full(comfyui: ComfyUI) -> None:
    nodes = comfyui.get("/object_info")
    names = {
        "ColorTransformFit": (
            "Fit Color Transform",
            "image reference method color_space image_mask reference_mask target_index detail dither grid clip range",
        ),
        "ColorTransformApply": ("Apply Color Transform", "image transform factor device change_mask"),
        "ColorTransformSaveLUT": ("Save LUT", "transform name size"),
        "ColorTransformLoadLUT": ("Load LUT", "lut"),
    }
    for node_id, (title, inputs) in names.items():
        node = nodes[node_id]
        assert node["display_name"] == title
        assert node["category"] == nodes["ImageHistogramMatch"]["category"]
        described = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
        assert list(described) == inputs.split()
        assert all(options["tooltip"] for _, options in described.values())
        assert all(node["output_tooltips"])
        assert node.get("search_aliases", True)
    fitted = nodes["ColorTransformFit"]["input"]
    assert fitted["required"]["method"][1]["options"] == FITTED
    assert fitted["optional"]["target_index"][1]["default"] == -1
    size = nodes["ColorTransformSaveLUT"]["input"]["required"]["size"][1]
    assert (size["options"], size["default"]) == ([17, 33, 65], 33)


@pytest.mark.parametrize("method", FITTED)
def test_fit_and_apply_do_what_uniform_does(comfyui: ComfyUI, method: str) -> None:
    frames = torch.cat([IMAGE, IMAGE.flip(1) * 0.8, IMAGE.roll(20, 2)])
    stats = {"source_stats": "uniform", "reference_stats": "paired" if METHODS[method].aligned else "pooled"}
    direct = comfyui.match(frames, LOOK, method=method, **stats)
    result = apply(comfyui, frames, load(comfyui, look=LOOK) | fit(method=method), device="cpu")
    assert torch.equal(result, direct)
    assert float((result - frames).abs().mean()) > 0.02


def test_fitted_on_an_overlap_and_applied_to_a_clip(comfyui: ComfyUI) -> None:
    clip = torch.cat([IMAGE.roll(shift, 2) for shift in range(40)])
    before, drifted = clip, (clip * 0.9 + 0.05) ** 0.8
    nodes = load(comfyui, first=before[:8], overlap=drifted[:8]) | fit("overlap", "first")
    result = apply(comfyui, drifted, nodes)
    torch.testing.assert_close(result, fit_transform(drifted[:8], before[:8], "mkl").apply(drifted), rtol=0, atol=1e-4)
    assert float((result - before).abs().mean()) < 0.2 * float((drifted - before).abs().mean())


def test_masks_factor_and_the_frame_that_counts(comfyui: ComfyUI) -> None:
    frames, mask = torch.cat([IMAGE, LOOK.flip(2)]), left_half(75, 113)
    nodes = load(comfyui, look=LOOK) | load(comfyui, "Mask", left=mask, right=1 - mask)
    settings = {"color_space": "oklab", "image_mask": ["left", 0], "reference_mask": ["right", 0], "target_index": 1}
    result = apply(comfyui, frames, nodes | fit(**settings), factor=0.5, change_mask=["right", 0])
    fitted = fit_transform(frames, LOOK, "mkl", color_space="oklab", image_mask=mask, reference_mask=1 - mask, target_index=1)
    torch.testing.assert_close(result, fitted.apply(frames, 0.5, mask=1 - mask), rtol=0, atol=1e-4)
    assert torch.equal(result[:, :, :56], frames[:, :, :56])
    with pytest.raises(RuntimeError, match="ValueError: target_index: expected 0 to 1, the frames of the image, got 2"):
        apply(comfyui, frames, load(comfyui, look=LOOK) | fit(target_index=2))


def test_a_kept_reference_is_fitted_to(comfyui: ComfyUI) -> None:
    kept = {"kept": {"class_type": "ReferenceHistogram", "inputs": {"images": ["look", 0]}}}
    nodes = load(comfyui, look=LOOK) | kept | fit(reference="kept", method="pytorch")
    torch.testing.assert_close(apply(comfyui, IMAGE, nodes), match_images(IMAGE, LOOK), rtol=0, atol=1e-6)


def test_an_interrupt_stops_applying(comfyui: ComfyUI) -> None:
    frames, target = continuous_photo("astronaut").expand(400, -1, -1, -1), comfyui.folder / "applied.pt"
    nodes = load(comfyui, image=frames, look=LOOK) | fit("look", "look", "hm-mkl-hm")
    nodes["node"] = {
        "class_type": "ColorTransformApply",
        "inputs": {"image": ["image", 0], "transform": ["fit", 0], "factor": 1.0, "device": "auto"},
    }
    save = {"save": {"class_type": "ProbeSave", "inputs": {"image": ["node", 0], "path": str(target)}}}
    interrupt(comfyui, nodes | save)
    assert not target.exists()
    assert apply(comfyui, IMAGE, load(comfyui, look=LOOK) | fit()).shape == IMAGE.shape


def test_a_warning_of_each_reaches_the_log(comfyui: ComfyUI) -> None:
    image, look = IMAGE.clone(), LOOK.clone()
    image[0, 0, 0, 0] = look[0, 0, 0, :2] = float("nan")
    apply(comfyui, image, load(comfyui, look=look) | fit())
    log = comfyui.log.read_text()
    assert "Fit Color Transform: reference: left out 2 NaN or infinite values" in log
    assert "Apply Color Transform: image: left out 1 NaN or infinite values" in log


@pytest.mark.parametrize(("method", "kind"), [("pytorch", "1D LUT"), ("mkl", "3D LUT of 33 points")])
def test_a_lut_is_saved_and_loaded_without_a_restart(comfyui: ComfyUI, method: str, kind: str) -> None:
    told, path = save_lut(comfyui, method, f"look {method}"), comfyui.folder / "output" / "luts" / f"look {method}.cube"
    mean, largest = re.fullmatch(
        rf"{kind} written to {path}; mean error ([\d.]+) and largest ([\d.]+) of 255 levels beside the exact transform", told
    ).groups()
    assert f"Save LUT: {told}" in comfyui.log.read_text()
    assert float(mean) <= float(largest) <= 2
    assert read_cube(path).title == f"look {method}"
    assert f"look {method}.cube" in luts(comfyui)
    result = apply(comfyui, IMAGE, load_lut(f"look {method}.cube"), "lut")
    exact = apply(comfyui, IMAGE, load(comfyui, look=LOOK) | fit(method=method))
    assert float((result - exact).abs().max()) * 255 <= 1
    assert torch.equal(result, ColorTransform(read_cube(path).transform()).apply(IMAGE))


def test_a_lut_that_has_changed_is_read_again(comfyui: ComfyUI) -> None:
    path = comfyui.folder / "models" / "luts" / "film" / "Changing.CUBE"
    path.parent.mkdir(parents=True)
    results = []
    for method in ("mkl", "reinhard"):
        write_cube(path, fit_transform(IMAGE, LOOK, method).transform, 17)
        results.append(apply(comfyui, IMAGE, load_lut(str(Path("film", "Changing.CUBE"))), "lut"))
        assert torch.equal(results[-1], ColorTransform(read_cube(path).transform()).apply(IMAGE))
    assert not torch.equal(*results)


def test_luts_in_a_folder_of_another_pack_are_found_as_well(comfyui: ComfyUI) -> None:
    folders = [comfyui.folder / name for name in ("luts of another pack", "models/luts", "output/luts")]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"found {number}.cube").write_text("LUT_3D_SIZE 2\n" + f"0 0 0.{number}\n" * 8)
        (folder / f"found {number}.txt").touch()
    offered = luts(comfyui)
    assert {f"found {number}.cube" for number in range(3)} <= set(offered)
    assert not [name for name in offered if name.endswith(".txt")]
    for number in range(3):
        result = apply(comfyui, IMAGE, load_lut(f"found {number}.cube"), "lut")
        torch.testing.assert_close(result, torch.tensor([0, 0, number / 10]).expand(IMAGE.shape))


def test_what_was_saved_is_meant_where_a_model_has_its_name(comfyui: ComfyUI) -> None:
    path = comfyui.folder / "models" / "luts" / "twice.cube"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("LUT_3D_SIZE 2\n" + "0 0 0\n" * 8)
    save_lut(comfyui, "mkl", "twice", 17)
    assert float(apply(comfyui, IMAGE, load_lut("twice.cube"), "lut").mean()) > 0.1


@pytest.mark.parametrize("name", ["../evil", "/evil", "a\\b", "c:d", ".hidden", "", " .cube"])
def test_a_lut_is_written_in_its_folder_only(comfyui: ComfyUI, name: str) -> None:
    with pytest.raises(RuntimeError, match="ValueError: name: expected the name of a file, without folders, got"):
        save_lut(comfyui, "mkl", name)


@pytest.mark.parametrize("name", ["../../secret.cube", "/secret.cube", "none"])
def test_a_lut_is_read_in_its_folders_only(comfyui: ComfyUI, name: str) -> None:
    write_cube(comfyui.folder / "secret.cube", fit_transform(IMAGE, LOOK, "mkl").transform, 17)
    text = {"text": {"class_type": "ProbeText", "inputs": {"text": name}}}
    refused = "ValueError: lut: expected a file in the folder luts in ComfyUI's output or models"
    # What another node puts out, ComfyUI does not check, and before 2026 nothing.
    for given in (name, ["text", 0]):
        with pytest.raises((RuntimeError, RefusedError), match=f"{refused}|value_not_in_list"):
            apply(comfyui, IMAGE, text | load_lut(given), "lut")


def test_what_cannot_be_a_lut_and_what_is_none(comfyui: ComfyUI) -> None:
    with pytest.raises(RuntimeError, match="ValueError: transform: expected one that sends equal colors to equal colors, got"):
        save_lut(comfyui, "sliced", "sliced")
    assert not (comfyui.folder / "output" / "luts" / "sliced.cube").exists()
    path = comfyui.folder / "output" / "luts" / "broken.cube"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("LUT_3D_SIZE 2\n0 0\n")
    with pytest.raises(RuntimeError, match=r"ValueError: .*broken.cube: line 2: expected three finite numbers, got '0 0'"):
        apply(comfyui, IMAGE, load_lut("broken.cube"), "lut")
