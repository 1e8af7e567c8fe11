"""A world for lock-step under one seed's faults, and a checker that only looks on."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np

from protocols.simulation.simulated_network import Network
from protocols.simulation.simulated_stepping import SERVER, AgentScript, LedgerLine, ServerScript, TransitionLog
from protocols.simulation.stepping_promises import Meant, SteppingViolation, check
from tests.protocols.simulation.drawn_links import DrawnLinks

FAULTY = 10.0
"""seconds of faults; the rest heals"""
LIMIT = 60.0
"""seconds after the faults in which stepping must have gone on"""
TICKS_AFTER = 6
DEADLINE = 2.0


class World:
    """One seed: two to four agents, loss up to 30 %, repetition up to 20 %, delays up to 0.6 s, deaths of agents and of the server."""

    def __init__(
        self, seed: int, server: type[ServerScript] = ServerScript, agent: type[AgentScript] = AgentScript, stale: bool = True
    ) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.network = Network()
        self.network.drops_stale = stale
        self.ledger: list[LedgerLine] = []
        self.meant: dict[int, Meant] = {}
        self.memories: list[TransitionLog] = []
        self.agents = [f"agent-{i}" for i in range(self.random.choice([2, 3, 4]))]
        self.loss, self.duplicate = self.random.uniform(0.0, 0.3), self.random.uniform(0.0, 0.2)
        self.delay = (0.001, self.random.choice([0.005, 0.1, 0.6]))
        self._server_type, self._agent_type = server, agent
        self._jitter = np.random.default_rng(seed)
        self.faults = 0
        self._start_server()
        for name in self.agents:
            self._start_agent(name)
            if self.random.random() < 0.5:
                self._later(self.random.uniform(0.05, self.random.choice([1.0, 7.0])), lambda name=name: self._kill_agent(name))
        for _ in range(self.random.choice([0, 0, 1, 2])):
            self._later(self.random.uniform(0.1, 7.0), self._doom_server)

    # --- what happens -----------------------------------------------------------------------------------------------------------------

    def _later(self, delay: float, action: Callable[[], object]) -> None:
        self.network.at(self.network.now + delay, lambda: action() and None)

    def _links(self, name: str) -> DrawnLinks:
        return DrawnLinks(self.seed, name, self.delay, self.loss, self.duplicate, until=FAULTY)

    def _start_server(self) -> None:
        script = self._server_type(self.agents, self.ledger, DEADLINE)
        self.network.add(SERVER, script, self._links(SERVER))
        for name in self.agents:
            self._later(self.random.uniform(0.0, 1.5), lambda name=name: self._tell_of_server(name))

    def _doom_server(self) -> None:
        """It dies within the next instructions; its supervisor starts another."""
        node = self.network.nodes[SERVER]
        script = node.script
        assert isinstance(script, ServerScript)
        if not node.alive or script.crash_in is not None:
            return
        script.crash_in = self.random.randrange(6)
        self.faults += 1
        self._later(1.5 * DEADLINE, lambda: self._restart_server(node))

    def _restart_server(self, node: object) -> None:
        present = self.network.nodes[SERVER]
        if present is node:
            self.network.kill(SERVER)
            self._later(self.random.uniform(0.0, 1.0), self._start_server)

    def _start_agent(self, name: str) -> None:
        incarnation = self.network.nodes[name].incarnation + 1 if name in self.network.nodes else 1

        def action(server: int, tick: int) -> int:
            number = len(self.meant) + 1
            self.meant[number] = Meant(name, incarnation, server, tick)
            return number

        def thinking(server: int, tick: int) -> float:
            return 3.0 if self.random.random() < 0.02 else self.random.uniform(0.05, 0.2)

        script = self._agent_type(name, self._jitter, action, thinking)
        self.network.add(name, script, self._links(name))
        self.memories.append(script.memory)
        self._later(self.random.uniform(0.0, 0.5), lambda: self._tell_of_server(name))

    def _tell_of_server(self, name: str) -> None:
        node, server = self.network.nodes[name], self.network.nodes[SERVER]
        if node.alive and isinstance(node.script, AgentScript):
            node.script.environment_moved(server)

    def _kill_agent(self, name: str) -> None:
        incarnation = self.network.nodes[name].incarnation
        self.network.kill(name)
        self.faults += 1
        if self.random.random() < 0.5:  # the run server notices
            self._later(self.random.uniform(0.0, 5.0), lambda: self._tell_of_death(name, incarnation))
        if self.random.random() < 0.7:
            self._later(self.random.uniform(0.05, 3.0), lambda: self._start_agent(name))

    def _tell_of_death(self, name: str, incarnation: int) -> None:
        script = self.network.nodes[SERVER].script
        assert isinstance(script, ServerScript)
        script.lost(name, incarnation)

    # --- to the end -----------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until it has healed and gone on for a while; raises `SteppingViolation`."""
        network = self.network
        assert network.run(FAULTY + 6.0, most=100_000)
        living = [name for name in self.agents if network.nodes[name].alive]
        healed_at = len(self.ledger)
        if living:
            network.run(FAULTY + LIMIT, most=100_000, done=lambda: len(self.ledger) >= healed_at + TICKS_AFTER)
            if len(self.ledger) < healed_at + TICKS_AFTER:
                raise SteppingViolation(f"stepping does not go on: {len(self.ledger)} ticks, {healed_at} when the network had healed")
        check(self.ledger, self.memories, self.meant)
        newest = self.ledger[-1] if living else None
        for memory in self.memories:
            node = network.nodes[memory.agent]
            if newest is None or not node.alive or node.incarnation != memory.incarnation:
                continue
            last = memory.kept[-1] if memory.kept else None
            if last is None or last.server != newest.server or last.tick < newest.tick - TICKS_AFTER:
                raise SteppingViolation(f"{memory.agent} takes no part after the network has healed")


def catch(
    seeds: range, server: type[ServerScript] = ServerScript, agent: type[AgentScript] = AgentScript, stale: bool = True
) -> str | None:
    """The first violation, if any."""
    for seed in seeds:
        try:
            World(seed, server, agent, stale).run()
        except SteppingViolation as violation:
            return f"seed {seed}: {violation}"
    return None
