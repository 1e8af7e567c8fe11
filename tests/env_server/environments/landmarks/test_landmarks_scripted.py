"""Policies that walk straight to a landmark have known returns."""

from __future__ import annotations

import numpy as np
import pytest

from env_server.environments.environment_contracts import EpisodeRecord, TickResult
from env_server.environments.landmarks.landmarks_environment import VectorLandmarks
from env_server.environments.landmarks.settings import LandmarksOptions
from env_server.metrics.goal_metrics import specialization
from protocols.conversations.stepping.stepping_messages import Flag
from tests.env_server.environments.landmarks.landmark_walkers import walk

AGENTS = ("agent-0", "agent-1")


def nearer(environment: VectorLandmarks, outcome: TickResult, targets: dict[str, np.ndarray], first: np.ndarray) -> dict[str, np.ndarray]:
    """Exchange the two agents' targets in the copies of `first` in which that shortens the ways together."""
    ways = {agent: outcome.agents[agent].observation for agent in AGENTS}
    rows, (a, b) = np.arange(environment.copies), AGENTS
    straight = ways[a][rows, 2 * targets[a]] + ways[b][rows, 2 * targets[b]]
    crossed = ways[a][rows, 2 * targets[b]] + ways[b][rows, 2 * targets[a]]
    swap = first & (crossed < straight)
    return {a: np.where(swap, targets[b], targets[a]), b: np.where(swap, targets[a], targets[b])}


def play(
    goals: dict[str, tuple[int, ...]], targets: dict[str, int | None], copies: int = 24, exchange: bool = False, **options: object
) -> list[EpisodeRecord]:
    """The first episode of every copy; who has no target stands still. With `exchange` the nearer of both targets is taken."""
    environment = VectorLandmarks(LandmarksOptions(velocity=True, **options), AGENTS, copies)
    outcome = environment.reset(3)
    records: list[EpisodeRecord] = []
    chosen = {agent: np.full(copies, target) for agent, target in targets.items() if target is not None}
    while len(records) < copies:
        for offer in environment.offers():
            for agent in offer.members if offer.episode < copies else ():
                environment.set_goal(offer.episode, agent, environment.goal_space.index(goals[agent]), True)
        if exchange:
            chosen = nearer(environment, outcome, chosen, (outcome.agents[AGENTS[0]].flags & Flag.FIRST) > 0)
        actions = {agent: walk(environment, outcome.agents[agent].observation, target) for agent, target in chosen.items()}
        outcome = environment.step(actions)
        records += environment.finished()
    return sorted(records, key=lambda record: record.episode)


def rewards_of(records: list[EpisodeRecord], agent: str) -> set[float]:
    return {record.rewards[record.members.index(agent)] for record in records}


@pytest.mark.parametrize(
    ("options", "pairs", "limit"),
    [
        ({}, [(0, 1), (0, 2), (1, 2)], 100),
        ({"room": 200, "horizon": 60}, [(0, 1), (0, 2), (1, 2)], 60),
        ({"landmarks": 6}, [(0, 2), (1, 4), (0, 3)], 100),
        ({"landmarks": 5, "room": 300}, [(0, 2), (1, 4)], 100),
    ],
)
def test_an_aligned_pair_reaches_any_cooperative_goal(options: dict[str, object], pairs: list[tuple[int, int]], limit: int) -> None:
    for a, b in pairs:
        records = play({"agent-0": (a, b), "agent-1": (a, b)}, {"agent-0": a, "agent-1": b}, exchange=True, **options)
        assert rewards_of(records, "agent-0") == rewards_of(records, "agent-1") == {1.0}
        lengths = [max(record.lengths) for record in records]
        assert max(lengths) <= limit and np.median(lengths) <= 60
        assert all(set(sum(record.touched, ())) == {a, b} for record in records)
        assert all(record.negotiated and not record.assigned and not record.evaluation for record in records)


def test_a_fixed_division_of_labour_is_told_from_a_changing_one() -> None:
    space = LandmarksOptions().goal_space
    goals, targets = {"agent-0": (0, 1), "agent-1": (0, 1)}, {"agent-0": 0, "agent-1": 1}
    assert specialization(play(goals, targets), space) == {"specialization": 1.0, "specialization.published": 1.0}
    records = play(goals, targets, exchange=True)
    first = sum(record.touched[record.members.index("agent-0")] == (0,) for record in records)
    assert 0 < first < len(records) and 2 * first != len(records), "the nearer landmark is sometimes the other one"
    found = specialization(records, space)
    assert found == {"specialization": max(first, 24 - first) / 24, "specialization.published": 0.5}


def test_two_individual_goals_pay_each_and_leave_the_joint_touch() -> None:
    records = play({"agent-0": (0,), "agent-1": (1,)}, {"agent-0": 0, "agent-1": 1})
    assert rewards_of(records, "agent-0") == rewards_of(records, "agent-1") == {0.5}
    joint = [set(sum(record.touched, ())) for record in records]
    assert sum(touched == {0, 1} for touched in joint) > len(joint) / 2, "bodies that arrive slowly stay in contact when parked"


def test_a_parked_body_helps_its_partner() -> None:
    records = play({"agent-0": (0,), "agent-1": (0, 1)}, {"agent-0": 0, "agent-1": 1}, room=200)
    first = [record for record in records if record.lengths[record.members.index("agent-0")] < max(record.lengths)]
    assert first, "in some copy the first body must have been parked before the second arrived"
    assert rewards_of(records, "agent-0") == {0.5}
    succeeded = [record.rewards[record.members.index("agent-1")] == 1.0 for record in records]
    assert np.mean(succeeded) > 0.7
    assert all(record.rewards[record.members.index("agent-1")] in (0.0, 1.0) for record in records)


def test_schemes_differ_only_where_the_other_touches_the_landmark() -> None:
    stand = {"goals": {"agent-0": (0,), "agent-1": (0,)}, "targets": {"agent-0": None, "agent-1": 0}}
    assert rewards_of(play(**stand, horizon=100), "agent-0") == {0.5}
    original = play(**stand, horizon=100, scheme="original")
    assert rewards_of(original, "agent-1") == {0.5}
    unpaid = [record.rewards[record.members.index("agent-0")] == 0.0 for record in original]
    assert np.mean(unpaid) > 0.8, "only who is pushed onto the landmark is paid for it"
    own = {"goals": {"agent-0": (0,), "agent-1": (2,)}, "targets": {"agent-0": 0, "agent-1": 2}}
    assert play(**own) == play(**own, scheme="original")
