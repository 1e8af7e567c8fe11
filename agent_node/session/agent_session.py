"""What an agent does once it has joined an environment: it acts, learns, and talks with its neighbours about goals, traces and models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.exchange.averaging.parameter_averaging import ProgressCounts, RoundReport
from agent_node.exchange.exchanges import Exchanges
from agent_node.exchange.peer_conversations import PeerConversations
from agent_node.memory.episode_recorder import Episode
from agent_node.session import checkpoints
from agent_node.session.acting import Actor
from agent_node.session.agent_metrics import AgentMetrics
from agent_node.session.agent_spec import AgentSpec
from agent_node.session.session_components import SessionComponents
from agent_node.session.training import create_trainer
from protocols.conversations.stepping.stepping_messages import Joined
from protocols.runtime.clock import Clock
from protocols.runtime.errors import ResourceError
from protocols.runtime.telemetry import TimeShares
from protocols.statistics.statistics_consensus import MixingRoundClosed


class AgentSession:
    """One agent's parts at work in one environment, from `Joined` on."""

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
        exchange = agent_spec.exchange
        stream_epoch = 0 if checkpoint is None else int(checkpoint.manifest["step"]) + 1
        self.members = list(joined.members)
        self.components = SessionComponents.build(
            agent_spec.settings, exchange, joined.layout, joined.copies, agent_spec.name, agent_spec.seed, stream_epoch, joined.party
        )
        self.trainer = create_trainer(self.components, shares)
        self._name = agent_spec.name
        self._metrics = metrics
        self._shares = shares
        self._clock = clock
        self._neighbours = neighbours
        self._actor = Actor(self.components, joined.copies)
        if checkpoint is not None:
            self._load(checkpoint)
        self.exchanges = Exchanges(agent_spec, joined, self.components, neighbours, stream_epoch, clock.now())
        if checkpoint is not None:
            with self._fitting():
                self.exchanges.load_state({name: tensor.numpy() for name, tensor in checkpoint.tensors.items()}, resumed)

    # --- a tick -------------------------------------------------------------------------------------------------------------------

    def act(self, arrays: Mapping[str, NDArray[Any]], continuous: bool, answer: bool = True) -> tuple[NDArray[Any], list[Episode]]:
        """Actions `[K, A]` for the frames of an `Observation`, and the own episodes that ended with it. Without `answer` the actions are
        sent to nobody."""
        with self._shares.spent("act"):
            return self._actor.observe(arrays, continuous, answer)

    @property
    def restart(self) -> NDArray[np.bool_] | None:
        """`[K]` episodes that the agent ends with its newest actions; None where there are none."""
        return self._actor.restart

    def learn(self, arrays: Mapping[str, NDArray[Any]], episodes: list[Episode], train: bool = True) -> None:
        """What follows from a tick once its actions are on their way: episodes are remembered and told of, and with `train` the learner
        learns."""
        self._metrics.observed(arrays)
        goal_swap, motivation = self.exchanges.goal_swap, self.components.motivation
        if goal_swap is not None and motivation is not None and motivation.features is not None:
            goal_swap.consider(motivation.features, arrays["episode"], self._clock.now())
        for episode in episodes:
            self._finished(episode)
        with self._shares.spent("exchange"):
            self.exchanges.before_learning(self._clock.now())
        if train and (self.exchanges.averaging is None or not self.exchanges.averaging.mass_too_low):
            self.trainer.tick()

    def _finished(self, episode: Episode) -> None:
        goals, hindsight, experience = self.exchanges.goals, self.exchanges.hindsight, self.exchanges.experience
        agreement = goals.agreement(episode.number) if goals is not None else None
        if agreement is not None:
            episode.message, episode.role = agreement.message, int(agreement.leader == self._name)
            episode.negotiated = agreement.negotiated
        self._metrics.finished(episode, self.components.space)
        if goals is not None:
            learn = self.trainer.on and not (episode.evaluation or episode.peer_lost)
            goals.finished(episode.number, episode.goal, episode.total_reward, learn)
        if episode.evaluation:
            return
        self.components.remember(episode)
        if experience is not None:
            experience.finished(episode, self.trainer.updates)
        if hindsight is not None and agreement is not None and not episode.peer_lost:
            hindsight.finished(episode, agreement.others, self._clock.now())

    # --- conversations ------------------------------------------------------------------------------------------------------------

    def offered(self, offers: Mapping[str, NDArray[Any]], now: float) -> None:
        """Take the frames of an `Offer`."""
        if self.exchanges.goals is not None:
            self.exchanges.goals.offered(dict(offers), self.members, now)

    def converse(self, ticks: int, now: float) -> tuple[dict[str, NDArray[Any]] | None, list[RoundReport]]:
        """Let the conversations act on what they have heard and say what they have to say. Returns the frames of a `Goals` message for
        the environment server, if any were decided, and the averaging rounds that closed. What the neighbours are to be told stays with
        `PeerConversations`."""
        exchanges = self.exchanges
        goals, hindsight, experience, averaging = exchanges.goals, exchanges.hindsight, exchanges.experience, exchanges.averaging
        with self._shares.spent("exchange"):
            self._neighbours.tick(now)
            answers = None
            if goals is not None:
                goals.settle()
                answers = goals.answers()
            if hindsight is not None and goals is not None:
                for completed in hindsight.attach(now, self.trainer.updates):
                    goals.completed(completed.episode, completed.partner_goals)
            if experience is not None:
                experience.attach()
            reports: list[RoundReport] = []
            if averaging is not None and self.trainer.on:
                averaging.consider(ProgressCounts(self.trainer.updates, self._metrics.episodes, ticks, now), now)
                reports = averaging.apply()
                for report in reports:
                    self._metrics.averaged(report)
        return answers, reports

    def mixed(self) -> list[MixingRoundClosed]:
        """Rounds of averaging statistics that have closed since the last call, as far as the run's figures are made of them."""
        return [] if self.exchanges.statistics is None else self.exchanges.statistics.mixed()

    def frames(self) -> dict[str, NDArray[Any]]:
        """What the run server puts beside that of the other agents of the same moment."""
        goals, averaging = self.exchanges.goals, self.exchanges.averaging
        return ({} if goals is None else goals.choices()) | ({} if averaging is None else averaging.models())

    def metrics(self) -> dict[str, float]:
        """Figures of the parts since the last call."""
        values = self.trainer.take_metrics()
        if self.components.buffer is not None:
            values["buffer.transitions"] = float(len(self.components.buffer))
        values["updates"] = float(self.trainer.updates)
        return values | self.exchanges.metrics()

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def settle(self) -> list[RoundReport]:
        """Everybody makes a checkpoint: what can be brought to an end is; the averaging rounds that this closes."""
        now = self._clock.now()
        if self.exchanges.statistics is not None:
            self.exchanges.statistics.settle(now)
        reports = [] if self.exchanges.averaging is None else self.exchanges.averaging.settle(now)
        for report in reports:
            self._metrics.averaged(report)
        return reports

    def save(self, directory: Path, step: int, keep: int, more: Mapping[str, Any]) -> None:
        """Write a checkpoint of that number; `more` goes into its manifest."""
        with self._shares.spent("checkpoint"):
            tensors, manifest = self.components.state()
            tensors |= {name: torch.from_numpy(array) for name, array in self.exchanges.state().items()}
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
        """What the agent has learnt, from a checkpoint; `ResourceError` for one that can't be used."""
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
