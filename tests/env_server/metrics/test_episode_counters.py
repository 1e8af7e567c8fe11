"""What counts as a step of training, and as an action that its agent did not choose."""

from __future__ import annotations

import json

import numpy as np

from env_server.environments.environment_contracts import AgentBatch, EpisodeRecord, TickResult
from env_server.metrics.episode_statistics import CompletedEvaluation, EpisodeCounters
from protocols.conversations.stepping.stepping_messages import Flag

BOTH = ("a", "b")
M = int(Flag.MEMBER)


def outcome(episodes: list[int], first: list[int], second: list[int]) -> TickResult:
    """What two agents see in copies that play `episodes`, with these flags."""

    def batch(flags: list[int]) -> AgentBatch:
        count = len(flags)
        return AgentBatch(np.zeros((count, 1), np.float32), np.zeros(count, np.float32), np.array(flags, np.uint16))

    return TickResult({"a": batch(first), "b": batch(second)}, np.array(episodes))


def test_training_steps_are_counted_and_those_of_evaluations_are_not() -> None:
    episode_counters = EpisodeCounters(None, 10)
    member, evaluated = int(Flag.MEMBER), int(Flag.MEMBER | Flag.EVALUATION)
    # Copies: training; evaluation of one of the two; one that idles; one whose episode is new.
    before = outcome([5, 6, -1, 7], [member, 0, 0, member], [member, evaluated, 0, member])
    after = outcome([5, 6, -1, 8], [member, 0, 0, member], [member, evaluated, 0, member])
    episode_counters.stepped(before, after, BOTH)
    assert episode_counters.steps == 1
    assert episode_counters.speed(episode_counters._last_report + 1.0) == 2.0
    episode_counters.stepped(after, after, BOTH)
    assert episode_counters.steps == 3
    episode_counters.reported(episode_counters._last_report + 1.0)
    assert episode_counters.speed(episode_counters._last_report + 1.0) == 0.0


def test_steps_go_on_from_an_earlier_process() -> None:
    earlier, later = EpisodeCounters(None, 10), EpisodeCounters(None, 10)
    outcomes = outcome([0], [int(Flag.MEMBER)], [0])
    earlier.stepped(outcomes, outcomes, BOTH)
    later.resume_from(earlier.numbers())
    assert later.steps == 1


def test_evaluations_stay_due_where_more_episodes_end_together_than_lie_between_them() -> None:
    """64 copies whose episodes end together, an evaluation every 50: the count passes 50, 100, 150, then two multiples at once."""
    episode_counters = EpisodeCounters(None, 50)
    due = []
    for number in range(8):
        episode_counters.add([EpisodeRecord(number, ("a",), (0.0,), (1,))] * 64)
        due.append(episode_counters.evaluation_due())
        assert not episode_counters.evaluation_due(), "once for each"
    assert due == [True] * 8
    sparse = EpisodeCounters(None, 100)
    sparse.add([EpisodeRecord(0, ("a",), (0.0,), (1,))] * 350)
    assert sparse.evaluation_due()
    sparse.add([EpisodeRecord(0, ("a",), (0.0,), (1,))] * 49)
    assert not sparse.evaluation_due()
    sparse.add([EpisodeRecord(0, ("a",), (0.0,), (1,))])
    assert sparse.evaluation_due()


def test_evaluations_by_steps() -> None:
    episode_counters = EpisodeCounters(None, 1000, by_steps=True)
    due = []
    for steps in (999, 1000, 1001, 3500, 3999, 4000):
        episode_counters.steps = steps
        due.append(episode_counters.evaluation_due())
    assert due == [False, True, False, True, False, True]


def substitutions(episode_counters: EpisodeCounters) -> tuple[float, float]:
    values = episode_counters.values()
    return values["env.substituted"], values["episodes.substituted"]


def test_only_actions_that_count_are_substituted() -> None:
    """Not what follows the end of an episode or of the agent's part in it, nor evaluations, nor copies of others."""
    episode_counters = EpisodeCounters(None, 10)
    idle = [int(flag) for flag in (M | Flag.OVER, M | Flag.PARKED, M | Flag.TERMINATED, M | Flag.TRUNCATED, M | Flag.EVALUATION, 0)]
    episodes = [*range(len(idle))]
    before = outcome([*episodes, 9], [*idle, M | int(Flag.FIRST)], [*idle, M])
    after = outcome([*episodes, 9], [M | int(Flag.FIRST), *idle[1:], M], [M | int(Flag.FIRST), *idle[1:], M | int(Flag.OVER)])
    episode_counters.stepped(before, after, BOTH)
    assert substitutions(episode_counters) == (0.0, 0.0)
    episode_counters.stepped(before, after, ("a",))
    assert substitutions(episode_counters) == (1 / 4, 1.0)
    episode_counters.stepped(before, after, ())
    assert substitutions(episode_counters) == (3 / 6, 1.0), "an episode counts once"
    episode_counters.stepped(outcome([10], [M], [0]), outcome([10], [M], [0]), ("b",))
    assert substitutions(episode_counters) == (4 / 7, 2.0)


