from __future__ import annotations

import pytest

from env_server.environments.environment_contracts import EpisodeRecord
from env_server.metrics.episode_statistics import EpisodeCounters, metrics
from protocols.spaces.feature_sets import FeatureSets

SPACE = FeatureSets(3)
PAIR = ("agent-0", "agent-1")


def record(goals: tuple[int, int], rewards: tuple[float, float], **changes: object) -> EpisodeRecord:
    return EpisodeRecord(1, PAIR, rewards, (10, 12), goals=goals, **changes)  # type: ignore[arg-type]


def test_figures_by_hand() -> None:
    records = [
        record((3, 3), (1.0, 1.0), negotiated=True),
        record((3, 4), (0.0, 1.0)),
        record((0, 3), (0.5, 0.0)),
        record((0, 0), (0.5, 0.5), negotiated=True),
    ]
    assert metrics(records, SPACE) == pytest.approx(
        {
            "return": (2 + 1 + 0.5 + 1) / 4,
            "return.normalised": (2 + 1 + 0.5 + 1) / 4 / 1.5,
            "length": 12,
            "success.individual": 1.0,
            "success.cooperative": 3 / 5,
            "aligned": 1 / 3,
            "negotiated": 0.5,
        }
    )


def test_cases_without_any_episode_are_left_out() -> None:
    assert metrics([], SPACE) == {}
    assert "success.cooperative" not in metrics([record((0, 1), (0.5, 0.5))], SPACE)
    assert "aligned" not in metrics([record((0, 1), (0.5, 0.5))], SPACE)
    assert metrics([record((3, 3), (1, 1), peer_lost=True)], SPACE) == {}
    assert set(metrics([EpisodeRecord(1, ("agent-0",), (7.0,), (3,))], None)) == {"return", "length"}


def test_evaluations_come_out_whole_and_apart_from_training() -> None:
    statistics = EpisodeCounters(SPACE, 10)
    statistics.expect(2, aligned=True)
    statistics.expect(1, aligned=False)
    statistics.add([record((0, 0), (0.5, 0.5)), record((3, 3), (1, 1), evaluation=True)])
    assert statistics.evaluation() is None and statistics.evaluating
    statistics.add([record((3, 4), (0, 0), evaluation=True), record((5, 5), (1, 1), evaluation=True, assigned=True)])
    statistics.add([record((5, 5), (1, 0), evaluation=True, assigned=True), record((0, 1), (0, 0.5), evaluation=True)])
    first = statistics.evaluation()
    assert first is not None
    assert first == pytest.approx(
        {
            "eval.own.return": 1.0,
            "eval.own.return.normalised": 1 / 1.5,
            "eval.own.length": 12,
            "eval.own.success.cooperative": 0.5,
            "eval.own.aligned": 0.5,
            "eval.aligned.return": 1.5,
            "eval.aligned.return.normalised": 1.0,
            "eval.aligned.length": 12,
            "eval.aligned.success.cooperative": 0.75,
            "eval.own.success.goal.0-1": 2 / 3,
            "eval.own.success.goal.0-2": 0.0,
            "eval.own.agreed.goal.0-1": 0.5,
            "eval.aligned.success.goal.1-2": 0.75,
        }
    )
    assert list(first)[-4:] == [name for name in first if ".goal." in name], "single goals come last"
    assert statistics.evaluation() == pytest.approx(
        {
            "eval.own.return": 0.5,
            "eval.own.return.normalised": 0.5 / 1.5,
            "eval.own.length": 12,
            "eval.own.success.individual": 0.5,
            "eval.own.success.goal.0": 0.0,
            "eval.own.success.goal.1": 1.0,
            "eval.own.agreed.goal.0": 0.0,
        }
    )
    assert not statistics.evaluating and statistics.episodes == 1
    window = statistics.window()
    assert window["episodes"] == 1 and window["return"] == 1.0 and statistics.window() == {}
    assert window["goals.pursued_entropy"] == 0.0, "both pursued goal 0"


def test_an_evaluation_begins_when_the_one_before_is_complete() -> None:
    statistics = EpisodeCounters(SPACE, 10)
    quick, slow = (record((0, 0), rewards, evaluation=True) for rewards in ((1.0, 1.0), (0.0, 0.0)))
    statistics.expect(0, False)
    assert statistics.to_begin() == 0 and not statistics.evaluating
    statistics.expect(2, False)
    statistics.expect(3, False)
    assert [statistics.to_begin() for _ in range(3)] == [2, 0, 0]
    statistics.add([quick])
    assert statistics.evaluation() is None and statistics.to_begin() == 0, "the slow one belongs to it too"
    statistics.add([slow])
    first = statistics.evaluation()
    assert first is not None and first["eval.own.return"] == 1.0
    assert [statistics.to_begin() for _ in range(2)] == [3, 0] and statistics.evaluating
    statistics.add([quick, quick, quick])
    second = statistics.evaluation()
    assert second is not None and second["eval.own.return"] == 2.0
    assert statistics.to_begin() == 0 and not statistics.evaluating


def test_the_last_hundred_episodes_are_those_of_earlier_windows_too() -> None:
    statistics = EpisodeCounters(None, 10)

    def play(rewards: list[float], **more: bool) -> None:
        statistics.add(EpisodeRecord(1, ("agent-0",), (reward,), (1,), **more) for reward in rewards)

    play([0.0] * 60)
    assert "return.recent" not in statistics.window()
    play([1.0] * 40)
    play([9.0], evaluation=True)
    play([9.0], peer_lost=True)
    assert statistics.window()["return.recent"] == 0.4
    play([1.0] * 20)
    assert statistics.window()["return.recent"] == 0.6


def test_a_window_tells_over_how_many_episodes_its_means_are() -> None:
    statistics = EpisodeCounters(SPACE, 10)
    statistics.add([record((3, 3), (1.0, 1.0)), record((3, 3), (0.0, 0.0), peer_lost=True)])
    window = statistics.window()
    assert (window["episodes"], window["episodes.whole"], window["return"]) == (2.0, 1.0, 2.0)
    statistics.add([record((3, 3), (0.0, 0.0), peer_lost=True)])
    assert statistics.window() == {"episodes": 1.0, "episodes.whole": 0.0}


def test_alignment_counts_followers() -> None:
    """Three members, leader first: all agree, one of two followers does, none does; and one agrees on an individual goal while the other
    holds a cooperative one. Episodes with individual goals alone don't count."""
    trio = ("agent-0", "agent-1", "agent-2")
    goals = [(3, 3, 3), (3, 3, 4), (3, 4, 4), (0, 0, 3), (0, 0, 0)]
    records = [EpisodeRecord(1, trio, (0.0, 0.0, 0.0), (1, 1, 1), goals=held) for held in goals]
    assert metrics(records, SPACE)["aligned"] == (1 + 0.5 + 0 + 0.5) / 4
    alone = EpisodeRecord(1, ("agent-0",), (0.0,), (1,), goals=(3,))
    assert "aligned" not in metrics([alone], SPACE), "no partner to agree with"
    assert metrics([EpisodeRecord(1, trio, (1.0, 1.0, 1.0), (1, 1, 1), goals=(3, 3, 3))], SPACE)["return.normalised"] == 3 / 2.25
