"""The pack works in a process that was forked off another one in which torch has already computed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from launching import python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")

# Both torch's own threads and those of the pack have run before the fork.
PREPARE = """
import os, sys, time
import torch
from comfyui_histogram_match import HistogramMatching, HistogramMatchingTransform, match_images

torch.set_num_threads(2)
generator = torch.Generator().manual_seed(0)
image, reference = (torch.rand(1, 600, 600, 3, generator=generator).square() for _ in range(2))
torch.rand(2000, 2000) @ torch.rand(2000, 2000)
(torch.rand(4_000_000) + 1).exp()
batch = image.repeat(3, 1, 1, 1)
match_images(batch, reference)
match_images(image, reference)
"""
IN_A_CHILD = """
expected = run()
child = os.fork()
if not child:
    torch.save(run(), "result.pt")
    os._exit(0)
end = time.monotonic() + 45
while os.waitpid(child, os.WNOHANG) == (0, 0):
    if time.monotonic() > end:
        os.kill(child, 9)
        sys.exit("the child hangs")
    time.sleep(0.01)
sys.exit(None if torch.equal(torch.load("result.pt"), expected) else "the child's result is another one")
"""
IN_A_DATA_LOADER = """
pictures = [torch.rand(3, 600, 600, generator=generator) for _ in range(6)]
pictures += [(picture * 255).to(torch.uint8) for picture in pictures]
transform = HistogramMatchingTransform(reference.movedim(-1, 1), factor=(1, 1))


class Matched(torch.utils.data.Dataset):
    def __len__(self):
        return len(pictures)

    def __getitem__(self, index):
        return transform(pictures[index])


expected = [transform(picture) for picture in pictures]
loader = torch.utils.data.DataLoader(Matched(), None, num_workers=2, multiprocessing_context="fork", timeout=45)
same = [torch.equal(matched, picture) for matched, picture in zip(loader, expected, strict=True)]
sys.exit(None if all(same) else "the results of the workers are others")
"""


def succeeds(script: str, folder: Path) -> None:
    """Run a script in a Python of its own, in a folder, and end it with all its children if it takes too long."""
    status, written = python(script, folder, 60)
    assert status == 0, written


@pytest.mark.parametrize(
    ("method", "color_space"), [("pytorch", "rgb"), ("pytorch", "lab"), ("mkl", "rgb"), ("sliced", "rgb"), ("hm-mkl-hm", "rgb")]
)
def test_a_forked_child_matches_images(method: str, color_space: str, tmp_path: Path) -> None:
    call = f"match_images(image, reference, {method!r}, color_space={color_space!r}, rotations=6)"
    succeeds(f"{PREPARE}\nrun = lambda: {call}\n{IN_A_CHILD}", tmp_path)


def test_a_forked_child_matches_a_batch(tmp_path: Path) -> None:
    succeeds(f"{PREPARE}\nrun = lambda: match_images(batch, reference)\n{IN_A_CHILD}", tmp_path)


def test_a_forked_child_runs_the_module(tmp_path: Path) -> None:
    call = "HistogramMatching()(image.movedim(-1, 1), reference.movedim(-1, 1))"
    succeeds(f"{PREPARE}\ntorch.set_grad_enabled(False)\nrun = lambda: {call}\n{IN_A_CHILD}", tmp_path)


def test_the_workers_of_a_data_loader_run_the_transform(tmp_path: Path) -> None:
    succeeds(PREPARE + IN_A_DATA_LOADER, tmp_path)
