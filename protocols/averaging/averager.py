"""The interface of all averaging rules, so that one settings key chooses among them and drivers do not depend on the rule.

An agent calls `begin(number, vector, now)` with its parameters x as they are, goes on learning while the round is open, and adds the
`delta` of the `RoundClosed` event to whatever they have become. Modes differ in what they send, whom they wait for and what `delta` is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from protocols.averaging.averaging_messages import Average, Compressed, Replica, ReplicaRequest, Share
from protocols.averaging.round_deadline import LEAST, RoundDeadline
from protocols.averaging.vector_arithmetic import magnitude
from protocols.conversations.conversation import Array, EdgeConversation
from protocols.runtime.waits import PendingWait
from protocols.wire.messages import Message


class RoundClosed(NamedTuple):
    """A round is closed: add `delta` to whatever the parameters have become since `begin`."""

    round: int
    delta: NDArray[np.float64]
    """the move of the round's vector, `[d]`"""
    used: tuple[str, ...]
    """neighbours whose vectors counted"""
    missing: tuple[str, ...]
    """configured neighbours that were dead or late"""
    duration: float = 0.0
    """seconds from `begin` to the end of the round"""


class Neighbourhood(Protocol):
    """One agent's place in the graph, which may change from round to round."""

    @property
    def all_neighbours(self) -> Collection[str]:
        """All who are neighbours, in either direction, in any round."""
        ...

    def receivers(self, round: int) -> Collection[str]:
        """Whom the agent sends to in a round."""
        ...

    def senders(self, round: int) -> Collection[str]:
        """Who sends to the agent in a round."""
        ...

    def weights(self, round: int) -> Mapping[str, float]:
        """W_ij of each neighbour j in a round's undirected graph (Metropolis-Hastings); raises `ValueError` for directed graphs."""
        ...


@dataclass(frozen=True)
class FixedNeighbourhood:
    """The same neighbours in every round, in both directions; `mixing[j]` is W_ij."""

    mixing: Mapping[str, float]

    @property
    def all_neighbours(self) -> Collection[str]:
        """Names of all neighbours: the keys of `mixing`."""
        return self.mixing.keys()

    def receivers(self, round: int) -> Collection[str]:
        """All neighbours, in every round."""
        return self.mixing.keys()

    senders = receivers

    def weights(self, round: int) -> Mapping[str, float]:
        """`mixing`: neighbour j -> W_ij, in every round."""
        return self.mixing


class Averager(EdgeConversation[RoundClosed]):
    """Averaging rounds of one agent: base of push-sum and of the synchronous rules. Events are `RoundClosed`."""

    message_types = (Average, Compressed, ReplicaRequest, Replica, Share)
    mass = 1.0
    """how much of its own the agent has: the weight w of push-sum, 1 in all other modes"""
    ready = True
    """whether the agent has a model that it may train: one that came back has first to be given its neighbours'"""

    @property
    def mass_error(self) -> float | None:
        """How far `mass` is from what was given and taken; None in modes that pass on no mass."""
        return None

    def concerns(self, message: Message) -> bool:
        """Sums of statistics travel by the same messages, but are another conversation."""
        return not getattr(message, "layout", "").startswith("statistics/")

    @property
    @abstractmethod
    def round(self) -> int:
        """The newest round that was begun; -1 before the first."""

    @property
    @abstractmethod
    def newest_round(self) -> int:
        """The newest round that any neighbour has sent, -1 before the first: an agent that finds itself behind continues there. Modes
        whose rounds are each agent's own affair return `round`."""

    @property
    def next_round(self) -> int:
        """The number of the round that the agent begins by itself."""
        return self.round + 1

    @property
    @abstractmethod
    def open(self) -> bool:
        """Whether a round is waiting for its neighbours."""

    @abstractmethod
    def begin(self, number: int, vector: Array, now: float) -> None:
        """Begin a round with x_i, `[d]`. Rounds only rise; one that is still open is closed first with what has come. `ValueError` for a
        wrong length, a number that is not finite, or a round not above the last."""

    @abstractmethod
    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """`peer` is there (again), as this incarnation: it takes part from the next round on."""

    def has_leisure(self, seconds: float) -> None:
        """A round may stay open so long at no cost, since the agent does not need the next one before: none waits shorter than this for
        those who are usually in time."""

    def close(self, now: float) -> None:
        """Close the round that is open, if there is one, with what has come."""
        if self.open:
            self._close(now)

    @abstractmethod
    def _close(self, now: float) -> None:
        """End the open round: an event follows."""

    def state(self) -> dict[str, Array]:
        """What a checkpoint keeps between two rounds."""
        return {"round": np.array(self.round)}

    @abstractmethod
    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` for what does not fit."""


class RoundAverager(Averager):
    """Base of the averagers whose rounds wait for neighbours until a soft deadline (`RoundDeadline`), at most `deadline` seconds.

    `neighbourhood`: receivers and senders of every round. `layout` and `size`: digest and length of the vectors that are accepted.
    """

    def __init__(self, neighbourhood: Neighbourhood, layout: str, size: int, deadline: float, patient: bool) -> None:
        super().__init__()
        self._neighbourhood, self._layout, self._size = neighbourhood, layout, size
        self._round_deadline = RoundDeadline(min(LEAST, deadline), deadline, patient)
        self._round = -1

    @property
    def round(self) -> int:
        """The newest round that was begun; -1 before the first."""
        return self._round

    def _admit(self, number: int, vector: Array) -> float:
        """The largest |x_k| of the vector with which round `number` begins; `ValueError` where it may not."""
        largest = magnitude(vector) if vector.shape == (self._size,) else inf
        if not isfinite(largest):
            raise ValueError(f"the vector of round {number} is not {self._size} finite numbers")
        if number <= self._round:
            raise ValueError(f"round {number} was begun already (the newest is {self._round})")
        return largest

    def has_leisure(self, seconds: float) -> None:
        """A round may stay open for `seconds` seconds without delaying the agent."""
        self._round_deadline.leisure = seconds

    def tick(self, now: float) -> None:
        """Close the round if its deadline has passed at `now`, in seconds."""
        self._close_if_complete(now)

    def wake(self) -> float:
        """Time in seconds at which the open round closes; infinite where no round is open."""
        return self._round_deadline.closes if self.open else inf

    def waits(self) -> list[PendingWait]:
        """For the vectors of the open round."""
        if not self.open:
            return []
        return [PendingWait(f"the vectors of averaging round {self.round}", *self._round_deadline.awaited)]

    def _close_if_complete(self, now: float) -> None:
        if self.open and now >= self._round_deadline.closes:
            self._close(now)


def part(state: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """The arrays of a checkpoint whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


LIGHT = 0.1
"""mass from which an agent that came back trains"""
