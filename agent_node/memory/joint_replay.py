"""Joint episodes of all members of a team: a ring of them for learners with replay, and their collection into rollouts.

A joint episode of N members has as many steps L as the longest part of a member. Behind the end of its part a member is inactive: its last
observation is repeated, its actions and rewards are 0, and `terminated` keeps its value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Component, JointSteps, Metrics, PolicySpec, State, arrays, tensors
from protocols.runtime.errors import ConfigurationError

OF_ALL = ("reward", "terminated", "active")
FIRST_ROWS = 4096
"""of a replay that grows"""


@dataclass(frozen=True)
class MemberPart:
    """One member's part of an episode, of T >= 1 steps."""

    observation: NDArray[np.float32]
    """`[T + 1, F_j]`: features"""
    action: Array
    """`[T, A_j]`"""
    reward: NDArray[np.float32]
    """`[T]`"""
    terminated: bool
    """whether the part ended by its own outcome; otherwise by a limit"""
    substituted: NDArray[np.bool_] | None = None
    """`[T]`: steps at which the environment replaced a missing action; only known of the agent's own part, None: none"""
    extras: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """each `[T, ...]`: what its learner stored beside its actions; only of the agent's own part"""

    @property
    def steps(self) -> int:
        """T."""
        return len(self.reward)


def joint_steps(parts: Sequence[MemberPart], length: int = 0) -> JointSteps:
    """The joint episode of all members' parts, `[L, ...]`: L is the longest part, or `length` if that is greater. Steps behind the end of
    the whole episode are inactive for all members."""
    length = max(length, *(part.steps for part in parts))
    reward, terminated, active = (np.zeros((length, len(parts)), np.float32) for _ in range(3))
    observation, following, action, next_action = [], [], [], []
    for member, part in enumerate(parts):
        steps = part.steps
        reward[:steps, member] = part.reward
        active[:steps, member] = 1
        terminated[steps - 1 :, member] = part.terminated
        seen = part.observation[np.minimum(np.arange(length + 1), steps)]
        taken = np.zeros((length + 1, *part.action.shape[1:]), np.int64 if part.action.dtype.kind in "iu" else np.float32)
        taken[:steps] = part.action
        observation.append(torch.from_numpy(seen[:-1].copy()))
        following.append(torch.from_numpy(seen[1:].copy()))
        action.append(torch.from_numpy(taken[:-1].copy()))
        next_action.append(torch.from_numpy(taken[1:].copy()))
    followed = np.concatenate([active[1:], np.zeros((1, len(parts)), np.float32)])
    return JointSteps(
        tuple(observation), tuple(action), torch.from_numpy(reward), tuple(following), tuple(next_action),
        torch.from_numpy(followed), torch.from_numpy(terminated), torch.from_numpy(active),
    )  # fmt: skip


def own_batch(joint: JointSteps, own: int, weight: torch.Tensor, extras: dict[str, torch.Tensor] | None = None) -> Batch:
    """The batch of the member `own`: its columns of the joint steps, which are not copied, and all of them as `Batch.joint`."""
    reward = joint.reward[..., own]
    return Batch(
        observation=joint.observation[own],
        goal=torch.zeros(*reward.shape, 0),
        action=joint.action[own],
        reward=reward.clone(),
        next_observation=joint.next_observation[own],
        terminated=joint.terminated[..., own],
        weight=weight,
        imagined=torch.zeros(reward.shape),
        extras={} if extras is None else extras,
        joint=joint,
    )


