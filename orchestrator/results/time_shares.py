"""Where a node's time went over its whole run, from the shares that it wrote of one window of time after the other."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from orchestrator.results import run_directories as runs
from orchestrator.results.run_files import read_lines

PREFIX = "time."
"""beginning of the names of these figures; what follows is the activity"""


def time_shares(node: Path, points: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, float] | None:
    """Share of each activity a in the time that the node with that directory accounts for; None without any.

    `points`: by activity (t, share) at the ends of windows. With w_k the length of window k, share(a) = sum_k w_k share_k(a) over the sum
    of this over all activities: windows are not equally long, since reports do not come on the dot.
    """
    windows = _windows(sorted({t for shares in points.values() for t, _ in shares}), _lives(node))
    seconds = {activity: sum(windows[t] * share for t, share in shares) for activity, shares in points.items()}
    whole = sum(seconds.values())
    return {activity: spent / whole for activity, spent in seconds.items()} if whole > 0 else None


def _windows(ends: Sequence[float], lives: Sequence[float]) -> dict[float, float]:
    """Length of the window that ends at each of these times: since the one before it, or since the process began; where neither is known,
    the median of the others."""
    usual = statistics.median([after - before for before, after in pairwise(ends)] or [1.0])
    windows: dict[float, float] = {}
    for before, end in zip((None, *ends), ends, strict=False):
        begins = [begin for begin in lives if begin < end] + ([] if before is None else [before])
        windows[end] = end - max(begins) if begins else usual
    return windows


def _lives(node: Path) -> list[float]:
    """Unix seconds at which the processes of a node were started."""
    found = [runs.parse_time(line.get("t")) for line in read_lines(node / "incarnations.jsonl")]
    return [begun.timestamp() for begun in found if begun is not None]
