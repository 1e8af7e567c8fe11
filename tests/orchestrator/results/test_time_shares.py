"""Where the time of a node went, from shares of windows of different lengths."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.results.recorded_run import RecordedRun
from orchestrator.results.run_summary import summarize

T = 1_700_000_000.0


def begin(node: Path, *times: float) -> None:
    node.mkdir(parents=True, exist_ok=True)
    lines = [{"incarnation": k + 1, "t": datetime.fromtimestamp(T + t, UTC).isoformat()} for k, t in enumerate(times)]
    (node / "incarnations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


Shares = dict[str, list[tuple[float, float]]]
"""activity -> (time, share) at the ends of windows"""


def write(node: Path, points: Shares) -> None:
    node.mkdir(parents=True, exist_ok=True)
    rows = sorted((t, activity, share) for activity, shares in points.items() for t, share in shares)
    lines = [{"t": t, "step": 0, "episode": 0, "name": f"time.{activity}", "value": share} for t, activity, share in rows]
    (node / "usage.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def time_shares(node: Path, points: Shares) -> dict[str, float] | None:
    """As a run has them whose node wrote these points."""
    write(node, points)
    return RecordedRun(node.parent.parent).time_shares.get(node.name)


def test_shares_weigh_by_the_length_of_their_window(tmp_path: Path) -> None:
    begin(tmp_path / "nodes" / "a", 0.0)
    # 1 s of learning, then 9 s of waiting: each a window.
    points = {"learn": [(T + 1.0, 1.0), (T + 10.0, 0.0)], "wait": [(T + 1.0, 0.0), (T + 10.0, 1.0)]}
    assert time_shares(tmp_path / "nodes" / "a", points) == pytest.approx({"learn": 0.1, "wait": 0.9})
    assert time_shares(tmp_path / "nodes" / "a", {}) is None


def test_the_time_in_which_a_node_was_dead_is_nobodys(tmp_path: Path) -> None:
    begin(tmp_path / "nodes" / "a", 0.0, 100.0)
    points = {"learn": [(T + 2.0, 1.0)], "wait": [(T + 102.0, 1.0)]}
    assert time_shares(tmp_path / "nodes" / "a", points) == pytest.approx({"learn": 0.5, "wait": 0.5})


def test_without_the_begin_of_the_process_the_first_window_is_like_the_others(tmp_path: Path) -> None:
    points = {"learn": [(T, 1.0), (T + 2.0, 0.0)], "wait": [(T + 2.0, 1.0)]}
    assert time_shares(tmp_path / "nodes" / "a", points) == pytest.approx({"learn": 0.5, "wait": 0.5})
    assert time_shares(tmp_path / "nodes" / "a", {"learn": [(T, 0.25)], "wait": [(T, 0.75)]}) == {"learn": 0.25, "wait": 0.75}


def test_a_run_shows_them(tmp_path: Path) -> None:
    node = tmp_path / "nodes" / "agent-0"
    begin(node, 0.0)
    write(node, {"learn": [(T + 1.0, 1.0)], "wait": [(T + 10.0, 1.0)]})
    assert summarize(RecordedRun(tmp_path)).time == {"agent-0": pytest.approx({"learn": 0.1, "wait": 0.9})}
