"""Threads of the pack's own, with one thread of torch each.

torch by itself splits every operation between the cores, and a picture takes hundreds of small operations that would each wait
for all cores: where another process wants one, that is most of the time. Here a frame of a clip, or a stripe of a single
picture, is worked on by one thread from one end to the other.

Stripes are cut by size, whoever works on them, and what is not a whole number is added up in their order, so that the result is
the same for any number of threads.
"""

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Each thread needs working memory for a frame, and Python runs between torch's operations in one thread only.
_MOST_THREADS = 8
# Pixels of a stripe: few enough for the caches of a CPU, many enough to keep a GPU busy.
_CPU_STRIPE = 1 << 16
_GPU_STRIPE = 1 << 22
_MOST = 1 << 30
# As many values torch works on in one thread by itself.
_FEW = 1 << 15

_here = threading.local()


def stripe_size(device: torch.device) -> int:
    """How many pixels of a channel to work on at a time."""
    return _CPU_STRIPE if device.type == "cpu" else _GPU_STRIPE


def map_frames(function: Callable[[_Item], _Result], items: Iterable[_Item], *, together: bool = False) -> Iterator[_Result]:
    """Yield ``function(item)`` for each item, in order, without gradients, in threads for frames.

    Items are taken only as threads get free to work on them: several at a time, ``together``, or one whose stripes are.
    """
    if hasattr(_here, "stripes"):
        # This is such a thread already.
        yield from map(function, items)
        return
    count = min(torch.get_num_threads(), _MOST_THREADS)
    call = partial(_call, function, 1 if together else count, torch.is_inference_mode_enabled())
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(_threads(count)[0].submit(call, item))
            if len(waiting) >= (count if together else 1):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)


def in_thread(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Call ``function`` without gradients, in a thread for frames that shares its stripes with others."""
    return next(map_frames(lambda chosen: function(*chosen), [arguments]))


def spread(function: Callable[..., _Result], *items: Iterable[Any], alone: bool = False) -> list[_Result]:
    """As ``map(function, *items)``, several at a time where there are threads for it; ``alone`` on a GPU or with gradients."""
    count = 1 if alone else getattr(_here, "stripes", 0) or min(torch.get_num_threads(), _MOST_THREADS)
    if count == 1:
        return list(map(function, *items))
    return list(_threads(count)[1].map(partial(_call, function, 1, torch.is_inference_mode_enabled()), *items))


def by_stripes(function: Callable[..., _Result], *planes: Tensor, pixels: int | None = None) -> list[_Result]:
    """Call ``function`` on horizontal stripes of pictures: several at a time on the CPU, one by one where there are gradients.

    It gets views of ``planes`` ``[..., H, W]``, all of one height, of so many ``pixels`` or, by default, :func:`stripe_size`; 0
    makes a stripe for each thread, where nothing depends on how they are cut. The results come from top to bottom.
    """
    first = planes[0]
    device = next((plane.device for plane in planes if plane.device.type != "cpu"), first.device)
    alone = device.type != "cpu" or torch.is_grad_enabled() or first.numel() <= _FEW
    count = 1 if alone else getattr(_here, "stripes", 0) or min(torch.get_num_threads(), _MOST_THREADS)
    height, width = first.shape[-2:]
    # With a stripe for each thread, few enough to be counted by 32 bits.
    lines = math.ceil(height / count) if pixels == 0 else height
    stripe = _MOST if pixels == 0 else stripe_size(device) if pixels is None else pixels
    stripes = [plane.split(min(lines, stripe // width or 1), dim=-2) for plane in planes]
    return list(map(function, *stripes)) if count == 1 else spread(function, *stripes)


def _call(function: Callable[..., _Result], stripes: int, inference: bool, *item: Any) -> _Result:
    _here.stripes = stripes
    # Both modes belong to a thread; a tensor made in inference mode can be written to in that mode only.
    with torch.inference_mode(inference), torch.no_grad():
        return function(*item)


@cache
def _threads(count: int) -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
    """Threads for frames, which may wait for stripes, and threads for stripes, which wait for nobody."""
    before = torch.get_num_threads()
    ready = threading.Barrier(2 * count + 1)

    def start() -> None:
        torch.set_num_threads(1)
        # A thread takes the number over when torch first looks for it there, if that comes later than the number below.
        torch.get_num_threads()
        ready.wait()

    pools = tuple(ThreadPoolExecutor(count, f"histogram-match-{kind}", start) for kind in ("frames", "stripes"))
    for pool in pools * count:
        pool.submit(int)
    ready.wait()
    # torch keeps the number for each thread, but a new thread begins with the number that was set last in any.
    torch.set_num_threads(before)
    return pools[0], pools[1]


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork.
    os.register_at_fork(after_in_child=_threads.cache_clear)
