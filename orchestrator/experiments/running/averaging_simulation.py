"""The conversations of a configuration alone, under virtual time: agents with random vectors average them over the configured graph and
links, and agree on episodes and share them if the configuration has it. Nothing is learnt and no process is started.
"""

from __future__ import annotations

import gc
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from math import ceil, log
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.exchange.settings import ConsensusSettings
from orchestrator.config.checks.cross_checks import Rule
from orchestrator.config.configuration import Configuration
from orchestrator.config.loader import Loaded, load
from orchestrator.config.rules import RULES
from orchestrator.experiments.design.experiment_design import SimulationSettings
from orchestrator.experiments.running.simulation_outcome import SimulatedEpisodes, SimulationOutcome
from protocols.averaging.averager import Averager
from protocols.averaging.averaging_rules import AveragingContext, create_averager
from protocols.conversations.membership.membership import MembershipTimeouts
from protocols.faults.fault_schedule import compile_schedule
from protocols.faults.link_effects.faulty_links import FaultyLinks
from protocols.faults.link_effects.link_trace import RecordedPast
from protocols.simulation.simulated_averaging import AveragingScript, Population, PopulationPoint
from protocols.simulation.simulated_episodes import EpisodeDirector, PeerScript
from protocols.simulation.simulated_faults import DELAY, ScheduledLinks, SimulatedDeaths, SimulatedMembership, left_out
from protocols.simulation.simulated_network import LinkModel, Network, PerfectLinks
from protocols.topology.communication_graph import Graph, make_graph
from protocols.topology.mixing_rates import Rates, rates

EPISODES = 4
"""episodes of each pair where the configuration negotiates"""
MOST_PLAYERS = 256
"""agents up to which episodes are played without being asked for"""
LEAST_ROUNDS, SLACK = 1000, 20
"""a simulation without `rounds` ends after so many rounds, or so many times as many as predicted"""
PROGRESS = 2.0
"""seconds of real time between two reports"""
_PARTS = ("network", "faults", "exchange", "agents.count")


def loaded(path: Path, overrides: Sequence[str], settings: SimulationSettings, seed: int | None = None) -> Loaded:
    """The configuration with as many agents as asked for: `Problems` names what does not go together, as for `up`, but only where it
    matters here."""

    def amend(configuration: Configuration) -> Configuration:
        changes: dict[str, Any] = {}
        if settings.agents is not None:
            changes["agents"] = configuration.agents.model_copy(update={"count": settings.agents})
        if seed is not None:
            changes["seed"] = seed
        return configuration.model_copy(update=changes)

    def matters(rule: Rule) -> bool:
        return all(path.startswith(_PARTS) for path in rule.paths)

    return load(path, overrides, rules=[rule for rule in RULES if matters(rule)], amend=amend)


class AveragingSimulation(ABC):
    """The population of a configuration that `loaded` has made: agents, graph, rule, and the schedule of faults."""

    def __init__(self, configuration: Configuration, request: SimulationSettings) -> None:
        self.configuration = configuration
        self.request = request
        self.notes: list[str] = []
        self.names = configuration.agent_names()
        self.settings = self._consensus()
        faults = configuration.faults
        self._fault_seed = faults.seed if faults is not None else 0
        ends = {"round": float(request.rounds)} if request.rounds else {}
        self.schedule = compile_schedule(faults, configuration.network.links, self.names, ends)

    @cached_property
    def graph(self) -> Graph:
        """The communication graph."""
        return make_graph(self.configuration.network.topology, self.names, self.configuration.seed)

    @cached_property
    def rates(self) -> Rates:
        """How fast the graph averages."""
        return rates(self.graph)

    @property
    def predicted(self) -> int | None:
        """Rounds to the tolerance without faults."""
        rho = self.rates.contraction
        if self.rates.exact is not None:
            return self.rates.exact
        return ceil(log(self.request.tolerance) / log(rho)) if 0 < rho < 1 else None

    @property
    def limit(self) -> int:
        """Rounds after which the simulation ends."""
        return self.request.rounds or max(LEAST_ROUNDS, SLACK * (self.predicted or 0))

    @property
    def episodes(self) -> int:
        """Episodes that each pair of neighbours plays; as arrays none is played that was not asked for."""
        exchange, wanted = self.configuration.exchange, self.request.episodes
        if wanted is not None:
            return wanted
        plays = exchange.negotiation is not None and exchange.hindsight is not None and not self.request.arrays
        return EPISODES if plays and len(self.names) <= MOST_PLAYERS else 0

    @property
    def every(self) -> float:
        """Least seconds between the beginnings of two rounds of an agent."""
        return self.settings.every.time or 0.0

    def initial(self) -> NDArray[np.float64]:
        """The vectors at the start, `[n, d]`, standard normal."""
        return np.random.default_rng(self.configuration.seed).standard_normal((len(self.names), self.request.dimension))

    @property
    @abstractmethod
    def sent(self) -> int:
        """Messages sent so far."""

    @abstractmethod
    def run(self, report: Callable[[PopulationPoint], None] = lambda point: None) -> SimulationOutcome:
        """Simulate until all agree, or the rounds are over. `report`: progress."""

    def _consensus(self) -> ConsensusSettings:
        settings = self.configuration.exchange.consensus
        if settings is None:
            settings = ConsensusSettings()
            self.notes.append(f"exchange.consensus is null: simulated with {settings.mode}")
        elif settings.every.time is None:
            self.notes.append("nothing is learnt: every round begins when the last is closed (exchange.consensus.every counts learning)")
        return settings

    def _facts(self) -> dict[str, Any]:
        """The fields of the outcome that only depend on the configuration."""
        return {
            "agents": len(self.names),
            "edges": len(self.graph.neighbours),
            "topology": self.configuration.network.topology.kind,
            "mode": self.settings.mode,
            "seed": self.configuration.seed,
            "dimension": self.request.dimension,
            "tolerance": self.request.tolerance,
            "predicted": self.predicted,
            "contraction": self.rates.contraction,
        }


