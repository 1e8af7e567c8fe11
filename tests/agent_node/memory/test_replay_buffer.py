"""The ring of episodes: what is sampled is what was lived, relabelled only as the reward rule allows."""

import time
from itertools import pairwise

import numpy as np
import pytest

from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.feature_sets import FeatureSets
from protocols.spaces.layout import Layout

SPACE = FeatureSets(3)
FEATURES = Features(Layout(shape=[2], actions=[3, 3]), 3)
STRATEGIES = ("own_individual", "future", "final", "episode", "joint", "peer_goal")
"""those that give successes"""


def episode(number: int, steps: int, joint: bool = True, seed: int = 0) -> Episode:
    """Observation (number, t), so that every sampled row identifies its origin; the rewards are the rule's."""
    random = np.random.default_rng((seed, number))
    touches = np.concatenate([np.zeros((5, 3), np.uint8), np.eye(3, dtype=np.uint8)])
    own, other = touches[random.integers(0, 8, (2, steps + 3))]
    goal, peer = random.integers(0, SPACE.count, 2).tolist()
    hits = np.flatnonzero(SPACE.achieved(own, other[:, None])[1:, goal])
    own_steps = min(steps, int(hits[0]) + 1) if len(hits) else steps
    reward = np.zeros(own_steps, np.float32)
    terminated = len(hits) > 0 and own_steps == int(hits[0]) + 1
    if terminated:
        reward[-1] = SPACE.rewards[goal]
    return Episode(
        number=number,
        observation=np.stack([np.full(own_steps + 1, number), np.arange(own_steps + 1)], axis=1).astype(np.float32),
        action=random.integers(0, 3, (own_steps, 2)).astype(np.int32),
        reward=reward,
        terminated=terminated,
        goal=goal,
        achieved=own,
        others=other[:, None] if joint else None,
        partner_goals=(peer,) if joint else (),
    )


def filled(count: int = 200, rows: int = 100_000, held_out: float = 0.0, joint: bool = True) -> tuple[ReplayBuffer, dict[int, Episode]]:
    buffer = ReplayBuffer(rows, FEATURES, SPACE, held_out)
    episodes = {number: episode(number, 5 + number % 23, joint) for number in range(count)}
    for one in episodes.values():
        buffer.add(one)
    return buffer, episodes


def test_transitions_are_those_that_were_lived() -> None:
    buffer, episodes = filled()
    assert len(buffer) == sum(one.steps for one in episodes.values())
    sample = buffer.sample(3000, np.random.default_rng(0))
    for i in range(3000):
        number, t = sample.observation[i, -1].astype(int).tolist()
        one = episodes[number]
        np.testing.assert_array_equal(sample.observation[i, :, 1], [max(t - 2, 0), max(t - 1, 0), t])
        np.testing.assert_array_equal(sample.next_observation[i, :, 1], [max(t - 1, 0), t, t + 1])
        assert (sample.observation[i, :, 0] == number).all() and (sample.next_observation[i, :, 0] == number).all()
        np.testing.assert_array_equal(sample.action[i], one.action[t])
        assert sample.goal[i] == one.goal and sample.reward[i] == one.reward[t]
        assert sample.terminated[i] == (one.terminated and t == one.steps - 1)


def test_sums_of_rewards_end_with_the_episode() -> None:
    """sum over k < m of gamma^k r_k, m = 4 or the steps that are left, and what follows the last of them; one step where relabelled."""
    random, gamma = np.random.default_rng(3), 0.5
    _, episodes = filled()
    for one in episodes.values():
        one.reward[:] = random.standard_normal(one.steps)
    again = ReplayBuffer(100_000, FEATURES, SPACE)
    for one in episodes.values():
        again.add(one)
    restored = ReplayBuffer(100_000, FEATURES, SPACE)
    restored.load_state_dict(again.state_dict())
    for ring in (again, restored):
        sample = ring.sample(2000, np.random.default_rng(0), 0.3, STRATEGIES, returns=(4, gamma))
        assert sample.steps is not None and set(sample.steps[~sample.relabelled]) == {1.0, 2.0, 3.0, 4.0}
        assert sample.relabelled.sum() > 100 and set(sample.steps[sample.relabelled]) == {1.0}
        for i in np.flatnonzero(~sample.relabelled):
            number, t = sample.observation[i, -1].astype(int).tolist()
            one = episodes[number]
            m = min(4, one.steps - t)
            assert sample.steps[i] == m and sample.next_observation[i, -1, 1] == t + m
            assert sample.reward[i] == pytest.approx(sum(gamma**k * one.reward[t + k] for k in range(m)), abs=1e-5)
            assert sample.terminated[i] == (one.terminated and t + m == one.steps)


