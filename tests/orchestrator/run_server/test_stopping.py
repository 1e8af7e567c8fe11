"""The order in which a run ends, and that commands reach whom they must."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.run_server.hosts.node_commands import RETRY, Admission, NodeCommands
from orchestrator.run_server.lead.ordered_stop import OrderedStop, StopTimeouts
from protocols.conversations.membership.membership_messages import Hello
from protocols.runtime.errors import ExitCode
from protocols.wire.message_registry import schema_hash

STAGES = [["agent-0", "agent-1"], ["env-0"]]
ALL = {"agent-0", "agent-1", "env-0"}


def test_agents_first_then_the_environment() -> None:
    stop = OrderedStop(STAGES)
    assert stop.tick(0.0, ALL) == [("agent-0", "stop"), ("agent-1", "stop")]
    assert stop.tick(1.0, ALL) == []
    assert stop.tick(2.0, {"agent-1", "env-0"}) == [], "the environment waits for the last agent"
    assert stop.tick(3.0, {"env-0"}) == [("env-0", "stop")]
    assert not stop.done
    assert stop.tick(4.0, set()) == [] and stop.done


def test_who_does_not_listen_is_ended() -> None:
    stop = OrderedStop(STAGES, grace=StopTimeouts(10.0, 5.0, 5.0))
    stop.tick(0.0, ALL)
    assert stop.tick(9.9, {"agent-1", "env-0"}) == []
    assert stop.tick(10.0, {"agent-1", "env-0"}) == [("agent-1", "term")]
    assert stop.tick(15.0, {"agent-1", "env-0"}) == [("agent-1", "kill")]
    assert stop.tick(20.0, {"agent-1", "env-0"}) == [("env-0", "stop")], "even a process that can't be killed delays no other"


def test_at_once_is_at_once() -> None:
    stop = OrderedStop(STAGES, at_once=True)
    assert stop.tick(0.0, ALL) == [("agent-0", "kill"), ("agent-1", "kill"), ("env-0", "kill")]
    assert stop.tick(1.0, set()) == [] and stop.done
    later = OrderedStop(STAGES)
    later.tick(0.0, ALL)
    later.hurry()
    later.hurry()
    assert later.tick(0.5, ALL) == [("agent-0", "kill"), ("agent-1", "kill"), ("env-0", "kill")]
    assert not later.done
    assert later.tick(5.5, ALL) == [] and later.done


def test_nobody_to_stop() -> None:
    stop = OrderedStop([[], []])
    assert stop.tick(0.0, set()) == [] and stop.done


@given(st.lists(st.tuples(st.floats(0.0, 7.0), st.sets(st.sampled_from(sorted(ALL)))), max_size=40), st.integers(0, 40))
def test_every_stop_ends(steps: list[tuple[float, set[str]]], hurry_at: int) -> None:
    """Whatever dies when: measures are taken against the living only, each once and in order, and the end comes in time."""
    stop, now, living, seen = OrderedStop(STAGES), 0.0, set(ALL), []
    for i, (pause, deaths) in enumerate(steps):
        now += pause
        living -= deaths
        if i == hurry_at:
            stop.hurry()
        for node, measure in stop.tick(now, living):
            assert node in living
            assert node != "env-0" or stop.at_once or not living & {"agent-0", "agent-1"} or now >= 20.0
            seen.append((node, measure))
    stop.tick(now + 20.0, living)
    stop.tick(now + 40.0, living)
    stop.tick(now + 60.0, living)
    assert stop.done
    order = ["stop", "term", "kill"]
    for node in ALL:
        measures = [order.index(m) for n, m in seen if n == node]
        assert measures == sorted(measures)


def test_commands_are_repeated_until_acknowledged() -> None:
    commands = NodeCommands()
    commands.give("agent-0", 1, "start", 0.0)
    commands.give("agent-0", 1, "start", 0.0)
    ((node, first),) = commands.due(0.0)
    assert (node, first.op) == ("agent-0", "start") and commands.due(RETRY / 2) == []
    ((_, again),) = commands.due(RETRY)
    assert again.id == first.id, "the same number: it is done once"
    commands.acknowledged("agent-1", first.id)
    assert commands.due(2 * RETRY), "the answer of another node does not count"
    commands.acknowledged("agent-0", first.id)
    assert commands.due(9 * RETRY) == []
    commands.give("agent-0", 1, "stop", 10.0)
    commands.give("env-0", 1, "stop", 10.0)
    assert [c.id for _, c in commands.due(10.0)] == [first.id + 1, first.id + 2], "numbers are never used again"
    commands.forget("agent-0")
    assert [node for node, _ in commands.due(20.0)] == ["env-0"]


def test_admission() -> None:
    admission = Admission("secret")
    assert admission.judge(Hello(role="agent", token="secret", schema=schema_hash())) is None
    refused = admission.judge(Hello(role="agent", token="", schema=schema_hash()))
    assert refused is not None and refused.code == ExitCode.AUTHENTICATION and "secret" not in refused.text
    refused = admission.judge(Hello(role="agent", token="secret", schema="f" * 64))
    assert refused is not None and refused.code == ExitCode.SCHEMA
