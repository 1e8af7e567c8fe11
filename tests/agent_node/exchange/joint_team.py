"""A team with joint experience in one process: sessions, environment and messages are real, and messages are carried by hand.

Every message goes through the codec; `loss` is the probability that one is lost, so that what is repeated takes further ticks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Learner
from agent_node.exchange.joint_experience import JointExperience
from agent_node.memory.joint_replay import JointReplay
from agent_node.session import checkpoints
from agent_node.session.agent_session import AgentMetrics, AgentSession, PeerConversations
from agent_node.session.roles import JOINT_EXPERIENCE, JOINT_REPLAY, LEARNER
from agent_node.session.session_context import AgentSpec
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from env_server.environments.environment_contracts import VectorEnvironment
from env_server.environments.evaluation_only import EvaluationOnly
from env_server.environments.registry import create
from env_server.settings import EnvironmentSettings
from protocols.conversations.conversation import Send
from protocols.conversations.stepping.stepping_messages import Flag, Joined
from protocols.datasets.settings import DatasetSettings
from protocols.runtime.clock import LogicalClock
from protocols.runtime.telemetry import TimeShares
from protocols.topology import topology_settings
from protocols.topology.communication_graph import make_graph
from protocols.transport import Identity, Transport
from protocols.wire.codec import decode, encode

TICK = 0.05


class JointTeam:
    """`tick` plays one step of all copies. `settings` of `AgentSettings` and `exchange` of `ExchangeSettings` are plain. With a `dataset`
    nothing is played, and agents learn at a tick at which none of them waits."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        environment: Mapping[str, Any],
        count: int = 3,
        seed: int = 0,
        loss: float = 0.0,
        exchange: Mapping[str, Any] = {},
        dataset: DatasetSettings | None = None,
    ) -> None:
        self.names = [f"agent-{place}" for place in range(count)]
        self.seed, self.loss, self.dataset = seed, loss, dataset
        self.clock = LogicalClock(TICK)
        self.settings = AgentSettings.model_validate({"goals": None, **settings})
        self.exchange = ExchangeSettings.model_validate({"joint_experience": {}, **exchange})
        made = create(EnvironmentSettings.model_validate(environment), self.names, seed=seed)
        self.environment: VectorEnvironment = made if dataset is None else EvaluationOnly(made)
        self.copies = int(environment["copies"])
        self.sent: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.changed: Callable[[str, Send], Send] = lambda src, send: send
        """what is sent in place of a message, for tests of faulty members"""
        self._random = np.random.default_rng(seed)
        self._transports = {name: Transport(Identity("test", name)) for name in self.names}
        self._graph = make_graph(topology_settings({"kind": "complete"}), self.names, seed)
        self.alive = list(self.names)
        self.sessions: dict[str, AgentSession] = {}
        self.peers: dict[str, PeerConversations] = {}
        self._join(None)
        self._outcome = self.environment.reset(seed)
        self._applied = {name: self._null(name) for name in self.names}
        self._seen = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for transport in self._transports.values():
            transport.close(0)
        self.environment.close()

    def _null(self, name: str) -> NDArray[Any]:
        return np.repeat(self.environment.layout(name).null_action[None], self.copies, axis=0)

    def _join(self, directory: Path | None) -> None:
        layouts = {name: self.environment.layout(name) for name in self.names}
        for name in self.alive:
            self.peers[name] = PeerConversations(
                self._transports[name], name, [other for other in self.names if other != name], lockstep=True
            )
            spec = AgentSpec(name, self.seed, self.settings, self.exchange, self._graph.neighbourhood(name), dataset=self.dataset)
            joined = Joined(copies=self.copies, layout=layouts[name], members=self.names, tick=self.clock.tick)
            held = None if directory is None else checkpoints.read_newest(directory / name)
            self.sessions[name] = AgentSession(
                spec, joined, self.peers[name], AgentMetrics(), TimeShares(), self.clock, held, held is not None, layouts
            )
        for name in self.alive:
            for other in self.alive:
                if other != name:
                    self.peers[name].peer_joined(other, 1, self.clock.now())

    # --- what tests look at -----------------------------------------------------------------------------------------------------------

    def learner(self, name: str) -> Learner:
        """The learner of that agent."""
        return self.sessions[name].components[LEARNER]

    def joint(self, name: str) -> JointExperience:
        """The exchange of that agent."""
        return self.sessions[name].components[JOINT_EXPERIENCE]

    def replay(self, name: str) -> JointReplay:
        """The joint replay of that agent."""
        return self.sessions[name].components[JOINT_REPLAY]

    def state(self, name: str) -> dict[str, Any]:
        """Everything that a checkpoint of that agent holds, by its names."""
        tensors, manifest = self.sessions[name].components.state()
        return {key: tensor.clone() for key, tensor in tensors.items()} | {"random": deepcopy(manifest["random"])}

    # --- time -------------------------------------------------------------------------------------------------------------------------

    def tick(self, times: int = 1) -> None:
        """Observe, act, learn, exchange messages, step."""
        for _ in range(times):
            self.clock.tick += 1
            self._learning = not any(self.sessions[name].waits for name in self.alive)
            actions = {name: self._play(name) if name in self.alive else self._null(name) for name in self.names}
            self._talk()
            self._applied = actions
            self._outcome = self.environment.step(actions)
            self.environment.finished()
            self._seen = True

    def _play(self, name: str) -> NDArray[Any]:
        batch = self._outcome.agents[name]
        arrays = {
            "observation": batch.observation, "reward": batch.reward, "flags": batch.flags, "episode": self._outcome.episode,
            "applied": self._applied[name],
        }  # fmt: skip
        actions, episodes = self.sessions[name].act(arrays, self._seen)
        self.sessions[name].learn(arrays, episodes, actions, self._learning)
        playing = (batch.flags & (Flag.PARKED | Flag.OVER)) == 0
        return np.where(playing[:, None], actions, self._null(name)).astype(actions.dtype)

    def _talk(self) -> None:
        """Until no agent has anything to send: answers arrive within the same tick."""
        now = self.clock.now()
        for _ in range(20):
            quiet = True
            for name in self.alive:
                self.sessions[name].converse(self.clock.tick, now)
                for send in self.peers[name].outgoing():
                    quiet = False
                    self._carry(name, self.changed(name, send))
            if quiet:
                return
        raise AssertionError("messages never end")

    def _carry(self, src: str, send: Send) -> None:
        parts = [bytes(part) for part in encode(send.message, send.arrays)]
        kind = type(send.message).__name__
        self.sent[kind] += 1
        self.bytes[kind] += sum(len(part) for part in parts)
        if send.dst in self.alive and self._random.random() >= self.loss:
            message, frames = decode(parts)
            self.peers[send.dst].receive(src, message, frames, self.clock.now())

    # --- faults and checkpoints -------------------------------------------------------------------------------------------------------

    def kill(self, name: str, noticed: bool = True) -> None:
        """The agent is gone; with `noticed` the others are notified."""
        self.alive.remove(name)
        for other in self.alive if noticed else ():
            self.peers[other].peer_left(name, self.clock.now())

    def checkpoint(self, directory: Path) -> None:
        """All agents write a checkpoint at this tick and go on from it, as under the logical clock."""
        for name, session in self.sessions.items():
            session.settle()
            session.save(directory / name, self.clock.tick, 1, {})
        self._join(directory)
        self._seen = False

    def restored(self, directory: Path) -> JointTeam:
        """Another team that begins where this one wrote its checkpoints: call it right after `checkpoint`."""
        copy = JointTeam.__new__(JointTeam)
        copy.__dict__ |= {name: deepcopy(self.__dict__[name]) for name in ("environment", "_outcome", "_applied", "_random", "clock")}
        for name in ("names", "seed", "loss", "dataset", "settings", "exchange", "copies", "changed", "_graph"):
            setattr(copy, name, getattr(self, name))
        copy.sent, copy.bytes, copy.alive, copy.sessions, copy.peers = Counter(), Counter(), list(self.alive), {}, {}
        copy._transports = {name: Transport(Identity("test", name)) for name in self.names}
        copy._join(directory)
        copy._seen = False
        return copy
