"""Stepping under a fault schedule: an environment server and its agents in lock-step, whose links and deaths are those of the schedule.

Promises: `steps.once` (every transition is stored once, in order, with the reward that the server recorded) and `steps.resumed` (after the
faults all agents take part again).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random

import numpy as np

from orchestrator.config.configuration import Configuration
from orchestrator.experiments.nemesis.promises import BrokenPromise, severity
from protocols.faults.fault_schedule import compile_schedule
from protocols.faults.link_effects.faulty_links import FaultyLinks
from protocols.faults.link_effects.link_trace import RecordedPast
from protocols.simulation.simulated_faults import ScheduledLinks, SimulatedDeaths
from protocols.simulation.simulated_network import Network
from protocols.simulation.simulated_stepping import SERVER, AgentScript, LedgerLine, ServerScript, TransitionLog
from protocols.simulation.stepping_promises import Meant, SteppingViolation, check

DEADLINE = 1.0
"""seconds that a tick waits for an action"""
THINKING = (0.05, 0.2)
"""seconds in which an agent draws an action"""
ROSTER = 0.1
"""seconds at most until a start or an end is known to the others"""
TICKS_AFTER = 10
"""ticks after the faults in which all agents must act"""
LIMIT = 30.0
"""seconds after the faults in which they must"""


class SteppingWorld:
    """The agents and the environment server of a configuration under its faults: `run` raises `BrokenPromise`."""

    def __init__(self, configuration: Configuration) -> None:
        self.network = Network()
        self.names = configuration.agent_names()
        self.ledger: list[LedgerLine] = []
        self.memories: list[TransitionLog] = []
        faults = configuration.faults
        self._seed = faults.seed if faults is not None else 0
        self._schedule = compile_schedule(faults, configuration.network.links, self.names)
        self._random = Random(configuration.seed)
        self._jitter = np.random.default_rng([configuration.seed, 4])
        self._meant: dict[int, Meant] = {}
        self._began: set[str] = set()
        self._pasts: dict[str, RecordedPast] = {}
        self._start_server()
        for name in self.names:
            self._start_agent(name)
        nodes = [*self.names, SERVER]
        self._deaths = SimulatedDeaths(self._schedule, nodes, self._die, self._back, configuration.supervision.restart_delay, self._began)
        self._advance()

    def run(self) -> None:
        """Until faults are over and all agents have acted again; `BrokenPromise` for the first promise that is broken."""
        network, end = self.network, severity(self._schedule).end + 2.0
        alone = network.run(end, most=200_000)
        healed = len(self.ledger)
        resumed = network.run(end + LIMIT, most=200_000, done=lambda: len(self.ledger) >= healed + TICKS_AFTER)
        if not (alone and resumed):
            raise BrokenPromise("messages.count", "stepping sends without end", network.now)
        try:
            check(self.ledger, self.memories, self._meant)
        except SteppingViolation as violation:
            raise BrokenPromise("steps.once", str(violation), network.now) from None
        if len(self.ledger) < healed + TICKS_AFTER:
            text = f"{len(self.ledger) - healed} ticks in {LIMIT:g} s after the faults"
            raise BrokenPromise("steps.resumed", text, network.now)
        newest = self.ledger[-1]
        for memory in self.memories:
            if memory.incarnation != network.nodes[memory.agent].incarnation:
                continue
            last = memory.kept[-1] if memory.kept else None
            if last is None or last.server != newest.server or last.tick < newest.tick - TICKS_AFTER // 2:
                raise BrokenPromise("steps.resumed", f"{memory.agent} takes no part after the faults", network.now)

    # --- nodes ----------------------------------------------------------------------------------------------------------------------

    def _links(self, name: str, incarnation: int) -> ScheduledLinks:
        past = self._pasts.setdefault(name, RecordedPast())
        found = FaultyLinks(self._schedule, self._seed, name, incarnation, past.begun, past.ended, late=incarnation > 1)
        return ScheduledLinks(found, lambda: None, lambda: 0, lambda: False, self._began, past)

    def _incarnation(self, name: str) -> int:
        former = self.network.nodes.get(name)
        return former.incarnation + 1 if former is not None else 1

    def _start_server(self) -> None:
        self.network.add(SERVER, ServerScript(self.names, self.ledger, DEADLINE), self._links(SERVER, self._incarnation(SERVER)))
        for name in self.names:
            if name in self.network.nodes:
                self._later(self._random.uniform(0.0, ROSTER), name, self._name_server)

    def _start_agent(self, name: str) -> None:
        incarnation = self._incarnation(name)

        def action(server: int, tick: int) -> int:
            number = len(self._meant) + 1
            self._meant[number] = Meant(name, incarnation, server, tick)
            return number

        script = AgentScript(name, self._jitter, action, lambda server, tick: self._random.uniform(*THINKING))
        self.network.add(name, script, self._links(name, incarnation))
        self.memories.append(script.memory)
        self._later(self._random.uniform(0.0, ROSTER), name, self._name_server)

    def _name_server(self, name: str) -> None:
        node, server = self.network.nodes[name], self.network.nodes[SERVER]
        if node.alive and server.alive and isinstance(node.script, AgentScript):
            node.script.environment_moved(server)

    def _later(self, delay: float, name: str, action: Callable[[str], None]) -> None:
        self.network.at(self.network.now + delay, lambda: action(name))

    def _die(self, name: str) -> None:
        incarnation = self.network.nodes[name].incarnation
        self.network.kill(name)

        def report_end(agent: str) -> None:
            server = self.network.nodes[SERVER]
            if server.alive and isinstance(server.script, ServerScript):
                server.script.lost(agent, incarnation)

        if name != SERVER:
            self._later(self._random.uniform(0.0, ROSTER), name, report_end)

    def _back(self, name: str) -> None:
        if name == SERVER:
            self._start_server()
        else:
            self._start_agent(name)

    # --- time -----------------------------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Deaths and returns that are due, and the time of the next."""
        self._deaths.reach(self.network.now, 0, 0.0)
        if (due := self._deaths.next) < inf:
            self.network.at(due, self._advance)
