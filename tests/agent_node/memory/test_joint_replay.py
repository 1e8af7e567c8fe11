"""Joint episodes: how parts of different lengths are joined, the ring of them, and rollouts."""

import numpy as np
import pytest
import torch

from agent_node.contracts import JointSteps, PolicySpec
from agent_node.memory.joint_replay import JointReplay, JointRollouts, MemberPart, joint_steps
from protocols.runtime.errors import ConfigurationError

SPECS = (PolicySpec((2,), 0, (3,)), PolicySpec((3,), 0, (), (-1.0, -1.0), (1.0, 1.0)))


def part(member: int, steps: int, mark: float, terminated: bool = False, substituted: list[int] | None = None) -> MemberPart:
    """Observation t is mark + t in every component; action t and reward t likewise."""
    times = mark + np.arange(steps + 1, dtype=np.float32)
    observation = np.repeat(times[:, None], SPECS[member].observation[0], axis=1)
    if member == 0:
        action = np.arange(steps, dtype=np.int32)[:, None] % 3
    else:
        action = np.repeat(times[:-1, None], 2, axis=1) / 1000
    replaced = None if substituted is None else np.isin(np.arange(steps), substituted)
    return MemberPart(observation, action, times[:-1].copy(), terminated, replaced, {"log_probability": -times[:-1]})


def episode(mark: float, steps: tuple[int, int] = (3, 3), terminated: tuple[bool, bool] = (False, False)) -> list[MemberPart]:
    return [part(member, steps[member], mark, terminated[member]) for member in range(2)]


def equal(one: JointSteps, other: JointSteps) -> bool:
    flat = [[*steps.observation, *steps.action, steps.reward, *steps.next_observation, *steps.next_action, steps.followed,
             steps.terminated, steps.active] for steps in (one, other)]  # fmt: skip
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(*flat, strict=True))


def test_a_member_is_inactive_behind_the_end_of_its_part() -> None:
    joint = joint_steps(episode(10, (2, 4), (True, False)))
    assert joint.active.tolist() == [[1, 1], [1, 1], [0, 1], [0, 1]]
    assert joint.followed.tolist() == [[1, 1], [0, 1], [0, 1], [0, 0]]
    assert joint.terminated.tolist() == [[0, 0], [1, 0], [1, 0], [1, 0]]
    assert joint.reward.tolist() == [[10, 10], [11, 11], [0, 12], [0, 13]]
    assert joint.observation[0][:, 0].tolist() == [10, 11, 12, 12]
    assert joint.next_observation[0][:, 0].tolist() == [11, 12, 12, 12]
    assert joint.next_observation[1][:, 0].tolist() == [11, 12, 13, 14]
    assert joint.action[0].dtype == torch.int64 and joint.action[0][:, 0].tolist() == [0, 1, 0, 0]
    assert joint.next_action[0][:, 0].tolist() == [1, 0, 0, 0]


def test_a_sample_holds_steps_of_the_episodes_in_the_ring_and_nothing_else() -> None:
    replay = JointReplay(20, SPECS, own=1)
    for number in range(12):
        replay.add(number, episode(100 * number, (2 + number % 3, 3), (number % 2 == 0, False)))
        kept = {mark: joint_steps(episode(100 * mark, (2 + mark % 3, 3), (mark % 2 == 0, False))) for mark in replay.episodes}
        assert replay.episodes[-1] == number and len(replay) == sum(len(joint.reward) for joint in kept.values())
        drawn = replay.sample(200, np.random.default_rng(number))
        seen = set()
        for row in range(200):
            reward = int(drawn.reward[row].max())
            mark, step = divmod(reward, 100)
            whole = kept[mark]
            seen.add(reward)
            for name in ("observation", "action", "next_observation", "next_action"):
                for member in range(2):
                    assert torch.equal(getattr(drawn, name)[member][row], getattr(whole, name)[member][step])
            for name in ("reward", "followed", "terminated", "active"):
                assert torch.equal(getattr(drawn, name)[row], getattr(whole, name)[step])
        assert len(seen) == len(replay)


