"""One agent from the moment it has joined an environment: it drives the components and counts their progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import ObservedTick
from agent_node.exchange.averaging.parameter_averaging import RoundReport
from agent_node.exchange.exchanges import join_exchanges
from agent_node.exchange.peer_conversations import PeerConversations
from agent_node.memory.episode_recorder import Episode
from agent_node.session import checkpoints
from agent_node.session.acting import Actor
from agent_node.session.agent_components import AgentComponents
from agent_node.session.agent_metrics import AgentMetrics
from agent_node.session.agent_spec import AgentSpec
from agent_node.session.roles import AVERAGING, GOAL_NEGOTIATION, STATISTICS
from agent_node.session.session_context import SessionContext
from agent_node.session.training import create_trainer
from protocols.conversations.stepping.stepping_messages import Joined
from protocols.runtime.clock import Clock
from protocols.runtime.errors import ResourceError
from protocols.runtime.telemetry import TimeShares
from protocols.statistics.statistics_consensus import MixingRoundClosed


class AgentSession:
    """The components of one agent in one environment, from `Joined` on (lifecycle: `agent_node.contracts.component`)."""

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
    ) -> None:
        epoch = 0 if checkpoint is None else int(checkpoint.manifest["step"]) + 1
        self.components = AgentComponents(
            agent_spec.settings, agent_spec.exchange, joined.layout, joined.copies, agent_spec.name, agent_spec.seed, epoch, joined.party
        )
        self.trainer = create_trainer(self.components, shares)
        self._context = SessionContext(agent_spec, self.components, list(joined.members), neighbours, clock, resumed)
        self._name, self._metrics, self._shares, self._clock, self._neighbours = agent_spec.name, metrics, shares, clock, neighbours
        self._actor = Actor(self.components, joined.copies)
        if checkpoint is not None:
            self._load(checkpoint)
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
            return self._actor.observe(arrays, continuous, answer)

    @property
    def restart(self) -> NDArray[np.bool_] | None:
        """`[K]` episodes that the agent ends with its newest actions; None for none."""
        return self._actor.restart

    def learn(self, arrays: Mapping[str, NDArray[Any]], episodes: list[Episode], actions: NDArray[Any], train: bool = True) -> None:
        """The rest of a tick after its `actions` were sent: components handle ended episodes and the observation, and with `train` the
        learner is updated."""
        self._metrics.observed(arrays)
        self._count_progress()
        for episode in episodes:
            self.components.episode_ended(episode)
            self._metrics.finished(episode, self.components.space)
        with self._shares.spent("exchange"):
            tick = self._tick(arrays, actions)
            for component in self.components:
                component.observed(tick)
        if train and not any(component.pauses_learning for component in self.components):
            self.trainer.tick()

    def _tick(self, arrays: Mapping[str, NDArray[Any]], actions: NDArray[Any]) -> ObservedTick:
        features = self._actor.features
        if features is None:
            raise ValueError("a tick is learnt from after its actions were chosen")
        return ObservedTick(features, actions, arrays["reward"], arrays["flags"], arrays["episode"], self._clock.now())

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
