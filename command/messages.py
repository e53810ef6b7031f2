"""What the command says beside its results."""

import sys

from tqdm import tqdm


def say(text: str) -> None:
    """Print a line for the user that is no result, above a progress bar, if there is one."""
    tqdm.write(text, file=sys.stderr)
