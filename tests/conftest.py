from __future__ import annotations

import os

# Tests run in two processes: torch's threads are to sleep, not to spin, while those of the other one work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep all that talks to the one ComfyUI in one process."""
    for item in items:
        if item.get_closest_marker("comfyui"):
            item.add_marker(pytest.mark.xdist_group("comfyui"))
