"""Teams of learners and made-up joint steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from agent_node.contracts import Batch, JointSteps, PolicySpec, Team
from agent_node.learners.team.team_networks import TeamLearner

DISCRETE = PolicySpec((3,), 0, (3,))
CONTINUOUS = PolicySpec((3,), 0, (), (-1.0, 0.0), (1.0, 4.0))
ROWS = 64
COPIES = 4


def team(specs: Sequence[PolicySpec]) -> tuple[str, ...]:
    return tuple(f"agent-{number}" for number in range(len(specs)))


def team_spec(specs: Sequence[PolicySpec], own: int) -> PolicySpec:
    return replace(specs[own], team=Team(team(specs), own, tuple(specs)))


def learners(
    kind: Callable[..., TeamLearner], settings: Any, specs: Sequence[PolicySpec], seed: int = 0, initial: int | None = None
) -> list[Any]:
    """One of each member; `initial` None: each its own first parameters."""
    return [
        kind(settings, team_spec(specs, own), COPIES, seed + own, seed + own if initial is None else initial) for own in range(len(specs))
    ]


def exchange(members: Sequence[TeamLearner]) -> None:
    """All load the newest snapshots of all."""
    snapshots = [one.policy_snapshot() for one in members]
    for own, one in enumerate(members):
        for peer, snapshot in enumerate(snapshots):
            if peer != own:
                one.load_peer_policy(peer, snapshot)


def actions(spec: PolicySpec, rows: int, generator: torch.Generator) -> torch.Tensor:
    if spec.actions:
        return torch.stack([torch.randint(choices, (rows,), generator=generator) for choices in spec.actions], dim=1)
    low, high = torch.tensor(spec.low), torch.tensor(spec.high)
    return low + (high - low) * torch.rand(rows, len(low), generator=generator)


def joint_steps(specs: Sequence[PolicySpec], seed: int = 0, rows: int = ROWS) -> JointSteps:
    """All members are active and followed in all rows."""
    generator = torch.Generator().manual_seed(seed)

    def seen() -> tuple[torch.Tensor, ...]:
        return tuple(torch.randn(rows, int(np.prod(spec.observation)), generator=generator) for spec in specs)

    shape = rows, len(specs)
    return JointSteps(
        observation=seen(),
        action=tuple(actions(spec, rows, generator) for spec in specs),
        reward=torch.randn(shape, generator=generator),
        next_observation=seen(),
        next_action=tuple(actions(spec, rows, generator) for spec in specs),
        followed=torch.ones(shape),
        terminated=torch.zeros(shape),
        active=torch.ones(shape),
    )


def batch(joint: JointSteps, own: int, bonus: float = 0.0) -> Batch:
    """As the memory gives it to a member; `bonus` is added to its rewards."""
    rows = len(joint.reward)
    return Batch(
        observation=joint.observation[own],
        goal=torch.zeros(rows, 0),
        action=joint.action[own],
        reward=joint.reward[:, own] + bonus,
        next_observation=joint.next_observation[own],
        terminated=joint.terminated[:, own],
        weight=torch.ones(rows),
        imagined=torch.zeros(rows),
        joint=joint,
    )


def greedy(learner: TeamLearner, observation: torch.Tensor) -> np.ndarray[Any, Any]:
    """Actions `[n, A]`."""
    rows = len(observation)
    return learner.act(observation.numpy(), np.zeros((rows, 0), np.float32), None, np.zeros(rows, bool), False).actions
