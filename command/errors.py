"""What is wrong with files, in words for who has them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


class FileError(ValueError):
    """Something is wrong with a file, which the message names."""


@contextlib.contextmanager
def about(path: Path) -> Iterator[None]:
    """Raise an error that has to do with a file as a :class:`FileError`."""
    try:
        yield
    except FileError:
        raise
    except (OSError, ValueError) as error:
        text = str(error)
        raise FileError(text if text.startswith(f"{path}: ") else f"{path}: {text}") from error
