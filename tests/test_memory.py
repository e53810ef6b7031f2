"""How much memory a large picture takes in each method, in a process of its own."""

from __future__ import annotations

import json
import sys

import pytest
from comfyui_histogram_match import METHODS
from launching import python
from measures import RETURN_FREED_MEMORY

# The peak of the resident memory beyond what imports and a small picture take, in pictures.
MEASURE = """
import json, sys
from pathlib import Path
import torch
from comfyui_histogram_match import match_images

def status(field):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))

size, method = {size}, {method!r}
torch.set_num_threads(2)
with torch.inference_mode():
    small = torch.rand(1, 600, 600, 3)
    match_images(small, small, method)
    before = status("VmRSS")
    image, reference = torch.rand(1, size, size, 3), torch.rand(1, 300, 300, 3)
    Path("/proc/self/clear_refs").write_text("5")
    match_images(image, reference, method)
print(json.dumps((status("VmHWM") - before) * 1024 - {allowed} * image.nbytes))
"""
SIZE = 2000
# Megabytes for what does not grow with the picture: the stripes of each thread.
FIXED = 96
PICTURES = {"exact": 6}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the resident memory from Linux's /proc")
@pytest.mark.parametrize("method", METHODS)
def test_a_large_picture_takes_the_memory_of_few_pictures(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in RETURN_FREED_MEMORY.items():
        monkeypatch.setenv(name, value)
    status, written = python(MEASURE.format(size=SIZE, method=method, allowed=PICTURES.get(method, 3)))
    assert status == 0, written
    assert json.loads(written.splitlines()[-1]) <= FIXED * 1e6
