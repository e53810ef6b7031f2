"""Matches that are fitted once and applied anywhere, in a real ComfyUI over HTTP."""

from __future__ import annotations

import pytest
import torch
from comfyui_histogram_match import Uniform, match_images, specify_images
from comfyui_server import ComfyUI
from photos import photo

pytestmark = pytest.mark.comfyui


def left_half(height: int, width: int) -> torch.Tensor:
    """A mask of the left half."""
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


def test_measured_here_and_changed_there(comfyui: ComfyUI) -> None:
    image, look = photo("chelsea")[:, ::4, ::4], photo("coffee")[:, ::4, ::4]
    masks = {"image_mask": left_half(75, 113), "change_mask": 1 - left_half(75, 113)}
    result = comfyui.match(image, look, **masks)
    torch.testing.assert_close(result, match_images(image, look, **masks), rtol=0, atol=1e-6)
    assert torch.equal(result[:, :, :56], image[:, :, :56])
    assert not torch.equal(result, image)
    black = torch.zeros(1, 8, 8)
    assert torch.equal(comfyui.match(image, look, change_mask=black), image)


def test_specified_here_and_changed_there(comfyui: ComfyUI) -> None:
    image, mask = photo("chelsea")[:, ::4, ::4], left_half(75, 113)
    nodes = {
        name: {"class_type": "ProbeLoadMask", "inputs": {"path": str(comfyui.save(values))}}
        for name, values in {"mask": mask, "all": torch.ones(1, 8, 8)}.items()
    }
    node = {"class_type": "ImageHistogramSpecify", "target": "uniform", "factor": 1.0, "device": "auto"}
    result = comfyui.change(image, nodes, **node, image_mask=["mask", 0], change_mask=["all", 0])
    expected = specify_images(image, Uniform(), image_mask=mask, change_mask=torch.ones(1, 8, 8))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
