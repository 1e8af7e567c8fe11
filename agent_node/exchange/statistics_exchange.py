"""Exchange of model statistics with the neighbours: publication of the own ones, and use of the sum over all agents."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import numpy as np
import torch

from agent_node.contracts import AdditiveStatistics, Component, ObservedTick, State, arrays, tensors, with_prefix
from agent_node.exchange.settings import StatisticsSettings
from agent_node.session.session_context import SessionContext
from protocols.averaging.averager import Neighbourhood
from protocols.statistics.averaged_statistics import AveragedStatistics
from protocols.statistics.ledger import Ledger, Validate
from protocols.statistics.push_sum_statistics import PushSumStatistics
from protocols.statistics.statistics_consensus import (
    EarlierStatisticsFound,
    IncompatibleStatistics,
    MixingRoundClosed,
    NewerEpoch,
    StatisticsConsensus,
    TotalChanged,
    Vector,
)

logger = logging.getLogger(__name__)


def create_statistics(
    settings: StatisticsSettings,
    name: str,
    members: Collection[str],
    neighbourhood: Neighbourhood,
    basis: str,
    size: int,
    random: np.random.Generator,
    incarnation: int,
    validate: Validate,
) -> StatisticsConsensus:
    """The machine of `settings.mode` that sums vectors of `size` numbers in this basis over all `members`.

    `random`: jitter of repetitions. `incarnation`: of this agent's process. `validate`: what every origin's statistics must hold; only a
    ledger can ask, since the others never see them unmixed. `ValueError` for what a mode can't hold.
    """
    every, deadline, tolerance = settings.every, settings.deadline, settings.tolerance
    incarnation = max(1, incarnation)
    if settings.mode == "ledger":
        neighbours, forget = neighbourhood.all_neighbours, settings.withdraw_after
        return Ledger(name, members, neighbours, basis, size, random, incarnation, validate, every, 10.0 * every, forget_after=forget)
    if settings.mode == "pushsum":
        return PushSumStatistics(name, members, neighbourhood, basis, size, random, incarnation, every, deadline, tolerance)
    check, most, report = settings.check_every, settings.rounds, settings.report_every
    return AveragedStatistics(name, members, neighbourhood, basis, size, every, deadline, tolerance, check, most, report)


class StatisticsExchange(Component):
    """One agent's side: it publishes the statistics of `shared`, and has it rest on the sum over all as far as that is known. `machine` is
    the conversation with the neighbours; what it computes is in `docs/explanation/statistics.md`.

    `shared` is restored from a checkpoint, if there is one, before this is made. `members`: all agents that may have statistics; `random`:
    jitter of repetitions.
    """

    def __init__(
        self,
        settings: StatisticsSettings,
        shared: AdditiveStatistics,
        name: str,
        members: Collection[str],
        neighbourhood: Neighbourhood,
        random: np.random.Generator,
        incarnation: int = 1,
    ) -> None:
        self._began = np.array(shared.statistics(), np.float64)
        """the statistics at the start, and their number of transitions"""
        self._began_transitions = shared.transitions
        self.machine = create_statistics(
            settings, name, members, neighbourhood, shared.basis_id, self._began.size, random, incarnation, self._broken
        )
        self._settings, self._shared, self._name = settings, shared, name
        self._recovered = np.zeros(self._began.size)
        """statistics that a former incarnation published beyond that"""
        self._news = False
        self._mixed: list[MixingRoundClosed] = []
        self._publications = 0
        self._resumed = False

    def joined(self, context: SessionContext) -> None:
        """Exchange statistics with the neighbours."""
        self._resumed = context.resumed
        context.converse(self.machine)

    def observed(self, tick: ObservedTick) -> None:
        """Publish if there are enough new transitions, process events, and use the newest sum."""
        self._process_events()
        transitions = self._shared.transitions
        if transitions and self.machine.unpublished(transitions) >= self._settings.min_transitions:
            self.machine.publish(self.own(), transitions, tick.now)
            self._shared.published()
            self._publications += 1
            self._process_events()
        total = self.machine.total() if self._news else None
        if total is not None and total.origins:  # a sum without any data would be less than the own statistics
            self._news = False
            self._shared.use(total.vector, total.complete)

    def _broken(self, origin: str, vector: Vector) -> str:
        """Which rule of statistics `origin`'s break; empty for none."""
        try:
            self._shared.check(vector)
        except ValueError as error:
            return str(error)
        return ""

    def own(self) -> Vector:
        """The statistics of this agent alone, those of its former incarnations included: `[P]`. What variances come from while a total is
        not complete."""
        return np.asarray(self._shared.statistics() + self._recovered, np.float64)

    def mixed(self) -> list[MixingRoundClosed]:
        """Rounds that have closed since the last call and from which the run's metrics are computed."""
        self._process_events()
        mixed, self._mixed = self._mixed, []
        return mixed

    def metrics(self) -> dict[str, float]:
        """`statistics.origins`, `.staleness`, `.complete` (of the total), `.published` (publications in this incarnation), `.unpublished`
        (transitions); of a ledger `.entries_taken`, `.entries_sent`, `.bytes_taken`, `.bytes_sent` (payloads), `.refused`; of push-sum
        `.mass`, `.epoch`. All since the start of the process."""
        total, counters = self.machine.total(), self.machine.counters
        values = {
            "statistics.origins": float(total.origins),
            "statistics.staleness": float(total.staleness),
            "statistics.complete": float(total.complete),
            "statistics.published": float(self._publications),
            "statistics.unpublished": float(self.machine.unpublished(self._shared.transitions)),
            "statistics.refused": float(counters["invalid"] + counters["foreign_basis"]),
        }
        if isinstance(self.machine, Ledger):
            for name in ("entries.taken", "entries.sent", "bytes.taken", "bytes.sent"):
                values[f"statistics.{name.replace('.', '_')}"] = float(counters[name])
        for name in ("mass", "epoch"):
            value = getattr(self.machine, name, None)
            if value is not None:
                values[f"statistics.{name}"] = float(value)
        return values

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Close an open round at once, with what has arrived."""
        self.machine.settle(now)
        self._process_events()

    def state_dict(self) -> State:
        """The machine's state, and the statistics of former incarnations."""
        machine = {f"machine/{name}": np.array(array) for name, array in self.machine.state().items()}
        began = np.append(self._began, self._began_transitions)
        return tensors(machine | {"recovered": self._recovered.copy(), "began": began})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore after `joined`. Where only this agent goes on from its checkpoint, the others may hold newer statistics, and averages
        start again from the own ones. `ValueError` for what does not fit."""
        found, together = arrays(state), self._resumed
        recovered = found.get("recovered")
        if recovered is None or recovered.shape != self._recovered.shape:
            raise ValueError(f"the checkpoint has no statistics of {self._recovered.size} numbers")
        self._recovered = np.array(recovered, np.float64)
        began = found.get("began")
        if together and began is not None and began.shape == (self._began.size + 1,):
            # The same incarnation goes on: a former one published its statistics before this start.
            self._began, self._began_transitions = np.array(began[:-1], np.float64), int(began[-1])
        if together or isinstance(self.machine, Ledger):
            self.machine.load_state(with_prefix("machine/", found))
        self._news = True

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _process_events(self) -> None:
        for event in self.machine.events():
            if isinstance(event, TotalChanged):
                self._news = True
            elif isinstance(event, MixingRoundClosed):
                self._mixed.append(event)
            elif isinstance(event, EarlierStatisticsFound):
                # It contains all that this incarnation started with, since both are sums over prefixes of one series of data.
                self._recovered = event.payload - self._began
                self.machine.published = max(self.machine.published, self._began_transitions)
                self._shared.published()
                logger.info("%s continues with the statistics that its former incarnation published", self._name)
            elif isinstance(event, IncompatibleStatistics):
                logger.warning("%s refuses what %s sends: %s", self._name, event.src, event.reason)
            elif isinstance(event, NewerEpoch):
                logger.warning("%s has statistics of an epoch before %d: they must be rebuilt", self._name, event.epoch)
