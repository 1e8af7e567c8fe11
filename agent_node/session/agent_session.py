"""One agent from the moment it has joined an environment: its session drives the components and counts their progress; its conversations
with peers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import ObservedTick
from agent_node.exchange.exchanges import join_exchanges
from agent_node.exchange.parameter_averaging import RoundReport
from agent_node.memory.episode import Episode
from agent_node.memory.episode_recording import EpisodeRecording
from agent_node.session import checkpoints
from agent_node.session.acting import Actor
from agent_node.session.agent_components import AgentComponents
from agent_node.session.roles import AVERAGING, GOAL_NEGOTIATION, JOINT_EXPERIENCE, RECORDING, STATISTICS
from agent_node.session.session_context import AgentSpec, SessionContext
from agent_node.session.training import create_trainer
from protocols.averaging.averaging_messages import Average, Compressed, Share
from protocols.conversations.conversation import Conversation, EdgeConversation, Send
from protocols.conversations.membership.membership_messages import RosterEntry
from protocols.conversations.stepping.stepping_messages import Flag, Joined
from protocols.runtime.clock import Clock
from protocols.runtime.errors import ResourceError
from protocols.runtime.telemetry import TimeShares
from protocols.runtime.waits import PendingWait
from protocols.spaces.goal_space import NO_GOAL, DiscreteSpace, GoalSpace
from protocols.spaces.layout import Layout
from protocols.statistics.statistics_consensus import MixingRoundClosed
from protocols.transport import Transport
from protocols.wire.messages import Message

if TYPE_CHECKING:
    from agent_node.process.agent_faults import AgentProcessFaults


class AgentMetrics:
    """Own training episodes and steps since the start, and means since the last report."""

    def __init__(self) -> None:
        self.episodes = 0
        self.steps = 0
        self._returns: list[float] = []
        self._outcomes: dict[str, list[float]] = {}
        self._substituted = 0
        self._new_steps = 0
        self._missing = 0
        self._rounds = 0
        self._durations: list[float] = []
        self._quorums: list[float] = []
        self._messages = 0
        self._since = self._traffic_since = time.monotonic()

    def observed(self, flags: NDArray[np.uint16]) -> None:
        """A tick: count the own steps, and those in which the stand-in acted."""
        acted = ((flags & Flag.MEMBER) != 0) & ((flags & (Flag.PARKED | Flag.FIRST | Flag.WAITING)) == 0)
        steps = int(np.count_nonzero(acted))
        self.steps += steps
        self._new_steps += steps
        self._substituted += int(np.count_nonzero(acted & ((flags & Flag.SUBSTITUTED) != 0)))

    def finished(self, episode: Episode, space: GoalSpace | None) -> None:
        """An own episode ended."""
        if episode.evaluation or episode.peer_lost:
            return
        self.episodes += 1
        self._returns.append(episode.total_reward)
        if space is not None and episode.goal != NO_GOAL:
            names, success = ["success"], episode.total_reward > 0
            if isinstance(space, DiscreteSpace) and isinstance(episode.goal, int):
                names.append("success.cooperative" if space.cooperative[episode.goal] else "success.individual")
            elif episode.achieved is not None:
                success = bool(space.reached(episode.achieved[episode.steps], np.array(episode.goal, np.float32)))
            if not (space.mixed and space.count):
                for name in names:
                    self._outcomes.setdefault(name, []).append(float(success))
            self._outcomes.setdefault("negotiated", []).append(float(episode.negotiated))

    def averaged(self, report: RoundReport) -> None:
        """An averaging round closed."""
        self._rounds += 1
        self._missing += report.missing
        self._durations.append(report.duration)
        if report.used + report.missing:
            self._quorums.append(report.used / (report.used + report.missing))

    def traffic(self, messages: int) -> dict[str, float]:
        """`messages_per_second` since the last call, from the number of all messages sent and received so far."""
        now = time.monotonic()
        rate = (messages - self._messages) / max(now - self._traffic_since, 1e-9)
        self._messages, self._traffic_since = messages, now
        return {"messages_per_second": rate}

    def speed(self) -> dict[str, float]:
        """`steps_per_second` since the last call; before `take`."""
        now = time.monotonic()
        speed = self._new_steps / max(now - self._since, 1e-9)
        self._since = now
        return {"steps_per_second": speed}

    def take(self) -> dict[str, float]:
        """Metrics since the last call; means without any value are left out."""
        values = {name: float(np.mean(outcomes)) for name, outcomes in self._outcomes.items()}
        if self._returns:
            values["return"] = float(np.mean(self._returns))
        values["substituted"] = self._substituted / max(1, self._new_steps)
        values["consensus.rounds"] = float(self._rounds)
        values["consensus.missing"] = float(self._missing)
        if self._durations:
            values["round.duration"] = float(np.mean(self._durations))
        if self._quorums:
            values["round.quorum"] = float(np.mean(self._quorums))
        self._returns, self._outcomes, self._durations, self._quorums = [], {}, [], []
        self._new_steps = self._substituted = self._missing = self._rounds = 0
        return values


class AgentSession:
    """The components of one agent in one environment, from `Joined` on (lifecycle: `agent_node.contracts.component`). `layouts`: of all
    agents of the run, for learners with the capability "joint"."""

    def __init__(
        self,
        agent_spec: AgentSpec,
        joined: Joined,
        neighbours: PeerConversations,
        metrics: AgentMetrics,
        shares: TimeShares,
        clock: Clock,
        checkpoint: checkpoints.Checkpoint | None = None,
        resumed: bool = False,
        layouts: Mapping[str, Layout] = MappingProxyType({}),
    ) -> None:
        epoch = 0 if checkpoint is None else int(checkpoint.manifest["step"]) + 1
        self.components = AgentComponents(
            agent_spec.settings, agent_spec.exchange, joined.layout, joined.copies, agent_spec.name, agent_spec.seed, epoch, joined.party,
            layouts, agent_spec.dataset,
        )  # fmt: skip
        if agent_spec.recording is not None:
            self.components.add(RECORDING.name, EpisodeRecording(agent_spec.recording, joined.layout))
        self.trainer = create_trainer(self.components, shares)
        self._context = SessionContext(agent_spec, self.components, list(joined.members), neighbours, clock, resumed)
        self._name, self._metrics, self._shares, self._clock, self._neighbours = agent_spec.name, metrics, shares, clock, neighbours
        self.actor = Actor(self.components)
        if checkpoint is not None:
            self._load(checkpoint)
        elif agent_spec.init_from is not None:
            with self._fitting():
                self.components.load_learnt(checkpoints.read_initial(agent_spec.init_from).tensors)
        for component in self.components:
            component.joined(self._context)
        exchanges = join_exchanges(self._context)
        if checkpoint is not None:
            with self._fitting():
                self.components.load_roles(checkpoint.tensors, exchanges)
        self._goals, self._averaging = self.components.get(GOAL_NEGOTIATION), self.components.get(AVERAGING)
        self._statistics = self.components.get(STATISTICS)

    # --- a tick -------------------------------------------------------------------------------------------------------------------

    def act(self, arrays: Mapping[str, NDArray[Any]], continuous: bool, answer: bool = True) -> tuple[NDArray[Any], list[Episode]]:
        """Actions `[K, A]` for the frames of an `Observation`, and the own episodes that ended with it. Without `answer` the actions are
        not sent."""
        with self._shares.spent("act"):
            return self.actor.observe(arrays, continuous, answer)

    def learn(self, arrays: Mapping[str, NDArray[Any]], episodes: list[Episode], actions: NDArray[Any], train: bool = True) -> None:
        """The rest of a tick after its `actions` were sent: components handle ended episodes and the observation, and with `train` the
        learner is updated."""
        features = self.actor.features
        if features is None:
            raise ValueError("a tick is learnt from after its actions were chosen")
        self._metrics.observed(arrays["flags"])
        self._count_progress()
        for episode in episodes:
            for component in self.components:
                component.episode_ended(episode)
            self._metrics.finished(episode, self.components.space)
            if not (episode.evaluation or episode.peer_lost):
                self.trainer.episode_ended(episode.total_reward)
        with self._shares.spent("exchange"):
            tick = ObservedTick(features, actions, arrays["reward"], arrays["flags"], arrays["episode"], self._clock.now())
            for component in self.components:
                component.observed(tick)
        if self.components.dataset is not None and (arrays["episode"] >= 0).any():
            train = False  # an evaluation is played
        if train and not any(component.pauses_learning for component in self.components):
            self.trainer.tick()

    @property
    def waits(self) -> bool:
        """Whether the joint episodes of the dataset are not here yet."""
        joint = self.components.get(JOINT_EXPERIENCE)
        return joint is not None and joint.pauses_learning

    def _count_progress(self) -> None:
        progress = self._context.progress
        progress.updates, progress.episodes, progress.learning = self.trainer.updates, self._metrics.episodes, self.trainer.on

    # --- conversations ------------------------------------------------------------------------------------------------------------

    def offered(self, offers: Mapping[str, NDArray[Any]], now: float) -> None:
        """Take the frames of an `Offer`."""
        if self._goals is not None:
            self._goals.offered(dict(offers), self._context.members, now)

    def converse(self, ticks: int, now: float) -> tuple[dict[str, NDArray[Any]] | None, list[RoundReport]]:
        """Let the conversations process their deadlines and events. Returns the frames of a `Goals` message for the environment server, if
        any were decided, and the averaging rounds that closed. Messages to neighbours remain in `PeerConversations`."""
        with self._shares.spent("exchange"):
            self._neighbours.tick(now)
            self._count_progress()
            self._context.progress.ticks = ticks
            for component in self.components:
                component.tick(now)
            return None if self._goals is None else self._goals.answers(), self._reports()

    def _reports(self) -> list[RoundReport]:
        reports = [] if self._averaging is None else self._averaging.take_reports()
        for report in reports:
            self._metrics.averaged(report)
        return reports

    def mixed(self) -> list[MixingRoundClosed]:
        """Rounds of averaged statistics that have closed since the last call and from which the run's metrics are computed."""
        return [] if self._statistics is None else self._statistics.mixed()

    def frames(self) -> dict[str, NDArray[Any]]:
        """Arrays that the run server combines with those of the other agents."""
        return {name: array for component in self.components for name, array in component.shared_arrays().items()}

    def metrics(self) -> dict[str, float]:
        """Metrics of the components since the last call."""
        return self.trainer.take_metrics() | {"updates": float(self.trainer.updates)} | self.components.metrics()

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def settle(self) -> list[RoundReport]:
        """All agents write a checkpoint: finish what is in progress; the averaging rounds that this closes."""
        now = self._clock.now()
        for component in self.components:
            component.settle(now)
        return self._reports()

    def save(self, directory: Path, step: int, keep: int, more: Mapping[str, Any]) -> None:
        """Write a checkpoint of that number; `more` goes into its manifest."""
        with self._shares.spent("checkpoint"):
            tensors, manifest = self.components.state()
            manifest |= {
                "node": self._name,
                "updates": self.trainer.updates,
                "fits": self.trainer.fits,
                "episodes": self._metrics.episodes,
                "steps": self._metrics.steps,
                **more,
            }
            checkpoints.write(directory, step, tensors, manifest, keep)

    def _load(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Restore the learning components and the counts; `ResourceError` for a checkpoint of another configuration."""
        manifest = checkpoint.manifest
        with self._fitting():
            self.components.load(checkpoint.tensors, manifest)
            self.trainer.updates, self.trainer.fits = int(manifest["updates"]), int(manifest["fits"])
            self._metrics.episodes, self._metrics.steps = int(manifest["episodes"]), int(manifest["steps"])

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ResourceError(f"the checkpoint of {self._name} does not fit this configuration: {what}") from None


_GONE = ("dead", "left", "lost")


class PeerConversations:
    """Connections to other agents by the roster, and every conversation's way in and out.

    `names` are the graph's neighbours; other agents are connected too when a conversation has something for them (members of one episode
    need not be neighbours when more than two play). The members come from the roster or, in `lockstep`, from `peer_joined` and
    `peer_left`: there the roster only gives their addresses. `faults` change the messages that a Byzantine agent
    sends.
    """

    def __init__(
        self,
        transport: Transport,
        own: str,
        names: list[str],
        faults: AgentProcessFaults | None = None,
        lockstep: bool = False,
    ) -> None:
        self.names = names
        self.faults = faults
        self.lockstep = lockstep
        self._own = own
        self._transport = transport
        self._conversations: list[Conversation[Any]] = []
        self._roster: Mapping[str, RosterEntry] = {}
        self._connected: dict[str, int] = {}
        self._incarnations: dict[str, int] = {}

    @property
    def alive(self) -> int:
        """Number of neighbours that are alive."""
        return sum(name in self._incarnations for name in self.names)

    def add(self, conversation: Conversation[Any], now: float) -> None:
        """Let a conversation take part; averaging waits for none of the neighbours that are not there."""
        self._conversations.append(conversation)
        if isinstance(conversation, EdgeConversation):
            for name in self.names:
                if name not in self._incarnations:
                    conversation.peer_dead(name, now)
                else:
                    conversation.peer_alive(name, self._incarnations[name], now)

    def waits(self) -> list[PendingWait]:
        """What the conversations wait for, in seconds of the agent's clock."""
        return [wait for conversation in self._conversations for wait in conversation.waits()]

    def end_interval(self) -> None:
        """End all conversations: the next session starts others."""
        self._conversations.clear()
        self._incarnations.clear()

    def peer_joined(self, name: str, incarnation: int, now: float) -> None:
        """An agent takes part, in its first incarnation or a later one."""
        self._incarnations[name] = incarnation
        if name in self.names:
            for conversation in self._conversations:
                if isinstance(conversation, EdgeConversation):
                    conversation.peer_alive(name, incarnation, now)

    def peer_left(self, name: str, now: float) -> None:
        """An agent does not take part any more, in this incarnation."""
        if self._incarnations.pop(name, None) is not None:
            for conversation in self._conversations:
                conversation.peer_dead(name, now)

    def follow(self, roster: Mapping[str, RosterEntry], now: float) -> None:
        """Connect to neighbours that are there, drop those that are gone. A node that came back as another process has died in between."""
        self._roster = roster
        for name, entry in roster.items():
            if entry.role != "agent" or name == self._own:
                continue
            known = self._connected.get(name)
            if known is not None and (entry.state in _GONE or entry.inc != known):
                del self._connected[name]
                self._transport.disconnect("peer", name)
                if not self.lockstep:
                    self.peer_left(name, now)
            if name not in self._connected and (name in self.names or (self.lockstep and name in self._incarnations)):
                self._connect(name, entry)
                if name in self._connected and not self.lockstep:
                    self.peer_joined(name, entry.inc, now)

    def receive(self, src: str, message: Message, arrays: Mapping[str, NDArray[Any]], now: float) -> None:
        """Hand a message to the conversation that it belongs to."""
        if self.faults is not None and self.faults.byzantine:
            self.faults.observe(src, message, arrays)
        for conversation in self._conversations:
            if not (isinstance(message, conversation.message_types) and conversation.concerns(message)):
                continue
            if (error := conversation.receive(src, message, arrays, now)) is not None:
                self._transport.note(src, error)

    def tick(self, now: float) -> None:
        """Process the due deadlines and retries of all conversations; `outgoing` returns their messages. `now` in seconds."""
        for conversation in self._conversations:
            if now >= conversation.wake():
                conversation.tick(now)

    def outgoing(self) -> list[Send]:
        """All messages that the conversations send now."""
        sends = [send for conversation in self._conversations for send in conversation.outgoing()]
        return sends if self.faults is None else [self._sent(send, self.faults) for send in sends]

    def _sent(self, send: Send, faults: AgentProcessFaults) -> Send:
        """What is sent in place of `send`. The run position reaches a round when the first message of that round is sent."""
        message = send.message
        if isinstance(message, Average | Share | Compressed) and not getattr(message, "layout", "").startswith("statistics/"):
            faults.executor.advance(round=message.round)
        return faults.corrupt(send) if faults.byzantine else send

    def flush(self) -> None:
        """Send the messages of the conversations, which repeat those that cannot be sent now."""
        for send in self.outgoing():
            self.reach(send.dst)
            self._transport.try_send("peer", send.dst, send.message, send.arrays)

    def reach(self, name: str) -> None:
        """Connect to an agent if it is there and not connected."""
        if name not in self._connected and (entry := self._roster.get(name)) is not None:
            self._connect(name, entry)

    def _connect(self, name: str, entry: RosterEntry) -> None:
        if entry.endpoint and entry.state not in (*_GONE, "joining"):
            self._transport.connect("peer", name, entry.endpoint, entry.key)
            self._connected[name] = entry.inc
