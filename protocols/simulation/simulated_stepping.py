"""Agents and an environment server in lock-step: `StepServer` and `StepClient`, and around them what real servers and agents do.

The rules that do not live in the two machines are followed here to the letter: joining and its repetition by incarnation
(`env_server.serving.environment_server`), the check of the environment's incarnation and the retries (`agent_node.process.agent_process`),
connections and stale incarnations
(`protocols.transport`, in `Network`). The environment is a stand-in that pays an integer for every tick, so that sums are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf

import numpy as np

from protocols.conversations.conversation import Array, Send
from protocols.conversations.stepping.stepping import StepClient, StepServer
from protocols.conversations.stepping.stepping_messages import Act, Joined, Observation
from protocols.conversations.stepping.stepping_messages import Join as JoinMessage
from protocols.simulation.simulated_network import Network, Node, NodeScript, Take
from protocols.spaces.layout import Layout
from protocols.wire.messages import Channel, Message

SERVER = "env-0"
JOIN_AGAIN = 0.5
"""seconds between two attempts to join"""
STAND_IN = 0
"""the action of an agent that misses the deadline"""
_LAYOUT = Layout(shape=[1], actions=[2**31 - 1])


@dataclass(frozen=True)
class LedgerLine:
    """A tick that counts: the ledger's line."""

    server: int
    """incarnation of the server that played it"""
    tick: int
    incarnations: Mapping[str, int]
    """who was present, as which incarnation"""
    actions: Mapping[str, int]
    """actions that came in time"""
    rewards: Mapping[str, int]


def reward(server: int, tick: int, agent: str, action: int) -> int:
    """The reward of the environment: an integer from 0 to 255 that is independent of every other tick's."""
    return blake2b(f"{server}/{tick}/{agent}/{action}".encode(), digest_size=1).digest()[0]


class Crash(Exception):
    """The process dies at this instruction."""


