"""Promises of averaging, negotiation, exchange of traces and membership, checked while a simulation runs.

| promise | what is checked, and when it holds |
|---|---|
| `averaging.mass` | push-sum: what nodes hold and edges carry is what there was at the start; without deaths, at every check |
| `averaging.returned` | push-sum: what a dead neighbour has not acknowledged returns to its giver |
| `averaging.window` | push-sum: no edge has more unacknowledged offers than its window, and one |
| `averaging.moves` | gossip: the moves of a round in which all uses are mutual cancel |
| `averaging.hull` | push-sum and gossip: no number leaves the range of those at the start |
| `averaging.progress` | an agent closes a round within its deadline |
| `averaging.missed` | gossip: without losses, delays or deaths nearly no round misses a neighbour |
| `averaging.agreement` | after the faults all agents agree (push-sum without deaths: on the mean of the start) |
| `negotiation.once`, `traces.once` | a member settles each episode once, and receives the traces of each once |
| `negotiation.value` | what a member settles with is what the leader proposed for that episode |
| `negotiation.leader` | a leader settles true only after all followers have |
| `negotiation.deadline`, `traces.deadline` | both are over at their deadline, under all faults |
| `negotiation.share`, `traces.share` | nearly all are negotiated and complete under mild losses, all without losses |
| `traces.value` | traces are those that their members sent |
| `messages.honest` | no message of an agent is refused: none of them is malicious |
| `messages.count` | the number of messages is bounded |
| `memory.bounded` | every container of a state machine is bounded |
| `memory.dead` | nothing is kept for a neighbour that was reported dead |
| `membership.views` | after the faults all agents know all of their neighbours, as their present incarnations |
| `episodes.resumed` | after the faults all pairs of neighbours negotiate and share episodes |
"""

from __future__ import annotations

from collections import defaultdict
from typing import NoReturn

import numpy as np

from orchestrator.config.configuration import Configuration
from orchestrator.experiments.design.experiment_design import SimulationSettings
from orchestrator.experiments.nemesis.held_memory import held, mentions
from orchestrator.experiments.nemesis.promises import BrokenPromise, Severity, severity
from orchestrator.experiments.running.averaging_simulation import Simulation
from protocols.averaging.averager import RoundClosed
from protocols.averaging.push_sum import PushSum
from protocols.averaging.synchronous_gossip import KEPT
from protocols.averaging.vector_arithmetic import Vector
from protocols.runtime.settings_types import Period
from protocols.simulation.simulated_episodes import DirectedEpisode, EpisodeStage
from protocols.simulation.simulated_network import Network, Node

DIMENSION = 4
EVERY = 0.05
"""least seconds between two rounds of an agent"""
LOOK = 0.1
"""seconds between two checks of what is checked from time to time"""
SLACK = 0.3
"""seconds that a deadline may be passed by"""
HEALED = 6.0
"""seconds after the faults from which episodes are negotiated and complete: those before have been offered or exchanged under faults"""
LIMIT = 30.0
"""seconds after the faults until all is as promised"""
AGREED = {"pushsum": 1e-6, "mh": 1e-5}
"""disagreement, relative to that at the start; vectors of gossip are float32"""
LEAST_SHARE = {"negotiated": 0.8, "complete": 0.93}
"""of the episodes of a simulation under mild losses"""
LEAST_EPISODES = 20
"""episodes from which shares are looked at"""
MOST_MESSAGES = 400.0
"""messages that an agent sends to a neighbour in a second, at most, plus `BURST`"""
BURST = 1000
MOST_HELD = 64
"""entries of a container"""
MOST_HELD_IN = {"_kept[]": KEPT + 2, "_led": 8, "_followed": 8, "_exchanges": 10**6}
"""those of some containers: vectors of a neighbour of gossip; negotiations that are not forgotten, besides those of lost episodes; and
finished exchanges, which have a limit of their own"""
DROPPED = ("_edges", "_early", "_waiting", "_acknowledgements", "_lateness", "_tardy", "_missing", "_expected", "awaited", "unacknowledged")
"""containers in which a dead neighbour has no entry"""
ROUNDS_KEPT = 40


