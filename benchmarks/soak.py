"""Does a long run under random faults grow? Memory, descriptors, threads and logs of each role, first against last third.

    python benchmarks/soak.py [--minutes 60] [--agents 8] [--quick]

Agents train under drawn faults of all kinds (partitions, kills, pauses, slow learners, bad links, and deaths of the environment server).
All processes of the run are sampled every few seconds. A row is a role: the mean over its processes of the samples in the first and in
the last third of the time, and the largest sample. `resident` is the resident memory of a process; agents that were killed begin small
again. `files` is what the run directory has for the role, at the end of the first third and of the whole.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.measured_run import MeasuredRun
from benchmarks.measuring import machine, table

_MIB = 2**20
_FAULTS = (
    "faults={seed: 5, random: {every: {dist: exponential, mean: 10s}, duration: {dist: uniform, min: 2s, max: 8s}, max_concurrent: 2, "
    "weights: {partition: 2, kill: 2, pause: 1, slow: 1, link: 2, kill_environment: 0.5}}}"
)
_RESTART = 120.0
"""seconds within which a process that is dead at the end must be back, so that each role has samples of the last third"""
_ROLES = ("run server", "environment server", "agent")


def role(node: str) -> str:
    """The role of a node or of the run server."""
    return {"run": _ROLES[0], "env-0": _ROLES[1]}.get(node, _ROLES[2])


def sample(pid: int) -> tuple[float, int, int] | None:
    """Resident MiB, descriptors and threads of a process; None for one that is gone."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return process.memory_info().rss / _MIB, process.num_fds(), process.num_threads()
    except psutil.Error:
        return None


def written(directory: Path) -> Counter[str]:
    """Bytes of the files that each role has in the run directory; those of no node are the run server's."""
    sizes: Counter[str] = Counter()
    for path in directory.rglob("*"):
        parts = path.relative_to(directory).parts
        try:
            sizes[role(parts[1]) if parts[0] == "nodes" and len(parts) > 1 else _ROLES[0]] += path.stat().st_size if path.is_file() else 0
        except OSError:  # a checkpoint that was removed meanwhile
            continue
    return sizes


def main() -> int:
    """Print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--agents", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="12 seconds with 4 agents")
    arguments = parser.parse_args()
    minutes, agents = (0.2, 4) if arguments.quick else (arguments.minutes, arguments.agents)
    print(machine())
    samples: dict[str, list[tuple[float, float, int, int]]] = defaultdict(list)
    early: Counter[str] = Counter()
    changes = [f"agents.count={agents}", "until.time=24h", "evaluation={every: 2000, episodes: 32, final_episodes: 32}", _FAULTS]
    with MeasuredRun(changes) as run:
        length, began = 60.0 * minutes, time.monotonic()
        period = min(10.0, length / 30)

        def complete() -> bool:
            return all(samples[name] and samples[name][-1][0] >= elapsed * 2 / 3 for name in _ROLES)

        while (elapsed := time.monotonic() - began) < length + _RESTART and run.code is None and (elapsed < length or not complete()):
            for node, pid in run.pids().items():
                if (found := sample(pid)) is not None:
                    samples[role(node)].append((elapsed, *found))
            if not early and elapsed >= length / 3:
                early = written(run.directory)
            time.sleep(period)
        late, codes, ended, steps = written(run.directory), Counter(event.get("code") for event in run.events()), run.code, run.steps()
    rows = []
    for name in _ROLES:
        values = np.array(samples[name])
        first, last = values[values[:, 0] < elapsed / 3], values[values[:, 0] >= elapsed * 2 / 3]
        cells = [f"{first[:, k].mean():,.1f} -> {last[:, k].mean():,.1f} ({values[:, k].max():,.1f})" for k in (1, 2, 3)]
        rows.append([name, *cells, f"{early[name] / _MIB:,.1f} -> {late[name] / _MIB:,.1f}"])
    print(f"{agents} agents, {elapsed / 60:.1f} minutes, {codes['fault.begin']} faults, {codes['node.restart']} restarts, {steps:,} steps")
    print(table(("role", "resident MiB (largest)", "descriptors (largest)", "threads (largest)", "files MiB"), rows))
    lost = codes["node.lost"] + codes["host.lost"]
    print(f"nodes and hosts given up: {lost}" + ("" if ended is None else f"; the run ended with {ended}"))
    return int(lost > 0 or ended is not None)


if __name__ == "__main__":
    sys.exit(main())
