"""The processes of one run of the command, as torchrun starts them, and the signals that end it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

_Item = TypeVar("_Item")


class Terminated(KeyboardInterrupt):
    """SIGTERM has come, which cleans up as Ctrl-C does."""


class RankError(Exception):
    """This rank cannot go on, since another one has failed or the run was ended."""


@dataclass
class Ranks:
    """This process among all that work on the same files; the only one, if torchrun has not started it.

    ``rank`` is its number of ``size``, ``local_rank`` its number on this machine, ``launched`` whether torchrun has started
    them, and ``ended`` whether this one is to stop. What waits for the others raises a :class:`RankError` where one has ended.
    """

    rank: int = 0
    size: int = 1
    launched: bool = False
    local_rank: int = 0
    ended: bool = field(default=False, init=False)
    _failed: bool = field(default=False, init=False)

    @property
    def first(self) -> bool:
        """Whether this is the one that speaks for all."""
        return self.rank == 0

    def share(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """What this rank is to do of what all do together: every so many-th."""
        return items[self.rank :: self.size]

    def check(self) -> None:
        """Raise a :class:`RankError` if this rank is to stop."""
        if self.ended:
            raise RankError("the run was ended, perhaps since another rank has")

    def first_with(self, message: str | None) -> int | None:
        """The first rank that has a message, None if no rank has one."""
        return next((rank for rank, text in enumerate(self.gather(message)) if text is not None), None)

    def agree(self, text: str) -> None:
        """Raise a :class:`RankError` on all ranks unless all of them have the same text."""
        if len(set(self.gather(hashlib.sha256(text.encode()).hexdigest()))) > 1:
            raise RankError("ranks have found different files; all of them have to see the same folders")

    def total(self, number: int) -> int:
        """The sum of a number over all ranks; a :class:`RankError` if another rank has called :meth:`fail`."""
        numbers = self.gather(number)
        if None in numbers:
            raise RankError(f"rank {numbers.index(None)} has failed")
        return sum(filter(None, numbers))

    def sum(self, measured: Tensor | None) -> Tensor | None:
        """What all ranks have measured together, as :meth:`total`; a ValueError on all of them if it is too much."""
        if self.size == 1:
            return measured
        from ..training.distributed import sum_over_ranks

        self.total(0)
        with _as_rank_error():
            return sum_over_ranks(measured)

    def fail(self) -> None:
        """Say that this rank cannot do its part of what all do together, to those who wait for it."""
        self._failed = True
        with contextlib.suppress(RankError):
            self.gather(None)

    def finish(self, failed: int) -> int:
        """The number of files that failed on all ranks; of this one alone, if it has called :meth:`fail`."""
        return failed if self._failed else self.total(failed)

    def gather(self, own: Any) -> list[Any]:
        """What all ranks bring, in their order."""
        if self.size == 1:
            # Whatever process groups there are around this.
            return [own]
        from ..training.distributed import gather

        with _as_rank_error():
            return gather(own)


@contextlib.contextmanager
def join_ranks() -> Iterator[Ranks]:
    """Meet the other ranks, if torchrun has started this process; its signal that one has ended is for :meth:`Ranks.check`."""
    # As torch.distributed.is_torchelastic_launched, which takes a second to load.
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        with _on_sigterm(_terminate):
            yield Ranks()
        return
    import torch.distributed as dist

    # So long a rank waits for one that has more to do. Of one that has ended, it hears at once.
    dist.init_process_group("gloo", timeout=timedelta(days=30))
    ranks = Ranks(dist.get_rank(), dist.get_world_size(), launched=True, local_rank=int(os.environ["LOCAL_RANK"]))

    def end(*_: object) -> None:
        ranks.ended = True

    try:
        with _on_sigterm(end):
            yield ranks
    except SystemExit:
        # All ranks know, and end together.
        dist.destroy_process_group()
        raise
    # Not where another error has come up: the others may be gone, and this would wait for them.
    dist.destroy_process_group()


def _terminate(*_: object) -> None:
    raise Terminated


@contextlib.contextmanager
def _on_sigterm(handler: Callable[..., None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread hears signals.
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _as_rank_error() -> Iterator[None]:
    """Raise what torch.distributed does when another rank is gone as a :class:`RankError`."""
    try:
        yield
    except RuntimeError as error:
        raise RankError(f"another rank has ended ({error})") from error
