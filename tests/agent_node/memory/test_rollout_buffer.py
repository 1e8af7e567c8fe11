"""Rollouts: which steps count, and what followed them."""

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import PolicyOutput
from agent_node.memory.rollout_buffer import LONGEST, RolloutBuffer
from protocols.conversations.stepping.stepping_messages import Flag

PLAYS = int(Flag.MEMBER)
K = 3


class Ticks:
    """Plays ticks by hand: tick n shows the feature n in every copy."""

    def __init__(self, steps: int) -> None:
        self.buffer = RolloutBuffer(steps, K, 1, 2, True)
        self.tick = 0

    def __call__(self, flags: list[int], acts: list[int], first: list[int] | None = None, continuous: bool = True) -> None:
        """What is observed after the last actions, then in which copies the agent acts (action: the tick's number)."""
        features = np.full((K, 1), self.tick, np.float32)
        self.buffer.add(features, np.full(K, 10 * self.tick, np.float32), np.array(flags, np.uint16), continuous)
        rows = np.array(acts, np.int64)
        choice = PolicyOutput(np.full((len(acts), 2), self.tick, np.int32), {"log_probability": np.full(len(acts), -self.tick, np.float32)})
        self.buffer.acted(rows, rows + 5, choice, np.isin(rows, first or []))
        self.tick += 1


def column(values: NDArray[np.generic]) -> list[float]:
    return [float(value) for value in values]


def test_a_step_holds_what_was_seen_done_and_earned_and_what_followed() -> None:
    play = Ticks(2)
    play([PLAYS] * 3, [0, 2], first=[0])
    play([PLAYS, 0, PLAYS | Flag.TERMINATED], [0])
    assert play.buffer.take() is None
    play([PLAYS] * 3, [0, 1, 2])
    rollout = play.buffer.take()
    assert rollout is not None and play.buffer.take() is None
    assert column(rollout.features[:, 0, 0]) == [0, 1, 2]
    assert column(rollout.reward[:, 0]) == [10, 20]
    assert column(rollout.action[:, 0, 1]) == [0, 1]
    assert column(rollout.extras["log_probability"][:, 0]) == [0, -1]
    assert column(rollout.goal[:, 0]) == [5, 5, 5]
    assert rollout.counts.tolist() == [[1, 0, 1], [1, 0, 0]]
    assert rollout.terminated.tolist() == [[0, 0, 1], [0, 0, 0]]
    assert rollout.first[:, 0].tolist() == [1, 0]


def test_the_next_rollout_begins_with_what_ended_the_last_one() -> None:
    play = Ticks(2)
    for _ in range(5):
        play([PLAYS] * 3, [0, 1, 2])
    rollout = play.buffer.take()
    assert rollout is not None
    assert column(rollout.features[:, 0, 0]) == [2, 3, 4]


def test_steps_of_others_evaluations_and_gaps_do_not_count() -> None:
    play = Ticks(4)
    play([PLAYS] * 3, [0, 1, 2])
    play([PLAYS, PLAYS | Flag.SUBSTITUTED, PLAYS | Flag.EVALUATION], [0, 1, 2])
    play([PLAYS, PLAYS | Flag.FIRST, 0], [0, 1, 2])
    play([PLAYS] * 3, [0, 1, 2], continuous=False)
    play([PLAYS] * 3, [0, 1, 2])
    assert play.buffer.take() is None, "one tick of an evaluation is missing"
    play([PLAYS] * 3, [0, 1, 2])
    rollout = play.buffer.take()
    assert rollout is not None
    assert rollout.counts.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]]


