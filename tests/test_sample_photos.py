"""Photos and clips to try things with."""

from __future__ import annotations

import pytest
import torch
from comfyui_histogram_match.sample_photos import CLIPS, PHOTOS, sample_photo
from photos import photo
from torch import Tensor


def orange(clip: Tensor) -> Tensor:
    """How many pixels of each frame are of the color of the crossing object."""
    return (clip == torch.tensor([1.0, 0.45, 0.05])).all(-1).sum((1, 2))


@pytest.mark.parametrize("name", PHOTOS)
def test_a_picture_is_the_photo_as_it_is(name: str) -> None:
    assert torch.equal(sample_photo(name), photo(name))


@pytest.mark.parametrize("kind", CLIPS)
@pytest.mark.parametrize("name", PHOTOS)
def test_clips_are_small_and_in_range(name: str, kind: str) -> None:
    clip = sample_photo(name, kind, 5)
    assert clip.dtype == torch.float32
    assert clip.is_contiguous()
    assert (len(clip), clip.shape[3]) == (5, 3)
    assert max(clip.shape[1:3]) <= 512
    assert clip.min() >= 0
    assert clip.max() <= 1
    assert torch.equal(clip, sample_photo(name, kind, 5))


def test_a_pan_goes_from_the_left_to_the_right() -> None:
    whole, clip = photo("chelsea"), sample_photo("chelsea", "pan", 7)
    width = whole.shape[2] * 3 // 4
    assert torch.equal(clip[:1], whole[:, :, :width])
    assert torch.equal(clip[-1:], whole[:, :, -width:])
    places = [
        next(left for left in range(whole.shape[2] - width + 1) if torch.equal(frame, whole[0, :, left : left + width]))
        for frame in clip
    ]
    steps = torch.tensor(places).diff()
    assert steps.min() > 0
    assert steps.max() - steps.min() <= 1


def test_an_object_comes_in_crosses_and_leaves() -> None:
    clip = sample_photo("chelsea", "crossing object", 25)
    # Its soft edge may touch the border.
    for end in (0, -1):
        assert (clip[end] != photo("chelsea")[0]).any(-1).float().mean() < 1e-3
    seen = orange(clip)
    # Of a disk that is all inside, as many pixels as its place among them lets it have.
    assert (seen[:13].diff() >= -0.01 * seen.max()).all()
    assert (seen[12:].diff() <= 0.01 * seen.max()).all()
    # A disk with a diameter of half the height, and its soft edge.
    radius = clip.shape[1] / 4
    assert abs(float(seen[12]) / (torch.pi * radius**2) - 1) < 0.03
    rows, columns = torch.nonzero((clip[12] == torch.tensor([1.0, 0.45, 0.05])).all(-1)).unbind(-1)
    assert abs((rows.max() - rows.min()) - (columns.max() - columns.min())) <= 1
    assert torch.equal(clip[12, 0], photo("chelsea")[0, 0])


def test_a_fade_comes_evenly_out_of_a_blue_dark_and_gets_warm() -> None:
    clip = sample_photo("coffee", "fade", 9)
    means = clip.mean((1, 2))
    assert means[0].max() < 0.1
    assert (means.diff(dim=0) > 0).all()
    assert means.diff(dim=0).std(0).max() < 1e-3
    balance = (means[:, 2] / means[:, 0]).tolist()
    assert balance == sorted(balance, reverse=True)


@pytest.mark.parametrize(("frames", "first"), [(2, 1), (8, 4), (9, 4)])
def test_a_cut_shows_the_middle_of_the_next_photo_from_half_way_on(frames: int, first: int) -> None:
    clip = sample_photo("retina", "cut", frames)
    other = photo("chelsea").movedim(-1, 1)
    left = (other.shape[3] - other.shape[2]) // 2
    square = other[..., left : left + other.shape[2]]
    expected = torch.nn.functional.interpolate(square, size=clip.shape[1:3], mode="bilinear").movedim(1, -1)
    assert (clip[:first] == clip[0]).all()
    assert (clip[first:] == clip[-1]).all()
    assert (clip[-1] - expected[0]).abs().mean() < 0.002
    assert (clip[0] - clip[-1]).abs().mean() > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dog",), "photo: expected one of chelsea, .*, got 'dog'"),
        (("coffee", "zoom"), "kind: expected one of picture, .*, got 'zoom'"),
        (("coffee", "pan", 1), "frames: expected .* got 1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: tuple[str, str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_photo(*arguments)


def test_a_number_of_frames_is_whole() -> None:
    with pytest.raises(TypeError, match="frames: expected an int, got float"):
        sample_photo("coffee", "pan", 2.5)  # type: ignore[arg-type]


def test_light_is_that_of_srgb() -> None:
    light = sample_photo("coffee", "linear light")
    encoded = torch.where(light / 2 <= 0.0031308, light / 2 * 12.92, 1.055 * (light / 2) ** (1 / 2.4) - 0.055)
    torch.testing.assert_close(encoded, photo("coffee"), rtol=0, atol=1e-4)
    assert float(light.max()) > 1.9
