"""How tests compile what is to run under torch.compile."""

from __future__ import annotations

import shutil
from functools import partial

import pytest
import torch

# What inductor generates is C++; where there is no compiler for it, only what torch traces is tested.
BACKENDS = ("aot_eager", "inductor") if shutil.which("g++") else ("aot_eager",)

compiled = torch.compile
in_one_graph = partial(compiled, fullgraph=True)

# The compiler of torch uses parts of torch that torch warns of.
compiles = pytest.mark.filterwarnings("ignore")