class WatchedNetwork(Network):
    """A network that checks what the state machines make of a report of a death."""

    def report_dead(self, node: Node, peer: str) -> None:
        """As usual; `BrokenPromise` where mass is lost or memory kept."""
        before = [_returned(conversation, peer) for conversation in node.conversations]
        super().report_dead(node, peer)
        for conversation, expected in zip(node.conversations, before, strict=True):
            found = _own(conversation)
            if expected is not None and found is not None and found[1] == expected[1] and abs(found[0] - expected[0]) > 1e-9:
                text = f"{node.name} has the mass {found[0]:.6f} after the death of {peer}, not {expected[0]:.6f}"
                raise BrokenPromise("averaging.returned", text, self.now)
            if kept := mentions(conversation, peer, DROPPED):
                text = f"{type(conversation).__name__} of {node.name} keeps {', '.join(kept)} of {peer}, which is dead"
                raise BrokenPromise("memory.dead", text, self.now)


def _own(conversation: object) -> tuple[float, bool] | None:
    """The mass of push-sum, and whether a round is open; a round that closes adds what other neighbours have given."""
    return (conversation.mass, conversation.open) if isinstance(conversation, PushSum) else None


def _returned(conversation: object, peer: str) -> tuple[float, bool] | None:
    """As `_own`, when what `peer` has not acknowledged has returned."""
    edge = conversation.edge(peer) if isinstance(conversation, PushSum) else None
    own = _own(conversation)
    if edge is None or own is None:
        return None
    return own[0] + edge.outgoing.weight - edge.outgoing.acked_weight, own[1]


