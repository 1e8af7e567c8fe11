"""What both benchmarks share: CPU clocks of other processes, medians with their range, and the machine's description."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import zmq


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process: by its nanosecond clock on Linux, else in ticks (10 ms)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except (OSError, OverflowError):
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system


def machine() -> str:
    """Cores, processor and versions: numbers are meaningless without them."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (
        f"{cores} cores of {model}, {platform.system()} {platform.release()}{load}\n"
        f"python {platform.python_version()}, pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}, numpy {np.__version__}"
    )


def median(values: Sequence[float], digits: int = 2) -> str:
    """`median (min..max)`."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}..{max(values):,.{digits}f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines)
