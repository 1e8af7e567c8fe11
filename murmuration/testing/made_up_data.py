"""Small made-up data for checks: spaces, batches and transitions of the system o' = 0.9 o + 0.1 a."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Batch, JointSteps, Learner, ModelData, PolicySpec, Team
from agent_node.session.observation_features import Features
from protocols.spaces.layout import Layout, ObservationField

SIZE = 4
"""components of an observation"""
CHOICES = 3
"""number of discrete actions"""
GOALS = 3
"""length of a goal encoding"""
COPIES = 5
STEPS = 16


def layout(discrete: bool) -> Layout:
    """Four numbers in [-1, 1]; three discrete actions, or two continuous ones in [-1, 1]."""
    fields = [ObservationField("state", 0, SIZE, low=-1.0, high=1.0)]
    if discrete:
        return Layout(shape=[SIZE], fields=fields, actions=[CHOICES])
    return Layout(shape=[SIZE], fields=fields, low=[-1.0, -1.0], high=[1.0, 1.0])


def features(discrete: bool) -> Features:
    """The features of `layout`, without history."""
    return Features(layout(discrete), history=1)


def policy_spec(discrete: bool, goal: int = GOALS) -> PolicySpec:
    """The policy spec of `features(discrete)` for goals encoded by `goal` components (0: without goals)."""
    return features(discrete).policy_spec(goal)


def team_spec(spec: PolicySpec, own: int = 1) -> PolicySpec:
    """`spec` as that of the member `own` of a team of three: one that observes as much, and one that observes a number more."""
    larger = replace(spec, observation=(spec.observation[0] + 1, *spec.observation[1:]))
    specs = [spec, spec, larger]
    return replace(spec, team=Team(("agent-0", "agent-1", "agent-2"), own, tuple(specs)))


def observations(spec: PolicySpec, rows: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Features `[rows, *spec.observation]` float32, uniform in [-1, 1]."""
    return random.uniform(-1, 1, (rows, *spec.observation)).astype(np.float32)


def goals(spec: PolicySpec, rows: int, random: np.random.Generator) -> NDArray[np.float32]:
    """One-hot goals `[rows, L]`; width 0 without goals."""
    if not spec.goal:
        return np.zeros((rows, 0), np.float32)
    return np.eye(spec.goal, dtype=np.float32)[random.integers(spec.goal, size=rows)]


def actions(spec: PolicySpec, rows: int, random: np.random.Generator) -> NDArray[np.int32] | NDArray[np.float32]:
    """Actions `[rows, A]`, uniform over the choices (int32) or between `spec.low` and `spec.high` (float32)."""
    if spec.actions:
        return np.stack([random.integers(choices, size=rows) for choices in spec.actions], axis=1).astype(np.int32)
    return random.uniform(spec.low, spec.high, (rows, len(spec.low))).astype(np.float32)


def replay_batch(spec: PolicySpec, rows: int, random: np.random.Generator) -> Batch:
    """`[rows, ...]` transitions of random actions."""
    action = actions(spec, rows, random)
    return Batch(
        observation=torch.from_numpy(observations(spec, rows, random)),
        goal=torch.from_numpy(goals(spec, rows, random)),
        action=torch.from_numpy(action.astype(np.int64) if spec.actions else action),
        reward=torch.from_numpy(random.uniform(0, 1, rows).astype(np.float32)),
        next_observation=torch.from_numpy(observations(spec, rows, random)),
        terminated=torch.from_numpy((random.random(rows) < 0.1).astype(np.float32)),
        weight=torch.ones(rows),
        imagined=torch.zeros(rows),
    )


