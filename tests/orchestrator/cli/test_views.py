"""The three views of a run, drawn from snapshots."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.results import number_text as numbers
from orchestrator.terminal import snapshot_metrics
from orchestrator.terminal.line_views import JsonView, PlainView
from orchestrator.terminal.run_view import WatchOutcome, startup_lines
from orchestrator.terminal.table_view import FOLD_ABOVE, TableView, agent_rows, fault_line, node_table, progress_line
from orchestrator.terminal.tables import columns
from tests.orchestrator.cli.snapshots import EVENT, agent, snapshot


@pytest.mark.parametrize(
    ("values", "bar"),
    [([], ""), ([1.0], ""), ([0.0, 1.0], "▁█"), ([2.0, 2.0, 2.0], "▄▄▄"), (list(range(8)), "▁▂▄▅▇█"), ([3.0, 1.0, 2.0], "█▁▅")],
)
def test_sparkline_spans_smallest_to_largest(values: list[float], bar: str) -> None:
    assert numbers.sparkline(values) == bar
    assert len(numbers.sparkline(values, ascii_only=True)) == len(bar)
    assert numbers.sparkline(values, ascii_only=True).isascii()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (41.4, "0:41"), (125, "2:05"), (11050, "3:04:10"), (None, "-"), (float("inf"), "-")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert numbers.elapsed(seconds) == text


def test_numbers() -> None:
    assert (numbers.count(12040), numbers.count(None), numbers.small(3.14e-4), numbers.decimal(0.714)) == ("12 040", "-", "3.1e-04", "0.71")
    shown = [numbers.decimal(value) for value in (0.0127, 0.0134, -0.00712, 3e-5, 0.0, 0.1, 1234.5)]
    assert shown == ["0.0127", "0.0134", "-0.00712", "3.0e-05", "0.00", "0.10", "1 234"], "small values keep significant digits"
    assert (numbers.decimal(497.1791, 3), numbers.decimal(0.0052, 3)) == ("497.179", "0.0052")
    assert (numbers.size(812), numbers.size(14.2 * 1024), numbers.size(1.1 * 2**30)) == ("812 B", "14.2 KiB", "1.1 GiB")


def test_table_shows_every_agent_with_its_figures() -> None:
    lines = node_table(snapshot(), 120).plain.splitlines()
    assert lines[0].split() == ["node", "state", "episode", "steps/s", "return", "success", "aligned", "disagree", "peers", "msg/s"]
    assert lines[2].split() == ["agent-1", "up", "1", "204", "413", "0.51", "▁▂▄▅▆█", "0.83", "0.64", "3.1e-04", "2/2", "38"]
    assert lines[5].split() == ["env-0", "up", "landmarks", "x64", "1", "640", "steps/s"]
    assert len(lines) == 6


@pytest.mark.parametrize("width", range(20, 121, 4))
def test_columns_drop_from_the_right(width: int) -> None:
    lines = node_table(snapshot(), width).plain.splitlines()
    headings = ["node", "state", "episode", "steps/s", "return", "success", "aligned", "disagree", "peers", "msg/s"]
    shown = lines[0].split()
    assert shown == headings[: len(shown)]
    assert all(len(line) <= width for line in lines[:5])
    if len(shown) < len(headings):  # the next one would not have fitted
        whole = node_table(snapshot(), 200).plain.splitlines()[0]
        missing = headings[len(shown)]
        end = whole.index("success") - 2 if missing == "return" else whole.index(missing) + len(missing)
        assert end > width


def test_a_node_that_is_away_says_what_happened() -> None:
    away = agent(2, state="dead", detail="killed by signal 9, attempt 1 of 5, back in 0.5 s")
    text = node_table(snapshot(nodes=[agent(0), away]), 100).plain
    assert "agent-2  RESTART  (killed by signal 9, attempt 1 of 5, back in 0.5 s)" in text


def test_many_agents_are_folded_to_quartiles_and_the_three_worst() -> None:
    agents = [agent(i) for i in range(FOLD_ABOVE + 4)]
    agents[17]["state"] = "dead"
    rows = agent_rows(agents)
    assert [row["name"] for row in rows] == ["lower quarter", "median", "upper quarter", "agent-17", "agent-0", "agent-1"]
    assert rows[1]["metrics"]["return"] == pytest.approx(0.5 + 9.5 / 100)  # 20 agents, 0.00 to 0.19 above 0.5
    assert rows[0]["state"] == "19/20"
    assert agent_rows(agents[:FOLD_ABOVE]) == agents[:FOLD_ABOVE]


@pytest.mark.parametrize("width", [30, 60, 100, 200])
def test_progress_bar_fits(width: int) -> None:
    line = progress_line(snapshot(), width)
    assert len(line) <= width
    assert "52 %" in line
    if width >= 100:
        assert line.count("█") == 21 and line.count("░") == 19  # 52 % of 40
        assert "elapsed 2:31   left ≈ 2:20   training" in line


def test_live_table_on_a_terminal() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, height=40, color_system=None, highlight=False)
    outcome = WatchOutcome(Path("runs/x"), "DONE", 0, "4000 episodes", 271.0)
    with TableView(console) as view:
        view.show(snapshot(), [EVENT])
        view.end(outcome)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert " agent-0    up  double_dqn + ensemble(5)         1.9 s" in text
    assert "WARN  agent-2: killed by signal 9" in text
    assert "elapsed 2:31" in text
    assert "x done after 4:31: 4000 episodes (exit 0)" in text


def test_startup_is_told_once() -> None:
    seen: set[str] = set()
    first = startup_lines(snapshot(nodes=[agent(0), agent(1, state="joining")]), seen)
    second = startup_lines(snapshot(nodes=[agent(0), agent(1)]), seen)
    assert [line.split()[0] for line in first] == ["agent-0"]
    assert [line.split()[0] for line in second] == ["agent-1"]
    assert startup_lines(snapshot(nodes=[agent(0), agent(1)]), seen) == []


def test_plain_lines_one_a_period_and_one_an_event() -> None:
    stream, now = io.StringIO(), 0.0
    view = PlainView(stream, every=10.0, clock=lambda: now)
    for second in range(26):
        now = float(second)
        view.show(snapshot(), [EVENT] if second == 5 else [])
    lines = stream.getvalue().splitlines()[5:]  # after five nodes came up
    assert stream.getvalue().splitlines()[0].split() == ["agent-0", "up", "double_dqn", "+", "ensemble(5)", "1.9", "s"]
    assert len(lines) == 3
    assert "WARN  agent-2: killed by signal 9" in lines[0]
    assert "52 %  elapsed 2:31  left 2:20  nodes 5/5  episodes 1 204  steps 20 000  return per agent 0.52" in lines[1]
    assert stream.getvalue().isascii()
    assert "\x1b" not in stream.getvalue()


def test_the_first_coming_is_told_once_and_a_second_is_an_event() -> None:
    stream = io.StringIO()
    view = PlainView(stream, clock=lambda: 0.0)
    alive = {"id": 1, "t": EVENT["t"], "severity": "info", "code": "node.alive", "node": "agent-0", "text": "agent-0 alive, incarnation 1"}
    second = {**alive, "node": "agent-1", "incarnation": 2, "text": "agent-1 alive, incarnation 2"}
    left = {**alive, "code": "node.left", "text": "agent-0 left"}
    view.show(snapshot(nodes=[agent(0)]), [{**alive, "incarnation": 1}, second])
    view.show(snapshot(nodes=[agent(0)]), [{**alive, "text": "agent-0 alive, incarnation 2"}, left])
    view.show(snapshot(nodes=[agent(0)], state="STOPPING"), [left])
    lines = stream.getvalue().splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines] == [
        "agent-1 alive, incarnation 2",
        "up  double_dqn + ensemble(5)         1.9 s",
        "agent-0 alive, incarnation 2",
        "agent-0 left",
    ]


def test_one_line_for_one_death_and_none_for_what_the_last_line_tells() -> None:
    stream = io.StringIO()
    view = PlainView(stream, clock=lambda: 0.0)
    dead = {**EVENT, "code": "node.dead", "node": "agent-2", "text": "agent-2 dead (was alive)", "incarnation": 1}
    restart = {**dead, "code": "node.restart", "text": "agent-2 killed by signal 9, back in 0.4 s"}
    end = {**EVENT, "severity": "info", "code": "run.ended", "node": "run", "text": "DONE, exit 0: 4000 episodes"}
    view.show(snapshot(nodes=[]), [restart, dead])
    view.show(snapshot(nodes=[]), [{**dead, "incarnation": 2}, {**restart, "incarnation": 2}, end])  # silent first, then killed
    texts = [line.split("WARN  ", 1)[1] for line in stream.getvalue().splitlines()]
    assert texts == [restart["text"], dead["text"], restart["text"]]


def test_before_the_first_node_there_is_only_progress() -> None:
    early = snapshot(nodes=[], state="STARTING", phase="hosts", progress=0.0, left=None, elapsed=1.0)
    assert node_table(early, 100).plain == ""
    assert progress_line(early, 100).endswith("0 %   elapsed 0:01   starting the host")
    assert progress_line(snapshot(state="STOPPED"), 100).endswith("52 %   elapsed 2:31")  # nothing is left to come, and no phase


@pytest.mark.parametrize("width", range(20, 160, 5))
def test_lists_lose_columns_not_letters(width: int) -> None:
    rows = [("ring-brave-otter-0001", "running", "local", "5/5", "a reason that is long " * 4), ("x", "lost", "local", "0/5", "")]
    give_way = ("ENGINE", "NODES")
    lines = columns(("RUN", "STATE", "ENGINE", "NODES", ""), rows, width, give_way).plain.splitlines()
    assert len(lines) == 3 and all(len(line) <= width for line in lines)
    if width >= 60:
        assert lines[0].split()[:2] == ["RUN", "STATE"] and "ring-brave-otter-0001  running" in lines[1] and "a reason" in lines[1]
    assert ("ENGINE" in lines[0]) == (width >= 71)  # 23 + 9 + 8 + 7 and 24 for what stands last
    assert ("NODES" in lines[0]) == (width >= 63)  # 8 less
    whole = columns(("RUN", "STATE", "ENGINE", "NODES", ""), rows, None, give_way).plain.splitlines()
    assert whole[1].endswith(rows[0][-1].rstrip())


def test_json_lines_parse_and_end_with_end() -> None:
    stream, now = io.StringIO(), 0.0
    with JsonView(stream, every=2.0, clock=lambda: now) as view:
        for second in range(4):
            now = float(second)
            view.show(snapshot(state="STARTING" if second == 0 else "RUNNING"), [EVENT] if second == 1 else [])
        view.notice("stopping")
        view.end(WatchOutcome(Path("runs/x"), "STOPPED", 130, "stopped by you", 3.0))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["kind"] for line in lines] == ["state", "progress", "state", "event", "progress", "notice", "end"]
    assert all("t" in line for line in lines)
    assert lines[3]["t"] == EVENT["t"] and lines[3]["node"] == "agent-2"
    assert lines[-1]["exit_code"] == 130 and lines[-1]["directory"] == "runs/x"


def test_json_never_holds_what_json_has_not() -> None:
    stream = io.StringIO()
    broken = agent(0, metrics={"return": float("nan"), "loss": float("inf")})
    JsonView(stream).show(snapshot(nodes=[broken]), [])

    def refuse(text: str) -> None:
        raise AssertionError(text)

    for line in stream.getvalue().splitlines():
        json.loads(line, parse_constant=refuse)
    assert snapshot_metrics.value(broken, "return") is None


def test_faults_that_last_and_the_next_one_are_a_line() -> None:
    assert fault_line({}) == "" and fault_line({"faults": {"active": [], "next": ""}}) == ""
    line = fault_line({"faults": {"active": ["freeze: process.pause agent-1"], "next": "split: partition a | b at episode 1500"}})
    assert line == "faults: freeze: process.pause agent-1   next fault: split: partition a | b at episode 1500"


def test_every_view_shows_how_far_an_evaluation_is() -> None:
    late = snapshot(phase="evaluation", progress=1.0, left=20.0, evaluation={"done": 37, "episodes": 256, "left": 20.0})
    assert progress_line(late, 120).endswith("last evaluation, evaluating 37/256, left 0:20")
    assert snapshot_metrics.phase(snapshot(evaluation={"done": 0, "episodes": 64, "left": None})) == "training, evaluating 0/64"
    assert snapshot_metrics.phase(snapshot(evaluation=None)) == "training"
    plain, lines = io.StringIO(), io.StringIO()
    now = iter([0.0, 20.0])
    PlainView(plain, clock=lambda: next(now)).show(late, [])
    assert "left 0:20" in plain.getvalue() and "evaluating 37/256, left 0:20" in plain.getvalue()
    JsonView(lines, clock=lambda: 0.0).show(late, [])
    assert json.loads(lines.getvalue().splitlines()[-1])["evaluation"] == {"done": 37, "episodes": 256, "left": 20.0}
