"""Agents and the arena in one process: all that a run has but the sockets. Messages go through the codec and are carried by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.memory.episode import Episode
from agent_node.session.agent_session import AgentMetrics, AgentSession, PeerConversations
from agent_node.session.session_context import AgentSpec
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from env_server.environments.environment_contracts import TickResult
from env_server.environments.landmarks.landmarks_environment import VectorLandmarks
from env_server.environments.landmarks.settings import LandmarksOptions
from env_server.goals.goal_assignment import GoalOffers
from protocols.averaging.averager import FixedNeighbourhood
from protocols.conversations.stepping.stepping_messages import Joined
from protocols.runtime.clock import LogicalClock
from protocols.runtime.telemetry import TimeShares
from protocols.transport import Identity, Transport
from protocols.wire.codec import decode, encode

OPTIONS = LandmarksOptions(room=170, horizon=60, sight=300, margin=20)
TICK = 0.05


class Loopback:
    """`tick` plays one step of all copies; `sent` and `bytes` count messages by their kind."""

    def __init__(self, settings: Mapping[str, AgentSettings], exchange: ExchangeSettings, copies: int = 32, seed: int = 0) -> None:
        self.names = sorted(settings)
        self.clock = LogicalClock(TICK)
        self.environment = VectorLandmarks(OPTIONS, self.names, copies, seed=seed)
        self.sent: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.finished: dict[str, list[Episode]] = {name: [] for name in self.names}
        self.told: dict[str, list[tuple[str, Any, dict[str, NDArray[Any]]]]] = {name: [] for name in self.names}
        self._goal_offers = GoalOffers(self.names, np.random.default_rng(seed))
        self._transports = {name: Transport(Identity("test", name)) for name in self.names}
        self.neighbours = {
            name: PeerConversations(self._transports[name], name, [other for other in self.names if other != name]) for name in self.names
        }
        self.session: dict[str, AgentSession] = {}
        for name in self.names:
            agent_spec = AgentSpec(name, seed, settings[name], exchange, FixedNeighbourhood({}))  # type: ignore[arg-type]
            joined = Joined(copies=copies, layout=self.environment.layout(name), members=self.names, tick=0, party=2)
            self.session[name] = AgentSession(agent_spec, joined, self.neighbours[name], AgentMetrics(), TimeShares(), self.clock)
        self._outcome: TickResult = self.environment.reset(seed)
        self._applied = {name: np.zeros((copies, 2), np.int32) for name in self.names}
        self._first = True

    def tick(self, times: int = 1) -> None:
        """Observe, act, learn, talk, step."""
        for _ in range(times):
            self.clock.tick += 1
            now = self.clock.now()
            for agent, frames in self._goal_offers.offer(self.environment.offers(), now).items():
                self.session[agent].offered(frames, now)
            actions = {name: self._play(name) for name in self.names}
            self._talk(now)
            self._applied = actions
            self._outcome = self.environment.step(actions)
            self._first = False

    def _play(self, name: str) -> NDArray[Any]:
        batch = self._outcome.agents[name]
        assert batch.achieved is not None and batch.goal is not None
        arrays = {
            "observation": batch.observation, "reward": batch.reward, "flags": batch.flags, "episode": self._outcome.episode,
            "applied": self._applied[name], "achieved": batch.achieved, "goal": batch.goal,
        }  # fmt: skip
        actions, episodes = self.session[name].act(arrays, not self._first)
        self.finished[name] += episodes
        self.session[name].learn(arrays, episodes, actions)
        return actions

    def _talk(self, now: float) -> None:
        """Until no agent has anything to send: answers arrive within the same tick."""
        for _ in range(20):
            quiet = True
            for name in self.names:
                answers, _ = self.session[name].converse(self.clock.tick, now)
                if answers is not None:
                    for episode, goal, negotiated in self._goal_offers.answered(name, answers):
                        self.environment.set_goal(episode, name, goal, negotiated)
                for send in self.neighbours[name].outgoing():
                    quiet = False
                    self._carry(name, send.dst, send.message, send.arrays, now)
            if quiet:
                return
        raise AssertionError("they never stop talking")

    def _carry(self, src: str, dst: str, message: Any, arrays: Mapping[str, NDArray[Any]], now: float) -> None:
        components = encode(message, arrays)
        kind = type(message).__name__
        self.sent[kind] += 1
        self.bytes[kind] += sum(len(memoryview(part).cast("B")) for part in components)
        message, frames = decode(components)
        self.told[src].append((dst, message, dict(frames)))
        self.neighbours[dst].receive(src, message, frames, now)

    def close(self) -> None:
        """End the transports' threads."""
        for transport in self._transports.values():
            transport.close(0)