@pytest.mark.parametrize("strategies", [STRATEGIES, *((one,) for one in STRATEGIES)])
@pytest.mark.parametrize("joint", [True, False])
def test_relabelled_transitions_are_paid_by_the_reward_rule(strategies: tuple[str, ...], joint: bool) -> None:
    buffer, episodes = filled(joint=joint)
    sample = buffer.sample(1000, np.random.default_rng(1), 0.6, strategies)  # type: ignore[arg-type]
    assert sample.relabelled.sum() > (300 if strategies != ("peer_goal",) or not joint else 100) or strategies in (
        ("joint",),
        ("peer_goal",),
    )
    assert sample.relabelled.sum() <= 600
    for i in np.flatnonzero(sample.relabelled):
        number, t = sample.observation[i, -1].astype(int).tolist()
        one, goal = episodes[number], int(sample.goal[i])
        assert one.achieved is not None
        others = one.others if one.others is not None else np.zeros((len(one.achieved), 0, 3), np.uint8)
        reached = SPACE.achieved(one.achieved, others)[: one.steps + 1, goal]
        assert joint or not SPACE.cooperative[goal], "a cooperative goal needs the partner's trace"
        assert not reached[t] and reached[t + 1 :].any()
        if strategies[0] in ("final", "episode") and len(strategies) == 1:
            assert not reached[:t].any(), "what follows the first success is not relearnt"
        assert sample.terminated[i] == reached[t + 1]
        assert sample.reward[i] == (SPACE.rewards[goal] if reached[t + 1] else 0)


def test_steps_that_lead_in_give_history_and_are_never_drawn() -> None:
    buffer = ReplayBuffer(1000, FEATURES, SPACE)
    longer = [one for one in (episode(number, 9) for number in range(400)) if one.steps > 2]
    for one in longer[:5]:
        buffer.add(one, lead=2)
    assert len(buffer) == sum(one.steps - 2 for one in longer[:5]) == buffer.joint_count
    sample = buffer.sample(500, np.random.default_rng(0))
    assert sample.observation[:, -1, 1].min() == 2 and (np.diff(sample.observation[:, :, 1], axis=1) == 1).all()
    for one in longer[5:]:
        buffer.add(one, lead=2 if one.number % 2 else 0)
    assert len(buffer) == sum(np.count_nonzero(buffer._status[first:last]) for first, last in buffer._places.values())
    with pytest.raises(ValueError, match="nothing to sample"):
        buffer.add(episode(1000, 9), lead=9)


def test_relabelling_with_its_own_goal_gives_the_environments_reward() -> None:
    buffer, episodes = filled()
    sample = buffer.sample(5000, np.random.default_rng(2), 1.0, ("future",))
    same = 0
    for i in np.flatnonzero(sample.relabelled):
        number, t = sample.observation[i, -1].astype(int).tolist()
        if sample.goal[i] == episodes[number].goal:
            same += 1
            assert sample.reward[i] == episodes[number].reward[t]
    assert same > 100


def test_a_trace_that_comes_later_changes_what_can_be_relearnt() -> None:
    buffer, episodes = filled(joint=False)
    assert buffer.joint_count == 0
    assert buffer.model_data(10, np.random.default_rng(0)).achieved is None
    for number, one in episodes.items():
        full = episode(number, 5 + number % 23)
        assert full.others is not None
        assert buffer.attach_joint(number, full.others, full.partner_goals)
        assert np.array_equal(full.observation, one.observation)
    whole, _ = filled()
    assert buffer.joint_count == len(buffer)
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(buffer.state_dict()[name], array, err_msg=name)
    assert not buffer.attach_joint(10_000, full.others, full.partner_goals)
    assert not buffer.attach_joint(0, full.others[:1], full.partner_goals), "a trace that ends too early is not used"


