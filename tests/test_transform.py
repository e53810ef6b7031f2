"""What a match finds, as a value: applied to the picture it is the match; averaged it lies between; pointwise if it says so."""

from __future__ import annotations

import pytest
import torch
from comfyui_histogram_match import COLOR_SPACES, METHODS, match_images
from comfyui_histogram_match.clip.settings import MatchSettings
from comfyui_histogram_match.methods.transform import Picture, Step, Transform, complete
from photos import at_size_of, continuous_photo
from torch import Tensor

POOLING = [name for name, method in METHODS.items() if not method.per_frame_only]


def planes(name: str) -> Tensor:
    return continuous_photo(name)[0, ::4, ::4].movedim(-1, 0)


@torch.no_grad()
def solved(image: Tensor, reference: Tensor, method: str, color_space: str = "rgb") -> Transform:
    space, steps = MatchSettings(method, color_space=color_space, rotations=6).recipe()
    reference = at_size_of(method, image.movedim(0, -1)[None], reference.movedim(0, -1)[None])[0].movedim(-1, 0)
    of_reference = Picture(space.split(reference)[0])
    prepared = [
        step.prepare(step.measure(of_reference)) if isinstance(step, Step) and step.measures_reference else None
        for step in steps
    ]
    transform, _ = complete(Transform(space), steps, Picture(space.split(image)[0]), prepared)
    assert len(transform.parts) == len(steps)
    return transform


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("color_space", COLOR_SPACES)
def test_applied_to_the_picture_it_is_the_match(method: str, color_space: str) -> None:
    image = planes("chelsea")
    reference = at_size_of(method, image[None].movedim(1, -1), planes("coffee")[None].movedim(1, -1))[0].movedim(-1, 0)
    with torch.no_grad():
        matched = solved(image, reference, method, color_space).apply(image).clamp(0, 1)
    expected = match_images(
        image.movedim(0, -1)[None], reference.movedim(0, -1)[None], method, color_space=color_space, rotations=6
    )
    # The evaluation without new memory of sliced looks up in whole bins, a fifth of a level wide.
    tolerance = 0.5 / 255 if method == "sliced" else 2e-5
    assert float((matched.movedim(0, -1) - expected[0]).abs().mean()) <= tolerance


@pytest.mark.parametrize("method", METHODS)
def test_pointwise_is_what_it_says(method: str) -> None:
    image, reference = planes("chelsea"), planes("coffee")
    transform = solved(image, reference, method)
    assert transform.pointwise == (method not in ("skimage", "exact", "sliced"))
    if transform.pointwise:
        # Pixels of one color at other places, and without most of the picture around them.
        part = image.flip(1, 2)[:, 20:50, 10:70]
        whole, alone = transform.apply(image), transform.apply(part)
        torch.testing.assert_close(alone, whole.flip(1, 2)[:, 20:50, 10:70], rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", POOLING)
def test_the_average_of_two_lies_between_them(method: str) -> None:
    image = planes("chelsea")
    first, second = (solved(image, planes(name), method) for name in ("coffee", "astronaut"))
    assert torch.equal(first.averaged(second, 0.0).apply(image), first.apply(image))
    assert torch.equal(first.averaged(second, 1.0).apply(image), second.apply(image))
    if method in ("pytorch", "nearest", "mkl", "mvgd"):
        between = (first.apply(image) + second.apply(image)) / 2
        torch.testing.assert_close(first.averaged(second, 0.5).apply(image), between, rtol=0, atol=1e-5)
