"""The averaging of a configuration in synchronous rounds, as arrays of all agents, and where that is as good as message by message."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.config.configuration import Configuration
from orchestrator.experiments.design.experiment_design import SimulationSettings
from orchestrator.experiments.running.averaging_simulation import PROGRESS, AveragingSimulation, Simulation
from orchestrator.experiments.running.simulation_outcome import SimulationOutcome
from protocols.averaging.round_deadline import LEAST
from protocols.averaging.rule_settings import GossipRule, PushSumRule
from protocols.runtime.errors import ConfigurationError
from protocols.simulation.array_averaging import ArrayAveraging, ArrayGossip, ArrayPopulation, ArrayPushSum
from protocols.simulation.array_links import ArrayLinks, NotAsArrays
from protocols.simulation.simulated_averaging import PopulationPoint

MANY = 1000
"""agents from which on a note states why they are simulated message by message"""


def simulation_of(configuration: Configuration, request: SimulationSettings) -> AveragingSimulation:
    """The simulation of a configuration that `loaded` has made.

    `request.arrays`: true for arrays (`ConfigurationError` where they do not model what is configured), false for messages; None for arrays
    where both give the same result.
    """
    if request.arrays is False:
        return Simulation(configuration, request)
    try:
        return ArraySimulation(configuration, request)
    except NotAsArrays as reason:
        if request.arrays:
            raise ConfigurationError(f"not modelled as arrays: {reason}; simulate it message by message (--no-arrays)") from None
        simulation = Simulation(configuration, request)
        if len(simulation.names) >= MANY:
            simulation.notes.append(f"simulated message by message: {reason}")
        return simulation


class ArraySimulation(AveragingSimulation):
    """Synchronous rounds as arrays (`protocols.simulation.array_averaging`). `NotAsArrays` for what they do not model, and, unless
    `request.arrays`, where the state machines may give another result."""

    def __init__(self, configuration: Configuration, request: SimulationSettings) -> None:
        super().__init__(configuration, request)
        if request.wire:
            raise NotAsArrays("every message goes through the codec (--wire)")
        if self.episodes:
            raise NotAsArrays("episodes are negotiated (--episodes 0 plays none)")
        averaging = self._averaging()
        links = ArrayLinks(self.schedule, self._fault_seed, self.names, averaging.arcs, averaging.message)
        deadline = self.settings.deadline
        if links.delay >= deadline:
            raise NotAsArrays(f"messages take {links.delay:g} s, and rounds close after {deadline:g} s (exchange.consensus.deadline)")
        if not request.arrays and links.lossy:
            raise NotAsArrays("messages are lost, so that rounds overlap (--arrays has synchronous rounds)")
        if not request.arrays and links.delay >= LEAST and isinstance(averaging, ArrayPushSum):
            raise NotAsArrays(f"push-sum may close rounds after {LEAST:g} s, before messages arrive (--arrays has synchronous rounds)")
        if links.lossy:
            self.notes.append(f"all rounds are synchronous and take {deadline:g} s (exchange.consensus.deadline), since messages are lost")
        self.population = ArrayPopulation(averaging, links, self.every, deadline)

    @property
    def sent(self) -> int:
        """Messages sent so far."""
        return self.population.sent

    def run(self, report: Callable[[PopulationPoint], None] = lambda point: None) -> SimulationOutcome:
        """Until all agree or the rounds are over. `report`: progress."""
        population, tolerance, limit = self.population, self.request.tolerance, self.limit
        begun = reported = time.monotonic()
        while population.curve[-1].disagreement > tolerance and population.rounds < limit:
            point = population.round()
            now = time.monotonic()
            if now - reported >= PROGRESS:
                reported = now
                report(point)
        last = population.curve[-1]
        return SimulationOutcome(
            **self._facts(),
            arrays=True,
            agreed=last.disagreement <= tolerance,
            rounds=last.rounds,
            seconds=last.time,
            disagreement=last.disagreement,
            error=last.error,
            mass=population.mass_error,
            messages=population.sent,
            bytes=population.bytes,
            missing=population.missing / max(1, population.rounds * len(self.names)),
            retries=0,
            lost=dict(sorted(population.links.lost.items())),
            events=population.arrived,
            real=time.monotonic() - begun,
            died=0,
            episodes=None,
            curve=population.curve,
            notes=self.notes,
        )

    def _averaging(self) -> ArrayAveraging:
        rule = self.settings.rule
        if len(self.names) == 1:
            raise NotAsArrays("one agent has no neighbours")
        if self.graph.changes:
            raise NotAsArrays(f"the graph {self.configuration.network.topology.kind} changes from round to round")
        if isinstance(rule, GossipRule):
            return ArrayGossip(self.graph, self.initial())
        if isinstance(rule, PushSumRule):
            if rule.offer_dtype != "float64":
                raise NotAsArrays(f"offers travel as {rule.offer_dtype} (exchange.consensus.offer_dtype)")
            return ArrayPushSum(self.graph, self.initial(), rule.window)
        raise NotAsArrays(f"mode {self.settings.mode} is neither mh nor pushsum")
