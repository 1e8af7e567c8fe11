"""Hindsight: for which other goals was an agent's trajectory a success?

A goal counts as reached only by the reward rule (`protocols.goal_space`), from what all bodies touch at the same step. A cooperative goal
is never credited from the own touch alone, nor from touches at different times.

Strategies (Nisioti et al. announce the exchange; the `future` choice is that of Andrychowicz et al., arXiv 1707.01495):
- own_individual: an individual goal that the own body reaches later in the own part;
- future: any goal reached later;
- joint: a cooperative goal reached later;
- peer_goal: the goal a partner pursued, where it is reached later.
A step that already stands on a goal is not relabelled with it: its trajectory would have ended there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent_node.settings import Strategy
from protocols.goal_space import GoalSpace

Flags = NDArray[np.bool_]


def reached_goals(space: GoalSpace, own: NDArray[np.uint8], others: NDArray[np.uint8] | None) -> Flags:
    """Whether each goal is reached at each step, `[T + 1, |G|]`, from `own[T + 1, L]` and `others[T + 1, B, L]`. Without `others`
    (their traces are unknown): individual goals by the own body, and no cooperative goal."""
    nobody = np.zeros((own.shape[0], 0, own.shape[1]), np.uint8)
    reached = space.reached(own, nobody if others is None else others)
    return reached & ~space.cooperative if others is None else reached


def own_individual_goals(space: GoalSpace, own: NDArray[np.uint8]) -> Flags:
    """Individual goals that the own body reaches at each step, `[T + 1, |G|]`."""
    return reached_goals(space, own, None)


def reached_later(reached: Flags) -> Flags:
    """`[T + 1, |G|]`: whether a goal is reached at any step after t."""
    later = np.zeros_like(reached)
    later[:-1] = np.logical_or.accumulate(reached[:0:-1], axis=0)[::-1]
    return later


def eligible_goals(
    strategies: Sequence[Strategy], space: GoalSpace, reached: Flags, later: Flags, later_own: Flags, peers: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Probability of each goal for each of n steps, `[n, |G|]`: uniform over the strategies that offer any goal, then uniform over the
    goals of one strategy; a row of zeros where no strategy offers one. `peers[n, P]`: the partners' goals, -1 for none."""
    probability = np.zeros(reached.shape, np.float32)
    open_goals = later & ~reached
    offering = np.zeros((len(reached), 1), np.float32)
    for strategy in strategies:
        if strategy == "own_individual":
            offered = later_own & ~reached
        elif strategy == "future":
            offered = open_goals
        elif strategy == "joint":
            offered = open_goals & space.cooperative
        else:
            pursued = (peers[:, :, None] == np.arange(space.count, dtype=np.int32)).any(axis=1)
            offered = open_goals & pursued
        count = offered.sum(axis=1, keepdims=True, dtype=np.float32)
        probability += offered / np.maximum(count, 1)
        offering += count > 0
    probability /= np.maximum(offering, 1)
    return probability


def draw_goals(probability: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.int64]:
    """One goal a row by its probabilities `[n, |G|]`; rows of zeros give -1."""
    cumulative = probability.cumsum(axis=1)
    total = cumulative[:, -1]
    threshold = np.minimum(random.random(len(total), dtype=np.float32) * total, np.nextafter(total, np.float32(0)))
    chosen = (cumulative <= threshold[:, None]).sum(axis=1)
    return np.where(total > 0, np.minimum(chosen, probability.shape[1] - 1), -1)
