"""Work on several frames at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Each thread needs working memory for a frame, and Python runs between torch's operations in one thread only.
_MOST_THREADS = 8


class FramePool:
    """A context manager whose :meth:`map` calls a function on several frames at a time, each in a thread of its own.

    torch by itself splits each operation between the cores. A frame takes hundreds of small operations, and with a frame to
    each core they need not wait for one another.

    Args:
        parallel: False to call the function in the caller's thread, one frame after the other.
    """

    def __init__(self, parallel: bool) -> None:
        self._threads = min(torch.get_num_threads(), _MOST_THREADS) if parallel else 1
        self._inference = torch.is_inference_mode_enabled()
        self._executor: ThreadPoolExecutor | None = None

    def __enter__(self) -> FramePool:
        if self._threads > 1:
            all_threads = torch.get_num_threads()
            started = threading.Barrier(self._threads + 1)

            def start() -> None:
                torch.set_num_threads(1)
                # A thread takes the number over when torch first looks for it there, if that comes later than the number below.
                torch.get_num_threads()
                started.wait()

            self._executor = ThreadPoolExecutor(self._threads, "histogram-match", start)
            for _ in range(self._threads):
                self._executor.submit(int)
            started.wait()
            # torch keeps the number for each thread, but a new thread begins with the number that was set last in any.
            torch.set_num_threads(all_threads)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Yield ``function(item)`` for each item, in order; items are taken only as threads get free to work on them."""
        if self._executor is None:
            yield from map(function, items)
            return
        waiting: deque[Future[_Result]] = deque()
        for item in items:
            waiting.append(self._executor.submit(self._call, function, item))
            if len(waiting) >= self._threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _call(self, function: Callable[[_Item], _Result], item: _Item) -> _Result:
        # Both modes belong to a thread; a tensor made in inference mode can be written to in that mode only.
        with torch.inference_mode(self._inference), torch.no_grad():
            return function(item)
