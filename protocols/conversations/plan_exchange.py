"""Exchange of planned trajectories: each agent sends its neighbours the steps that it has planned, so that they explore elsewhere.

Only the newest plan counts, so nothing is acknowledged: a plan that is lost is replaced by the next one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from protocols.conversations.conversation import Array, EdgeConversation, Send, frame, require
from protocols.runtime.errors import BadMessage
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Digest, Message


class Plan(Message):
    """Agent -> neighbours, when its world model has learnt: the steps that it expects to take next. AM1, only the newest
    counts. `layout`: digest of observations and actions; `number`: of the plans of this incarnation.

    Frames: `observation[n, D] f4`, `action[n, A] i4 or f4`.
    """

    layout: Digest
    number: Count


register_conversation(
    "plans",
    route("peer", "agent", "agent", Plan),
)


MOST_STEPS = 4096


@dataclass(frozen=True, eq=False)
class NeighbourPlan:
    """What `src` plans to do: raw observations `[n, D]` that it expects to meet, and its actions there, `[n, A]`."""

    src: str
    observation: Array
    action: Array


class PlanExchange(EdgeConversation[None]):
    """One agent's side. `neighbours`: the receivers; `size`, `action_size`: components of an observation and an action; `layout`: digest of
    observations and actions, since a plan is valid only for agents with the same ones."""

    message_types = (Plan,)

    def __init__(self, name: str, neighbours: Collection[str], layout: str, size: int, action_size: int, discrete: bool) -> None:
        super().__init__()
        self.name = name
        self._neighbours = tuple(sorted(set(neighbours) - {name}))
        self._alive: set[str] = set()
        self._layout = layout
        self._shapes = {
            "observation": (np.dtype(np.float32), size),
            "action": (np.dtype(np.int32 if discrete else np.float32), action_size),
        }
        self._number = 0
        self._newest: dict[str, int] = {}
        self._plans: dict[str, NeighbourPlan] = {}

    def share_plan(self, observation: Array, action: Array, now: float) -> None:
        """The own plan, `[n, D]` and `[n, A]`, from now on. `ValueError` for what breaks the format."""
        arrays = {"observation": observation, "action": action}
        try:
            self._check(arrays)
        except BadMessage as error:
            raise ValueError(f"a plan whose {error.detail}") from None
        self._number += 1
        message = Plan(layout=self._layout, number=self._number)
        self._sends += [Send(peer, message, arrays) for peer in self._neighbours if peer in self._alive]
        self.counters["sent"] += 1

    def plans(self) -> list[NeighbourPlan]:
        """The newest plan of each living neighbour, in the order of their names."""
        return [self._plans[peer] for peer in sorted(self._plans)]

    def _check(self, arrays: Mapping[str, Array]) -> None:
        """`BadMessage` unless these are the frames of a plan."""
        steps = {len(frame(arrays, name, dtype, (None, size))) for name, (dtype, size) in self._shapes.items()}
        for name in self._shapes:
            require(np.isfinite(arrays[name]), f"{name} is not finite")
        if len(steps) != 1 or not 1 <= steps.pop() <= MOST_STEPS:
            raise BadMessage("E_FRAME", f"steps are not 1 to {MOST_STEPS}, each with an action")

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if not isinstance(message, Plan) or src not in self._neighbours:
            raise BadMessage("E_UNKNOWN_NODE", f"{type(message).__name__} from {src} is no plan of a neighbour")
        if message.layout != self._layout:
            self.counters["foreign_layout"] += 1
            return
        if message.number <= self._newest.get(src, 0):
            self.counters["old"] += 1
            return
        self._check(arrays)
        self._newest[src] = message.number
        self._plans[src] = NeighbourPlan(src, arrays["observation"].copy(), arrays["action"].copy())
        self.counters["received"] += 1

    def peer_dead(self, peer: str, now: float) -> None:
        """Drop the plan of a dead neighbour."""
        self._alive.discard(peer)
        self._plans.pop(peer, None)

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """Send to `peer` from now on; a new incarnation of it numbers its plans anew."""
        if peer in self._neighbours:
            self._newest.pop(peer, None)
            self._alive.add(peer)
