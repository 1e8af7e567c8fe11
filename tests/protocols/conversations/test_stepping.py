"""Lock-step: rules one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protocols.conversations.stepping.stepping import ANSWERS, StepClient, StepServer
from tests.protocols.conversations.stepping_world import DEADLINE


def act(value: int) -> Any:
    return np.array([[value]], np.int32)


def opened(*agents: str) -> StepServer:
    """A server at tick 1 with these agents present."""
    server = StepServer(agents, DEADLINE)
    for agent in agents:
        assert server.join(agent)
    assert server.ready(0.0)
    server.close()
    assert server.advance(0.0) == set(agents)
    return server


def test_the_first_value_wins() -> None:
    server = opened("a", "b")
    assert server.awaited == 2
    assert server.receive("a", 1, act(1)) == "stored"
    assert server.receive("a", 1, act(2)) == "duplicate"
    assert server.awaited == 1
    assert not server.ready(DEADLINE - 0.01)
    assert server.receive("b", 1, act(3)) == "stored"
    assert server.ready(0.0)
    closed = server.close()
    assert (closed.tick, {name: int(a[0, 0]) for name, a in closed.actions.items()}, closed.late) == (1, {"a": 1, "b": 3}, frozenset())


def test_at_the_deadline_the_late_are_named() -> None:
    server = opened("a", "b")
    server.receive("a", 1, act(1))
    assert server.due() == DEADLINE
    assert server.ready(DEADLINE)
    assert server.close().late == {"b"}


def test_nobody_plays_alone_with_nobody() -> None:
    server = StepServer(["a"], DEADLINE)
    assert not server.ready(1e9)
    assert not server.join("stranger")
    assert server.receive("a", 0, act(0)) == "unknown"
    server.join("a")
    assert server.present == frozenset()
    assert server.receive("a", 0, act(0)) == "unknown", "who joins takes part from the next tick on"


def test_who_leaves_is_not_waited_for() -> None:
    server = opened("a", "b")
    server.receive("a", 1, act(1))
    server.leave("b")
    assert server.ready(0.0)
    assert server.close().late == frozenset()
    server.leave("a")
    server.advance(0.0)
    assert not server.ready(1e9)


def test_who_joins_anew_starts_with_the_next_tick() -> None:
    server = opened("a", "b")
    server.receive("a", 1, act(1))
    server.receive("b", 1, act(1))
    server.join("b")
    assert server.joining == {"b"}
    closed = server.close()
    assert set(closed.actions) == {"a"}
    assert server.advance(1.0) == {"b"}
    assert server.receive("b", 2, act(2)) == "stored"


def test_answers_are_kept_for_two_ticks() -> None:
    server = opened("a")
    for tick in range(1, 6):
        server.answered("a", f"answer {tick}")
        server.receive("a", tick, act(0))
        server.close()
        server.advance(0.0)
    server.answered("a", "answer 6")
    assert server.receive("a", 7, act(0)) == "ahead"
    assert server.receive("a", 5, act(0)) == "repeat"
    assert server.answer("a", 5) == "answer 6"
    assert server.answer("a", 4) == "answer 5"
    assert server.answer("a", 1) == "answer 6", "an agent that is further behind gets the newest"
    assert len(server._answers["a"]) == ANSWERS
    server.leave("a")
    assert server.answer("a", 5) is None


def test_an_agent_repeats_until_answered() -> None:
    client = StepClient(np.random.default_rng(0))
    assert not client.again(1e9), "nothing to repeat yet"
    assert client.observed("env-0", 5, 0.0)
    assert not client.continuous, "the first observation follows nothing"
    assert not client.observed("env-0", 5, 0.0)
    assert not client.observed("env-0", 4, 0.0)
    client.act(0.0)
    assert not client.again(0.05)
    assert client.again(0.31)
    assert not client.again(0.31)
    assert client.again(2.0)
    assert client.observed("env-0", 6, 2.1)
    assert client.continuous
    assert not client.again(1e9)


@pytest.mark.parametrize(("acted", "next_tick"), [(True, 7), (False, 6)])
def test_a_missed_tick_is_noticed(acted: bool, next_tick: int) -> None:
    client = StepClient(np.random.default_rng(0))
    client.observed("env-0", 5, 0.0)
    if acted:
        client.act(0.0)
    assert client.observed("env-0", next_tick, 1.0)
    assert not client.continuous


def test_another_server_starts_anew() -> None:
    client = StepClient(np.random.default_rng(0))
    client.observed("env-0", 50, 0.0)
    client.act(0.0)
    client.reset()
    assert not client.again(1e9)
    assert client.observed("env-0", 1, 1.0)
    assert not client.continuous
