"""Color spaces: there and back, and what they say of known colors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from comfyui_histogram_match import match_images
from comfyui_histogram_match.methods.color_space import ColorSpace
from comfyui_histogram_match.methods.table import COLOR_SPACES
from photos import COLOR_PHOTOS, photo
from skimage.color import rgb2lab
from torch import Tensor

ALL = (*COLOR_SPACES, "log_cones")
LUMA = torch.tensor([0.2126, 0.7152, 0.0722])


def cube(dtype: torch.dtype = torch.float32) -> Tensor:
    """Every sixteenth color and all corners, [3, 17, 289]."""
    level = torch.linspace(0, 1, 17, dtype=dtype)
    return torch.stack(torch.meshgrid(level, level, level, indexing="ij")).view(3, 17, 289)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("lightness_only", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_and_back(name: str, lightness_only: bool, dtype: torch.dtype) -> None:
    space = ColorSpace(name, lightness_only)
    for rgb in (cube(dtype), torch.rand(3, 400, 500, dtype=dtype)):
        channels, kept = space.split(rgb)
        assert len(channels) == len(space.span)
        assert channels.dtype == dtype
        torch.testing.assert_close(space.join(channels, kept), rgb, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", COLOR_PHOTOS)
@pytest.mark.parametrize("space", ALL)
def test_there_and_back_on_photos(name: str, space: str) -> None:
    rgb = photo(name)[0].movedim(-1, 0)
    torch.testing.assert_close(ColorSpace(space).join(*ColorSpace(space).split(rgb)), rgb, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", COLOR_SPACES)
def test_all_colors_are_in_range(name: str) -> None:
    channels, _ = ColorSpace(name).split(cube())
    assert float(channels.min()) >= -1e-6
    assert float(channels.max()) <= 1 + 1e-6


def test_lab_is_that_of_scikit_image() -> None:
    channels, _ = ColorSpace("lab").split(cube())
    lab = torch.stack([channels[0] * 100, channels[1] * 255 - 128, channels[2] * 255 - 128])
    expected = rgb2lab(cube().movedim(0, -1).double().numpy())
    assert float((lab.movedim(0, -1) - torch.from_numpy(expected)).abs().max()) <= 0.02


@pytest.mark.parametrize(
    ("rgb", "oklab"),
    [
        # Ottosson's page gives XYZ of unit colors; these sRGB primaries are those of CSS Color 4's samples.
        ((1.0, 1.0, 1.0), (1.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (0.62796, 0.22486, 0.12585)),
        ((0.0, 1.0, 0.0), (0.86644, -0.23389, 0.17950)),
        ((0.0, 0.0, 1.0), (0.45201, -0.03246, -0.31153)),
    ],
)
def test_oklab_of_known_colors(rgb: tuple[float, ...], oklab: tuple[float, ...]) -> None:
    channels, _ = ColorSpace("oklab").split(torch.tensor(rgb).view(3, 1, 1))
    expected = (oklab[0], oklab[1] + 128 / 255, oklab[2] + 128 / 255)
    np.testing.assert_allclose(channels.flatten().numpy(), expected, atol=1e-4)


def test_luminance_is_rec_709_luma() -> None:
    channels, _ = ColorSpace("luminance").split(cube())
    torch.testing.assert_close(channels[0], torch.tensordot(LUMA, cube(), dims=1))


@pytest.mark.parametrize("method", ["pytorch", "mkl", "sliced"])
def test_luminance_leaves_chroma(method: str) -> None:
    image = photo("chelsea")
    matched = match_images(image, photo("coffee"), method, color_space="luminance")
    chroma = [picture[..., (0, 2)] - (picture @ LUMA)[..., None] for picture in (image, matched)]
    unclamped = ((matched > 0) & (matched < 1)).all(dim=-1)
    assert float(unclamped.float().mean()) > 0.7
    assert float((chroma[1] - chroma[0])[unclamped].abs().max()) <= 1 / 255
    assert float(((matched - image) @ LUMA).abs().mean()) > 0.02


@pytest.mark.parametrize("name", ["lab", "oklab", "ycbcr"])
def test_lightness_only_keeps_the_other_channels(name: str) -> None:
    space = ColorSpace(name, lightness_only=True)
    channels, kept = space.split(cube())
    darker = ColorSpace(name).split(space.join(channels * 0.98, kept).clamp(0, 1))[0]
    inside = ((space.join(channels * 0.98, kept) - 0.5).abs() < 0.499).all(dim=0)
    torch.testing.assert_close(darker[1:, inside], ColorSpace(name).split(cube())[0][1:, inside], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_finite_also_at_black_and_white(name: str) -> None:
    rgb = cube().requires_grad_()
    channels, kept = ColorSpace(name).split(rgb)
    (channels.square().sum() + ColorSpace(name).join(channels, kept).square().sum()).backward()
    assert rgb.grad is not None
    assert bool(rgb.grad.isfinite().all())


@pytest.mark.parametrize("name", ALL)
def test_gradcheck(name: str) -> None:
    rgb = (torch.rand(3, 2, 3, dtype=torch.float64) * 0.8 + 0.1).requires_grad_()

    def there_and_on(rgb: Tensor) -> Tensor:
        channels, kept = ColorSpace(name).split(rgb)
        return ColorSpace(name).join(channels * 0.9, kept)

    assert torch.autograd.gradcheck(there_and_on, (rgb,))
