"""Resources of a host: which GPU a node gets, and what the nodes have used of processor time and memory."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.launch.process_states import process_state
from orchestrator.results.run_files import write_json
from protocols.conversations.control.control_messages import MOST_PROCESSES, ProcessField

VARIABLE = "CUDA_VISIBLE_DEVICES"
"""with the GPUs that a host may use, set by the engine, or the one that a node may use, set by the host"""
_DEVICES = Path("/dev")


def visible_gpus(devices: Path = _DEVICES) -> list[str]:
    """The GPUs that this process may use, as CUDA names them: those of the variable, where it is set, else all that the driver shows."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return [gpu.strip() for gpu in given.split(",") if gpu.strip() and gpu.strip() != "-1"]
    return sorted((path.name[6:] for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)), key=int)


def least_used(gpus: Sequence[str], used: Iterable[str]) -> str:
    """The GPU that fewest use, the first of several; "" without any."""
    count = Counter(used)
    return min(gpus, key=lambda gpu: count[gpu], default="")


class NodeStates:
    """State and share of a core of the nodes' processes, from one look to the next."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[float, float]] = {}

    def look(self, pids: Mapping[str, int]) -> list[ProcessField]:
        """Of at most `MOST_PROCESSES`, those that neither run nor sleep first."""
        now, before, self._before, found = time.monotonic(), self._before, {}, []
        for name, pid in pids.items():
            if (seen := process_state(pid)) is not None:
                then, cpu = before.get(pid, (now, seen.cpu))
                self._before[pid] = now, seen.cpu
                found.append(ProcessField(name, seen.state, (seen.cpu - cpu) / max(now - then, 1e-3)))
        return sorted(found, key=lambda field: field.state in "RS")[:MOST_PROCESSES]


PERIOD = 2.0
"""seconds between two samples"""
_SHARED_EVERY = 5
"""proportional memory is read at every fifth sample only: the system adds it up over all pages"""


@dataclass
class Usage:
    """Of one node over all its incarnations on this host. Bytes; `proportional` counts pages shared by n processes as 1/n."""

    cpu_seconds: float = 0.0
    peak_resident: int = 0
    proportional: int = 0


class UsageMeter:
    """Samples processes and writes `hosts/HOST.usage.json`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._usage: dict[str, Usage] = {}
        self._current: dict[str, tuple[int, float]] = {}
        self._samples = 0

    def sample(self, pids: dict[str, int]) -> None:
        """Measure these nodes' processes. The time of a process that ended between two samples counts up to the last of them."""
        shared = self._samples % _SHARED_EVERY == 0
        self._samples += 1
        for name, pid in pids.items():
            usage = self._usage.setdefault(name, Usage())
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                times = process.cpu_times()
                before_pid, before = self._current.get(name, (pid, 0.0))
                self._current[name] = (pid, times.user + times.system)
                usage.cpu_seconds += times.user + times.system - (before if before_pid == pid else 0.0)
                usage.peak_resident = max(usage.peak_resident, int(process.memory_info().rss))
                if shared:
                    usage.proportional = int(getattr(process.memory_full_info(), "pss", 0)) or usage.proportional

    def write(self) -> None:
        """Replace the file by the newest measurements."""
        write_json(self._path, {name: vars(usage) for name, usage in self._usage.items()})
