"""ICC profiles built from primaries and transfer curves, and conversions between them by those same numbers."""

from __future__ import annotations

import struct
from functools import cache

import numpy as np
from PIL import ImageCms

_D50 = np.array([0.96420288, 1.0, 0.82490540])
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
# 563 / 256, the nearest to 2.2 that the older kind of curve can hold.
_GAMMA = 563 / 256
_PRIMARIES = {
    "srgb": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "adobe": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
}
BROKEN = b"\x00\x00\x01\x00 no profile at all, whatever it is called " + bytes(range(256))


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1.0, (1 - x - y) / y])


@cache
def to_xyz(name: str) -> np.ndarray:
    """The matrix from linear RGB to XYZ under D50, by Bradford's adaptation from D65."""
    white = _xyz(0.3127, 0.3290)
    primaries = np.stack([_xyz(*point) for point in _PRIMARIES[name]], axis=1)
    matrix = primaries * np.linalg.solve(primaries, white)
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    scale = np.diag((bradford @ _D50) / (bradford @ white))
    return np.linalg.inv(bradford) @ scale @ bradford @ matrix


def linear(name: str, values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as amounts of light."""
    if name in ("adobe", "gray22"):
        return values**_GAMMA
    g, a, b, c, d = _SRGB_CURVE
    return np.where(values >= d, (a * np.maximum(values, d) + b) ** g, c * values)


def encoded(name: str, light: np.ndarray) -> np.ndarray:
    """Amounts of light in [0, 1] as values."""
    if name in ("adobe", "gray22"):
        return light ** (1 / _GAMMA)
    g, a, b, c, d = _SRGB_CURVE
    return np.where(light >= c * d, (np.maximum(light, c * d) ** (1 / g) - b) / a, light / c)


def convert(pixels: np.ndarray, source: str, target: str) -> np.ndarray:
    """Bring RGB ``[H, W, 3]`` in [0, 1] from one space to another, colorimetrically, or gray ``[H, W, 1]`` to another curve."""
    if source == target:
        return pixels
    light = linear(source, pixels.astype(np.float64))
    if pixels.shape[-1] == 3:
        light = np.clip(light @ (np.linalg.inv(to_xyz(target)) @ to_xyz(source)).T, 0, 1)
    return encoded(target, light).astype(np.float32)


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def _text(words: str) -> bytes:
    letters = words.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(letters), 28) + letters


def _curve(name: str) -> bytes:
    if name in ("adobe", "gray22"):
        return b"curv" + bytes(4) + struct.pack(">IH", 1, round(_GAMMA * 256)) + bytes(2)
    return b"para" + bytes(4) + struct.pack(">HH", 3, 0) + _fixed(*_SRGB_CURVE)


@cache
def profile(name: str) -> bytes | None:
    """A profile's bytes: of sRGB as another maker writes it, of the others as computed here."""
    if name in ("none", "broken"):
        return None if name == "none" else BROKEN
    if name == "srgb":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tags = {b"desc": _text(name), b"cprt": _text("public domain"), b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50)}
    if name == "gray22":
        tags[b"kTRC"] = _curve(name)
    else:
        for index, letter in enumerate((b"r", b"g", b"b")):
            tags[letter + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(*to_xyz(name)[:, index])
            tags[letter + b"TRC"] = _curve(name)
    start, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", start + len(body), len(content))
        body += content
    space = b"GRAY" if name == "gray22" else b"RGB "
    header = struct.pack(">I4sI4s4s4s6H", start + len(body), bytes(4), 0x04300000, b"mntr", space, b"XYZ ", 2026, 1, 1, 0, 0, 0)
    header += b"acsp" + bytes(28) + _fixed(*_D50) + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + body
