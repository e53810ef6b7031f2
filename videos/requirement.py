"""Whether there is a PyAV that reads and writes videos as this pack needs it."""

import sys
from importlib.metadata import version
from importlib.util import find_spec

_LEAST = 18


def missing_pyav() -> str | None:
    """What the user should do where PyAV is missing or too old; None where all is well. PyAV is not loaded."""
    found = version("av") if find_spec("av") is not None else None
    if found is not None and int(found.split(".")[0]) >= _LEAST:
        return None
    has = "" if found is None else f" {_LEAST} or later, not {found}"
    return f'videos need PyAV{has}: {sys.executable} -m pip install "av>={_LEAST}"'