class Simulation(AveragingSimulation):
    """The state machines, message by message."""

    def __init__(self, configuration: Configuration, request: SimulationSettings, network: Network | None = None) -> None:
        """`network`: an empty one to simulate in, by default a new one."""
        super().__init__(configuration, request)
        self.died = 0
        self._traffic: tuple[int, int] | None = None
        self.network = network or Network(wire=request.wire)
        self.machines: dict[str, Averager] = {name: self._machine(name) for name in self.names}
        self.population = Population(self.network, self.machines, self.initial(), self.every)
        self.director = self._director()
        self._began: set[str] = set()
        self._pasts: dict[str, RecordedPast] = {}
        self.watch: SimulatedMembership | None = None
        self.deaths: SimulatedDeaths | None = None
        self._look = float("inf")
        for name in self.names:
            self._start(name)
            for peer in self.graph.all_neighbours(name):
                self.machines[name].peer_alive(peer, 1, 0.0)
        if self._has_deaths:
            self._begin_watch()

    @property
    def sent(self) -> int:
        """Messages sent so far."""
        return self.network.sent

    def run(self, report: Callable[[PopulationPoint], None] = lambda point: None) -> SimulationOutcome:
        """Until all agree and all episodes are played, the rounds are over, or no agent runs or will return. `report`: progress."""
        population, director, request = self.population, self.director, self.request
        limit = self.limit
        begun = reported = time.monotonic()
        agreed_at: PopulationPoint | None = None
        if director is not None:
            director.begin()

        def done() -> bool:
            nonlocal agreed_at, reported
            agreed = population.agreed(request.tolerance)
            self.advance()
            if agreed and agreed_at is None:
                agreed_at, self._traffic = population.curve[-1], (self.network.sent, self.network.bytes)
            if population.closed >= limit * len(self.names):
                return True
            if self.deaths is not None and self.deaths.over:
                self.notes.append(f"over at {self.network.now:.4g} s: no agent ran, and none was due back")
                return True
            now = time.monotonic()
            if now - reported >= PROGRESS and population.curve:
                reported = now
                report(population.curve[-1])
            return agreed and (director is None or director.idle)

        with _uncollected():
            self.network.run(float("inf"), done=done)
        return self._outcome(agreed_at or population.point(), agreed_at is not None, time.monotonic() - begun)

    # --- parts ----------------------------------------------------------------------------------------------------------------------

    def _machine(self, name: str, incarnation: int = 1) -> Averager:
        place = self.graph.neighbourhood(name)
        limits = ("simulation", self.request.dimension, self.settings.deadline)
        return create_averager(self.settings.rule, AveragingContext(place, *limits, incarnation, rejoin=incarnation > 1))

    def _start(self, name: str) -> None:
        """An incarnation of an agent begins."""
        former = self.network.nodes.get(name)
        if (incarnation := former.incarnation + 1 if former is not None else 1) > 1:
            self.machines[name] = self._machine(name, incarnation)
        script = self._script(name, self.names.index(name) if former is not None else len(self.network.nodes))
        links: LinkModel = PerfectLinks(DELAY)
        if self.schedule.eventful:
            past = self._pasts.setdefault(name, RecordedPast())
            found = FaultyLinks(self.schedule, self._fault_seed, name, incarnation, past.begun, past.ended, late=incarnation > 1)
            links = ScheduledLinks(found, lambda: script.round, lambda: self._played, lambda: self._healed, self._began, past)
        self.network.add(name, script, links)
        if self.watch is not None:
            self.watch.started(name)

    @property
    def _has_deaths(self) -> bool:
        drawn = self.configuration.faults.random if self.configuration.faults is not None else None
        listed = any(event.kind in ("process", "membership") for event in self.schedule.events)
        return listed or (drawn is not None and drawn.weights.kill > 0)

    def _begin_watch(self) -> None:
        """Agents may die: membership is watched, and the schedule carried out."""
        supervision = self.configuration.supervision
        random = np.random.default_rng([self.configuration.seed, 3])
        timeouts = MembershipTimeouts(supervision.suspect, self.configuration.dead_after, supervision.stuck)
        beat = supervision.heartbeat
        watch = self.watch = SimulatedMembership(
            self.network, self.graph.all_neighbours, lambda: float(random.uniform(0.0, 0.1)), timeouts, beat
        )
        for name in self.names:
            watch.present(name)
        if self.director is not None:
            watch.died = self.director.died

        def die(name: str) -> None:
            self.network.kill(name)
            watch.ended(name)
            self.died += 1

        self.deaths = SimulatedDeaths(self.schedule, self.names, die, self._return, supervision.restart_delay, self._began)
        self.advance()

    @property
    def _healed(self) -> bool:
        return self.deaths is not None and self.deaths.healed

    @property
    def _played(self) -> int:
        return len(self.director.done) if self.director is not None else 0

    def advance(self) -> None:
        """Deaths and returns that are due; a look is arranged for the next that goes by time."""
        if self.deaths is not None:
            self.deaths.reach(self.network.now, self._played, self.population.closed / len(self.names))
            if (due := self.deaths.next) < self._look:
                self._look = due
                self.network.at(due, self._schedule_check)

    def _schedule_check(self) -> None:
        self._look = float("inf")
        self.advance()

    def _return(self, name: str) -> None:
        self._start(name)
        if self.director is not None:
            self.director.begin()

    def _director(self) -> EpisodeDirector | None:
        if not self.episodes:
            return None
        random = np.random.default_rng([self.configuration.seed, 1])
        return EpisodeDirector(self.network, self.graph.neighbours, lambda: float(random.uniform(0.0, 0.05)), most=self.episodes)

    def _script(self, name: str, row: int) -> AveragingScript:
        if self.director is None:
            return self.population.script(name, row)
        exchange = self.configuration.exchange
        random = np.random.default_rng([self.configuration.seed, 2, row])
        negotiation = exchange.negotiation.deadline if exchange.negotiation else 1.0
        traces = exchange.hindsight.deadline if exchange.hindsight else 5.0
        return PeerScript(name, *self.population.part(name, row), random, self.director, negotiation, traces)

    # --- what it has shown ----------------------------------------------------------------------------------------------------------

    def _outcome(self, end: PopulationPoint, agreed: bool, real: float) -> SimulationOutcome:
        network, population = self.network, self.population
        conversations = [conversation for node in network.nodes.values() for conversation in node.conversations]
        retries = sum(n for c in conversations for name, n in c.counters.items() if name.startswith("retry."))
        last = population.point()
        messages, bytes = self._traffic or (network.sent, network.bytes)
        events = (*self.schedule.events, *self.schedule.random_events(network.now))
        return SimulationOutcome(
            **self._facts(),
            arrays=False,
            agreed=agreed,
            rounds=end.rounds,
            seconds=end.time,
            disagreement=last.disagreement,
            error=last.error,
            mass=population.mass_error(self.graph.all_neighbours),
            messages=messages,
            bytes=bytes,
            missing=population.missing / max(1, population.closed),
            retries=retries,
            lost=dict(sorted(network.counters.items())),
            events=network.events,
            real=real,
            died=self.died,
            episodes=self._episodes(),
            curve=population.curve,
            notes=[*self.notes, *left_out(events, self._began, self.deaths.away if self.deaths is not None else {})],
        )

    def _episodes(self) -> SimulatedEpisodes | None:
        if self.director is None:
            return None
        done = self.director.done
        negotiated, complete = sum(episode.negotiated for episode in done), sum(episode.complete for episode in done)
        return SimulatedEpisodes(len(done), negotiated, complete, median([episode.over - episode.begun for episode in done] or [0.0]))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector: a simulation makes no cycles, and looking for them among a million objects takes half of its time."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