def test_an_evaluation_in_some_copies_makes_rollouts_longer_not_smaller() -> None:
    play, evaluated = Ticks(2), PLAYS | Flag.EVALUATION
    for _ in range(6):
        play([PLAYS, evaluated, evaluated], [0])
        assert play.buffer.take() is None
    play([PLAYS, PLAYS | Flag.FIRST, PLAYS | Flag.FIRST], [0, 1, 2], first=[1, 2])
    rollout = play.buffer.take()
    assert rollout is not None and len(rollout.counts) == 6, "2 steps of 3 copies"
    assert rollout.counts.tolist() == [[1, 0, 0]] * 6
    assert column(rollout.features[:, 0, 0]) == [0, 1, 2, 3, 4, 5, 6]
    assert column(rollout.action[:, 0, 0]) == [0, 1, 2, 3, 4, 5]
    for _ in range(2):
        play([PLAYS] * 3, [0, 1, 2])
    rollout = play.buffer.take()
    assert rollout is not None and rollout.counts.tolist() == [[1, 1, 1]] * 2, "without evaluations as long as asked for"
    assert rollout.first.tolist() == [[0, 1, 1], [0, 0, 0]]


def test_rollouts_beside_evaluations_have_a_longest_length() -> None:
    play, evaluated = Ticks(2), PLAYS | Flag.EVALUATION
    play([PLAYS, evaluated, evaluated], [0])
    for _ in range(LONGEST * 2):
        assert play.buffer.take() is None
        play([evaluated] * 3, [])
    assert play.buffer.take() is None, "nearly nothing counts"
    for _ in range(3):
        play([PLAYS] * 3, [0, 1, 2])
    rollout = play.buffer.take()
    assert rollout is not None and rollout.counts.sum() == 6


def test_a_rollout_of_which_nearly_nothing_counts_is_dropped() -> None:
    play = Ticks(2)
    for _ in range(4):
        play([PLAYS | Flag.EVALUATION] * 3, [])
    assert play.buffer.take() is None
    play([PLAYS | Flag.FIRST] * 3, [0, 1, 2])
    play([PLAYS] * 3, [0, 1, 2])
    play([PLAYS] * 3, [0, 1, 2])
    rollout = play.buffer.take()
    assert rollout is not None
    assert rollout.counts.sum() >= 3


def test_goals_in_force_are_kept_for_every_tick_and_stay_where_nobody_acts() -> None:
    buffer = RolloutBuffer(2, 2, 1, 1, True)
    seen, reward, flags = np.zeros((2, 1), np.float32), np.zeros(2, np.float32), np.full(2, PLAYS, np.uint16)
    both = np.arange(2)
    for goals in ([3, 4], [5, 4], [6, 7]):
        buffer.add(seen, reward, flags, True, np.array(goals))
        buffer.acted(both, np.array(goals), PolicyOutput(np.zeros((2, 1), np.int32)), np.zeros(2, bool))
    whole = buffer.take()
    assert whole is not None and whole.goal.tolist() == [[3, 4], [5, 4], [6, 7]]
    buffer.add(seen, reward, flags, True)
    buffer.acted(both[:1], np.array([8]), PolicyOutput(np.zeros((1, 1), np.int32)), np.zeros(1, bool))
    buffer.add(seen, reward, flags, True)
    whole = buffer.take()
    assert whole is not None and whole.goal.tolist() == [[6, 7], [8, 7], [8, 7]], "without a teacher: of those who acted"


def test_what_becomes_known_late_belongs_to_the_step_before_the_last_tick() -> None:
    """The third tick amends the reward of the step that led to the second, in the midst of a rollout or at its end."""
    for steps in (1, 2, 3):
        buffer = RolloutBuffer(steps, 1, 1, 1, True, late=True)
        rewards: list[float] = []
        for tick in range(8):
            if tick == 3:
                buffer.amend(np.array([0.5], np.float32))
            buffer.add(np.zeros((1, 1), np.float32), np.array([tick], np.float32), np.array([PLAYS], np.uint16), True)
            whole = buffer.take()
            rewards += [] if whole is None else whole.reward[:, 0].tolist()
            buffer.acted(np.array([0]), np.array([-1]), PolicyOutput(np.zeros((1, 1), np.int32)), np.zeros(1, bool))
        assert rewards[:4] == [1, 2.5, 3, 4][: len(rewards)] and len(rewards) >= 3, f"rollouts of {steps}"
