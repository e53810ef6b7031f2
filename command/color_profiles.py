"""Bring pictures to the color profile of another, so that equal colors have equal values when they are measured."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pyvips
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

_STEPS = 9
# Less than this is how makers of profiles for the same colors differ; of 255 levels.
_SAME = 1.5
_HIGHEST = 65535
_INTENT = {"intent": "relative", "black_point_compensation": True}


def convert(pixels: Tensor, own: bytes | None, wanted: bytes | None, name: str) -> Tensor:
    """Pixels ``[H, W, C]`` in [0, 1] of one ICC profile, C of 1 or 3, as those of another; None stands for sRGB.

    As they are, if the profiles mean the same colors. Colored pixels never become gray: where that is wanted, they become sRGB.

    Raises:
        ValueError: a profile cannot be used, or values beyond [0, 1] would have to be changed. If it is their own, the text
            begins with ``name``.
    """
    import torch

    colors = pixels.shape[-1]
    if wanted is not None and is_gray(wanted) and colors == 3:
        wanted = None
    if same_colors(own, wanted, colors, name):
        return pixels
    if not bool(((pixels >= 0) & (pixels <= 1)).all()):
        raise ValueError(f"{name}: expected the color profile of the source for values beyond 0 to 1, got another")
    levels = (pixels * 255).round_()
    if torch.equal(levels / 255, pixels):
        values: NDArray[Any] = levels.numpy().astype(np.uint8)
    else:
        values = (pixels * _HIGHEST).round_().numpy().astype(np.uint16)
    return torch.from_numpy(_convert(values, own, wanted).astype(np.float32)).div_(_HIGHEST)


@lru_cache(maxsize=64)
def same_colors(own: bytes | None, wanted: bytes | None, colors: int = 3, name: str = "") -> bool:
    """Whether the same values, of 1 or 3 channels, mean the same colors in two profiles, but for less than can be seen.

    Raises:
        ValueError: as :func:`convert`.
    """
    if own == wanted:
        return True
    check_profile(wanted, colors)
    check_profile(own, colors, f"{name}: ")
    steps = np.linspace(0, 255, _STEPS).round().astype(np.uint8)
    lattice = np.stack(np.meshgrid(*[steps] * colors, indexing="ij"), axis=-1).reshape(1, -1, colors)
    changed = np.abs(_convert(lattice, own, wanted).astype(int) - lattice.astype(int) * 257).max()
    return bool(changed < _SAME * 257)


def check_profile(profile: bytes | None, colors: int, place: str = "") -> None:
    """Raise a ValueError if a profile cannot be used for pixels of 1, 3 or 4 channels; its text begins with ``place``."""
    if profile is not None and not _is_usable(profile, colors):
        kind = {1: "gray", 3: "RGB", 4: "CMYK"}[colors]
        raise ValueError(f"{place}expected a color profile for {kind}, got one that is damaged or for other pictures")


def is_gray(profile: bytes) -> bool:
    """Whether a profile is one for gray pictures."""
    return profile[16:20] == b"GRAY"


@lru_cache(maxsize=64)
def _is_usable(profile: bytes, colors: int) -> bool:
    if profile[16:20] not in {1: (b"RGB ", b"GRAY"), 3: (b"RGB ",), 4: (b"CMYK",)}[colors]:
        return False
    try:
        if colors == 4:
            # From CMYK, libvips would go by the standard profile without a word; to it, it does not.
            _with_profile(pyvips.Image.black(1, 1, bands=3).copy(interpretation="lab"), profile).icc_export(**_INTENT)
        else:
            _by_two_steps(np.zeros((1, 1, 1 if is_gray(profile) else 3), np.uint16), profile, profile)
    except pyvips.Error:
        return False
    return True


def _convert(values: NDArray[Any], own: bytes | None, wanted: bytes | None) -> NDArray[np.uint16]:
    if values.shape[-1] == 1 and not (own is not None and is_gray(own)):
        values = np.repeat(values, 3, axis=-1)
    changed = (_by_one_step if values.dtype == np.uint8 else _by_two_steps)(values, own, wanted)
    return changed.reshape(*values.shape[:2], -1)


def _by_one_step(values: NDArray[Any], own: bytes | None, wanted: bytes | None) -> NDArray[np.uint16]:
    """Convert 8 bits to 16, in an eighth of the time of two steps. From 16 bits, one step would be off by up to 14 levels."""
    picture = _picture(values, own)
    if wanted is None:
        return _numbers(picture.icc_transform("srgb", embedded=True, depth=16, **_INTENT))
    # libvips takes a profile to go to from a file alone.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{uuid4()}.icc"
        path.write_bytes(wanted)
        return _numbers(picture.icc_transform(str(path), embedded=True, depth=16, **_INTENT))


def _by_two_steps(values: NDArray[Any], own: bytes | None, wanted: bytes | None) -> NDArray[np.uint16]:
    lab = _picture(values, own).icc_import(embedded=True, **_INTENT)
    return _numbers(_with_profile(lab, wanted).icc_export(depth=16, **_INTENT))


def _numbers(picture: Any) -> NDArray[np.uint16]:
    return np.asarray(picture.numpy())


def _picture(values: NDArray[Any], profile: bytes | None) -> Any:
    spaces = ("b-w", "srgb") if values.dtype == np.uint8 else ("grey16", "rgb16")
    return _with_profile(pyvips.Image.new_from_array(values, interpretation=spaces[values.shape[-1] == 3]), profile)


def _with_profile(picture: Any, profile: bytes | None) -> Any:
    picture = picture.copy()
    picture.set_type(pyvips.GValue.blob_type, "icc-profile-data", _srgb() if profile is None else profile)
    return picture


@lru_cache(maxsize=1)
def _srgb() -> bytes:
    return bytes(pyvips.Operation.call("profile_load", "srgb"))
