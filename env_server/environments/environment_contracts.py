"""What an environment must offer to be hosted: K copies stepped at once, for named agents.

PettingZoo's Parallel API is the users' contract; `env_server.adapters` turns K such environments (and AEC and Gymnasium ones) into
this one. A vectorised environment implements it directly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from protocols.spaces.goal_space import Goal, GoalSpace
from protocols.spaces.layout import Layout

Array = NDArray[Any]


@dataclass
class AgentBatch:
    """One agent's view of all K copies after a tick. Arrays belong to the receiver."""

    observation: Array
    """`[K, ...]` f4 or u1, as in the agent's layout"""
    reward: NDArray[np.float32]
    """`[K]`"""
    flags: NDArray[np.uint16]
    """`[K]`, `protocols.wire.messages.Flag`"""
    achieved: Array | None = None
    """`[K, A]`: what its own body achieves, u1 features or f4 points (goal environments)"""
    goal: Array | None = None
    """its own goal in the episode that each copy plays (goal environments): `[K]` i4, -1: no member; or `[K, D]` f4, zeros: no member"""


@dataclass
class TickResult:
    """All agents' views after a tick; `episode[K]` is the number of the episode each copy plays."""

    agents: dict[str, AgentBatch]
    episode: NDArray[np.int64]


@dataclass(frozen=True)
class OfferedEpisode:
    """An episode to come: `members` with its leader first; `goal` is one for all of them, or -1 where they choose."""

    episode: int
    copy: int
    members: tuple[str, ...]
    evaluation: bool = False
    goal: int = -1


@dataclass(frozen=True)
class EpisodeRecord:
    """What an episode came to, for the server's statistics. Per member, in the order of `members`."""

    episode: int
    members: tuple[str, ...]
    rewards: tuple[float, ...]
    lengths: tuple[int, ...]
    evaluation: bool = False
    peer_lost: bool = False
    goals: tuple[Goal, ...] = ()
    negotiated: bool = False
    assigned: bool = False
    touched: tuple[tuple[int, ...], ...] = field(default=())
    """features that each member's body achieved when the episode ended (discrete goals)"""
    reached: tuple[bool, ...] = ()
    """whether each member's goal was reached when its part ended; empty: it was where its reward is positive"""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """what else the environment measures of an episode, by the name of the figure: the server reports means over episodes"""


class VectorEnvironment(Protocol):
    """K copies with automatic reset: the tick after `Flag.OVER` carries the first observation of the copy's next episode and ignores
    the copy's actions."""

    agents: tuple[str, ...]
    copies: int

    def layout(self, agent: str) -> Layout:
        """Observations, actions and goals of `agent`; constant while the environment exists."""
        ...

    def reset(self, seed: int, first_episode: int = 0) -> TickResult:
        """Start every copy anew, counting episodes from `first_episode`; two calls with the same arguments give equal outcomes. Agents
        identify episodes by their number alone: a restarted server must not use one twice."""
        ...

    def step(self, actions: Mapping[str, Array]) -> TickResult:
        """Apply `actions[agent][K, A]` (int32 for discrete, float32 for continuous) in all copies. Agents that are absent from
        `actions` get the environment's no-op."""
        ...

    def set_present(self, agents: Collection[str]) -> None:
        """Set the agents that are alive. Environments that choose members draw only from these, and end the episodes of those that left
        (`Flag.PEER_LOST`); others continue, with stand-in actions."""
        ...

    def finished(self) -> list[EpisodeRecord]:
        """Episodes that ended since the last call."""
        ...

    def evaluate(self, episodes: int, aligned: bool) -> None:
        """Make the next `episodes` episodes that are drawn evaluations, and with `aligned` as many more with an assigned goal."""
        ...

    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[height, width, 3]` u1 (RGB) of one copy, 0 <= copy < K."""
        ...

    def close(self) -> None:
        """Release what it holds. May be called twice."""
        ...


@runtime_checkable
class FlattenedObservations(Protocol):
    """A vector environment that turns observations of other spaces into vectors."""

    flattened: Mapping[str, str]
    """observation spaces, as text, by the agents that have one which is no array"""


@runtime_checkable
class ReducedImages(Protocol):
    """A vector environment that reduces the size of observed images."""

    reduced_images: Mapping[str, tuple[int, ...]]
    """`(height, width, channels)` before, by the agents whose images are reduced"""


@runtime_checkable
class LimitedEpisodes(Protocol):
    """A vector environment with the number of steps after which its episodes are cut off."""

    episode_limit: int | None
    """steps, at least 1; None: no limit, or an unknown one"""


@runtime_checkable
class OrderedTurns(Protocol):
    """A vector environment whose agents may act in turns."""

    turn_based: bool
    """whether one agent acts at each step, and the others wait"""


@runtime_checkable
class RestartableEnvironment(Protocol):
    """A vector environment in which an agent may end episodes of its own before they are over."""

    def restart(self, agent: str, copies: NDArray[np.bool_]) -> None:
        """At the next step the copies `[K]` that are this agent's begin their next episode, in the place of its action; not in
        evaluations. The episode that was left counts as one, with what it earned so far."""
        ...


@runtime_checkable
class CancellableEvaluation(Protocol):
    """A vector environment whose evaluations can be cut short; others play every episode that `evaluate` asks for."""

    def cancel_evaluation(self, own_only: bool = False) -> tuple[int, int]:
        """Drop the evaluations that were requested and are not drawn: all, or `own_only` those with goals of the members' choice. Returns
        how many episodes are therefore not played: (those with goals of the members' choice, those with an assigned goal)."""
        ...


@runtime_checkable
class HeldEnvironment(Protocol):
    """A vector environment whose copies can wait for their next episode, and end one early: with goals, copies wait for those of their
    members. Without these methods episodes begin at once, and goals that are not known by then are drawn."""

    def hold(self, copies: NDArray[np.bool_]) -> None:
        """From now on these copies `[K]` begin no episode: where one is over, the rows of the tick have no `Flag.MEMBER`, and its
        episode is -1. It holds across `reset`, and until the next call, which replaces it."""
        ...

    def abandon(self, copies: NDArray[np.bool_]) -> None:
        """The running episodes of these copies `[K]` are over, without a record."""
        ...

    def seats(self, copy: int) -> Sequence[str]:
        """Agents that can be members of a copy's episodes."""
        ...


@runtime_checkable
class GoalEnvironment(Protocol):
    """A vector environment whose episodes start only when their members' goals are known."""

    goal_space: GoalSpace
    episode_members: int
    """members of an episode"""

    def offers(self) -> list[OfferedEpisode]:
        """Episodes drawn since the last call. The next episode of a copy is drawn when its present one starts."""
        ...

    def set_goal(self, episode: int, agent: str, goal: Goal, negotiated: bool) -> None:
        """An agent's goal for an episode to come; the first value wins, unknown episodes are ignored."""
        ...

    def waiting(self) -> list[tuple[int, str]]:
        """(episode, agent) pairs whose missing goal keeps a copy idle at present."""
        ...