class ServerScript(NodeScript):
    """One incarnation of the environment server. `ledger` outlives it: what is written there is on disk when `append` returns."""

    channel: Channel = "env"
    machine: type[StepServer] = StepServer

    def __init__(self, agents: Sequence[str], ledger: list[LedgerLine], deadline: float = 2.0) -> None:
        self.agents = list(agents)
        self.ledger = ledger
        self.stepping = self.machine(agents, deadline)
        self.incarnations: dict[str, int] = {}
        self.crash_in: int | None = None
        """instructions (see `point`) until it dies; None: it does not"""

    def takes(self) -> Mapping[type[Message], Take]:
        """Messages of agents."""
        return {JoinMessage: self._join, Act: self._act}

    def turn(self, now: float) -> None:
        """Step when all have acted, or time is up."""
        try:
            if self.stepping.ready(now):
                self.point()
                self._step(now)
        except Crash:
            self.network.kill(self.node.name)

    def wake(self) -> float:
        """The deadline of the open tick."""
        return self.stepping.due() if self.stepping.present or self.stepping.joining else inf

    def point(self) -> None:
        """An instruction at which the process may die."""
        if self.crash_in is not None:
            if self.crash_in <= 0:
                raise Crash
            self.crash_in -= 1

    def lost(self, agent: str, incarnation: int) -> None:
        """In the roster this incarnation of the agent is over."""
        if self.incarnations.get(agent, inf) <= incarnation:
            self.stepping.leave(agent)
            self.network.touch(self.node)

    # --- messages of agents ---------------------------------------------------------------------------------------------------------------

    def _join(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        incarnation = self._answer_to()
        known = self.stepping.present | self.stepping.joining
        if self.incarnations.get(src) == incarnation and src in known:
            if src in self.stepping.present:
                self._welcome(src)
                self._again(src, self.stepping.tick)
            return
        self.stepping.leave(src)
        self.incarnations[src] = incarnation
        self.stepping.join(src)

    def _act(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if not isinstance(message, Act):
            return
        self._answer_to()
        if self.stepping.receive(src, message.tick, arrays["action"]) == "repeat":
            self._again(src, message.tick)

    def _answer_to(self) -> int:
        """Answers go to the incarnation that sent last; returns its number."""
        arriving = self.network.arriving
        if arriving is None:
            raise RuntimeError("nothing is arriving")
        route = self.node.routes.get(arriving.src.name)
        if route is None or route.dst is not arriving.src:
            self.network.connect(self.node, arriving.src)
        return arriving.src.incarnation

    # --- its messages ---------------------------------------------------------------------------------------------------------------

    def _welcome(self, agent: str) -> None:
        self.network.send(self.node, Send(agent, Joined(copies=1, layout=_LAYOUT, members=self.agents, tick=self.stepping.tick)))

    def _again(self, agent: str, tick: int) -> None:
        answer = self.stepping.answer(agent, tick)
        if answer is not None:
            self.send_observation(agent, *answer)

    def send_observation(self, agent: str, tick: int, frames: Mapping[str, Array]) -> None:
        """An observation, for the first or another time."""
        self.network.send(self.node, Send(agent, Observation(tick=tick), frames))

    def _step(self, now: float) -> None:
        present = self.stepping.present
        closed = self.stepping.close()
        actions = {agent: int(action[0, 0]) for agent, action in closed.actions.items()}
        applied = {agent: actions.get(agent, STAND_IN) for agent in sorted(present)}
        paid = {agent: reward(self.node.incarnation, closed.tick, agent, action) for agent, action in applied.items()}
        incarnations = {agent: self.incarnations[agent] for agent in applied}
        entry = LedgerLine(self.node.incarnation, closed.tick, incarnations, actions, paid)
        joined = self.stepping.advance(now)
        for agent in sorted(joined):
            self._welcome(agent)
        self._conclude(entry, applied)

    def _conclude(self, entry: LedgerLine, applied: Mapping[str, int]) -> None:
        """The tick is written down before it is sent."""
        self.point()
        self.ledger.append(entry)
        self.point()
        self._answer(entry, applied)

    def _answer(self, entry: LedgerLine, applied: Mapping[str, int]) -> None:
        for agent in sorted(self.stepping.present):  # sets of texts have another order in every process
            frames: dict[str, Array] = {
                "observation": np.zeros((1, 1), np.float32),
                "reward": np.array([entry.rewards.get(agent, 0)], np.float32),
                "applied": np.array([[applied.get(agent, STAND_IN)]], np.int32),
            }
            self.stepping.answered(agent, (self.stepping.tick, frames))
            self.send_observation(agent, self.stepping.tick, frames)
            self.point()


@dataclass(frozen=True)
class Transition:
    """What an agent stores: it acted in `tick` of that server's incarnation, `action` counted, and this was its reward."""

    server: int
    tick: int
    action: int
    reward: int


@dataclass
class TransitionLog:
    """What one incarnation of an agent has seen, stored and done: the checker reads it."""

    agent: str
    incarnation: int = 0
    seen: list[tuple[int, int]] = field(default_factory=list)
    """(server's incarnation, tick) of every observation that was new to it, in order"""
    kept: list[Transition] = field(default_factory=list)


class AgentScript(NodeScript):
    """One incarnation of an agent. `action(server, tick)` draws its action, `thinking(server, tick)` the seconds that this takes."""

    channel: Channel = "env"
    machine: type[StepClient] = StepClient

    def __init__(
        self, name: str, random: np.random.Generator, action: Callable[[int, int], int], thinking: Callable[[int, int], float]
    ) -> None:
        self.stepping = self.machine(random)
        self.memory = TransitionLog(name)
        self.retries = 0
        self._draw, self._thinking = action, thinking
        self._playing = False
        self._environment = 0
        self._server: Node | None = None
        self._action = np.zeros((1, 1), np.int32)
        self._decide = inf
        self._join_at = 0.0

    def join(self, network: Network, node: Node) -> None:
        """A new incarnation."""
        super().join(network, node)
        self.memory.incarnation = node.incarnation

    def takes(self) -> Mapping[type[Message], Take]:
        """Messages of the server."""
        return {Joined: self._joined, Observation: self._observation}

    def environment_moved(self, server: Node) -> None:
        """The roster names an environment server: join it anew if it is another process than before."""
        if server.incarnation <= self._environment:
            return
        self._environment, self._server = server.incarnation, server
        self.network.connect(self.node, server)
        self.stepping.reset()
        self._decide, self._join_at = inf, 0.0
        self.network.touch(self.node)

    def turn(self, now: float) -> None:
        """Join until the first observation is there; act when thought is over; act again when no answer comes."""
        if self._server is None:
            return
        if self.stepping.tick < 0 and now >= self._join_at:
            self._join_at = now + JOIN_AGAIN
            self.network.send(self.node, Send(SERVER, JoinMessage()))
        if now >= self._decide:
            self._decide = inf
            self._action = np.array([[self._draw(self._environment, self.stepping.tick)]], np.int32)
            self.stepping.act(now)
            self.send_action()
        elif self.stepping.again(now):
            self.retries += 1
            self.send_action()

    def wake(self) -> float:
        """The next thing that it does by itself."""
        if self._server is None:
            return inf
        return min(self._join_at if self.stepping.tick < 0 else inf, self._decide, self.stepping.due())

    def send_action(self) -> None:
        """The action of the present tick, for the first or another time."""
        tick = self.stepping.tick
        self.network.send(self.node, Send(SERVER, Act(tick=tick, rid=f"{self.node.name}/{tick}"), {"action": self._action}))

    def _stale(self) -> bool:
        arriving = self.network.arriving
        return arriving is None or arriving.src.incarnation < self._environment

    def _joined(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        self._playing = self._playing or not self._stale()

    def _observation(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if self._stale() or not self._playing or not isinstance(message, Observation):
            return
        if not self.stepping.observed(src, message.tick, now):
            return
        if self.stepping.continuous:
            kept = Transition(self._environment, message.tick - 1, int(arrays["applied"][0, 0]), int(arrays["reward"][0]))
            self.memory.kept.append(kept)
        self.memory.seen.append((self._environment, message.tick))
        self._decide = now + self._thinking(self._environment, message.tick)
