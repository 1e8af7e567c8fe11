"""What counts as a step of training."""

from __future__ import annotations

import numpy as np

from env_server.contracts import AgentBatch, EpisodeRecord, Outcome
from env_server.tally import Tally
from protocols.messages import Flag


def outcome(episodes: list[int], first: list[int], second: list[int]) -> Outcome:
    """What two agents see in copies that play `episodes`, with these flags."""

    def batch(flags: list[int]) -> AgentBatch:
        count = len(flags)
        return AgentBatch(np.zeros((count, 1), np.float32), np.zeros(count, np.float32), np.array(flags, np.uint16))

    return Outcome({"a": batch(first), "b": batch(second)}, np.array(episodes))


def test_training_steps_are_counted_and_those_of_evaluations_are_not() -> None:
    tally = Tally(None, 10)
    member, evaluated = int(Flag.MEMBER), int(Flag.MEMBER | Flag.EVALUATION)
    # Copies: training; evaluation of one of the two; one that idles; one whose episode is new.
    before = outcome([5, 6, -1, 7], [member, 0, 0, member], [member, evaluated, 0, member])
    after = outcome([5, 6, -1, 8], [member, 0, 0, member], [member, evaluated, 0, member])
    tally.stepped(before, after)
    assert tally.steps == 1
    assert tally.speed(tally._last_report + 1.0) == 2.0
    tally.stepped(after, after)
    assert tally.steps == 3
    tally.reported(tally._last_report + 1.0)
    assert tally.speed(tally._last_report + 1.0) == 0.0


def test_steps_go_on_from_an_earlier_process() -> None:
    earlier, later = Tally(None, 10), Tally(None, 10)
    outcomes = outcome([0], [int(Flag.MEMBER)], [0])
    earlier.stepped(outcomes, outcomes)
    later.count_on(earlier.numbers())
    assert later.steps == 1


def test_evaluations_stay_due_where_more_episodes_end_together_than_lie_between_them() -> None:
    """64 copies whose episodes end together, an evaluation every 50: the count passes 50, 100, 150, then two multiples at once."""
    tally = Tally(None, 50)
    due = []
    for number in range(8):
        tally.statistics.add([EpisodeRecord(number, ("a",), (0.0,), (1,))] * 64)
        due.append(tally.evaluation_due())
        assert not tally.evaluation_due(), "once for each"
    assert due == [True] * 8
    sparse = Tally(None, 100)
    sparse.statistics.add([EpisodeRecord(0, ("a",), (0.0,), (1,))] * 350)
    assert sparse.evaluation_due()
    sparse.statistics.add([EpisodeRecord(0, ("a",), (0.0,), (1,))] * 49)
    assert not sparse.evaluation_due()
    sparse.statistics.add([EpisodeRecord(0, ("a",), (0.0,), (1,))])
    assert sparse.evaluation_due()
