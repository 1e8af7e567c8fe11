"""The simplified prison: its rules, step by step, and its scripted policy."""

from __future__ import annotations

import numpy as np
import pytest

from env_server.environments.prison.prison_environment import VectorPrison, bounce
from env_server.environments.prison.prison_world import CELLS, LEFT, RIGHT, STAY, PrisonWorld
from env_server.environments.registry import create, scripted_policies
from env_server.settings import EnvironmentSettings
from murmuration.testing import check_environment
from tests.env_server.environments.flag_rules import FlagRules

AGENTS = [f"agent-{i}" for i in range(8)]


def world(agents: int = 1, copies: int = 1) -> PrisonWorld:
    made = PrisonWorld(agents, copies)
    for copy in range(copies):
        made.begin(copy, np.random.default_rng(copy))
    return made


def stays_at(made: PrisonWorld, x: float) -> float:
    """The reward of a step in which the only agent stands at x."""
    made.position[:] = x
    return float(made.step(np.full(made.position.shape, STAY))[0, 0])


def test_rewards_by_the_walls_that_were_touched() -> None:
    made = world()
    assert stays_at(made, 12.0) == pytest.approx(-18 / 30), "the farther wall"
    assert stays_at(made, 20.0) == pytest.approx(-20 / 30)
    assert stays_at(made, 2.0) == pytest.approx(-28 / 30), "not yet touched"
    assert stays_at(made, 1.5) == pytest.approx(1 - 28.5 / 30), "the first wall, then the distance to the other one"
    assert stays_at(made, 1.0) == pytest.approx(-29 / 30)
    assert stays_at(made, 27.0) == pytest.approx(-3 / 30)
    assert made.touched[0, :, 0].tolist() == [True, False] and made.rounds[0, 0] == 0
    assert stays_at(made, 28.5) == 2.0
    assert not made.touched.any() and 10 <= made.position[0, 0] <= 20 and made.rounds[0, 0] == 1
    assert stays_at(made, 29.0) == pytest.approx(1 - 29 / 30), "the right wall first"


def test_moves_are_clipped_and_have_their_distribution() -> None:
    made = world(agents=2, copies=4000)
    made.position[:] = [[15.0], [15.0]]
    made.step(np.array([[LEFT], [RIGHT]]) * np.ones((2, 4000), int))
    for moved in (15 - made.position[0], made.position[1] - 15):
        assert (moved > 0).all() and moved.mean() == pytest.approx(5.0, abs=0.15) and moved.std() == pytest.approx(2.0, abs=0.1)
    made.position[:] = 1.0
    made.step(np.full((2, 4000), LEFT))
    assert made.position.min() == 0.0
    starts = world(copies=4000).position
    assert starts.min() >= 10 and starts.max() <= 20 and starts.mean() == pytest.approx(15, abs=0.2)


def test_the_histogram_shows_the_position_and_the_walls() -> None:
    made = world(agents=1, copies=4000)
    made.position[:] = 7.0
    made.step(np.full((1, 4000), STAY))
    (seen,) = made.observe()
    assert seen.shape == (4000, 32) and seen.dtype == np.float32
    total = seen[:, :CELLS].sum(axis=1)
    assert total.mean() == pytest.approx(30 * np.sqrt(2 / np.pi), rel=0.02), "30 draws, each adds |N(0, 1)|"
    mean = (seen[:, :CELLS] * np.arange(CELLS)).sum(axis=1) / total
    assert mean.mean() == pytest.approx(6.5, abs=0.1), "cells are rounded down"
    assert (seen[:, CELLS:] == 0).all()
    made.position[:] = 0.0
    made.step(np.full((1, 4000), STAY))
    (seen,) = made.observe()
    assert (seen[:, CELLS] > 0).all() and seen[:, CELLS].mean() == pytest.approx(5.0, abs=0.15) and (seen[:, CELLS + 1] == 0).all()
    assert seen[:, 0].mean() > seen[:, 1].mean() and (seen[:, :CELLS].argmax(axis=1) < 8).all()


@pytest.mark.parametrize("agents", [1, 3, 8])
def test_it_obeys_the_contract(agents: int) -> None:
    check_environment("prison", {"horizon": 40}, agents=agents, steps=200)


def test_flags_and_records() -> None:
    environment = VectorPrison(20, AGENTS, 3, seed=1)
    rules, random = FlagRules(environment), np.random.default_rng(0)
    rules.check(environment.reset())
    for _ in range(70):
        rules.check(environment.step({agent: random.integers(0, 3, (3, 1)) for agent in AGENTS}))
    records = environment.finished()
    rules.check_records(records)
    assert len(records) == 9 and all(set(record.lengths) == {20} and "prison.rounds" in record.metrics for record in records)
    with pytest.raises(ValueError, match="agent-3 chose 3 in copy 0; actions are 0 to 2"):
        environment.step({"agent-3": np.array([[3], [0], [0]])})
    assert environment.render(1).shape == (480, 480, 3)


def test_agents_do_not_affect_each_other() -> None:
    """The part of one agent is the same, whatever the others do."""

    def rewards(others: int) -> list[float]:
        environment = VectorPrison(50, AGENTS, 1, seed=4)
        environment.reset()
        rows = []
        for step in range(50):
            actions = dict.fromkeys(AGENTS, np.array([[others]])) | {"agent-2": np.array([[RIGHT if step % 12 < 6 else LEFT]])}
            rows.append(float(environment.step(actions).agents["agent-2"].reward[0]))
        return rows

    assert rewards(LEFT) == rewards(RIGHT)


def test_bouncing_is_better_than_random() -> None:
    settings = EnvironmentSettings(id="prison", copies=16)
    assert scripted_policies(settings, AGENTS) == {"bounce": bounce}

    def returns(bouncing: bool) -> np.ndarray:
        environment, random = create(settings, AGENTS, seed=3), np.random.default_rng(1)
        tick = environment.reset(3)
        for _ in range(500):
            tick = environment.step({
                agent: bounce(agent, environment.layout(agent), tick.agents[agent].observation)
                if bouncing
                else random.integers(0, 3, (16, 1))
                for agent in AGENTS
            })  # fmt: skip
        return np.array([record.rewards for record in environment.finished()]).mean(axis=1)

    scripted, drawn = returns(True), returns(False)
    assert scripted.shape == drawn.shape == (16,)
    assert scripted.min() > drawn.max() + 100
