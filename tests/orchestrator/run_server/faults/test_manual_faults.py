"""Without processes: which nodes are restarted by hand, which manual faults a repeated run has, and which requests are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from orchestrator.config.configuration import Configuration
from orchestrator.launch.local_engine import LocalEngine
from orchestrator.results.run_files import RunFiles
from orchestrator.run_server.faults.fault_plan import asked_for, free_id, make_plan
from orchestrator.run_server.faults.fault_scheduler import FaultScheduler
from orchestrator.run_server.faults.manual_faults import ManualFaults
from orchestrator.run_server.hosts.node_commands import NodeCommands
from orchestrator.run_server.hosts.restart_supervision import RestartOutcome, RestartPolicy, Supervisor
from orchestrator.run_server.hosts.run_hosts import RunHosts
from orchestrator.run_server.hosts.run_nodes import RunNodes
from orchestrator.run_server.run_server import _make_view
from protocols.conversations.client_requests.client_messages import FaultRequest, RestartRequest
from protocols.conversations.membership.membership import MembershipTimeouts
from protocols.conversations.membership.membership_messages import Refuse
from protocols.faults.fault_schedule import compile_schedule
from protocols.faults.link_effects.faulty_links import ReplayedLinks
from protocols.faults.node_faults.fault_log import FaultLog
from protocols.faults.settings import FaultEvent
from protocols.runtime.errors import ExitCode
from protocols.transport import Identity, Transport

BASE: dict[str, Any] = {"version": 2, "until": {"time": "60s"}, "environment": {"id": "landmarks"}, "agents": {"count": 3}}
CUT = {"id": "by-hand-1", "at": {"time": "12500ms"}, "for": "10s", "partition": {"groups": [["agent-0"], ["agent-1"]]}}
KILL = {"id": "by-hand-2", "at": {"time": "20s"}, "process": {"target": "agent-2", "action": "kill", "restart_after": "1s"}}


def supervisor(at_most: int = 1) -> Supervisor:
    graph = nx.cycle_graph(3)
    names = {number: f"agent-{number}" for number in range(3)}
    policy, random = RestartPolicy(at_most=at_most), np.random.default_rng(0)
    return Supervisor(policy, dict.fromkeys(names.values(), "agent"), nx.relabel_nodes(graph, names), 1, random)


def test_a_restart_by_hand_costs_nothing_of_the_budget() -> None:
    rules = supervisor()
    for k in range(10):
        decision = rules.planned("agent-0", 0.0, float(k), "restarted by hand")
        assert (decision.outcome, decision.delay, decision.reason) == (RestartOutcome.RESTART, 0.0, "restarted by hand")
        assert rules.due(float(k)) == ["agent-0"]
    assert rules.ended("agent-0", -9, 20.0).outcome == RestartOutcome.RESTART, "the first failure is the first"


def test_who_was_given_up_may_be_asked_back_with_a_clean_record() -> None:
    rules = supervisor()
    assert rules.ended("agent-1", -9, 0.0).outcome == RestartOutcome.RESTART
    assert rules.ended("agent-1", -9, 1.0).outcome == RestartOutcome.LOST
    rules.asked("agent-1", 2.0)
    assert rules.due(2.0) == ["agent-1"] and rules.verdict() is None
    again = rules.ended("agent-1", -9, 3.0)
    assert (again.outcome, again.attempt) == (RestartOutcome.RESTART, 1)
    rules.hasten("agent-1", 3.1)
    rules.hasten("agent-2", 3.1)
    assert rules.due(3.1) == ["agent-1"], "only who has one pending"


def test_wishes_are_refused_before_and_after_training(tmp_path: Path) -> None:
    directory = tmp_path / "run-0"
    directory.mkdir()
    view = _make_view(RunFiles(directory), Configuration.model_validate(BASE), 0.0)
    transport = Transport(Identity("run-0", "run", role="run"))
    try:
        commands = NodeCommands()
        nodes = RunNodes(view, transport, RunHosts(LocalEngine(directory), MembershipTimeouts(1.0, 2.0, 3.0)))
        by_hand = ManualFaults(view, transport, nodes, commands, FaultScheduler(view, nodes, commands))
        view.phase = "evaluation"
        for wish in (RestartRequest(nodes=["*"]), FaultRequest(event="{}"), FaultRequest(heal="*")):
            answer = by_hand.grant(wish, False, 0.0)
            assert isinstance(answer, Refuse) and answer.code == ExitCode.RESOURCES and "in the phase evaluation" in answer.text
    finally:
        transport.close()
        view.collector.close()


def recorded(directory: Path) -> Path:
    log = FaultLog(directory / "nodes" / "run", "run", 1)
    for event in (CUT, KILL):
        log.write("asked", event["id"], "any", event=event)  # type: ignore[arg-type]
    for number in range(3):
        both = {"id": "by-hand-1", "kind": "partition", "incarnation": 1}
        changes = [
            {"what": "on", **both, "time": 12.6, "seqs": {"peer agent-1": 4}, "event": CUT},
            {"what": "off", **both, "time": 22.5, "seqs": {"peer agent-1": 6}},
        ]
        path = directory / "nodes" / f"agent-{number}" / "faults.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in changes))
    return directory


def test_a_repeated_run_repeats_what_was_done_by_hand(tmp_path: Path) -> None:
    directory = recorded(tmp_path / "night")
    assert [event.id for event in asked_for(directory)] == ["by-hand-1", "by-hand-2"]
    configuration = Configuration.model_validate({**BASE, "faults": {"mode": "replay", "trace": str(directory)}})
    cut, kill = make_plan(configuration).entries
    assert cut.order() == "", "nodes repeat by themselves what their links did"
    assert (kill.kind, kill.targets, kill.start.value) == ("process.kill", ("agent-2",), 20.0)
    assert free_id({entry.id for entry in (cut, kill)}) == "by-hand-3"
    changes = [json.loads(line) for line in (directory / "nodes/agent-0/faults.jsonl").read_text().splitlines()]
    links = ReplayedLinks(compile_schedule(configuration.faults, [], configuration.agent_names()), 0, "agent-0", changes)
    lost = [not links.link_outcome("agent-1", "peer", "average", seq, 100, 0.0).copies for seq in range(1, 9)]
    assert lost == [False] * 4 + [True] * 2 + [False] * 2, "at the same messages"
    assert links.link_outcome("agent-2", "peer", "average", 5, 100, 0.0).copies == (0.0,)


def test_an_event_by_hand_may_stand_in_a_configuration() -> None:
    assert Configuration.model_validate({**BASE, "faults": {"events": [CUT, KILL]}}).faults is not None
    assert FaultEvent.model_validate(FaultEvent.model_validate(CUT).model_dump(mode="json")) == FaultEvent.model_validate(CUT)