class JointReplay(Component):
    """The newest joint episodes, whole, in a ring of `rows` joint steps; an episode of L steps takes L + 1 of them. With None the replay
    grows, and keeps all. `specs`: of all members, in the order of their names; `own`: the place of the agent itself."""

    def __init__(self, rows: int | None, specs: Sequence[PolicySpec], own: int) -> None:
        self._grows = rows is None
        self.rows, self.own = rows or FIRST_ROWS, own
        rows = self.rows
        members = len(specs)
        self._columns: dict[str, Array] = {name: np.zeros((rows, members), np.float32) for name in OF_ALL}
        for member, spec in enumerate(specs):
            width = len(spec.actions) or len(spec.low)
            self._columns[f"observation.{member}"] = np.zeros((rows, *spec.observation), np.float32)
            self._columns[f"action.{member}"] = np.zeros((rows, width), np.int64 if spec.actions else np.float32)
        self._members = members
        self._step = np.zeros(rows, bool)
        """rows at which a step starts: all but final observations and empty rows"""
        self._order: deque[tuple[int, int, int]] = deque()
        """first row, row behind the last, number of the episode; oldest first"""
        self._cursor = self._top = self._count = 0

    def __len__(self) -> int:
        """Joint steps that may be sampled."""
        return self._count

    @property
    def episodes(self) -> list[int]:
        """Numbers of the joint episodes, oldest first."""
        return [number for _, _, number in self._order]

    def metrics(self) -> Metrics:
        """`buffer.joint_steps`: joint steps that may be sampled."""
        return {"buffer.joint_steps": float(self._count)}

    def add(self, number: int, parts: Sequence[MemberPart]) -> JointSteps:
        """Remember the joint episode of that number; returns it. `ConfigurationError` if it does not fit into the ring."""
        joint = joint_steps(parts)
        length = len(joint.reward)
        if self._grows:
            self._make_room(self._cursor + length + 1)
        if length + 1 > self.rows:
            raise ConfigurationError(
                f"a joint episode of {length} steps does not fit into agents.buffer.transitions = {self.rows}; raise it"
            )
        if self._cursor + length + 1 > self.rows:
            self._evict(self._cursor, self.rows)
            self._cursor = 0
        start, end = self._cursor, self._cursor + length + 1
        self._evict(start, end)
        for name in OF_ALL:
            self._columns[name][start : end - 1] = getattr(joint, name).numpy()
            self._columns[name][end - 1] = 0
        for member in range(self._members):
            observation, action = self._columns[f"observation.{member}"], self._columns[f"action.{member}"]
            observation[start : end - 1] = joint.observation[member].numpy()
            observation[end - 1] = joint.next_observation[member][-1].numpy()
            action[start : end - 1] = joint.action[member].numpy()
            action[end - 1] = 0
        self._step[start : end - 1] = True
        self._step[end - 1] = False
        self._order.append((start, end, number))
        self._count += length
        self._cursor, self._top = end, max(self._top, end)
        return joint

    def _make_room(self, rows: int) -> None:
        """Grow to at least so many rows."""
        if rows <= self.rows:
            return
        more = max(rows, 2 * self.rows) - self.rows
        self._columns = {name: np.concatenate([old, np.zeros((more, *old.shape[1:]), old.dtype)]) for name, old in self._columns.items()}
        self._step = np.concatenate([self._step, np.zeros(more, bool)])
        self.rows += more

    def _evict(self, start: int, end: int) -> None:
        """Drop the episodes that overlap rows `start` to `end`."""
        while self._order and self._order[0][0] < end and self._order[0][1] > start:
            first, last, _ = self._order.popleft()
            self._count -= int(np.count_nonzero(self._step[first:last]))
            self._step[first:last] = False

    def sample(self, size: int, random: np.random.Generator) -> JointSteps:
        """`size` joint steps, uniformly with replacement; `ValueError` while it is empty."""
        if not self._count:
            raise ValueError("the joint replay holds no step yet; ask len() before sampling")
        found: list[NDArray[np.int64]] = []
        missing = size
        while missing:
            rows = random.integers(0, self._top, int(missing * 1.2 * self._top / self._count) + 8)
            rows = rows[self._step[rows]][:missing]
            found.append(rows)
            missing -= len(rows)
        return self._at(np.concatenate(found))

    def _at(self, rows: NDArray[np.int64]) -> JointSteps:
        def column(name: str, at: NDArray[np.int64]) -> torch.Tensor:
            return torch.from_numpy(self._columns[name].take(at, axis=0))

        def each(name: str, at: NDArray[np.int64]) -> tuple[torch.Tensor, ...]:
            return tuple(column(f"{name}.{member}", at) for member in range(self._members))

        return JointSteps(
            each("observation", rows), each("action", rows), column("reward", rows), each("observation", rows + 1),
            each("action", rows + 1), column("active", rows + 1), column("terminated", rows), column("active", rows),
        )  # fmt: skip

    def batch(self, size: int, random: np.random.Generator) -> Batch:
        """`size` joint steps as a batch of the agent itself. Steps after the end of its own part have weight 1 too: what the team does then
        is data for critics of the team; learners of the own part use `JointSteps.active`."""
        return own_batch(self.sample(size, random), self.own, torch.ones(size))

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> State:
        """All joint steps and the order of the episodes."""
        state = {name: column[: self._top].copy() for name, column in self._columns.items()}
        state["episodes"] = np.array(self._order, np.int64).reshape(-1, 3)
        state["cursor"] = np.array([self._cursor], np.int64)
        return tensors(state)

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        found = arrays(state)
        for name in (*self._columns, "episodes", "cursor"):
            if name not in found:
                raise ValueError(f"joint replay: {name} is missing in the state")
        top = len(found["reward"])
        if self._grows:
            self._make_room(top)
        for name, mine in self._columns.items():
            if top > self.rows or len(found[name]) != top or found[name].shape[1:] != mine.shape[1:] or found[name].dtype != mine.dtype:
                raise ValueError(f"joint replay: {name} of the checkpoint is {found[name].dtype}{list(found[name].shape)}, "
                                 f"which does not fit {mine.dtype}{list(mine.shape)}")  # fmt: skip
        for name, mine in self._columns.items():
            mine[:top], mine[top:] = found[name], 0
        self._top, self._cursor = top, int(found["cursor"][0])
        self._order = deque((int(first), int(last), int(number)) for first, last, number in found["episodes"])
        self._step[:] = False
        for first, last, _ in self._order:
            self._step[first : last - 1] = True
        self._count = int(np.count_nonzero(self._step))