def sequences(spec: PolicySpec, length: int, before: int, random: np.random.Generator) -> Batch:
    """`[before + length, COPIES, ...]` steps of random actions, of which the first `before` do not count. One episode begins in the
    middle."""
    steps = before + length
    seen = torch.from_numpy(np.stack([observations(spec, COPIES, random) for _ in range(steps + 1)]))
    drawn = replay_batch(spec, steps * COPIES, random)
    first, weight = torch.zeros(steps, COPIES), torch.ones(steps, COPIES)
    first[steps // 2, 0], weight[:before] = 1.0, 0.0
    return Batch(
        observation=seen[:-1],
        goal=drawn.goal.view(steps, COPIES, spec.goal),
        action=drawn.action.view(steps, COPIES, -1),
        reward=drawn.reward.view(steps, COPIES),
        next_observation=seen[1:],
        terminated=drawn.terminated.view(steps, COPIES),
        weight=weight,
        imagined=torch.zeros(steps, COPIES),
        first=first,
    )


def with_joint(batch: Batch, team: Team, random: np.random.Generator) -> Batch:
    """`batch` as own steps of a team whose other members act at random: parts of some members end in some steps, others are not followed
    by another step, or are over."""
    shape, rows = batch.reward.shape, batch.reward.numel()

    def members(own: torch.Tensor, made: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return tuple(own if j == team.own else one.view(*shape, one.shape[-1]) for j, one in enumerate(made))

    def drawn_actions() -> list[torch.Tensor]:
        drawn = [actions(spec, rows, random) for spec in team.specs]
        return [torch.from_numpy(one.astype(np.int64) if one.dtype == np.int32 else one) for one in drawn]

    def chance(probability: float) -> torch.Tensor:
        return torch.from_numpy((random.random((*shape, len(team.specs))) < probability).astype(np.float32))

    terminated, active = chance(0.1), chance(0.9)
    reward = torch.from_numpy(random.uniform(0, 1, terminated.shape).astype(np.float32)) * active
    terminated[..., team.own], reward[..., team.own], active[..., team.own] = batch.terminated, batch.reward, 1.0
    joint = JointSteps(
        observation=members(batch.observation, [torch.from_numpy(observations(spec, rows, random)) for spec in team.specs]),
        action=members(batch.action, drawn_actions()),
        reward=reward,
        next_observation=members(batch.next_observation, [torch.from_numpy(observations(spec, rows, random)) for spec in team.specs]),
        next_action=members(batch.action.flip(0), drawn_actions()),
        followed=active * (1 - terminated) * chance(0.9),
        terminated=terminated,
        active=active,
    )
    return replace(batch, joint=joint)


def rollout(learner: Learner, spec: PolicySpec, random: np.random.Generator) -> Batch:
    """`[STEPS, COPIES, ...]` steps of the learner's own actions, with their extras. One episode begins in the middle."""
    seen, wanted = [observations(spec, COPIES, random) for _ in range(STEPS + 1)], goals(spec, COPIES, random)
    first = np.zeros((STEPS, COPIES), bool)
    first[0], first[STEPS // 2, 0] = True, True
    outputs = [learner.act(seen[t], wanted, np.arange(COPIES), first[t], explore=True) for t in range(STEPS)]
    action = np.stack([output.actions for output in outputs])
    steps = (STEPS, COPIES)
    desired = torch.from_numpy(np.repeat(wanted[None], STEPS, axis=0))
    return Batch(
        observation=torch.from_numpy(np.stack(seen[:-1])),
        goal=desired,
        action=torch.from_numpy(action.astype(np.int64) if spec.actions else action),
        reward=torch.from_numpy(random.uniform(0, 1, steps).astype(np.float32)),
        next_observation=torch.from_numpy(np.stack(seen[1:])),
        terminated=torch.zeros(steps),
        weight=torch.ones(steps),
        imagined=torch.zeros(steps),
        first=torch.from_numpy(first.astype(np.float32)),
        next_goal=desired,
        extras={name: torch.from_numpy(np.stack([output.extras[name] for output in outputs])) for name in outputs[0].extras},
    )


def transitions(discrete: bool, rows: int, random: np.random.Generator, achieved: int = 0) -> ModelData:
    """`rows` steps of the linear system o' = 0.9 o + 0.1 push with random actions, reward o'_0 and no ends; the first `achieved`
    features are achieved where o' > 0."""
    observation = random.uniform(-1, 1, (rows, 1, SIZE)).astype(np.float32)
    action = actions(policy_spec(discrete), rows, random)
    push = (action - 1.0 if discrete else action[:, :1]) * 0.1
    following = (0.9 * observation[:, -1] + push).astype(np.float32)
    touched = (following[:, :achieved] > 0).astype(np.float32) if achieved else None
    return ModelData(observation, action, following, following[:, 0].copy(), np.zeros(rows, np.float32), touched)
