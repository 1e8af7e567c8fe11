"""Goals of the newest training episodes, as they are written for the live page."""

from __future__ import annotations

import json

from env_server.environments.environment_contracts import EpisodeRecord
from env_server.metrics.played_goals import FEWEST, PlayedGoals
from protocols.spaces.discrete_goals import DiscreteGoals
from protocols.spaces.feature_sets import FeatureSets
from protocols.spaces.vector_goals import VectorGoals

PAIRS = FeatureSets(3)


def played(number: int, goals: tuple[int, ...], negotiated: bool = True, evaluation: bool = False) -> EpisodeRecord:
    members = ("agent-0", "agent-1")[: len(goals)]
    return EpisodeRecord(number, members, (0.0,) * len(goals), (1,) * len(goals), evaluation=evaluation, goals=goals, negotiated=negotiated)


def test_rows_have_number_members_goals_and_agreement() -> None:
    goals = PlayedGoals(PAIRS, 4)
    assert goals.take() is None
    goals.add(10, [played(7, (3, 3)), played(8, (0, 0), evaluation=True), played(9, (3, 4), negotiated=False), played(6, (2,))])
    written = json.loads(json.dumps(goals.take()))
    assert written == {
        "labels": ["0", "1", "2", "0-1", "0-2", "1-2"],
        "episodes": [
            [11, ["agent-0", "agent-1"], [3, 3], True, True],
            [12, ["agent-0", "agent-1"], [3, 4], False, False],
            [13, ["agent-0"], [2], True, None],
        ],
    }
    assert goals.take() is None, "each episode is written once"


def test_the_newest_episodes_are_kept_and_their_number_is_bounded() -> None:
    goals = PlayedGoals(PAIRS, 4)
    goals.add(0, [played(i, (0, 0)) for i in range(1000)])
    taken = goals.take()
    assert taken is not None and [row[0] for row in taken["episodes"]] == list(range(1001 - FEWEST, 1001))


def test_goals_that_one_member_can_reach_agree_where_they_differ() -> None:
    goals = PlayedGoals(DiscreteGoals(3, rule="exclusive"), 2)
    goals.add(0, [played(0, (1, 1)), played(1, (1, 2))])
    taken = goals.take()
    assert taken is not None and [row[4] for row in taken["episodes"]] == [False, True]


def test_vector_goals_and_runs_without_goals_are_not_recorded() -> None:
    for space in (None, VectorGoals((0.0, 0.0), (1.0, 1.0))):
        goals = PlayedGoals(space, 2)
        goals.add(0, [played(0, (0, 0))])
        assert goals.take() is None