def test_a_batch_has_the_own_columns() -> None:
    replay = JointReplay(20, SPECS, own=1)
    replay.add(0, episode(5, terminated=(False, True)))
    batch = replay.batch(50, np.random.default_rng(0))
    assert batch.joint is not None and torch.equal(batch.observation, batch.joint.observation[1])
    assert torch.equal(batch.reward, batch.joint.reward[:, 1]) and torch.equal(batch.terminated, batch.joint.terminated[:, 1])
    assert batch.terminated.tolist() == [float(reward == 7) for reward in batch.reward.tolist()]
    batch.reward += 1
    assert torch.equal(batch.joint.reward[:, 1] + 1, batch.reward)


def test_an_episode_longer_than_the_ring_is_refused() -> None:
    replay = JointReplay(4, SPECS, own=0)
    replay.add(0, episode(0))
    with pytest.raises(ConfigurationError, match=r"4 steps does not fit into agents\.buffer\.transitions = 4"):
        replay.add(1, episode(0, (4, 2)))
    assert replay.episodes == [0] and len(replay) == 3


def test_an_empty_replay_says_so() -> None:
    with pytest.raises(ValueError, match="holds no step yet"):
        JointReplay(8, SPECS, own=0).sample(1, np.random.default_rng(0))


def test_a_restored_replay_draws_and_goes_on_alike() -> None:
    first, second = JointReplay(17, SPECS, own=0), JointReplay(17, SPECS, own=0)
    for number in range(7):
        first.add(number, episode(10 * number, (1 + number % 3, 2)))
    second.add(0, episode(77))
    second.load_state_dict(first.state_dict())
    for number in range(7, 12):
        assert equal(first.sample(40, np.random.default_rng(number)), second.sample(40, np.random.default_rng(number)))
        for replay in (first, second):
            replay.add(number, episode(10 * number, (1 + number % 3, 2)))
    assert first.episodes == second.episodes


def test_a_state_of_another_team_is_refused() -> None:
    state = JointReplay(17, SPECS, own=0).state_dict()
    with pytest.raises(ValueError, match=r"observation\.0 of the checkpoint is float32\[0, 2\], which does not fit float32\[17, 3\]"):
        JointReplay(17, SPECS[::-1], own=0).load_state_dict(state)
    del state["action.1"]
    with pytest.raises(ValueError, match=r"action\.1 is missing"):
        JointReplay(17, SPECS, own=0).load_state_dict(state)


def test_a_rollout_has_whole_episodes_in_columns() -> None:
    rollouts = JointRollouts(6, own=0)
    rollouts.add(0, [part(0, 2, 10, True), part(1, 4, 10)])
    assert rollouts.take() is None and len(rollouts) == 4
    rollouts.add(1, [part(0, 3, 20, substituted=[1]), part(1, 3, 20)])
    batch = rollouts.take()
    assert batch is not None and batch.joint is not None and batch.first is not None and len(rollouts) == 0
    assert batch.weight.tolist() == [[1, 1], [1, 0], [0, 1], [0, 0]]
    assert batch.first.tolist() == [[1, 1], [0, 0], [0, 0], [0, 0]]
    assert batch.joint.active[:, :, 1].tolist() == [[1, 1], [1, 1], [1, 1], [1, 0]]
    assert batch.extras["log_probability"].tolist() == [[-10, -20], [-11, -21], [0, -22], [0, 0]]
    assert batch.observation[:, 0, 0].tolist() == [10, 11, 12, 12]
    assert batch.terminated[:, 0].tolist() == [0, 1, 1, 1]
    assert rollouts.take() is None


def test_restored_rollouts_go_on_alike() -> None:
    first, second = JointRollouts(6, own=0), JointRollouts(6, own=0)
    first.add(0, [part(0, 2, 10, True), part(1, 4, 10)])
    second.load_state_dict(first.state_dict())
    batches = []
    for rollouts in (first, second):
        rollouts.add(1, [part(0, 3, 20, substituted=[1]), part(1, 3, 20)])
        batches.append(rollouts.take())
    one, other = batches
    assert one is not None and other is not None and one.joint is not None and other.joint is not None
    assert equal(one.joint, other.joint) and torch.equal(one.weight, other.weight)
    assert torch.equal(one.extras["log_probability"], other.extras["log_probability"])
    first.add(2, [part(0, 1, 0), part(1, 1, 0)])
    state = first.state_dict()
    del state["0.1.reward"]
    with pytest.raises(ValueError, match=r"0\.1\.reward is missing"):
        second.load_state_dict(state)
