"""Episodes from ticks."""

import numpy as np

from agent_node.memory.episode import Episode
from agent_node.session.acting import EpisodeRecorder
from agent_node.session.observation_features import Features
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.spaces.discrete_goals import DiscreteGoals
from protocols.spaces.layout import Layout

M, FIRST, TERM, TRUNC, PARKED, OVER = (
    int(f) for f in (Flag.MEMBER, Flag.MEMBER | Flag.FIRST, Flag.TERMINATED, Flag.TRUNCATED, Flag.PARKED, Flag.OVER)
)


class Driver:
    """Feeds a recorder of two copies; observation, action and touch of a tick carry its number."""

    def __init__(self, extras: bool = False) -> None:
        self.recorder = EpisodeRecorder(2, Features(Layout(shape=[1], actions=[9]), 1), DiscreteGoals(2))
        self.clock = 0
        self.extras = extras

    def tick(self, flags: list[int], episode: list[int], reward: float = 0.0) -> list[Episode]:
        self.clock += 1
        now = np.full((2, 1), self.clock)
        touched = np.zeros((2, 2), np.uint8)
        touched[:, self.clock % 2] = 1
        extras = {"log_probability": np.full(2, self.clock, np.float32)} if self.extras else None
        return self.recorder.tick(
            now.astype(np.float32), np.full(2, reward, np.float32), np.array(flags, np.uint16), np.array(episode, np.int64),
            now.astype(np.int32), touched, np.array([4, 5]), extras,
        )  # fmt: skip


def test_own_part_is_cut_at_its_end_and_touch_goes_on() -> None:
    driver = Driver(extras=True)
    assert driver.tick([FIRST, 0], [7, -1]) == []
    assert driver.tick([M, 0], [7, -1]) == []
    assert driver.tick([M | TERM, 0], [7, -1], reward=0.5) == []
    assert driver.tick([M | PARKED, 0], [7, -1]) == []
    (episode,) = driver.tick([M | PARKED | OVER, 0], [7, -1])
    assert episode.number == 7 and episode.goal == 4 and episode.terminated and episode.steps == 2 and episode.length == 4
    np.testing.assert_array_equal(episode.observation[:, 0], [1, 2, 3])
    np.testing.assert_array_equal(episode.action[:, 0], [2, 3])
    np.testing.assert_array_equal(episode.reward, [0, 0.5])
    np.testing.assert_array_equal(episode.achieved, [[0, 1], [1, 0], [0, 1], [1, 0], [0, 1]])
    np.testing.assert_array_equal(episode.extras["log_probability"], [2, 3])


def test_copies_are_apart_and_marks_are_kept() -> None:
    driver = Driver()
    driver.tick([FIRST, FIRST], [1, 2])
    driver.tick([M, M | int(Flag.SUBSTITUTED)], [1, 2])
    ended = driver.tick([M, M | TRUNC | OVER | int(Flag.PEER_LOST)], [1, 2])
    assert [e.number for e in ended] == [2]
    assert ended[0].peer_lost and not ended[0].terminated
    np.testing.assert_array_equal(ended[0].substituted, [True, False])
    driver.tick([M, FIRST | int(Flag.EVALUATION)], [1, 3])
    ended = driver.tick([M | TERM | OVER, M | int(Flag.EVALUATION) | TERM | OVER], [1, 3])
    assert [(e.number, e.steps, e.evaluation) for e in ended] == [(1, 4, False), (3, 1, True)]


def test_an_episode_whose_start_was_missed_is_left_out() -> None:
    driver = Driver()
    assert driver.tick([M, 0], [1, -1]) == []
    assert driver.tick([M | TRUNC | OVER, 0], [1, -1]) == []
    driver.tick([FIRST, 0], [2, -1])
    assert driver.tick([M | TRUNC | OVER, 0], [3, -1]) == [], "another episode's end must not finish the one that was begun"


def test_long_episodes_get_room() -> None:
    driver = Driver(extras=True)
    driver.tick([FIRST, 0], [1, -1])
    for _ in range(199):
        driver.tick([M, 0], [1, -1])
    (episode,) = driver.tick([M | TRUNC | OVER, 0], [1, -1])
    np.testing.assert_array_equal(episode.observation[:, 0], np.arange(1, 202))
    np.testing.assert_array_equal(episode.extras["log_probability"], np.arange(2, 202))
