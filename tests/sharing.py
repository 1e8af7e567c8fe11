"""Which tests share a worker of pytest-xdist, and in which order they come.

The groups are found by the files' names and contents: those that pytest-xdist 3.8 makes of its marks are lost with pytest 9.2, without a
word, since it hands them on in the tests' names.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

ROOT = Path(__file__).parent.parent
JUDGED = frozenset(
    {
        "tests/orchestrator/cli/test_cli_cluster.py",
        "tests/faults/test_ring.py",
        "tests/orchestrator/run_server/test_cluster.py",
        "tests/runs/test_fault_runs.py",
    }
)
"""files whose runs are judged by seconds; other runs have limits only so that nothing waits for ever"""


@cache
def _starts_runs(file: str) -> bool:
    try:
        return "pytest.mark.cluster" in (ROOT / file).read_text()
    except OSError:
        return False


def group(nodeid: str) -> str:
    """What runs on one worker, one after the other: all files that are judged by seconds, another file with runs, or a test for itself."""
    file = nodeid.partition("::")[0]
    if file in JUDGED:
        return "judged by seconds"
    return file if _starts_runs(file) else nodeid


def ordered(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """What is judged by seconds, beside half of the tests that start nothing; then, on all workers, the other files with runs; last the
    other half of the small tests, which let all workers end at about the same time."""
    judged, running, small = [], [], []
    for item in items:
        name = group(item.nodeid)
        (small if name == item.nodeid else running if name.endswith(".py") else judged).append(item)
    half = len(small) // 2
    return [*judged, *small[:half], *running, *small[half:]]


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out whole groups, in the order of the tests."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False  # else the groups with most tests come first
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
