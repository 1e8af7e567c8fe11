"""A task that needs a memory: the sign that is shown at the first step is asked for at the last one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Learner, PolicySpec

LENGTH = 4
"""steps of an episode"""
SPEC = PolicySpec((2,), 0, (2,))


@dataclass
class Played:
    """Episodes of K copies at once, `[N, LENGTH, K, ...]` after N of them."""

    observation: list[NDArray[np.float32]] = field(default_factory=list)
    """each `[LENGTH + 1, K, 2]`: the sign (0 after the first step), and the time"""
    action: list[NDArray[np.int32]] = field(default_factory=list)
    reward: list[NDArray[np.float32]] = field(default_factory=list)
    extras: list[dict[str, NDArray[np.float32]]] = field(default_factory=list)
    """each `[LENGTH, K, ...]`"""


def play(learner: Learner, copies: int, episodes: int, random: np.random.Generator, explore: bool = True) -> Played:
    """Episodes of a learner that is built for `SPEC`; the reward of the last step is 1 where its action is the sign."""
    played, rows = Played(), np.arange(copies)
    for _ in range(episodes):
        seen = np.zeros((LENGTH + 1, copies, 2), np.float32)
        sign = random.integers(0, 2, copies)
        seen[0, :, 0] = 2 * sign - 1
        seen[:, :, 1] = np.linspace(-1, 1, LENGTH + 1)[:, None]
        outputs = [learner.act(seen[t], np.zeros((copies, 0), np.float32), rows, np.full(copies, t == 0), explore) for t in range(LENGTH)]
        reward = np.zeros((LENGTH, copies), np.float32)
        reward[-1] = outputs[-1].actions[:, 0] == sign
        played.observation.append(seen)
        played.action.append(np.stack([output.actions for output in outputs]))
        played.reward.append(reward)
        played.extras.append({name: np.stack([output.extras[name] for output in outputs]) for name in outputs[0].extras})
    return played
