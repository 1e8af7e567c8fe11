"""The reward of a policy, composed of the environment's and the intrinsic ones, and the goals that a teacher sets.

    r = clip(r_e + r_i, -clip, clip) + bonus [r_e > 0]       (with `agents.shaping`; without it r_e + r_i)

r_e is the environment's reward, r_i the sum of the rewards of teacher and curiosity.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Component, Frame, IntrinsicReward, Metrics, Teacher, TransitionBatch
from agent_node.settings.agent import ShapingSettings
from protocols.conversations.stepping.stepping_messages import Flag

_MEMBER, _FIRST = int(Flag.MEMBER), int(Flag.FIRST)
_NOT_PLAYED = int(Flag.PARKED | Flag.TERMINATED | Flag.TRUNCATED | Flag.OVER | Flag.EVALUATION)
_WAITING = int(Flag.WAITING)
_ENDED = int(Flag.TERMINATED | Flag.OVER)
_UNKNOWN = int(Flag.FIRST | Flag.PARKED | Flag.EVALUATION | Flag.WAITING)


@dataclass
class ComposedReward:
    """Rewards, goals and flags of a tick for the policy."""

    reward: NDArray[np.float32]
    """`[K]` for the step that led here"""
    late: NDArray[np.float32] | None
    """`[K]` to be added to the reward of the step before that; None where it is zero"""
    goals: NDArray[np.int64] | None
    """`[K]` in force from here on; None without a teacher"""
    flags: NDArray[np.uint16]
    """`[K]` those of the environment, and in episodes that the teacher ends here those of an end"""
    restart: NDArray[np.bool_] | None
    """`[K]` episodes that the teacher ends here; None: none"""


class RewardComposition(Component):
    """Composes the rewards of K copies. The trainer calls `learn` with each rollout."""

    def __init__(self, teacher: Teacher | None, curiosity: IntrinsicReward | None, shaping: ShapingSettings | None, copies: int) -> None:
        self.teacher, self.curiosity, self.shaping = teacher, curiosity, shaping
        self._seen: tuple[Array, Array, NDArray[np.uint16]] | None = None
        self._extrinsic = np.zeros(copies, np.float32)
        self._intrinsic = np.zeros(copies, np.float32)
        self._paid = 0.0
        self._steps = 0
        self._values: dict[str, list[float]] = defaultdict(list)

    def compose(
        self, raw: Array, features: Array, reward: NDArray[np.float32], flags: NDArray[np.uint16], continuous: bool
    ) -> ComposedReward:
        """Reward of one tick, with the goals of the teacher and the intrinsic rewards. `raw[K, D]` and `features[K, F]`: the newest
        observations; `reward[K]` and `flags[K]`: of the step that led to them."""
        steps = self._trained(flags, continuous)
        intrinsic = np.zeros(len(flags), np.float32)
        goals: NDArray[np.int64] | None = None
        late: NDArray[np.float32] | None = None
        restart: NDArray[np.bool_] | None = None
        if self.teacher is not None:
            teacher_output = self.teacher.step(Frame(raw, reward, flags, continuous))
            intrinsic += teacher_output.reward
            goals, restart = teacher_output.goals, teacher_output.restart
            if teacher_output.late.any():
                late = self._shaped(self._extrinsic, self._intrinsic + teacher_output.late) - self._shaped(self._extrinsic, self._intrinsic)
                self._paid += float(teacher_output.late.sum())
        if self.curiosity is not None and self._seen is not None and len(steps):
            before, features_before, flags_before = self._seen
            begins = (flags_before[steps] & _FIRST) != 0
            known = TransitionBatch(steps, features_before[steps], features[steps], raw[steps], before[steps], begins)
            intrinsic[steps] += self.curiosity.reward(known)
        self._paid += float(intrinsic[steps].sum())
        self._steps += len(steps)
        if restart is not None:
            flags = (flags | restart * np.uint16(_ENDED)).astype(np.uint16)
        self._seen = self._turns(raw.copy(), features, flags.copy(), continuous)
        self._extrinsic, self._intrinsic = reward.copy(), intrinsic
        return ComposedReward(self._shaped(reward, intrinsic), late, goals, flags, restart)

    def _turns(self, raw: Array, features: Array, flags: NDArray[np.uint16], continuous: bool) -> tuple[Array, Array, NDArray[np.uint16]]:
        """What was observed, and the flags: of this tick, and where the agent waits of its last turn, from which its step leads to the next
        one. After missed ticks that step is not known."""
        waiting = np.flatnonzero(flags & _WAITING)
        if len(waiting) and self._seen is not None:
            features = features.copy()
            raw[waiting], features[waiting], flags[waiting] = (array[waiting] for array in self._seen)
            flags[waiting] *= continuous
        return raw, features, flags

    def _trained(self, flags: NDArray[np.uint16], continuous: bool) -> NDArray[np.int64]:
        """Rows in which the agent made a step in training."""
        if self._seen is None or not continuous:
            return np.zeros(0, np.int64)
        before = self._seen[2]
        played = ((before & _MEMBER) != 0) & ((before & _NOT_PLAYED) == 0)
        known = ((flags & _MEMBER) != 0) & ((flags & _UNKNOWN) == 0)
        return np.flatnonzero(played & known)

    def _shaped(self, extrinsic: NDArray[np.float32], intrinsic: NDArray[np.float32]) -> NDArray[np.float32]:
        total = extrinsic + intrinsic
        if self.shaping is None:
            return total
        if self.shaping.clip is not None:
            total = np.clip(total, -self.shaping.clip, self.shaping.clip)
        return (total + self.shaping.bonus * (extrinsic > 0)).astype(np.float32)

    def learn(self, batch: Batch) -> None:
        """Update teacher and curiosity with the rollout that the policy learns from."""
        for prefix, part in (("teacher", self.teacher), ("curiosity", self.curiosity)):
            if part is not None:
                for name, value in part.learn(batch).items():
                    self._values[f"{prefix}.{name}"].append(value)

    def metrics(self) -> Metrics:
        """Means since the last call: `intrinsic` (r_i of a step), `teacher.*`, `curiosity.*`."""
        values: Metrics = {}
        if self.teacher is not None or self.curiosity is not None:
            values["intrinsic"] = self._paid / max(1, self._steps)
        self._paid, self._steps = 0.0, 0
        means = {name: float(np.mean(found)) for name, found in self._values.items()}
        self._values.clear()
        return values | means
