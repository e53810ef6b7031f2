"""The command on a rank that is killed, for torchrun to start: rank 1 ends at a call of ``os.link`` or of ``histogram``.

The first argument says where, as ``link:3``; the others are those of the command.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from comfyui_histogram_match import steps
from comfyui_histogram_match.command import main


def killed_at(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """``function``, but its ``count``-th call on rank 1 is the end of the process."""
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)

    return call


if __name__ == "__main__":
    where, count = sys.argv[1].split(":")
    if where == "link":
        os.link = killed_at(os.link, int(count))
    else:
        steps.histogram = killed_at(steps.histogram, int(count))
    raise SystemExit(main(sys.argv[2:]))
