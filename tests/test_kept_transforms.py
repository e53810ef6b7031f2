"""Transforms that are fitted, kept and applied elsewhere: the match itself on the same pictures, and safe to read."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_histogram_match import COLOR_SPACES, METHODS, ColorTransform, ReferenceHistogram, fit_transform, match_images
from comfyui_histogram_match.methods.channels import ChannelTables
from comfyui_histogram_match.methods.color_space import ColorSpace
from comfyui_histogram_match.methods.transform import Transform
from photos import continuous_photo
from torch import Tensor

FITTED = [name for name, method in METHODS.items() if not method.per_frame_only]


def batch() -> Tensor:
    return torch.cat([continuous_photo(name)[:, :90, :120] for name in ("chelsea", "rocket", "astronaut")])


def look() -> Tensor:
    return torch.cat([continuous_photo("coffee")[:, :80, :90], continuous_photo("coffee")[:, 100:180, 200:290]])


@pytest.mark.parametrize("color_space", COLOR_SPACES)
@pytest.mark.parametrize("method", FITTED)
def test_fitted_and_applied_is_the_match(method: str, color_space: str, tmp_path: Path) -> None:
    image, reference, stats = batch(), look(), "pooled"
    if METHODS[method].aligned:
        reference, stats = image.roll(1, 0) * 0.3 + image**1.2 * 0.6, "paired"
    fitted = fit_transform(image, reference, method, color_space=color_space)
    expected = match_images(image, reference, method, color_space=color_space, source_stats="uniform", reference_stats=stats)
    assert not torch.equal(expected, image)
    torch.testing.assert_close(fitted.apply(image), expected, rtol=0, atol=0)
    fitted.save(tmp_path / "look.npz")
    kept = ColorTransform.load(tmp_path / "look.npz")
    assert (kept.method, kept.pointwise) == (method, method != "sliced")
    torch.testing.assert_close(kept.apply(image, 0.4), fitted.apply(image, 0.4), rtol=0, atol=0)
    torch.testing.assert_close(kept.apply(image), expected, rtol=0, atol=0)


@pytest.mark.parametrize("method", ["pytorch", "mkl", "hm-mkl-hm"])
def test_one_frame_decides(method: str) -> None:
    image, reference = batch(), look()[:1]
    fitted = fit_transform(image, reference, method, target_index=1)
    expected = match_images(image, reference, method, source_stats="target_frame", target_index=1)
    torch.testing.assert_close(fitted.apply(image), expected, rtol=0, atol=0)
    torch.testing.assert_close(fit_transform(image[1:2], reference, method).apply(image), expected, rtol=0, atol=1e-6)


def test_a_part_of_a_picture_tells_how_to_change_the_rest() -> None:
    true = continuous_photo("chelsea")[:, :200, :300]
    drifted = (true * 0.8 + 0.1).clamp(0, 1)
    fitted = fit_transform(drifted[:, :, :150], true[:, :, :150], "mkl")
    assert float((fitted.apply(drifted) - true).abs().max()) < 1e-3
    assert float((match_images(drifted, true[:, :, :150], "mkl") - true).abs().mean()) > 0.01


@pytest.mark.parametrize("method", ["pytorch", "mkl"])
def test_masks_say_what_is_measured_and_what_is_changed(method: str) -> None:
    image, reference = batch()[:1], look()[:1]
    left, right = torch.zeros(1, 90, 120), torch.zeros(1, 90, 120)
    left[..., :60], right[..., 70:] = 1, 1
    fitted = fit_transform(image, reference, method, image_mask=left)
    alone = fit_transform(image[:, :, :60], reference, method)
    torch.testing.assert_close(fitted.apply(image), alone.apply(image), rtol=0, atol=1e-5)
    changed = fitted.apply(image, mask=right)
    assert torch.equal(changed[:, :, :70], image[:, :, :70])
    torch.testing.assert_close(changed[:, :, 70:], fitted.apply(image)[:, :, 70:], rtol=0, atol=1e-6)
    # The same in one call.
    torch.testing.assert_close(
        match_images(image, reference, method, image_mask=left, change_mask=right), changed, rtol=0, atol=1e-6
    )
    everywhere = match_images(image, reference, method, image_mask=left, change_mask=torch.ones(1, 1, 1))
    torch.testing.assert_close(everywhere, fitted.apply(image), rtol=0, atol=1e-6)


def test_without_a_change_mask_the_image_mask_does_both() -> None:
    image, reference = batch()[:1], look()[:1]
    mask = torch.linspace(0, 1, 120).expand(1, 90, 120)
    assert torch.equal(
        match_images(image, reference, image_mask=mask, change_mask=mask), match_images(image, reference, image_mask=mask)
    )


def test_kept_references_alpha_and_gray_pictures() -> None:
    image, reference = batch(), look()
    kept = fit_transform(image, ReferenceHistogram.of(reference))
    torch.testing.assert_close(kept.apply(image), fit_transform(image, reference).apply(image), rtol=0, atol=1e-6)
    with_alpha = torch.cat([image, torch.rand(3, 90, 120, 1)], dim=-1)
    changed = kept.apply(with_alpha)
    assert torch.equal(changed[..., 3], with_alpha[..., 3])
    assert torch.equal(changed[..., :3], kept.apply(image))
    gray = image[..., :1]
    for fitted in (kept, fit_transform(image, reference, "mkl"), fit_transform(gray, reference)):
        assert fitted.apply(gray).shape == gray.shape
    torch.testing.assert_close(
        kept.apply(gray), kept.apply(gray.expand(-1, -1, -1, 3)).mean(dim=-1, keepdim=True), rtol=0, atol=1e-6
    )
    one_table = fit_transform(gray, reference)
    torch.testing.assert_close(one_table.apply(image)[..., 1:2], one_table.apply(image[..., 1:2]), rtol=0, atol=1e-3)


def test_factor_0_and_progress() -> None:
    fitted, steps = fit_transform(batch(), look()), []
    image = batch() * 2 - 0.5
    assert torch.equal(fitted.apply(image, 0.0), image)
    fitted.apply(image, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("method", ["pytorch", "mkl", "reinhard"])
def test_gradients_reach_what_was_fitted(method: str) -> None:
    torch.manual_seed(0)
    # With fewer pixels than levels, most colors lie where tables are flat.
    side = 40_000 if method == "pytorch" else 4
    image, reference, other, weights = (
        torch.rand(shape, dtype=torch.float64) for shape in ((1, side, 5, 3), (1, 5, side, 3), (1, 3, 3, 3), (1, side, 5))
    )

    def applied(*tensors: Tensor) -> Tensor:
        image, reference, other, weights = tensors
        return fit_transform(image, reference, method, image_mask=weights).apply(other * 0.5 + 0.25)

    tensors = [tensor.requires_grad_() for tensor in (image, reference, other, weights)]
    if method == "pytorch":
        # A step function of many steps: no finite difference tells its slope.
        applied(*tensors).square().sum().backward()
        assert all(tensor.grad is not None and bool(tensor.grad.any()) for tensor in tensors)
    else:
        assert torch.autograd.gradcheck(applied, tensors, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fit_transform(batch(), look(), "exact"), ValueError, "method: expected one whose change can be applied"),
        (lambda: fit_transform(batch(), look(), "skimage"), ValueError, "scikit-image compares two pictures"),
        (lambda: fit_transform(batch(), look(), "mlk"), ValueError, "method: expected"),
        (lambda: fit_transform(batch(), look(), target_index=3), ValueError, "target_index: expected 0 to 2"),
        (lambda: fit_transform(batch()[0], look()), ValueError, "image: expected shape"),
        (lambda: fit_transform(batch(), look(), image_mask=torch.zeros(1, 9, 9)), ValueError, "image: expected finite pixels"),
        (lambda: fit_transform(batch(), look(), reference_mask=torch.zeros(1, 9, 9)), ValueError, "reference_mask: expected"),
        (lambda: fit_transform(batch() * torch.nan, look()), ValueError, "image: expected finite pixels"),
        (lambda: fit_transform(batch(), look()).apply(batch()[0]), ValueError, "image: expected shape"),
        (lambda: fit_transform(batch(), look()).apply(batch(), 1.5), ValueError, "factor: expected"),
        (lambda: fit_transform(batch(), look()).apply(batch(), mask=torch.ones(2, 9, 9)), ValueError, "change_mask: expected"),
        (lambda: match_images(batch(), look(), change_mask=torch.ones(9, 9)), ValueError, "change_mask: expected shape"),
        (
            lambda: match_images(batch(), look(), change_mask=torch.full((1, 9, 9), torch.nan)),
            ValueError,
            "change_mask: expected values from 0 to 1, got NaN",
        ),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_values_that_are_left_out_are_told() -> None:
    reference = look()
    reference[0, 0, 0, 0] = torch.nan
    with pytest.warns(RuntimeWarning, match="reference: left out 1 NaN"):
        fit_transform(batch(), reference)
    image = batch()
    image[1, 0, 0] = torch.inf
    with pytest.warns(RuntimeWarning, match="image: left out 3 NaN"):
        fit_transform(image, look())


def rewritten(path: Path, **changes: Any) -> Path:
    """A file of a transform with some arrays replaced, or left out if None."""
    with np.load(path) as arrays:
        content = {name: arrays[name] for name in arrays.files} | changes
    target = path.with_name("changed.npz")
    np.savez(target, **{name: array for name, array in content.items() if array is not None}, allow_pickle=True)
    return target


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "comfyui-histogram-match reference 1"},
        {"format": None},
        {"space": "hsv"},
        {"method": "magic"},
        {"parts": ["affine map"]},
        {"parts": ["os.system"]},
        {"parts": ["channel tables"] * 17},
        {"0 values": None},
        {"0 values": np.full((3, 256), np.nan)},
        {"0 values": np.zeros((3, 65537))},
        {"0 values": np.zeros((2, 256))},
        {"0 values": np.zeros((3, 0))},
        {"0 values": np.zeros((3, 256), dtype=complex)},
        {"0 values": np.array([["a"] * 4] * 3)},
        {"0 values": np.array([[print] * 4] * 3, dtype=object)},
        {"0 values": np.zeros(256)},
        {"lightness_only": np.zeros(2)},
    ],
    ids=lambda changes: " ".join(f"{name} {str(value)[:30]}" for name, value in changes.items()),
)
def test_other_files_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    fit_transform(batch(), look()).save(tmp_path / "look.npz")
    assert ColorTransform.load(rewritten(tmp_path / "look.npz")).method == "pytorch"
    with pytest.raises(ValueError, match=r"changed.npz: expected a file of ColorTransform, got another \("):
        ColorTransform.load(rewritten(tmp_path / "look.npz", **changes))


@pytest.mark.parametrize("method", ["pytorch", "sliced"])
def test_damaged_files_are_refused(method: str, tmp_path: Path) -> None:
    path = tmp_path / "look.npz"
    fit_transform(batch(), look(), method).save(path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for content in (b"", b"PK", whole[: len(whole) // 2], b"no archive", io.BytesIO().getvalue()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="expected a file of ColorTransform"):
            ColorTransform.load(path)
    for _ in range(40):
        damaged = bytearray(whole)
        position = int(random.integers(len(damaged)))
        damaged[position] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        # Most often the checksum of an array says so; what has another checksum is checked itself.
        with contextlib.suppress(ValueError):
            kept = ColorTransform.load(path)
            assert bool(kept.apply(batch()).isfinite().all())
    with pytest.raises(FileNotFoundError):
        ColorTransform.load(tmp_path / "nothing.npz")


def test_what_would_be_unpacked_is_known_before(tmp_path: Path) -> None:
    """A file that says that it unpacks to a terabyte is refused, not read."""
    fit_transform(batch(), look()).save(tmp_path / "look.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (3, 1 << 36)})
    with zipfile.ZipFile(tmp_path / "look.npz") as archive, zipfile.ZipFile(tmp_path / "large.npz", "w") as large:
        for name in archive.namelist():
            large.writestr(name, archive.read(name) if name != "0 values.npy" else header.getvalue())
    with pytest.raises(ValueError, match="0 values of shape"):
        ColorTransform.load(tmp_path / "large.npz")


def test_what_leaves_the_range_is_cut_off_in_a_picture() -> None:
    image = torch.rand(1, 90, 120, 3)
    fitted = fit_transform(image, image.square(), "aligned-curve")
    expected = match_images(image, image.square(), "aligned-curve", source_stats="uniform")
    torch.testing.assert_close(fitted.apply(image), expected, rtol=0, atol=0)
    beyond = Transform(ColorSpace("rgb"), (ChannelTables(torch.linspace(-1, 2, 4).expand(3, -1)),))
    changed = ColorTransform(beyond).apply(image)
    assert (float(changed.min()), float(changed.max())) == (0, 1)
