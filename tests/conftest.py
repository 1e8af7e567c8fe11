"""For all tests: nothing a test started may outlive it, and tests that are judged by seconds do not compete with each other.

After each test the child processes, threads, listening sockets and open files of the test process are compared with those before. Tests
that keep such things on purpose use fixtures of a wider scope, which exist before and are closed after.
"""

from __future__ import annotations

import gc
import multiprocessing.forkserver as forkserver
import multiprocessing.resource_tracker as resource_tracker
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Processes share few cores: set before anything imports torch or numpy.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import psutil  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from tests import sharing  # noqa: E402

settings.register_profile("quick", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

GRACE = 5.0
"""seconds within which everything that a test ends must be gone"""

PERSISTENT_FILES = ("/dev/null", "/dev/urandom", "/dev/random", "/proc/", "/sys/", "/usr/", "/etc/")


@dataclass(frozen=True)
class HeldResources:
    """What the test process holds."""

    children: frozenset[int]
    threads: frozenset[threading.Thread]
    listening: frozenset[str]
    files: frozenset[str]


def _children() -> frozenset[int]:
    try:
        tasks = Path("/proc/self/task").iterdir()
        found = {int(pid) for task in tasks for pid in (task / "children").read_text().split()}
    except OSError:  # the kernel does not list children: look through all processes
        found = {child.pid for child in psutil.Process().children()}
    # Both live as long as the interpreter once multiprocessing was used.
    return frozenset(found - {resource_tracker._resource_tracker._pid, forkserver._forkserver._forkserver_pid})


def _files() -> frozenset[str]:
    kept = {resource_tracker._resource_tracker._fd, forkserver._forkserver._forkserver_alive_fd}
    files = set()
    try:
        descriptors = list(Path("/proc/self/fd").iterdir())
    except OSError:
        return frozenset()
    for descriptor in descriptors:
        try:
            target = os.readlink(descriptor)  # noqa: PTH115  the target may be `pipe:[123]`, which is no path
        except OSError:
            continue
        # Libraries keep some of their own files open permanently, as matplotlib does with fonts; they open each once.
        if int(descriptor.name) not in kept and not target.startswith((*PERSISTENT_FILES, sys.prefix)):
            files.add(f"{descriptor.name} -> {target}")
    return frozenset(files)


def _listening() -> frozenset[str]:
    try:
        connections = psutil.Process().net_connections(kind="inet")
    except psutil.Error:
        return frozenset()
    return frozenset(f"{c.laddr.ip}:{c.laddr.port}" for c in connections if c.status == psutil.CONN_LISTEN)


def _held() -> HeldResources:
    return HeldResources(_children(), frozenset(threading.enumerate()), _listening(), _files())


def _wait(before: HeldResources) -> None:
    """Wait for what is ending: children and threads that were asked to stop."""
    processes = []
    for pid in _children() - before.children:
        try:
            processes.append(psutil.Process(pid))
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=GRACE)
    for thread in set(threading.enumerate()) - before.threads:
        thread.join(timeout=GRACE)


def _describe(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return f"{pid} ({process.status()}): {' '.join(process.cmdline()) or process.name()}"
    except psutil.Error:
        return str(pid)


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """Fail a test that leaves something behind, and name it."""
    before = _held()
    yield
    after = _held()
    if after == before:
        return
    _wait(before)
    gc.collect()
    after = _held()
    left = {
        "child processes": [_describe(pid) for pid in after.children - before.children],
        "threads": [thread.name for thread in after.threads - before.threads],
        "listening sockets": list(after.listening - before.listening),
        "open files": list(after.files - before.files),
    }
    message = "\n".join(f"  {kind}: {', '.join(sorted(what))}" for kind, what in left.items() if what)
    if message:
        pytest.fail(f"the test left behind, {GRACE:.0f} s after its end:\n{message}", pytrace=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long runs before what fills the gaps."""
    items[:] = sharing.ordered(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> sharing.Scheduling | None:
    """In the place of pytest-xdist's own way to keep groups together (`--dist loadgroup`)."""
    return sharing.Scheduling(config, log) if config.getvalue("dist") == "loadgroup" else None
