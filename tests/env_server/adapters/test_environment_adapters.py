"""PettingZoo and Gymnasium environments behind the vector contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import ParallelEnv
from pettingzoo.test import parallel_api_test

from env_server.adapters.parallel_adapter import ParallelCopies
from env_server.adapters.space_translation import translate
from env_server.environments.landmarks import parallel_env
from env_server.environments.registry import create
from env_server.settings import EnvironmentSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.layout import Layout
from tests.env_server.environments.flag_rules import FlagRules


class Countdown(ParallelEnv):
    """Agent i's part ends after 2 + 2 i steps, the last one's by the time limit; it observes how often it chose what.

    `early` acts by a Discrete that starts at 3, `middle` by a MultiDiscrete that starts at (1, 0), `late` by a Box; `late` enters at step 1
    when `entering` is set.
    """

    metadata = {"name": "countdown"}

    def __init__(self, entering: bool = False) -> None:
        self.possible_agents = ["early", "middle", "late"]
        self.entering = entering
        self.agents: list[str] = []
        self.seeds: list[int | None] = []
        self.received: list[dict[str, Any]] = []
        self.closed = 0
        self._actions = {
            "early": spaces.Discrete(4, start=3),
            "middle": spaces.MultiDiscrete([2, 3], start=[1, 0]),
            "late": spaces.Box(np.array([0.0, -1.0], np.float32), np.array([4.0, 1.0], np.float32)),
        }
        self._observations = {
            "early": spaces.Box(-10, 10, (2,)),
            "middle": spaces.Box(-10, 10, (2, 3), dtype=np.float64),
            "late": spaces.Box(0, 255, (4, 5, 3), dtype=np.uint8),
        }

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self._observations[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self._actions[agent]

    def _seen(self, agents: list[str]) -> dict[str, np.ndarray]:
        return {agent: np.full(self._observations[agent].shape, self.steps, self._observations[agent].dtype) for agent in agents}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.seeds.append(seed)
        self.steps = 0
        self.agents = self.possible_agents[: 2 if self.entering else 3]
        return self._seen(self.agents), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        assert set(actions) == set(self.agents)
        for agent, action in actions.items():
            assert self._actions[agent].contains(action), (agent, action)
        self.received.append(actions)
        self.steps += 1
        acted = list(self.agents)
        if self.entering and self.steps == 1:
            acted.append("late")
        last = {agent: 2 + 2 * i for i, agent in enumerate(self.possible_agents)}
        self.agents = [agent for agent in acted if self.steps < last[agent]]
        terminated = {agent: agent not in self.agents and agent != "late" for agent in acted}
        truncated = {agent: agent not in self.agents and agent == "late" for agent in acted}
        return self._seen(acted), {agent: float(self.steps) for agent in acted}, terminated, truncated, {agent: {} for agent in acted}

    def close(self) -> None:
        self.closed += 1


AGENTS = ("agent-0", "agent-1", "agent-2")
M, F, T, C, P, OVER = (int(f) for f in (Flag.MEMBER, Flag.FIRST, Flag.TERMINATED, Flag.TRUNCATED, Flag.PARKED, Flag.OVER))


def chosen(copies: int) -> dict[str, np.ndarray]:
    return {
        "agent-0": np.full((copies, 1), 2, np.int32),
        "agent-1": np.tile(np.array([[1, 2]], np.int32), (copies, 1)),
        "agent-2": np.tile(np.array([[9.0, 0.5]], np.float32), (copies, 1)),
    }


def test_the_life_of_an_episode_with_parts_of_different_length() -> None:
    environment = ParallelCopies(Countdown, AGENTS, 2)
    rules = FlagRules(environment)
    outcomes = [environment.reset(0)] + [environment.step(chosen(2)) for _ in range(7)]
    for outcome in outcomes:
        rules.check(outcome)
    table = {agent: [int(o.agents[agent].flags[1]) for o in outcomes] for agent in AGENTS}
    assert table["agent-0"] == [M | F, M, M | T, M | P, M | P, M | P, M | P | OVER, M | F]
    assert table["agent-1"] == [M | F, M, M, M, M | T, M | P, M | P | OVER, M | F]
    assert table["agent-2"] == [M | F, M, M, M, M, M, M | C | OVER, M | F]
    assert [float(o.agents["agent-0"].reward[0]) for o in outcomes] == [0, 1, 2, 0, 0, 0, 0, 0]
    assert [o.agents["agent-0"].observation[0, 0] for o in outcomes] == [0, 1, 2, 2, 2, 2, 2, 0], "parked rows keep the last view"
    assert [o.episode.tolist() for o in outcomes] == [[0, 1]] * 7 + [[2, 3]]
    records = environment.finished()
    rules.check_records(records)
    assert [(r.episode, r.lengths, r.rewards) for r in records] == [(e, (2, 4, 6), (3.0, 10.0, 21.0)) for e in (0, 1)]


def test_episodes_are_counted_from_where_the_server_says() -> None:
    environment = ParallelCopies(Countdown, AGENTS, 2)
    outcomes = [environment.reset(0, 2**40)] + [environment.step(chosen(2)) for _ in range(7)]
    assert [(o.episode - 2**40).tolist() for o in outcomes] == [[0, 1]] * 7 + [[2, 3]]


def test_an_agent_may_enter_in_the_middle() -> None:
    environment = ParallelCopies(lambda: Countdown(entering=True), AGENTS, 1)
    outcomes = [environment.reset(0)] + [environment.step(chosen(1)) for _ in range(6)]
    assert [int(o.agents["agent-2"].flags[0]) for o in outcomes] == [0, M | F, M, M, M, M, M | C | OVER]
    (record,) = environment.finished()
    assert record.members == AGENTS and record.rewards[2] == 2 + 3 + 4 + 5 + 6


def test_actions_arrive_in_the_environments_own_terms() -> None:
    made: list[Countdown] = []
    environment = ParallelCopies(lambda: made.append(Countdown()) or made[-1], AGENTS, 1)
    environment.reset(0)
    environment.step(chosen(1))
    environment.step({"agent-2": np.array([[np.nan, -np.inf]], np.float32)})
    first, second = made[0].received
    assert first["early"] == 5 and first["middle"].tolist() == [2, 2] and first["late"].tolist() == [4.0, 0.5]
    assert second["early"] == 3 and second["middle"].tolist() == [1, 0] and second["late"].tolist() == [2.0, -1.0]
    environment.step({})
    assert made[0].received[2]["late"].tolist() == [2.0, 0.0], "absent agents do nothing"
    for wrong in ({"agent-0": np.array([[4]])}, {"agent-0": np.array([[-1]])}, {"agent-1": np.array([[0, 3]])}):
        with pytest.raises(ValueError, match="outside its range"):
            environment.step(wrong)
    environment.close()
    environment.close()
    assert made[0].closed == 1


def test_every_episode_has_a_seed_of_its_own_that_follows_from_the_first() -> None:
    made: list[Countdown] = []
    environment = ParallelCopies(lambda: made.append(Countdown()) or made[-1], AGENTS, 2)
    for seed in (4, 4, 5):
        environment.reset(seed)
        for _ in range(7):
            environment.step({})
    seeds = [made[0].seeds[i : i + 2] + made[1].seeds[i : i + 2] for i in (0, 2, 4)]
    assert seeds[0] == seeds[1] and len(set(seeds[0] + seeds[2])) == 8 and all(0 <= s < 2**31 for s in seeds[0])


def test_the_next_episodes_are_evaluations_when_asked() -> None:
    environment = ParallelCopies(Countdown, AGENTS, 2)
    environment.reset(0)
    environment.evaluate(3, aligned=True)
    for _ in range(28):
        environment.step({})
    assert [record.evaluation for record in environment.finished()] == [False, False, True, True, True, False, False, False]


def test_layouts() -> None:
    environment = ParallelCopies(Countdown, AGENTS, 1)
    early, middle, late = (environment.layout(agent) for agent in AGENTS)
    assert (early.shape, early.dtype, early.actions) == ([2], "f4", [4]) and len(early.fields) == 2
    assert (middle.shape, middle.dtype, middle.actions) == ([6], "f4", [2, 3])
    assert (late.shape, late.dtype, late.low, late.high) == ([4, 5, 3], "u1", [0, -1], [4, 1]) and late.fields == []
    wide = translate("a", spaces.Box(-1, 1, (300,)), spaces.MultiBinary(3)).layout
    assert wide.shape == [300] and len(wide.fields) == 1 and wide.actions == [2, 2, 2]


@pytest.mark.parametrize(
    ("observation", "action", "rule"),
    [
        (spaces.Text(5), spaces.Discrete(2), "supported are Box"),
        (
            spaces.Dict({"a": spaces.Tuple([spaces.Discrete(2), spaces.Text(5)])}),
            spaces.Discrete(2),
            r"the entry a/1, Text\(.*supported are",
        ),
        (spaces.Discrete(2**30), spaces.Discrete(2), "1073741824 numbers .* at most 262144"),
        (spaces.Box(0, 1, (0,)), spaces.Discrete(2), "observes nothing"),
        (spaces.Dict({}), spaces.Discrete(2), "observes nothing"),
        (spaces.Box(0, 1, (2,)), spaces.Tuple([spaces.Discrete(2)]), "action space"),
        (spaces.Box(0, 1, (2,)), spaces.Box(-np.inf, np.inf, (2,)), "unbounded"),
        (spaces.Box(0, 1, (2,)), spaces.Box(0, 5, (2,), dtype=np.int64), "use MultiDiscrete"),
        (spaces.Box(0, 1, (2,)), spaces.MultiDiscrete([2] * 65), "at most 64"),
    ],
)
def test_other_spaces_are_refused_with_a_cure(observation: Any, action: Any, rule: str) -> None:
    with pytest.raises(ConfigurationError, match=rule):
        translate("agent-0", observation, action)


NESTED = spaces.Dict(
    {
        "position": spaces.Box(np.array([-1, -np.inf], np.float32), np.array([1, np.inf], np.float32)),
        "bag": spaces.Dict({"keys": spaces.Discrete(3, start=1), "doors": spaces.MultiBinary(2)}),
        "pair": spaces.Tuple([spaces.MultiDiscrete([2, 3]), spaces.Box(0, 255, (1, 2), dtype=np.uint8)]),
    }
)


def test_nested_observations_become_one_vector_with_named_fields() -> None:
    translation = translate("a", NESTED, spaces.Discrete(2))
    layout = translation.layout
    assert (layout.shape, layout.dtype) == ([14], "f4")
    names = [(field.name, field.low, field.high) for field in layout.fields]
    assert names == [
        *[("bag/doors", 0, 1)] * 2, *[("bag/keys", 0, 1)] * 3, *[("pair/0", 0, 1)] * 5, *[("pair/1", 0, 255)] * 2,
        ("position", -1, 1), ("position", 0, 0),
    ]  # fmt: skip
    assert [(field.start, field.size) for field in layout.fields] == [(i, 1) for i in range(14)]
    seen = {
        "position": np.array([0.5, 7.0], np.float32),
        "bag": {"keys": 3, "doors": np.array([0, 1], np.int8)},
        "pair": (np.array([1, 2]), np.array([[9, 8]], np.uint8)),
    }
    assert translation.encode is not None
    assert translation.encode(seen, {}).tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 9, 8, 0.5, 7]


def test_entries_of_long_observations_are_one_field_each() -> None:
    space = spaces.Dict(
        {
            "cells": spaces.Box(0, 4, (20, 20)),
            "self": spaces.Box(np.zeros(2, np.float32), np.array([1, 2], np.float32)),
            "turn": spaces.Discrete(2),
        }
    )
    layout = translate("a", space, spaces.Discrete(2)).layout
    found = [(field.name, field.start, field.size, field.low, field.high) for field in layout.fields]
    assert found == [("cells", 0, 400, 0, 4), ("self", 400, 2, 0, 0), ("turn", 402, 2, 0, 1)]
    many = translate("a", spaces.Tuple([spaces.Discrete(2)] * 300), spaces.Discrete(2)).layout
    assert many.shape == [600] and len(many.fields) == 1


@pytest.mark.parametrize(("identifier", "size"), [("gymnasium:Blackjack-v1", 45), ("gymnasium:FrozenLake-v1", 16)])
def test_environments_with_discrete_observations_are_played(identifier: str, size: int) -> None:
    environment = create(EnvironmentSettings(id=identifier, copies=2), AGENTS[:1])
    assert environment.layout("agent-0").shape == [size]
    rules = FlagRules(environment)
    outcome = environment.reset(0)
    for _ in range(10):
        rules.check(outcome)
        parts = 3 if identifier == "gymnasium:Blackjack-v1" else 1
        assert outcome.agents["agent-0"].observation.sum(axis=1).tolist() == [parts] * 2
        outcome = environment.step({"agent-0": np.ones((2, 1), np.int32)})
    environment.close()


def random_actions(layout: Layout, copies: int, generator: np.random.Generator) -> np.ndarray:
    if layout.actions:
        return generator.integers(0, layout.actions, size=(copies, len(layout.actions))).astype(np.int32)
    return generator.uniform(layout.low, layout.high, size=(copies, len(layout.low))).astype(np.float32)


@pytest.mark.parametrize(
    ("identifier", "options", "count", "ticks"),
    [
        ("mpe2:simple_spread_v3", {"max_cycles": 10}, 3, 40),
        ("mpe2:simple_tag_v3", {"continuous_actions": True, "max_cycles": 10}, 4, 25),
        ("pettingzoo.butterfly:knights_archers_zombies_v11", {"max_zombies": 20, "spawn_delay": 3, "max_cycles": 120}, 4, 160),
        ("gymnasium:CartPole-v1", {}, 1, 80),
        ("gymnasium:Pendulum-v1", {"max_episode_steps": 15}, 1, 40),
        ("env_server.environments:landmarks", {"horizon": 15, "room": 200}, 2, 60),
    ],
)
def test_real_environments_keep_the_contract_and_repeat(identifier: str, options: dict[str, Any], count: int, ticks: int) -> None:
    agents = [f"agent-{i}" for i in range(count)]
    environment = create(EnvironmentSettings(id=identifier, options=options, copies=2), agents)
    runs = []
    try:
        for _ in range(2):
            rules, generator = FlagRules(environment), np.random.default_rng(0)
            outcomes, records = [environment.reset(3)], []
            for _ in range(ticks):
                actions = {agent: random_actions(environment.layout(agent), 2, generator) for agent in agents}
                outcomes.append(environment.step(actions))
            for outcome in outcomes:
                rules.check(outcome)
            records = environment.finished()
            rules.check_records(records)
            assert records
            runs.append((outcomes, records))
    finally:
        environment.close()
    assert runs[0][1] == runs[1][1]
    for one, two in zip(runs[0][0], runs[1][0], strict=True):
        for agent in agents:
            assert np.array_equal(one.agents[agent].observation, two.agents[agent].observation)


def test_turns_are_converted() -> None:
    from mpe2 import simple_spread_v3

    from env_server.adapters.parallel_conversions import parallel_from_aec

    converted = parallel_from_aec(simple_spread_v3.env(N=2, max_cycles=5))
    parallel_api_test(converted, num_cycles=20)
    environment = ParallelCopies(lambda: parallel_from_aec(simple_spread_v3.env(N=2, max_cycles=5)), AGENTS[:2], 2)
    rules = FlagRules(environment)
    rules.check(environment.reset(0))
    for _ in range(12):
        rules.check(environment.step({}))
    assert len(environment.finished()) == 4


def test_our_arena_through_the_adapter_is_the_same_arena() -> None:
    agents = AGENTS[:2]
    environment = ParallelCopies(lambda: parallel_env(room=200, horizon=20), agents, 1)
    assert environment.layout("agent-0").shape == [11]
    outcome = environment.reset(0)
    goals = outcome.agents["agent-0"].observation[0, -3:]
    for _ in range(20):
        outcome = environment.step({})
    assert outcome.agents["agent-0"].flags[0] & Flag.OVER and np.array_equal(outcome.agents["agent-0"].observation[0, -3:], goals)


def test_pictures_need_the_render_mode() -> None:
    silent = create(EnvironmentSettings(id="mpe2:simple_spread_v3", copies=1), AGENTS)
    silent.reset(0)
    with pytest.raises(ConfigurationError, match="render_mode to rgb_array"):
        silent.render(0)
    silent.close()
    drawn = create(EnvironmentSettings(id="gymnasium:CartPole-v1", options={"render_mode": "rgb_array"}, copies=1), AGENTS[:1])
    drawn.reset(0)
    assert drawn.render(0).ndim == 3
    drawn.close()


@pytest.mark.parametrize(("name", "agents"), [("pistonball_v6", 20), ("cooperative_pong_v6", 2)])
def test_observed_images_are_drawn_by_default(name: str, agents: int) -> None:
    names = tuple(f"agent-{number}" for number in range(agents))
    drawn = create(EnvironmentSettings(id=f"pettingzoo.butterfly:{name}", copies=1), names)
    try:
        drawn.reset(0)
        seen = [np.stack([one.observation for one in drawn.step({}).agents.values()]) for _ in range(20)]
        assert any(not np.array_equal(one, seen[0]) for one in seen)
    finally:
        drawn.close()
