"""A data set of a photo, in a module of its own, from which the processes of a DataLoader can take it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from photos import photo_8bit
from torch import Tensor
from torch.utils.data import Dataset


def bytes_of(name: str) -> Tensor:
    """A photo, uint8 [C, H, W]."""
    return torch.from_numpy(photo_8bit(name)).movedim(-1, 0)


class Photos(Dataset[Tensor]):
    """The same photo again and again, after a transform."""

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(bytes_of("chelsea")[:, :32, :32])
