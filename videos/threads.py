"""Let decoding, matching and encoding overlap: each has its own thread, a few frames before or behind the others."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_Item = TypeVar("_Item")
# Frames that wait on either side: enough to level out that some take longer than others.
_WAITING = 3
_END: Any = object()


def ahead(items: Iterable[_Item]) -> Generator[_Item]:
    """Yield items that a thread takes from ``items`` a few before they are wanted."""
    source = iter(items)
    with ThreadPoolExecutor(1, "histogram-match-decode") as thread:
        waiting = deque(thread.submit(next, source, _END) for _ in range(_WAITING))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, source, _END))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)


class Behind:
    """A thread that calls functions one after the other, a few after they are handed in; what one raises, is raised later."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "histogram-match-encode")
        self._waiting: deque[Future[None]] = deque()

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have a function called, and wait where too many are waiting already."""
        self._waiting.append(self._thread.submit(function, *arguments))
        if len(self._waiting) > _WAITING:
            self._waiting.popleft().result()

    def end(self, *, drop: bool) -> None:
        """Wait for the function that is called, and call those that are waiting, or drop them."""
        try:
            while self._waiting and not drop:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)