def test_what_is_played_for_an_absent_agent_counts_where_the_episode_goes_on_and_not_where_it_ends() -> None:
    episode_counters = EpisodeCounters(None, 10)
    # In the second copy the death of b ends the episode: b is a member no more, and a is notified.
    after = outcome([3, 4], [M, M | int(Flag.TRUNCATED | Flag.OVER | Flag.PEER_LOST)], [M, 0])
    episode_counters.stepped(outcome([3, 4], [M, M], [M, M]), after, ("a",))
    assert substitutions(episode_counters) == (1 / 3, 1.0)


def test_substitutions_are_counted_on_by_the_next_process() -> None:
    earlier, later = EpisodeCounters(None, 10), EpisodeCounters(None, 10)
    both = outcome([3], [M], [M])
    earlier.stepped(both, both, ("a",))
    later.resume_from(earlier.numbers())
    assert substitutions(later) == (1 / 2, 1.0)
    later.resume_from({"episodes": 1, "steps": 1, "next_evaluation": 10})
    assert substitutions(later) == (0.0, 0.0), "what earlier versions wrote"


def test_episodes_that_were_not_over_when_the_process_ended_are_counted_as_dropped() -> None:
    earlier, later = EpisodeCounters(None, 10), EpisodeCounters(None, 10)
    over, evaluated = M | int(Flag.TRUNCATED | Flag.OVER), M | int(Flag.EVALUATION)
    earlier.stepped(outcome([3, 4, 5, -1], [M] * 4, [M] * 4), outcome([3, 4, 5, -1], [M, over, evaluated, 0], [M, over, 0, 0]), ("a", "b"))
    assert earlier.tick_counts() == {"steps": 2, "episodes": 0, "peer_lost": 0, "unfinished": 1, "dropped": 0}
    assert "episodes.dropped" not in earlier.values()
    later.resume_from(earlier.tick_counts())
    assert later.values()["episodes.dropped"] == 1 and later.tick_counts()["dropped"] == 1
    last = EpisodeCounters(None, 10)
    last.resume_from(later.numbers() | later.tick_counts())
    assert last.values()["episodes.dropped"] == 1, "the second process had not played anything"


def test_the_mean_of_recent_returns_goes_on_in_the_next_process() -> None:
    """Under the logical clock it counts on in the same process after a checkpoint, so what is resumed from there must have the same."""
    earlier, later = EpisodeCounters(None, 10), EpisodeCounters(None, 10)
    played = [EpisodeRecord(number, ("a",), (0.1 * number,), (1,)) for number in range(150)]
    earlier.add(played[:120])
    earlier.values()
    later.resume_from(json.loads(json.dumps(earlier.numbers())))
    for episode_counters in (earlier, later):
        episode_counters.add(played[120:])
    values = earlier.values()
    assert "return.recent" in values and later.values() == values


def evaluated(returned: float) -> EpisodeRecord:
    return EpisodeRecord(0, BOTH, (returned, 0.0), (5, 5), evaluation=True)


def test_an_evaluation_is_complete_without_its_cancelled_episodes() -> None:
    counters = EpisodeCounters(None, 10)
    counters.expect(8, True)
    assert counters.to_begin() == 8 and counters.evaluated == (0, 8) and not counters.assigns
    counters.add([evaluated(1.0), evaluated(2.0)])
    counters.shorten(5, 0)
    assert counters.evaluated == (2, 3) and counters.evaluation() is None, "one episode is still being played"
    counters.add([evaluated(6.0)])
    metrics = counters.evaluation()
    assert metrics is not None and metrics["eval.own.return"] == 3.0
    assert counters.newest == CompletedEvaluation(3, 0, 5) and counters.evaluated == (0, 0)
    counters.expect(1, False)
    counters.to_begin()
    counters.add([evaluated(4.0)])
    assert counters.evaluation() and counters.newest == CompletedEvaluation(1, 0, 0)


def test_an_evaluation_can_be_concluded_with_the_episodes_that_have_ended() -> None:
    counters = EpisodeCounters(None, 10)
    counters.expect(8, False)
    counters.to_begin()
    counters.add([evaluated(1.0)])
    counters.conclude()
    assert counters.evaluation() and counters.newest == CompletedEvaluation(1, 0, 7)
    counters.expect(3, False)
    counters.to_begin()
    counters.conclude()
    assert counters.evaluation() == {} and counters.newest == CompletedEvaluation(0, 0, 3)


def test_updates_from_a_dataset_count_as_steps_while_nothing_is_played() -> None:
    counters = EpisodeCounters(None, 100, by_steps=True)
    idle, evaluated = outcome([-1, -1], [0, 0], [0, 0]), int(Flag.MEMBER | Flag.EVALUATION)
    playing = outcome([4, -1], [evaluated, 0], [evaluated, 0])
    counters.stepped(idle, idle, BOTH, 10)
    counters.stepped(idle, playing, BOTH, 10)
    assert counters.steps == 20
    counters.stepped(playing, playing, BOTH, 10)
    counters.stepped(playing, idle, BOTH, 10)
    assert counters.steps == 20 and not counters.evaluation_due()
    for _ in range(8):
        counters.stepped(idle, idle, BOTH, 10)
    assert counters.steps == 100 and counters.evaluation_due()
