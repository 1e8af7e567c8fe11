"""What this machine offers a run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.launch.host.host_resources import visible_gpus

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""where a container's memory limit stands, by version of the control groups"""
_GPUS = tuple(Path("/dev", name) for name in ("nvidiactl", "kfd", "dxg", "nvmap"))
"""device files without which torch finds no GPU: of NVIDIA's driver, AMD's, Windows' subsystem for Linux, and NVIDIA's small boards"""


@dataclass(frozen=True)
class MachineResources:
    """Processor cores that this process may use, and bytes of memory that it may fill. `gpu`: whether a GPU may be present.
    `gpus`: those that nodes may have to themselves."""

    cores: float
    memory: int
    gpu: bool = True
    gpus: int = 2**31

    @classmethod
    def here(cls) -> MachineResources:
        """This machine, or the container around this process where that is smaller."""
        import psutil

        memory = int(psutil.virtual_memory().total)
        for file in _LIMITS:
            try:
                limit = file.read_text().strip()
            except OSError:
                continue
            if limit.isdecimal():
                memory = min(memory, int(limit))
        affinity = getattr(os, "sched_getaffinity", None)
        gpu = any(file.exists() for file in _GPUS)
        cores = float(len(affinity(0)) if affinity is not None else os.cpu_count() or 1)
        return cls(cores, memory, gpu, gpus=len(visible_gpus()))


UNLIMITED = MachineResources(cores=2.0**40, memory=2**80)
"""for configurations that are not started on this machine"""
