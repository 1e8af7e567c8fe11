"""Consensus on sums: what all ways of adding up the agents' statistics have in common.

The payload is one vector s = [upper(G), b, q, n] of sums over an agent's own data (float64, in a basis that all agents share), so that the
statistics of all data are the sum over agents. An agent calls `publish` with its own sums and asks `total` for what is known of the sum
over all. Which machine carries them is a settings key (`ledger`, `pushsum`, `mh`).

What averaging messages of statistics carry as their layout is an epoch of a basis, and never what those of parameters carry.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.averaging.averaging_messages import Average, Leave, Share
from protocols.averaging.projection_sketch import Sketch
from protocols.conversations.conversation import Array, EdgeConversation
from protocols.statistics.ledger_messages import LedgerDigest, LedgerEntry, LedgerPull

PREFIX = "statistics/"


def layout_of(basis: str, epoch: int) -> str:
    """The layout of an epoch."""
    return f"{PREFIX}{epoch}/{blake2b(basis.encode(), digest_size=16).hexdigest()}"


def epoch_of(layout: str, basis: str) -> int | None:
    """The epoch of a layout; None for another basis."""
    parts = layout.removeprefix(PREFIX).split("/")
    if not parts[0].isdigit() or len(parts[0]) > 18 or layout != layout_of(basis, int(parts[0])):
        return None
    return int(parts[0])


Vector = NDArray[np.float64]


class StatisticsTotal(NamedTuple):
    """One agent's estimate of the sum over all agents."""

    vector: Vector
    """`[P]`; never written to"""
    complete: bool
    """whether its variance may be used. In a ledger always: a part of the data is never more certain than all of it. By averaging only
    after the stop rule has fired: before, the own data count up to N times. While it is false take the mean from `vector`, the
    variance from the own statistics alone"""
    staleness: int
    """ledger: sum over origins of the versions that exist, as far as is known here, and are not in `vector`. By averaging: members whose
    statistics are not in `vector`"""
    origins: int
    """agents whose statistics are in `vector`"""


@dataclass(frozen=True)
class TotalChanged:
    """`total` is another than before."""


@dataclass(frozen=True, eq=False)
class EarlierStatisticsFound:
    """The last publication of an earlier incarnation of this agent was found at a neighbour: it contains more than the present one started
    with."""

    payload: Vector


@dataclass(frozen=True)
class IncompatibleStatistics:
    """`src` sends statistics that cannot be added to the own ones, for this reason. Reported once for each sender and reason."""

    src: str
    reason: str


@dataclass(frozen=True)
class NewerEpoch:
    """Others have gone on to this epoch of the basis, and the agent's own statistics are of an earlier one: rebuild them."""

    epoch: int


@dataclass(frozen=True, eq=False)
class MixingRoundClosed:
    """A round that all agents do together has closed; `sketch[2, s]`: the own average projected, before and after it. Where all agents'
    projections of one round meet, their distance from what they are to agree on is known (`protocols.averaging.projection_sketch`)."""

    round: int
    """rises from session to session, and is the same at all agents"""
    sketch: Sketch


StatisticsEvent = TotalChanged | EarlierStatisticsFound | IncompatibleStatistics | NewerEpoch | MixingRoundClosed


class StatisticsConsensus(EdgeConversation[StatisticsEvent]):
    """One agent's side of the sum over all."""

    message_types = (Average, Share, Leave, LedgerDigest, LedgerPull, LedgerEntry)

    name: str
    """of the agent"""
    published = 0
    """transitions in the statistics that were published last"""

    def __init__(self) -> None:
        super().__init__()
        self._refused: set[IncompatibleStatistics] = set()

    def unpublished(self, transitions: int) -> int:
        """How many of so many transitions the neighbours know nothing of: what the rule of privacy counts."""
        return transitions - self.published

    @abstractmethod
    def publish(self, vector: Array, transitions: int, now: float) -> None:
        """The agent's own sums are `vector`, `[P]`, over so many transitions: replaces the earlier publication. `ValueError` for a wrong
        length, or a number that is not finite."""

    @abstractmethod
    def total(self) -> StatisticsTotal:
        """The sum over all, as far as it is known."""

    def _finite(self, vector: Array, size: int) -> Vector:
        """A copy of the own statistics; `ValueError` unless they are `[size]` finite numbers."""
        own = np.array(vector, np.float64)
        if own.shape != (size,) or not np.isfinite(own).all():
            raise ValueError(f"the statistics of {self.name} are not {size} finite numbers")
        return own

    def _total_changed(self) -> None:
        if not any(isinstance(event, TotalChanged) for event in self._events):
            self._events.append(TotalChanged())

    def _incompatible(self, src: str, reason: str) -> None:
        event = IncompatibleStatistics(src, reason)
        if event not in self._refused and len(self._refused) < 1024:
            self._refused.add(event)
            self._events.append(event)

    def _epoch_of(self, src: str, layout: str, basis: str) -> int | None:
        """The epoch of an averaging message's layout; None for another basis, which is counted and reported."""
        epoch = epoch_of(layout, basis)
        if epoch is None:
            self.counters["foreign_basis"] += 1
            self._incompatible(src, f"its statistics are in another basis than the own ones ({basis})")
        return epoch

    def settle(self, now: float) -> None:
        """A checkpoint is made: end what can't be kept in one."""

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """The state as arrays by name, for a checkpoint; inverse of `load_state`."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` for what does not fit."""
