"""PPO with a centralised value function: what each network sees, a task in which only that helps, refusals, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch, JointSteps, PolicySpec
from agent_node.learners.settings import PPOSettings
from agent_node.learners.team.centralised_ppo import CentralisedPPO
from murmuration.testing import check_learner
from protocols.runtime.errors import ConfigurationError
from tests.agent_node.learners.team.team_data import DISCRETE, team_spec

SPECS = [DISCRETE, PolicySpec((2,), 0, (2,)), DISCRETE]


def learner(seed: int = 0, **changes: Any) -> CentralisedPPO:
    settings = PPOSettings(**({"centralised_critic": True, "hidden": [16], "minibatch_size": 32} | changes))
    return CentralisedPPO(settings, team_spec(SPECS, 0), 4, seed)


def rollout(steps: int = 8, episodes: int = 6, seed: int = 0) -> Batch:
    """Of whole episodes; the own reward is what the first member of the peers observes."""
    random = torch.Generator().manual_seed(seed)
    seen = [torch.randn(steps + 1, episodes, spec.observation[0], generator=random) for spec in SPECS]
    action = tuple(torch.randint(0, spec.actions[0], (steps, episodes, 1), generator=random) for spec in SPECS)
    whole = torch.ones(steps, episodes, len(SPECS))
    reward = seen[1][:-1, :, :1].repeat(1, 1, len(SPECS))
    terminated = torch.zeros_like(whole)
    terminated[-1] = 1.0
    joint = JointSteps(
        observation=tuple(one[:-1] for one in seen),
        action=action,
        reward=reward,
        next_observation=tuple(one[1:].clone() for one in seen),
        next_action=action,
        followed=1 - terminated,
        terminated=terminated,
        active=whole,
    )
    first = torch.zeros(steps, episodes)
    first[0] = 1.0
    return Batch(
        observation=joint.observation[0],
        goal=torch.zeros(steps, episodes, 0),
        action=action[0],
        reward=reward[..., 0],
        next_observation=joint.next_observation[0],
        terminated=terminated[..., 0],
        weight=torch.ones(steps, episodes),
        imagined=torch.zeros(steps, episodes),
        first=first,
        extras={"log_probability": torch.full((steps, episodes), -float(np.log(3.0)))},
        joint=joint,
    )


def test_check_learner() -> None:
    check_learner(PPOSettings(centralised_critic=True, hidden=[16]))


def test_capabilities_follow_the_key() -> None:
    assert "joint" not in PPOSettings().capabilities
    assert set(PPOSettings(centralised_critic=True).capabilities) == {"rollout", "discrete", "continuous", "joint"}


def test_values_see_what_others_observe() -> None:
    """Rewards are what a peer observes: V of all observations explains them, and V of the own observation explains nothing."""
    one = learner(learning_rate=3e-3, discount=0.0)
    explained = [one.learn(rollout(seed=seed))["explained"] for seed in range(60)]
    assert np.mean(explained[-10:]) > 0.8
    alone = rollout()
    assert alone.joint is not None
    hidden = replace(
        alone.joint, observation=(alone.joint.observation[0], *(torch.zeros_like(seen) for seen in alone.joint.observation[1:]))
    )
    assert one.learn(replace(alone, joint=hidden))["explained"] < 0.3


def test_the_policy_sees_its_own_observation_only() -> None:
    one = learner()
    assert one.policy(torch.zeros(1, 3)).shape == (1, 3)
    assert one.value(torch.zeros(1, 8)).shape == (1, 1)


def test_absent_members_are_zeros() -> None:
    given, changed = rollout(), rollout()
    for batch in (given, changed):
        assert batch.joint is not None
        batch.joint.active[4:, :, 1] = 0.0
    assert changed.joint is not None
    changed.joint.observation[1][4:] = 7.0
    changed.joint.next_observation[1][4:] = 7.0
    ours, others = learner(), learner()
    ours.learn(given)
    others.learn(changed)
    assert torch.equal(ours.value.vector, others.value.vector)


def test_checkpoints_and_snapshots() -> None:
    one, other = learner(), learner(5)
    one.learn(rollout())
    one.load_peer_policy(1, np.array([7], np.float32))
    other.load_state_dict(one.state_dict())
    assert other.peer_updates.tolist() == [-1, 7, -1]
    assert torch.equal(one.value.vector, other.value.vector)
    assert one.policy_snapshot().tolist() == [1.0]
    for member, snapshot in ((0, np.zeros(1, np.float32)), (1, np.zeros(2, np.float32)), (3, None)):
        with pytest.raises(ValueError, match=r"peer|number"):
            one.load_peer_policy(member, snapshot)


def test_a_team_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="joint_experience"):
        CentralisedPPO(PPOSettings(centralised_critic=True), DISCRETE, 4, 0)
