"""Which GPU a node gets: those of its host in turns, before torch looks for any."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

VARIABLE = "CUDA_VISIBLE_DEVICES"
"""by which an engine says which GPUs a host may use, and a host which one a node may"""
_DEVICES = Path("/dev")


def visible_gpus(devices: Path = _DEVICES) -> list[str]:
    """The GPUs that this process may use, as CUDA names them: those of the variable, where it is set, else all that the driver shows."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return [gpu.strip() for gpu in given.split(",") if gpu.strip() and gpu.strip() != "-1"]
    return sorted((path.name[6:] for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)), key=int)


def least_used(gpus: Sequence[str], used: Iterable[str]) -> str:
    """The GPU that fewest use, the first of several; "" where there is none."""
    count = Counter(used)
    return min(gpus, key=lambda gpu: count[gpu], default="")
