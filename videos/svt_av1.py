"""Keep the encoder SVT-AV1 to itself."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_THREADS = Path("/proc/self/task")


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """A context in which SVT-AV1 may be opened: it prints nothing, and leaves the process the priority that it has.

    Where it may, as for root on Linux, it raises the whole process to real time, and a loop that waits in another encoder then
    keeps other processes and its own threads from a core for minutes.
    """
    os.environ.setdefault("SVT_LOG", "0")
    if not _THREADS.is_dir():
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in _THREADS.iterdir():
            # A thread may have ended meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(int(thread.name), policy, parameters)