class JointRollouts(Component):
    """Collects whole joint episodes until they have `steps` steps together, for learners that take each transition once. Unlike those of a
    `RolloutBuffer`, its rollouts begin with the start of an episode in every column."""

    def __init__(self, steps: int, own: int) -> None:
        self.steps, self.own = steps, own
        self._parts: list[list[MemberPart]] = []
        self._count = 0

    def __len__(self) -> int:
        """Joint steps collected for the next rollout."""
        return self._count

    def add(self, number: int, parts: Sequence[MemberPart]) -> JointSteps:
        """Add the joint episode of that number; returns it."""
        joint = joint_steps(parts)
        self._parts.append(list(parts))
        self._count += len(joint.reward)
        return joint

    def take(self) -> Batch | None:
        """All collected episodes as a rollout `[T, E, ...]` of E episodes, T the longest; None before there are `steps` joint steps. The
        weight of a step is 1 where the agent itself acted, by its policy."""
        if self._count < self.steps:
            return None
        parts, self._parts, self._count = self._parts, [], 0
        length = max(part.steps for episode in parts for part in episode)
        episodes = [joint_steps(episode, length) for episode in parts]

        def stacked(name: str) -> torch.Tensor | tuple[torch.Tensor, ...]:
            values = [getattr(one, name) for one in episodes]
            if isinstance(values[0], tuple):
                return tuple(torch.stack(of_member, dim=1) for of_member in zip(*values, strict=True))
            return torch.stack(values, dim=1)

        joint = JointSteps(**{one.name: stacked(one.name) for one in fields(JointSteps)})  # type: ignore[arg-type]
        extras = {}
        for name, values in parts[0][self.own].extras.items():
            column = np.zeros((length, len(parts), *values.shape[1:]), np.float32)
            for place, episode in enumerate(parts):
                column[: episode[self.own].steps, place] = episode[self.own].extras[name]
            extras[name] = torch.from_numpy(column)
        weight = joint.active[..., self.own].clone()
        for place, episode in enumerate(parts):
            if (substituted := episode[self.own].substituted) is not None:
                weight[: len(substituted), place][torch.from_numpy(substituted)] = 0
        batch = own_batch(joint, self.own, weight, extras)
        batch.first = torch.zeros(batch.weight.shape)
        batch.first[0] = 1
        return batch

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> State:
        """The episodes collected so far, one behind the other."""
        state: dict[str, Array] = {"members": np.array([len(self._parts), *(len(one) for one in self._parts[:1])], np.int64)}
        for place, episode in enumerate(self._parts):
            for member, part in enumerate(episode):
                prefix = f"{place}.{member}."
                state |= {prefix + name: getattr(part, name) for name in ("observation", "action", "reward")}
                state[prefix + "terminated"] = np.array([part.terminated])
                state[prefix + "substituted"] = np.zeros(part.steps, bool) if part.substituted is None else part.substituted
                state |= {f"{prefix}extras.{name}": values for name, values in part.extras.items()}
        return tensors(state)

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what is missing."""
        found = arrays(state)
        if "members" not in found:
            raise ValueError("joint rollouts: members is missing in the state")
        episodes, *members = found["members"].tolist()
        self._parts = []
        for place in range(episodes):
            episode = []
            for member in range(members[0]):
                prefix = f"{place}.{member}."
                try:
                    values = [found[prefix + name] for name in ("observation", "action", "reward", "terminated", "substituted")]
                except KeyError as error:
                    raise ValueError(f"joint rollouts: {error.args[0]} is missing in the state") from None
                start = f"{prefix}extras."
                extras = {name.removeprefix(start): array for name, array in found.items() if name.startswith(start)}
                episode.append(MemberPart(values[0], values[1], values[2], bool(values[3][0]), values[4], extras))
            self._parts.append(episode)
        self._count = sum(max(part.steps for part in episode) for episode in self._parts)
