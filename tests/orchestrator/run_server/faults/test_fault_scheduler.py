"""The run server's part in faults, without processes: what a resumed run repeats, notifications of the end, and when nodes continue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.config.configuration import Configuration
from orchestrator.results.run_files import RunFiles, read_lines
from orchestrator.run_server.faults.fault_plan import make_plan
from orchestrator.run_server.faults.fault_scheduler import FaultScheduler
from orchestrator.run_server.hosts.node_commands import NodeCommands
from orchestrator.run_server.hosts.restart_supervision import RestartOutcome
from orchestrator.run_server.hosts.run_nodes import RunNodes
from orchestrator.run_server.lead.run_progress import RunProgress
from orchestrator.run_server.lead.status_snapshot import RunView
from orchestrator.run_server.run_server import _make_view
from protocols.faults.node_faults.fault_log import FaultLog
from protocols.faults.settings import FaultEvent

BASE: dict[str, Any] = {"version": 2, "until": {"time": "600s"}, "environment": {"id": "landmarks"}, "agents": {"count": 3}}
KILL = {"id": "kill", "at": {"time": "100s"}, "process": {"target": "agent-0", "action": "kill", "restart_after": "1s"}}
PAUSE = {"id": "pause", "at": {"time": "250s"}, "for": "100s", "process": {"target": "agent-1", "action": "pause"}}
SPLIT = {"id": "split", "at": {"time": "290s"}, "for": "60s", "partition": {"groups": [["agent-0"], ["agent-1", "agent-2"]]}}
SLOW = {"id": "slow", "at": {"time": "280s"}, "for": "60s", "straggler": {"target": "agent-2", "factor": 3}}
LATE = {"id": "late", "at": {"time": "400s"}, "process": {"target": "agent-2", "action": "kill"}}
LIE = {"id": "lie", "at": {"episode": 10}, "byzantine": {"target": "agent-1", "attack": "sign_flip"}}


class Stage:
    """A scheduler, and what it does to nodes that are not there."""

    def __init__(self, directory: Path, events: list[dict[str, Any]], **faults: Any) -> None:
        self.signals: list[tuple[str, str]] = []
        self.events, self.faults_section, self.directory = events, faults, directory
        directory.mkdir()
        RunFiles(directory).update(segment=1)
        self.begin()

    def begin(self, adopted: dict[str, int] | None = None) -> None:
        """A segment of the run begins, at real time 0."""
        faults = {"seed": 1, "events": self.events, **self.faults_section}
        self.configuration = Configuration.model_validate({**BASE, "faults": faults})
        self.view: RunView = _make_view(RunFiles(self.directory), self.configuration, 0.0)
        start = SimpleNamespace(incarnation=1)
        processes = {name: SimpleNamespace(start=start, ended=False) for name in (*self.configuration.agent_names(), "env-0")}
        nodes = SimpleNamespace(processes=processes, signal=lambda name, _, what: self.signals.append((name, what)))
        self.commands = NodeCommands()
        plan = make_plan(self.configuration)
        self.scheduler = FaultScheduler(self.view, cast(RunNodes, nodes), self.commands, plan, adopted)
        self.view.progress.begin(0.0)

    def take_over(self, trained: float) -> None:
        """The run server was killed after these seconds of training; the nodes have gone on for 20 s more, at real time 0."""
        self.resume(trained, dict.fromkeys((*self.configuration.agent_names(), "env-0"), 1))
        self.view.progress = RunProgress(self.configuration.until)
        self.view.progress.begin(-trained - 20.0)

    def resume(self, trained: float, adopted: dict[str, int] | None = None) -> None:
        """The run server was killed; the run goes on."""
        self.view.collector.close()
        files = RunFiles(self.directory)
        files.update(segment=int(files.state["segment"]) + 1, trained=trained)
        self.signals.clear()
        self.begin(adopted)

    def orders(self) -> list[tuple[str, str, str]]:
        return [(node, command.op, command.fault) for node, command in self.commands.due(1e9)]

    def log(self) -> list[tuple[str, str]]:
        return [(line["what"], line["id"]) for line in read_lines(self.directory / "nodes" / "run" / "faults.jsonl")]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Any]:
    made: list[Stage] = []

    def make(*events: dict[str, Any], **faults: Any) -> Stage:
        made.append(Stage(tmp_path / f"run-{len(made)}", list(events), **faults))
        return made[-1]

    yield make
    for one in made:
        one.view.collector.close()


def test_a_resumed_run_repeats_no_fault_and_ends_those_that_last(stage: Any) -> None:
    run = stage(KILL, PAUSE, SPLIT, SLOW, LATE)
    run.scheduler.tick(300.0, True)
    assert ("agent-0", "kill") in run.signals and ("agent-1", "stop") in run.signals
    FaultLog(run.directory / "nodes" / "agent-2", "agent-2", 1).write("begin", "slow", "straggler.update")
    before = run.log()

    run.resume(trained=300.0)
    run.scheduler.tick(0.0, True)
    assert run.signals == [], "no node dies or pauses again"
    assert run.log() == [*before, ("end", "pause")], "a new process does not stand still"
    assert sorted(one["id"] for one in run.scheduler.on()) == ["slow", "split"]
    run.scheduler.tick(45.0, True)  # 345 s of training
    assert [one["id"] for one in run.scheduler.on()] == ["split"]
    run.scheduler.tick(55.0, True)
    assert run.scheduler.on() == [] and run.log()[-1] == ("end", "split")
    run.scheduler.tick(101.0, True)
    assert run.signals == [("agent-2", "kill")], "later faults begin"


def test_a_fault_that_its_node_ends_by_itself_is_left_to_it(stage: Any) -> None:
    run = stage({**LIE, "for": "60s"})
    FaultLog(run.directory / "nodes" / "agent-1", "agent-1", 1).write("begin", "lie", "byzantine.sign_flip", episode=10)
    run.resume(trained=300.0)
    run.scheduler.tick(0.0, True)
    run.scheduler.alive("agent-1", 3, 1.0)
    assert [one["id"] for one in run.scheduler.on()] == ["lie"] and run.orders() == []
    FaultLog(run.directory / "nodes" / "agent-1", "agent-1", 3).write("end", "lie", "byzantine.sign_flip")
    run.scheduler.tick(2.0, True)
    assert run.scheduler.on() == []


def test_drawn_faults_that_were_missed_are_not_caught_up(stage: Any) -> None:
    random = {"every": "10s", "duration": "5s", "weights": {"partition": 1, "kill": 1, "pause": 1, "slow": 1, "link": 1}}
    run = stage(random=random)
    run.resume(trained=300.0)
    run.scheduler.tick(0.0, True)
    assert run.signals == [] and run.orders() == [] and run.log() == []
    names = {entry.id for entry in run.scheduler.entries}
    for second in range(1, 31):
        run.scheduler.tick(float(second), True)
    assert {fault for what, fault in run.log() if what == "begin"}.isdisjoint(names), "and those to come are others"
    assert run.signals or run.orders()


def test_a_fault_by_hand_ends_with_its_processes_and_its_name_is_not_used_again(stage: Any) -> None:
    run = stage()
    log = FaultLog(run.directory / "nodes" / "run", "run", 1)
    log.write("asked", "by-hand-1", "byzantine.zero", event={})
    FaultLog(run.directory / "nodes" / "agent-1", "agent-1", 1).write("begin", "by-hand-1", "byzantine.zero")
    run.resume(trained=50.0)
    assert run.scheduler.next_id() == "by-hand-2"
    assert run.log()[-1] == ("end", "by-hand-1")


def test_a_death_of_a_former_segment_plans_no_later_one(stage: Any) -> None:
    run = stage(KILL)
    FaultLog(run.directory / "nodes" / "agent-0", "agent-0", 1).write("begin", "kill", "process.kill")
    run.resume(trained=300.0)
    run.scheduler.tick(0.0, True)
    assert run.scheduler.after_end("agent-0", 1, 10, 1.0) is None, "a crash is a crash"


def test_who_was_away_hears_that_all_is_healed(stage: Any) -> None:
    run = stage(LIE, KILL, heal_before_end="10%")
    FaultLog(run.directory / "nodes" / "agent-1", "agent-1", 1).write("begin", "lie", "byzantine.sign_flip")
    run.scheduler.tick(530.0, True)
    run.scheduler.alive("agent-1", 2, 530.0)
    assert run.orders() == []
    run.scheduler.tick(541.0, True)
    run.scheduler.alive("agent-1", 3, 542.0)
    assert ("agent-1", "heal", "*") in run.orders()


def test_who_was_away_hears_that_one_fault_was_ended_by_hand(stage: Any) -> None:
    run = stage(LIE, SPLIT)
    FaultLog(run.directory / "nodes" / "agent-1", "agent-1", 1).write("begin", "lie", "byzantine.sign_flip")
    run.scheduler.tick(300.0, True)
    assert run.scheduler.heal_by_hand("split", 301.0) == ["split"] and run.scheduler.heal_by_hand("lie", 301.0) == ["lie"]
    run.scheduler.alive("agent-1", 2, 302.0)
    assert run.orders() == [("agent-1", "heal", "lie"), ("agent-1", "heal", "split")]


def test_healing_ends_absences(stage: Any) -> None:
    long = {**KILL, "at": {"time": "500s"}, "process": {**KILL["process"], "restart_after": "90s"}}
    run = stage(long, heal_before_end="10%")
    run.scheduler.tick(500.0, True)
    decision = run.scheduler.after_end("agent-0", 1, -9, 500.5)
    assert decision is not None and (decision.outcome, decision.delay) == (RestartOutcome.RESTART, 90.0)
    run.scheduler.tick(539.0, True)
    assert run.view.supervisor.due(539.0) == []
    run.scheduler.tick(540.5, True)
    assert run.view.supervisor.due(540.5) == ["agent-0"]


def test_who_stands_still_by_two_faults_goes_on_after_both(stage: Any) -> None:
    short = {**PAUSE, "id": "short", "at": {"time": "260s"}, "for": "5s"}
    run = stage(PAUSE, short)
    run.scheduler.tick(250.0, True)
    run.scheduler.tick(260.0, True)
    run.scheduler.tick(270.0, True)
    assert run.log() == [("begin", "pause"), ("begin", "short"), ("end", "short")]
    run.scheduler.tick(300.0, True)
    assert ("agent-1", "cont") not in run.signals
    run.scheduler.tick(351.0, True)
    run.scheduler.tick(353.0, True)
    assert run.signals.count(("agent-1", "cont")) == 3 and run.log()[-1] == ("end", "pause")


def test_a_run_server_that_takes_over_goes_on_with_what_lasts_and_begins_what_became_due(stage: Any) -> None:
    run = stage(PAUSE, SPLIT, SLOW, {**LATE, "at": {"time": "310s"}})
    run.scheduler.tick(300.0, True)
    FaultLog(run.directory / "nodes" / "agent-2", "agent-2", 1).write("begin", "slow", "straggler.update")
    before = run.log()
    run.take_over(trained=300.0)
    assert run.log() == before, "nothing is over"
    for node in ("agent-1", "agent-2"):
        run.scheduler.alive(node, 1, 0.0)
    assert run.orders() == [], "the processes have what lasts"
    run.scheduler.tick(0.0, True)  # 320 s of training
    assert run.signals == [("agent-2", "kill")], "it became due without a run server"
    assert sorted(one["id"] for one in run.scheduler.on()) == ["pause", "slow", "split"]
    run.scheduler.tick(35.0, True)
    run.scheduler.tick(36.0, True)
    assert ("agent-1", "cont") in run.signals and run.scheduler.on() == []


def test_a_node_that_a_fault_has_ended_comes_back_as_planned_under_the_next_run_server(stage: Any) -> None:
    run = stage({**KILL, "process": {**KILL["process"], "restart_after": "30s"}})
    run.scheduler.tick(100.0, True)
    run.take_over(trained=100.0)
    decision = run.scheduler.after_end("agent-0", 1, -9, 0.0)
    assert decision.outcome == RestartOutcome.RESTART and decision.delay == pytest.approx(10.0), "20 of its 30 s are over"


def test_a_fault_by_hand_goes_on_under_the_next_run_server_and_ends_at_its_time(stage: Any) -> None:
    run = stage()
    event = FaultEvent.model_validate(
        {"id": "by-hand-1", "at": {"time": "290s"}, "for": "60s", "straggler": {"target": "agent-1", "factor": 3}}
    )
    log = FaultLog(run.directory / "nodes" / "run", "run", 1)
    log.write("asked", "by-hand-1", "straggler.update", event=event.model_dump(mode="json"))
    where = {"time": 290.0, "step": 0.0, "episode": 0.0, "round": 0.0}
    FaultLog(run.directory / "nodes" / "agent-1", "agent-1", 1).write("begin", "by-hand-1", "straggler.update", **where)
    run.take_over(trained=300.0)
    run.scheduler.tick(0.0, True)
    assert [one["id"] for one in run.scheduler.on()] == ["by-hand-1"]
    run.scheduler.tick(31.0, True)
    assert run.scheduler.on() == []
