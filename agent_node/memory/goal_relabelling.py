"""Hindsight: for which other goals was an agent's trajectory a success?

A goal counts as reached only by the reward rule (`protocols.spaces.goal_space`), from what all bodies touch at the same step. A
cooperative goal is never credited from the own touch alone, nor from touches at different times.

A relabelled step t belongs to a trajectory with goal g that is cut where g is first reached. Strategies (of those that need the traces of
the other members all but the first; `future`, `final`, `episode` are the forms of Andrychowicz et al., arXiv 1707.01495):
- own_individual: an individual goal that the own body reaches later in the own part;
- future: any goal reached later; the trajectory begins at t, so what was reached and left before t counts for nothing;
- episode: any goal reached in the episode; the trajectory is the whole episode, so that only steps before g was first reached are its;
- final: of these, what was reached last in the own part;
- joint: a cooperative goal reached later;
- peer_goal: the goal a partner pursued, where it is reached later.
A step that already stands on a goal is not relabelled with it: its trajectory would have ended there. Where episodes go on after their
goals (`GoalSpace.ends` is False), such steps are relabelled too, and nothing is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from agent_node.exchange.settings import Strategy
from protocols.spaces.goal_space import DiscreteSpace

Flags = NDArray[np.bool_]
Marks = NDArray[np.uint8]
"""Of steps and goals: sums of `Mark`"""


class Mark(IntFlag):
    """What is true of a goal at a step of an episode, as bits."""

    REACHED = 1
    """the step stands on it"""
    LATER = 2
    """it is reached at a later step"""
    LATER_OWN = 4
    """it is individual, and the own body alone reaches it at a later step"""
    BEFORE = 8
    """it was reached at an earlier step"""
    FINAL = 16
    """it is among those that are reached at the last step at which any is"""


def reached_goals(space: DiscreteSpace, own: NDArray[np.uint8], others: NDArray[np.uint8] | None) -> Flags:
    """Whether each goal is reached at each step, `[T + 1, |G|]`, from `own[T + 1, L]` and `others[T + 1, B, L]`. Without `others`
    (their traces are unknown): only goals for which the own body suffices (`needs_others` is False)."""
    alone = np.zeros((own.shape[0], 0, own.shape[1]), np.uint8)
    reached: Flags = space.achieved(own, alone if others is None else others)
    return reached & ~space.needs_others if others is None else reached


def reached_later(reached: Flags) -> Flags:
    """`[T + 1, |G|]`: whether a goal is reached at any step after t."""
    later = np.zeros_like(reached)
    later[:-1] = np.logical_or.accumulate(reached[:0:-1], axis=0)[::-1]
    return later


def marks(space: DiscreteSpace, own: NDArray[np.uint8], others: NDArray[np.uint8] | None) -> Marks:
    """Of every step and goal the sum of its `Mark`s, `[T + 1, |G|]`; arguments as for `reached_goals`. Only what is in these T + 1 rows
    counts: give those of the own part."""
    alone = reached_goals(space, own, None)
    reached = alone if others is None else reached_goals(space, own, others)
    before = np.zeros_like(reached)
    before[1:] = np.logical_or.accumulate(reached[:-1], axis=0)
    found = reached * np.uint8(Mark.REACHED) + reached_later(reached) * np.uint8(Mark.LATER)
    found += reached_later(alone) * np.uint8(Mark.LATER_OWN) + before * np.uint8(Mark.BEFORE)
    hits = np.flatnonzero(reached[1:].any(axis=1))
    if len(hits):
        found += reached[1 + hits[-1]] * np.uint8(Mark.FINAL)
    return found


def offered_goals(strategy: Strategy, space: DiscreteSpace, found: Marks, peers: NDArray[np.int32]) -> Flags:
    """`[n, |G|]`: the goals with which a strategy relabels steps of those marks. `peers[n, P]`: the partners' goals, -1 for none."""

    def holds(mark: Mark) -> Flags:
        held: Flags = (found & np.uint8(mark)) != 0
        return held

    def standing() -> Flags:
        return holds(Mark.REACHED) if space.ends else np.zeros(found.shape, bool)

    if strategy == "own_individual":
        offered = holds(Mark.LATER_OWN) & ~standing()
    else:
        offered = holds(Mark.LATER) & ~standing()
        if strategy == "joint":
            offered &= space.cooperative
        elif strategy == "peer_goal":
            offered &= (peers[:, :, None] == np.arange(space.count, dtype=np.int32)).any(axis=1)
        elif strategy in ("episode", "final"):
            if space.ends:
                offered &= ~holds(Mark.BEFORE)
            if strategy == "final":
                offered &= holds(Mark.FINAL)
    return offered


def eligible_goals(strategies: Sequence[Strategy], space: DiscreteSpace, found: Marks, peers: NDArray[np.int32]) -> NDArray[np.float32]:
    """Probability of each goal for each of n steps, `[n, |G|]`: uniform over the strategies that offer any goal, then over the goals of
    one strategy; a row of zeros where no strategy offers one."""
    probability = np.zeros(found.shape, np.float32)
    offering = np.zeros((len(found), 1), np.float32)
    for strategy in strategies:
        share = offered_goals(strategy, space, found, peers).astype(np.float32)
        total = share.sum(axis=1, keepdims=True, dtype=np.float32)
        some = total > 0
        probability += share / np.where(some, total, 1)
        offering += some
    probability /= np.maximum(offering, 1)
    return probability


def draw_goals(probability: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.int64]:
    """One goal a row by its probabilities `[n, |G|]`; rows of zeros give -1."""
    cumulative = probability.cumsum(axis=1)
    total = cumulative[:, -1]
    threshold = np.minimum(random.random(len(total), dtype=np.float32) * total, np.nextafter(total, np.float32(0)))
    chosen = (cumulative <= threshold[:, None]).sum(axis=1)
    return np.where(total > 0, np.minimum(chosen, probability.shape[1] - 1), -1)
