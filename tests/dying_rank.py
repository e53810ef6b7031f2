"""The command on a rank to which something happens, for torchrun to start.

The first argument says what, the others are those of the command. ``link:3``: rank 1 is killed at its third call of
``os.link``. ``histogram:3``: at that of the ``count`` of a histogram. ``see:0``: it does not see the first file.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from comfyui_histogram_match.command import paths
from comfyui_histogram_match.command.run import main
from comfyui_histogram_match.methods import channels


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
    what, count = sys.argv[1].split(":")
    if what == "link":
        os.link = killed_at(os.link, int(count))
    elif what == "histogram":
        channels.count = killed_at(channels.count, int(count))
    else:
        files = paths._files
        paths._files = lambda *given: [
            found for found in files(*given) if os.environ["RANK"] == "0" or "00" not in found[0].name
        ]
    raise SystemExit(main(sys.argv[2:]))