def test_the_oldest_episodes_leave_whole() -> None:
    buffer, episodes = filled(count=400, rows=500)
    kept = sorted(buffer._places)
    assert kept == list(range(kept[0], 400)), "what is left is the newest"
    assert len(buffer) == sum(episodes[number].steps for number in kept)
    assert len(buffer) + len(kept) > 500 - 2 * 30
    places = sorted(buffer._places.values())
    assert all(a[1] <= b[0] for a, b in pairwise(places))
    sample = buffer.sample(4000, np.random.default_rng(0))
    assert set(sample.observation[:, -1, 0].astype(int)) == set(kept)


def test_held_out_episodes_are_never_trained_on() -> None:
    buffer, episodes = filled(held_out=0.1)
    held = {number for number in episodes if buffer.is_held_out(number)}
    assert 15 <= len(held) <= 25
    assert buffer.held_out_count == sum(episodes[number].steps for number in held)
    random = np.random.default_rng(0)
    trained = buffer.sample(5000, random, 0.5, ("future",)).observation[:, -1, 0]
    started = buffer.starts(5000, random)[0][:, -1, 0]
    modelled = buffer.model_data(5000, random).observation[:, -1, 0]
    assert not held & set(np.concatenate([trained, started, modelled]).astype(int))
    assert set(buffer.model_data(5000, random, held_out=True).observation[:, -1, 0].astype(int)) == held


def test_model_data_has_the_joint_touch_after_the_step() -> None:
    buffer, episodes = filled()
    data = buffer.model_data(500, np.random.default_rng(0))
    assert data.achieved is not None
    for i in range(500):
        number, t = data.observation[i, -1].astype(int).tolist()
        one = episodes[number]
        assert one.achieved is not None and one.others is not None
        np.testing.assert_array_equal(data.achieved[i], one.achieved[t + 1] | one.others[t + 1, 0])
        assert data.next_observation[i, 1] == t + 1


def test_state_restores_the_buffer() -> None:
    buffer, _ = filled(count=400, rows=500, held_out=0.1)
    other = ReplayBuffer(500, FEATURES, SPACE, 0.1)
    other.load_state_dict(buffer.state_dict())
    assert (len(other), other.joint_count, other.held_out_count) == (len(buffer), buffer.joint_count, buffer.held_out_count)
    for both in (buffer, other):
        for number in range(400, 450):
            both.add(episode(number, 9))
    one, two = (both.sample(100, np.random.default_rng(3), 0.5, ("future",)) for both in (buffer, other))
    np.testing.assert_array_equal(one.observation, two.observation)
    np.testing.assert_array_equal(one.goal, two.goal)
    with pytest.raises(ValueError, match="observation"):
        ReplayBuffer(500, Features(Layout(shape=[4], actions=[2]), 1), SPACE).load_state_dict(buffer.state_dict())


def test_misuse_is_named() -> None:
    buffer = ReplayBuffer(10, FEATURES, SPACE)
    with pytest.raises(ValueError, match="no such transition"):
        buffer.sample(1, np.random.default_rng(0))
    with pytest.raises(ConfigurationError, match=r"buffer\.transitions"):
        buffer.add(Episode(0, np.zeros((12, 2), np.float32), np.zeros((11, 2), np.int32), np.zeros(11, np.float32), False))


def test_without_goals() -> None:
    buffer = ReplayBuffer(100, FEATURES)
    one = episode(3, 8)
    one.achieved = one.others = None
    buffer.add(one)
    buffer.add(one)
    assert len(buffer) == one.steps, "a repeated number is ignored"
    sample = buffer.sample(50, np.random.default_rng(0), 0.6, ("future",))
    assert not sample.relabelled.any()
    assert buffer.model_data(5, np.random.default_rng(0)).achieved is None


def test_a_relabelled_batch_costs_less_than_a_millisecond() -> None:
    buffer, _ = filled(count=2000)
    random = np.random.default_rng(0)
    times = []
    for _ in range(60):
        begin = time.thread_time()
        buffer.sample(256, random, 0.6, ("future", "joint", "peer_goal"))
        times.append(time.thread_time() - begin)
    assert sorted(times)[len(times) // 4] < 2e-3, "sampling must stay vectorised (0.4 ms on an idle core)"
