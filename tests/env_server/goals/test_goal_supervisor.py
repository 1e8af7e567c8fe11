"""The goal supervisor: shares as published (dec_imsap, section 2.7), and the alignment that they lead to."""

from __future__ import annotations

import numpy as np
import pytest

from env_server.environments.landmarks.landmarks_environment import VectorLandmarks
from env_server.environments.landmarks.settings import LandmarksOptions
from env_server.goals.goal_supervisor import GoalSupervisor, chance_alignment, supervised_share
from env_server.metrics.episode_statistics import EpisodeCounters
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.feature_sets import FeatureSets

AGENTS = tuple(f"agent-{i}" for i in range(4))


@pytest.mark.parametrize(
    ("landmarks", "smallest", "shares"),
    [
        (3, 1, {0.25: 0.21739, 0.5: 0.53846, 0.75: 0.79310, 1.0: 1.0}),
        (6, 1, {0.25: 0.26744, 0.5: 0.54348, 0.75: 0.78571, 1.0: 1.0}),
        (3, 2, {0.5: 0.25, 0.75: 0.625, 1.0: 1.0}),
        (6, 2, {0.25: 0.196, 0.5: 0.464, 0.75: 0.732, 1.0: 1.0}),
    ],
)
def test_the_published_shares(landmarks: int, smallest: int, shares: dict[float, float]) -> None:
    space = FeatureSets(landmarks, smallest=smallest)
    for alignment, share in shares.items():
        assert supervised_share(space, 2, alignment) == pytest.approx(share, abs=5e-4 if smallest == 2 else 5e-6)


def test_what_chance_aligns() -> None:
    assert chance_alignment(FeatureSets(3), 2) == pytest.approx(1 / 9)
    assert chance_alignment(FeatureSets(6), 2) == pytest.approx(0.037, abs=5e-4)
    assert supervised_share(FeatureSets(3), 2, chance_alignment(FeatureSets(3), 2)) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ConfigurationError, match=r"less than the 0\.111"):
        supervised_share(FeatureSets(3), 2, 0.1)


@pytest.mark.parametrize(("landmarks", "members", "alignment"), [(3, 2, 0.5), (6, 2, 0.75), (3, 3, 0.5), (3, 4, 0.3), (3, 2, 1.0)])
def test_as_many_episodes_are_aligned(landmarks: int, members: int, alignment: float) -> None:
    space, random = FeatureSets(landmarks), np.random.default_rng(0)
    supervisor = GoalSupervisor(space, members, alignment)
    aligned = []
    for episode in range(8000):
        goal = supervisor.goal(3, episode)
        goals = [goal] * members if goal >= 0 else random.integers(space.count, size=members).tolist()
        if space.cooperative[goals].any():
            aligned.append(np.mean([goal == goals[0] for goal in goals[1:]]))
    assert np.mean(aligned) == pytest.approx(alignment, abs=0.02)


def test_goals_depend_on_seed_and_episode_alone_and_are_uniform() -> None:
    one, other = (GoalSupervisor(FeatureSets(3), 2, 1.0) for _ in range(2))
    drawn = [one.goal(0, episode) for episode in range(3000)]
    assert drawn[::-1] == [other.goal(0, episode) for episode in reversed(range(3000))]
    assert drawn != [one.goal(1, episode) for episode in range(3000)]
    np.testing.assert_allclose(np.bincount(drawn, minlength=6) / 3000, np.full(6, 1 / 6), atol=0.03)


def test_members_play_what_they_are_given_and_evaluations_are_told_apart() -> None:
    options = LandmarksOptions(room=200, horizon=6)
    supervisor = GoalSupervisor(options.goal_space, 2, 1.0)
    environment = VectorLandmarks(options, AGENTS, 8, None, 0, supervisor)
    statistics = EpisodeCounters(options.goal_space, 10)
    environment.reset()
    environment.evaluate(12, aligned=True)
    statistics.expect(12, aligned=True)
    still = {agent: np.zeros((8, 2), np.int32) for agent in AGENTS}
    offers, records = [], []
    for _ in range(200):
        offers += environment.offers()
        environment.step(still)
        records += environment.finished()
    assert environment.waiting() == [] and len(records) > 60
    given = {offer.episode: offer.goal for offer in offers}
    assert all(record.goals == (given[record.episode],) * 2 for record in records)
    statistics.add(records)
    evaluations = [record for record in records if record.evaluation]
    assert len(evaluations) == 24 and sum(record.assigned for record in evaluations) == 12
    assert not any(record.assigned for record in records if not record.evaluation)
    metrics = statistics.evaluation()
    assert metrics is not None and metrics["eval.own.aligned"] == 1.0
    assert statistics.window()["aligned"] == 1.0
