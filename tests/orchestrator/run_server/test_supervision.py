"""Restarts: delays, giving up, exit codes, and when too few are left."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.run_server.hosts.restart_supervision import RestartOutcome, RestartPolicy, Supervisor, describe_exit
from protocols.runtime.errors import ExitCode

AGENTS = [f"agent-{i}" for i in range(4)]


def supervisor(
    policy: RestartPolicy = RestartPolicy(), graph: nx.Graph | None = None, agents: list[str] = AGENTS, min_agents: int = 2, seed: int = 0
) -> Supervisor:
    if graph is None:
        graph = nx.Graph(list(pairwise(agents)) + ([(agents[-1], agents[0])] if len(agents) > 2 else []))
        graph.add_nodes_from(agents)
    roles = {"env-0": "env", **dict.fromkeys(agents, "agent")}
    return Supervisor(policy, roles, graph, min_agents, np.random.default_rng(seed))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_delays_double_up_to_the_longest_with_jitter(seed: int) -> None:
    policy = RestartPolicy(first=0.5, max=30.0, at_most=100)
    machine, delays = supervisor(policy, seed=seed), []
    for k in range(12):
        decision = machine.ended("agent-0", -9, float(k))
        assert decision.outcome == RestartOutcome.RESTART and decision.attempt == k + 1
        nominal = min(30.0, 0.5 * 2**k)
        assert 0.8 * nominal <= decision.delay <= 1.2 * nominal
        delays.append(decision.delay / nominal)
    assert len(set(delays)) == 12, "nodes that died together do not come back together"


def test_a_restart_is_due_once_and_on_time() -> None:
    machine = supervisor()
    delay = machine.ended("agent-1", 10, 100.0).delay
    assert machine.back_in("agent-1", 100.0) == pytest.approx(delay)
    assert machine.due(100.0 + delay - 1e-6) == []
    assert machine.due(100.0 + delay + 1e-6) == ["agent-1"]
    assert machine.due(1000.0) == [] and machine.back_in("agent-1", 1000.0) is None
    assert machine.restarts("agent-1") == 1 and machine.restarts("agent-0") == 0


def test_a_minute_of_life_resets_the_delay_but_not_the_count() -> None:
    machine = supervisor(RestartPolicy(at_most=3, within=600.0))
    for k in range(2):
        machine.ended("agent-0", -9, 10.0 * k)
    machine.alive("agent-0", 30.0)
    assert machine.ended("agent-0", -9, 90.0).delay <= 0.5 * 1.2
    machine.alive("agent-0", 100.0)
    assert machine.ended("agent-0", -9, 200.0).outcome == RestartOutcome.LOST, "the fourth failure within ten minutes"
    machine = supervisor()
    machine.ended("agent-0", -9, 0.0)
    machine.alive("agent-0", 1.0)
    assert machine.ended("agent-0", -9, 60.9).delay >= 1.0 * 0.8, "59.9 s of running are not enough"


def test_old_failures_are_forgotten() -> None:
    machine = supervisor(RestartPolicy(at_most=1, within=10.0))
    for k in range(20):
        assert machine.ended("agent-0", -9, 10.0 * k).outcome == RestartOutcome.RESTART
    assert machine.ended("agent-0", -9, 195.0).outcome == RestartOutcome.LOST


@pytest.mark.parametrize("code", [2, 3, 4, 5, 6])
def test_mistakes_are_never_restarted(code: int) -> None:
    machine = supervisor()
    assert machine.ended("agent-0", code, 0.0).outcome == RestartOutcome.LOST
    assert machine.due(1e9) == []


@pytest.mark.parametrize("code", [1, 10, 20, 130, 255, -9, -11, -6])
def test_crashes_and_signals_are(code: int) -> None:
    assert supervisor().ended("agent-0", code, 0.0).outcome == RestartOutcome.RESTART


def test_zero_is_a_farewell() -> None:
    machine = supervisor()
    assert machine.ended("agent-0", 0, 0.0).outcome == RestartOutcome.LEFT
    assert machine.due(1e9) == []


def test_too_few_agents() -> None:
    machine = supervisor(min_agents=3)
    assert machine.verdict() is None
    machine.ended("agent-0", -9, 0.0)
    machine.ended("agent-1", -9, 0.0)
    assert machine.verdict() is None, "those who come back count"
    machine.ended("agent-0", 3, 1.0)
    assert machine.verdict() is None
    machine.ended("agent-1", 3, 1.0)
    assert machine.verdict() == "fewer than 3 agents are left (2)"


def test_those_who_are_left_must_be_connected() -> None:
    machine = supervisor(min_agents=1)
    machine.ended("agent-0", 3, 0.0)
    assert machine.verdict() is None, "a ring without one is a path"
    machine.ended("agent-2", 3, 0.0)
    verdict = machine.verdict()
    assert verdict is not None and "not connected" in verdict and "agent-1 | agent-3" in verdict
    isolated = nx.Graph()
    isolated.add_nodes_from(AGENTS)
    machine = supervisor(graph=isolated, min_agents=1)
    machine.ended("agent-0", 3, 0.0)
    assert machine.verdict() is None, "a graph that never was connected is not judged"


def test_one_agent_alone_is_a_run_too() -> None:
    machine = supervisor(agents=["agent-0"], min_agents=2)
    assert machine.verdict() is None
    machine.ended("agent-0", 0, 0.0)
    assert machine.verdict() is not None


def test_nothing_is_played_without_the_environment() -> None:
    machine = supervisor()
    machine.ended("env-0", -9, 0.0)
    assert machine.verdict() is None
    machine.ended("env-0", ExitCode.RESOURCES, 1.0)
    assert "env-0" in (machine.verdict() or "")


def test_exits_in_words() -> None:
    assert describe_exit(-9) == "killed by signal 9"
    assert describe_exit(3) == "exit 3 (config)"
    assert describe_exit(77) == "exit 77 (an unlisted code)"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.0, 100.0), st.sampled_from([-9, 10, 3, 0]), st.sampled_from([*AGENTS, "env-0"])), max_size=60),
    st.integers(0, 5),
    st.integers(1, 4),
)
def test_random_failures(failures: list[tuple[float, int, str]], at_most: int, min_agents: int) -> None:
    """Never more restarts within the window than allowed; who is gone stays gone; the verdict agrees with who is left."""
    policy = RestartPolicy(at_most=at_most, within=200.0)
    machine = supervisor(policy, min_agents=min_agents)
    now, gone = 0.0, set()
    restarts: dict[str, list[float]] = {}
    for pause, code, node in failures:
        now += pause
        for back in machine.due(now):
            assert back not in gone
            machine.alive(back, now)
        if node in gone or machine.back_in(node, now) is not None:
            continue
        decision = machine.ended(node, code, now)
        if decision.outcome == RestartOutcome.RESTART:
            assert code in (-9, 10) and 0.8 * policy.first <= decision.delay <= 1.2 * policy.max
            history = restarts.setdefault(node, [])
            history.append(now)
            assert sum(t > now - policy.within for t in history) <= at_most
        else:
            gone.add(node)
        left = [agent for agent in AGENTS if agent not in gone]
        connected = len(left) != 2 or left not in (["agent-0", "agent-2"], ["agent-1", "agent-3"])
        assert (machine.verdict() is None) == ("env-0" not in gone and len(left) >= min_agents and connected)


def test_a_planned_death_is_no_failure_and_overrides_the_back_off() -> None:
    it = supervisor()
    for k in range(20):  # many more than `at_most`
        now = 10.0 * k
        decision = it.planned("agent-0", 3.0, now)
        assert decision.outcome == RestartOutcome.RESTART and decision.delay == 3.0
        assert it.due(now + 2.9) == [] and it.due(now + 3.0) == ["agent-0"]
    assert it.verdict() is None
    assert it.ended("agent-0", -9, 300.0).attempt == 1, "the first failure of its own"


def test_a_planned_absence_lasts_until_it_is_over() -> None:
    it = supervisor()
    it.planned("agent-1", None, 0.0)
    assert it.due(1e9) == [] and it.back_in("agent-1", 5.0) is None and it.verdict() is None
    it.bring_back("agent-1", 40.0)
    assert it.due(40.0) == ["agent-1"]
    it.bring_back("agent-1", 41.0)
    assert it.due(50.0) == [], "brought back once"