class PeerWorld:
    """The peers of a configuration under its faults: `run` raises `BrokenPromise`."""

    def __init__(self, configuration: Configuration) -> None:
        consensus = configuration.exchange.consensus
        if consensus is not None:
            consensus = consensus.model_copy(update={"every": Period.model_validate({"time": f"{EVERY}s"})})
        exchange = configuration.exchange.model_copy(update={"consensus": consensus})
        request = SimulationSettings(dimension=DIMENSION, episodes=10**9)
        network = WatchedNetwork()
        self.simulation = simulation = Simulation(configuration.model_copy(update={"exchange": exchange}), request, network)
        self.network = network
        self.severity: Severity = severity(simulation.schedule)
        self.corrupts = simulation.schedule.damages
        self.mode = simulation.settings.mode
        x = simulation.population.x
        self._low, self._high = x.min(axis=0) - 1e-5, x.max(axis=0) + 1e-5
        self._mean, self._spread = x.mean(axis=0), float(np.ptp(x)) or 1.0
        self._closed = dict.fromkeys(simulation.names, (1, 0.0))
        """incarnation of each agent, and when it closed its newest round or began"""
        self._rounds: dict[int, dict[str, RoundClosed]] = defaultdict(dict)
        self._spoilt: set[int] = set()
        self._offers: dict[tuple[str, int, int], float] = {}
        self._plays: dict[tuple[str, int, int], float] = {}
        self._reached: set[tuple[str, str, int, int]] = set()
        self._tally = {"negotiated": [0, 0], "complete": [0, 0]}
        self._look = 0.0
        self._after: dict[frozenset[str], int] = defaultdict(int)
        simulation.population.observe = self._round_closed
        if simulation.director is not None:
            simulation.director.observe = self._episode

    def run(self) -> None:
        """Until faults are over and all is as it was; `BrokenPromise` for the first promise that is broken."""
        simulation, network = self.simulation, self.network
        if simulation.director is not None:
            simulation.director.begin()
        end = self.severity.end
        self._go(end + HEALED)
        self._go(end + LIMIT, until_healed=True)
        if (promise := self._unhealed()) is not None:
            self._break(promise, f"{LIMIT:g} s after the faults {self._unhealed_text(promise)}")
        self._check_shares()
        if network.now == 0.0:
            raise RuntimeError("nothing was simulated")

    # --- time -----------------------------------------------------------------------------------------------------------------------

    def _go(self, until: float, until_healed: bool = False) -> None:
        simulation, network = self.simulation, self.network

        def done() -> bool:
            simulation.advance()
            if network.now < self._look:
                return False
            self._look = network.now + LOOK
            self._check()
            return until_healed and self._unhealed() is None

        edges = 2 * len(simulation.graph.neighbours)
        most = BURST + MOST_MESSAGES * edges * (until - network.now)
        if not network.run(until, most=most, done=done):
            self._break("messages.count", f"more than {most:.0f} messages in {network.now:.1f} s over {edges} directed edges")

    def _check(self) -> None:
        """What is checked from time to time."""
        simulation, now = self.simulation, self.network.now
        if self.mode == "pushsum" and not self.severity.deaths:
            error = simulation.population.mass_error(simulation.graph.all_neighbours)
            if not error <= 1e-9:
                self._break("averaging.mass", f"{error:.3g} of the mass is missing, or too much")
        for name, node in self.network.nodes.items():
            if not node.alive:
                continue
            incarnation, since = self._closed[name]
            if node.incarnation != incarnation:
                self._closed[name] = node.incarnation, now
            elif (waited := now - since) > simulation.settings.deadline + EVERY + SLACK:
                self._break("averaging.progress", f"{name} has closed no round for {waited:.2f} s")
            self._check_machines(name, node)
        self._check_deadlines(now)

    def _check_machines(self, name: str, node: Node) -> None:
        lost = self.simulation.director.lost if self.simulation.director is not None else 0
        for conversation in node.conversations:
            kind = type(conversation).__name__
            refused = [reason for reason in conversation.counters if reason.startswith("bad.")]
            if refused and not self.corrupts:
                self._break("messages.honest", f"{kind} of {name} has refused messages: {', '.join(refused)}")
            for where, size in held(conversation).items():
                if size > MOST_HELD_IN.get(where, MOST_HELD) + (lost if where in ("_led", "_followed") else 0):
                    self._break("memory.bounded", f"{where} of {kind} of {name} has {size} entries")
            if isinstance(conversation, PushSum):
                window = self.simulation.settings.window + 1
                for peer in self.simulation.graph.all_neighbours(name):
                    edge = conversation.edge(peer)
                    if edge is not None and len(edge.outgoing.pending) > window:
                        self._break("averaging.window", f"{name} has {len(edge.outgoing.pending)} unacknowledged offers to {peer}")

    def _check_deadlines(self, now: float) -> None:
        exchange, director = self.simulation.configuration.exchange, self.simulation.director
        limits = (
            ("negotiation.deadline", self._offers, exchange.negotiation.deadline if exchange.negotiation else 1.0),
            ("traces.deadline", self._plays, exchange.hindsight.deadline if exchange.hindsight else 5.0),
        )
        for promise, pending, deadline in limits:
            for (name, number, incarnation), since in list(pending.items()):
                node = self.network.nodes[name]
                if not node.alive or node.incarnation != incarnation or director is None or not director.runs(number):
                    del pending[name, number, incarnation]
                elif now > since + deadline + SLACK:
                    self._break(promise, f"{name} has waited {now - since:.2f} s in episode {number}")

    # --- averaging ------------------------------------------------------------------------------------------------------------------

    def _round_closed(self, name: str, event: RoundClosed) -> None:
        self._closed[name] = self.network.nodes[name].incarnation, self.network.now
        if self.mode not in AGREED:
            return
        x = self.simulation.population.x[self.simulation.names.index(name)]
        if not ((x >= self._low) & (x <= self._high)).all():
            self._break("averaging.hull", f"{name} has {x.round(4).tolist()}, outside of the range at the start")
        if self.mode == "mh":
            self._check_moves(name, event)

    def _check_moves(self, name: str, event: RoundClosed) -> None:
        """Of a round that is old enough."""
        closed = self._rounds[event.round]
        if name in closed or (self.network.nodes[name].incarnation > 1 and event.round <= 1):
            self._spoilt.add(event.round)  # an agent that returned counts anew
        closed[name] = event
        number = event.round - ROUNDS_KEPT
        whole = self._rounds.pop(number, None)
        if whole is None or number in self._spoilt:
            return
        pairs = {(one, other) for one, what in whole.items() for other in what.used}
        if all((other, one) in pairs for one, other in pairs):
            moved: Vector = np.sum([what.delta for what in whole.values()], axis=0)
            if float(np.abs(moved).max()) > 1e-4 * self._spread:
                self._break("averaging.moves", f"the moves of round {number} sum up to {float(np.abs(moved).max()):.3g}")

    # --- episodes -------------------------------------------------------------------------------------------------------------------

    def _episode(self, stage: EpisodeStage, name: str, episode: DirectedEpisode, value: object) -> None:
        incarnation = self.network.nodes[name].incarnation
        key = (name, episode.number, incarnation)
        if stage == "offered":
            self._offers[key] = self.network.now
        elif stage == "played":
            self._plays[key] = self.network.now
        else:
            promise = "negotiation" if stage == "settled" else "traces"
            if (stage, *key) in self._reached:
                self._break(f"{promise}.once", f"{name} has reported episode {episode.number} twice")
            self._reached.add((stage, *key))
            if stage == "settled":
                self._offers.pop(key, None)
                self._settled(name, episode, value)
            else:
                self._plays.pop(key, None)
                self._exchanged(name, episode, value)

    def _settled(self, name: str, episode: DirectedEpisode, message: object) -> None:
        if message not in (-1, episode.message):
            text = f"{name} has settled episode {episode.number} with {message}, and {episode.message} was proposed"
            self._break("negotiation.value", text)
        if name == episode.members[0] and message != -1:
            for follower in episode.members[1:]:
                if episode.agreed.get(follower) != message:
                    self._break("negotiation.leader", f"{name} has settled episode {episode.number} before {follower} has")
        self._count("negotiated", "negotiation.share", episode, message != -1)

    def _exchanged(self, name: str, episode: DirectedEpisode, goals: object) -> None:
        director = self.simulation.director
        if isinstance(goals, dict) and director is not None:
            for peer, goal in goals.items():
                if goal != director.goal(peer, episode.number):
                    self._break("traces.value", f"{name} has the goal {goal} of {peer} in episode {episode.number}")
        self._count("complete", "traces.share", episode, goals is not None)
        if goals is not None and len(episode.exchanged) == len(episode.members) - 1 and episode.negotiated:
            self._after[frozenset(episode.members)] += episode.begun >= self.severity.end

    def _count(self, share: str, promise: str, episode: DirectedEpisode, good: bool) -> None:
        tally = self._tally[share]
        tally[0] += good
        tally[1] += 1
        if good:
            return
        if self.severity.calm:
            self._break(promise, f"episode {episode.number} has failed, though nothing was lost")
        if episode.begun > self.severity.end + HEALED:
            self._break(promise, f"episode {episode.number} has failed, though it began {HEALED:g} s after the last fault")

    def _check_shares(self) -> None:
        if not self.severity.mild:
            return
        for share, (good, count) in self._tally.items():
            if count >= LEAST_EPISODES and good < LEAST_SHARE[share] * count:
                promise = "negotiation.share" if share == "negotiated" else "traces.share"
                self._break(promise, f"{good} of {count} members report {share} episodes, with few losses")

    # --- after the faults -------------------------------------------------------------------------------------------------------------

    def _unhealed(self) -> str | None:
        """The first promise that is not kept yet after the faults."""
        simulation, network = self.simulation, self.network
        for name in simulation.names:
            node = network.nodes[name]
            machine = simulation.machines[name]
            if not node.alive or not machine.ready:
                return "membership.views" if not node.alive else "averaging.agreement"
            if simulation.watch is not None and not simulation.watch.membership[name].state.living:
                return "membership.views"
            for peer in simulation.graph.all_neighbours(name):
                route = node.routes.get(peer)
                if peer in node.gone or route is None or route.dst is not network.nodes[peer]:
                    return "membership.views"
                edge = machine.edge(peer) if isinstance(machine, PushSum) else None
                if isinstance(machine, PushSum) and (edge is None or edge.incarnation not in (0, network.nodes[peer].incarnation)):
                    return "membership.views"
        point = simulation.population.point()
        if self.mode in AGREED and not point.disagreement <= AGREED[self.mode]:
            return "averaging.agreement"
        if self.mode == "pushsum" and not self.severity.deaths and not point.error <= AGREED["pushsum"]:
            return "averaging.agreement"
        director = simulation.director
        if director is not None and any(self._after[frozenset(group)] < 2 for group in director.groups):
            return "episodes.resumed"
        return None

    def _unhealed_text(self, promise: str) -> str:
        point = self.simulation.population.point()
        return {
            "membership.views": "an agent is away, or does not know a neighbour",
            "averaging.agreement": f"the agents disagree by {point.disagreement:.3g} of the start; the mean is off by {point.error:.3g}",
            "episodes.resumed": "a pair of neighbours has not negotiated and shared two episodes",
        }[promise]

    def _break(self, promise: str, text: str) -> NoReturn:
        raise BrokenPromise(promise, text, self.network.now)
