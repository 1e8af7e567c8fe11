"""The links of a large population as arrays: one delay for all, and independent losses, drawn as on the links of single messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protocols.faults.fault_draws import KeyedDraws, first_draws, quantile
from protocols.faults.fault_schedule import FaultSchedule, ScheduledEvent
from protocols.faults.link_effects.faulty_links import concerns, link_draws
from protocols.faults.settings import LinkEffects
from protocols.runtime.errors import ConfigurationError
from protocols.simulation.simulated_faults import DELAY, LEAST
from protocols.topology.communication_graph import Pairs
from protocols.wire.messages import Message

Mask = NDArray[np.bool_]
EVERYONE = ["*"]


class NotAsArrays(ConfigurationError):
    """Why a population is not simulated as arrays."""


class ArrayLinks:
    """Which messages arrive, of at most one over each arc in each round.

    `arcs`: `[m, 2]`, number of sender and receiver. A message is lost if draw 0 of the rule for (sender, receiver, channel, number of the
    message on that arc) is below the rule's probability: the same keyed hash as in `protocols.faults.link_effects.faulty_links`, so that
    the same messages are lost. `NotAsArrays` for schedules with anything else than rules of a constant delay, the same on all arcs, and of
    independent losses.
    """

    def __init__(self, schedule: FaultSchedule, seed: int, names: Sequence[str], arcs: Pairs, message: type[Message]) -> None:
        if next(schedule.nemesis(), None) is not None:
            raise NotAsArrays("faults.random draws faults")
        self.lost: Counter[str] = Counter()
        """lost messages by the rule"""
        self._sent = np.zeros(len(arcs), np.int64)
        self._rules: list[tuple[str, float, NDArray[np.int64], list[KeyedDraws]]] = []
        delay = np.zeros(len(arcs))
        for event in schedule.events:
            link = _plain(event, schedule)
            where = _concerned(link, names, arcs, message.__name__.lower())
            if link.delay is not None:
                delay[where] += quantile(link.delay)(0.5)
            if link.loss is not None and link.loss.p:
                draws = [link_draws(seed, event.id, names[i], names[j], "peer") for i, j in arcs[where].tolist()]
                self._rules.append((event.id, link.loss.p, where, draws))
        if np.ptp(delay):
            raise NotAsArrays(f"delays of links differ ({delay.min():g} to {delay.max():g} s)")
        self.delay = max(float(delay[0]), LEAST) if delay.any() else DELAY
        """seconds"""
        self.lossy = bool(self._rules)

    def arrived(self, sent: Mask) -> Mask:
        """Which of the messages that are sent now arrive, `[m]`. Numbers of messages go on from call to call."""
        self._sent += sent
        arrived = sent.copy()
        for rule, probability, arcs, draws in self._rules:
            concerned = np.flatnonzero(sent[arcs])
            some = arcs[concerned]
            chosen: Sequence[KeyedDraws] = draws if len(some) == len(arcs) else [draws[k] for k in concerned.tolist()]
            lost = some[first_draws(chosen, self._sent[some].tolist()) < probability]
            lost = lost[arrived[lost]]  # the first rule that drops a message is the cause
            arrived[lost] = False
            if len(lost):
                self.lost[f"lost.{rule}"] += len(lost)
        return arrived


def _plain(event: ScheduledEvent, schedule: FaultSchedule) -> LinkEffects:
    """The effects of a rule that holds always; `NotAsArrays` for everything else."""
    link = event.link
    if link is None:
        raise NotAsArrays(f"{event.id} is an event of faults.events")
    if event.start.value > 0 or event.stop is not None or event.length is not None or (schedule.heal and not event.lasting):
        raise NotAsArrays(f"rule {event.id} holds for a part of the time only")
    if link.duplicate or link.reorder or link.corrupt or link.bandwidth:
        raise NotAsArrays(f"rule {event.id} does more than to delay and to lose messages")
    if link.delay is not None and link.delay.dist != "constant":
        raise NotAsArrays(f"rule {event.id} draws delays, so that rounds overlap")
    if link.loss is not None and (link.loss.model != "bernoulli" or link.loss.corr):
        raise NotAsArrays(f"losses of rule {event.id} are correlated")
    return link


def _concerned(link: LinkEffects, names: Sequence[str], arcs: Pairs, kind: str) -> NDArray[np.int64]:
    """Numbers of the arcs for whose messages of this kind a rule holds."""
    if link.source == EVERYONE and link.to == EVERYONE:  # nearly always: not one by one
        return np.arange(len(arcs)) if concerns(link, "", "", "peer", kind) else np.zeros(0, np.int64)
    return np.flatnonzero([concerns(link, names[i], names[j], "peer", kind) for i, j in arcs.tolist()])
