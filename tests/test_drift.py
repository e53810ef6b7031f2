"""What fits are for: tone that drifts over extensions of a clip, and around an inpainting; and how much memory they take."""

from __future__ import annotations

import sys

import continuation
import fitting
import inpainting
import pytest
from comfyui_histogram_match import METHODS
from photos import DISTINCT

POINTWISE = [name for name in DISTINCT if not METHODS[name].per_frame_only and name != "sliced"]


@pytest.mark.parametrize("photo", ["coffee", "rocket"])
def test_the_tenth_extension_keeps_the_tone_of_the_first(photo: str) -> None:
    anchored, chained = "aligned-curve on the overlap", ["hm to the last frame", "mkl to the extension before"]
    found = continuation.errors([photo], [0], [anchored, *chained, "nothing"])
    assert found[anchored][0] <= 1.0
    assert all(found[name][0] > 5 for name in (*chained, "nothing"))


def test_the_unmasked_part_of_an_inpainted_picture_is_restored() -> None:
    found = inpainting.errors(["nothing", "aligned-curve, with the mask", "aligned-curve, without"])
    assert min(found["nothing"]) > 5
    assert max(found["aligned-curve, with the mask"]) <= 1.0
    assert max(found["aligned-curve, without"]) <= 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the resident memory from Linux's /proc")
@pytest.mark.parametrize("method", POINTWISE)
def test_a_clip_is_fitted_and_changed_in_little_memory(method: str) -> None:
    # What the system keeps resident besides is only ever too much: the least of two runs.
    runs = [fitting.measure(6, 720, 1280, method) for _ in range(2)]
    assert min(run["fit"] for run in runs) <= 2
    assert min(run["apply"] for run in runs) <= 2
