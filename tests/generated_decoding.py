"""Decodes what Pillow has no mode for: PNG of 16 bits, and LZW as TIFF has it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from zlib import crc32, decompress

import numpy as np


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG."""
    place = 8
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length)[0] == crc32(kind + content)
        yield kind, content
        place += length + 12


def wide_png(data: bytes) -> np.ndarray:
    """A PNG of 16 bits."""
    width, height, _, kind, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    assert not interlaced
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[kind]
    step, rows = channels * 2, []
    content = np.frombuffer(decompress(b"".join(part for name, part in chunks_of(data) if name == b"IDAT")), np.uint8)
    above = np.zeros(width * step + step, int)
    for filtered, *line in content.reshape(height, -1).astype(int).tolist():
        row = [0] * step + line
        for index in range(step, len(row)):
            left, up, corner = row[index - step], int(above[index]), int(above[index - step])
            nearest = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
            row[index] = (row[index] + (0, left, up, (left + up) // 2, nearest)[filtered]) % 256
        above = np.array(row)
        rows.append(above[step:].astype(np.uint8))
    return np.stack(rows).view(">u2").astype(np.uint16).reshape(height, width, channels)


def unpacked(data: bytes) -> bytes:
    """What LZW as TIFF has it was made of."""
    bits, place, width, table, last, out = int.from_bytes(data, "big"), len(data) * 8, 9, [], b"", []
    while True:
        place -= width
        code = bits >> place & (1 << width) - 1
        if code == 257:
            return b"".join(out)
        if code == 256:
            table, last, width = [bytes([level]) for level in range(256)] + [b"", b""], b"", 9
            continue
        entry = table[code] if code < len(table) else last + last[:1]
        if last:
            table.append(last + entry[:1])
        out.append(entry)
        last, width = entry, len(f"{len(table) + 1:b}")
        width = max(9, min(width, 12))
