"""What an agent does once it has joined an environment: it acts, learns, and talks with its neighbours about goals, traces and models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node import checkpoints
from agent_node.acting import Actor
from agent_node.buffers.episodes import Episode
from agent_node.exchange.averaging import Averaging, Counts, RoundReport
from agent_node.exchange.experience import ExperienceSharing
from agent_node.exchange.goals import GoalExchange
from agent_node.exchange.hindsight import HindsightExchange
from agent_node.exchange.neighbours import Neighbours
from agent_node.exchange.plans import Plans
from agent_node.exchange.statistics import StatisticsExchange
from agent_node.figures import Figures
from agent_node.parts import Parts
from agent_node.persona import Persona
from agent_node.training import create_trainer
from protocols.clock import Clock
from protocols.consensus.statistics import Mixed
from protocols.errors import ResourceError
from protocols.messages import Joined
from protocols.negotiation.proposals import Negotiation
from protocols.seeds import Stream, generator, integer
from protocols.telemetry import TimeShares


class Playing:
    """One agent's parts at work in one environment, from `Joined` on."""

    def __init__(
        self,
        persona: Persona,
        joined: Joined,
        neighbours: Neighbours,
        figures: Figures,
        shares: TimeShares,
        clock: Clock,
        checkpoint: checkpoints.Checkpoint | None = None,
        resumed: bool = False,
    ) -> None:
        exchange, now = persona.exchange, clock.now()
        life = 0 if checkpoint is None else int(checkpoint.manifest["step"]) + 1
        random = generator(persona.seed, persona.name, Stream.TRANSPORT, life)
        self.members = list(joined.members)
        self.parts = Parts.build(persona.settings, exchange, joined.layout, joined.copies, persona.name, persona.seed, life, joined.party)
        self.trainer = create_trainer(self.parts, shares)
        self.goals: GoalExchange | None = None
        self.hindsight: HindsightExchange | None = None
        self.averaging: Averaging | None = None
        self.statistics: StatisticsExchange | None = None
        self.plans: Plans | None = None
        self.experience: ExperienceSharing | None = None
        self._name = persona.name
        self._figures = figures
        self._shares = shares
        self._clock = clock
        self._neighbours = neighbours
        self._actor = Actor(self.parts, joined.copies)
        if checkpoint is not None:
            self._load(checkpoint)
        space, game = self.parts.space, self.parts.game
        if space is not None and self.parts.source is not None:
            negotiation = None
            remembered = max(4096, 4 * joined.copies)
            if exchange.negotiation is not None and game is not None:
                negotiation = Negotiation(random, exchange.negotiation.deadline, game.settings.messages, remembered)
                neighbours.add(negotiation, now)
            self.goals = GoalExchange(persona.name, persona.seed, self.parts.source, game, negotiation, 2 * remembered)
            if exchange.hindsight is not None:
                parts = self.parts
                self.hindsight = HindsightExchange(
                    exchange.hindsight, space, parts.buffer, random, remembered, parts.learner, parts.features, persona.name, parts.imported
                )
                for machine in self.hindsight.machines:
                    neighbours.add(machine, now)
        neighboured = bool(persona.surroundings.everybody)
        if exchange.experience is not None:
            self.experience = ExperienceSharing(exchange.experience, self.parts.features, self.parts.imported, persona.surroundings)
            neighbours.add(self.experience.machine, now)
        if exchange.consensus is not None and neighboured:
            seed = integer(persona.seed, persona.name, Stream.COMPRESSION, life)
            learner, model = self.parts.learner, self.parts.model
            self.averaging = Averaging(
                exchange.consensus, persona.surroundings, learner, model, persona.incarnation, persona.rejoin, seed=seed
            )
            neighbours.add(self.averaging.machine, now)
        shared = None if self.parts.world is None else self.parts.world.shared
        if exchange.statistics is not None and neighboured and shared is not None:
            self.statistics = StatisticsExchange(
                exchange.statistics, shared, persona.name, self.members, persona.surroundings, random, persona.incarnation
            )
            neighbours.add(self.statistics.machine, now)
        if exchange.plans is not None and neighboured and self.parts.world is not None:
            self.plans = Plans(exchange.plans, persona.name, self.parts.world, self.parts.features, persona.surroundings)
            neighbours.add(self.plans.machine, now)
        if checkpoint is not None:
            self._take_up(checkpoint, resumed)

    # --- a tick -------------------------------------------------------------------------------------------------------------------

    def act(self, arrays: Mapping[str, NDArray[Any]], continuous: bool) -> tuple[NDArray[Any], list[Episode]]:
        """Actions `[K, A]` for the frames of an `Observation`, and the own episodes that ended with it."""
        with self._shares.spent("act"):
            return self._actor.observe(arrays, continuous)

    def learn(self, arrays: Mapping[str, NDArray[Any]], episodes: list[Episode]) -> None:
        """What follows from a tick once its actions are on their way: episodes are remembered and told of, and the learner learns."""
        self._figures.observed(arrays)
        for episode in episodes:
            self._finished(episode)
        with self._shares.spent("exchange"):
            now = self._clock.now()
            if self.statistics is not None:
                self.statistics.consider(now)
            if self.plans is not None:
                self.plans.consider(now)
        if self.averaging is None or not self.averaging.light:
            self.trainer.tick()

    def _finished(self, episode: Episode) -> None:
        agreement = self.goals.agreement(episode.number) if self.goals is not None else None
        if agreement is not None:
            episode.message, episode.role = agreement.message, int(agreement.leader == self._name)
            episode.negotiated = agreement.negotiated
        self._figures.finished(episode, self.parts.space)
        if self.goals is not None:
            learn = self.trainer.on and not (episode.evaluation or episode.peer_lost)
            self.goals.finished(episode.number, episode.goal, episode.total_reward, learn)
        if episode.evaluation:
            return
        self.parts.remember(episode)
        if self.experience is not None:
            self.experience.finished(episode, self.trainer.updates)
        if self.hindsight is not None and agreement is not None and not episode.peer_lost:
            self.hindsight.finished(episode, agreement.others, self._clock.now())

    # --- conversations ------------------------------------------------------------------------------------------------------------

    def offered(self, offers: Mapping[str, NDArray[Any]], now: float) -> None:
        """Take the frames of an `Offer`."""
        if self.goals is not None:
            self.goals.offered(dict(offers), self.members, now)

    def converse(self, ticks: int, now: float) -> tuple[dict[str, NDArray[Any]] | None, list[RoundReport]]:
        """Let the conversations act on what they have heard and say what they have to say. Returns the frames of a `Goals` message for
        the environment server, if any were decided, and the averaging rounds that closed. What the neighbours are to be told stays with
        `Neighbours`."""
        with self._shares.spent("exchange"):
            self._neighbours.tick(now)
            answers = None
            if self.goals is not None:
                self.goals.settle()
                answers = self.goals.answers()
            if self.hindsight is not None and self.goals is not None:
                for heard in self.hindsight.attach(now, self.trainer.updates):
                    self.goals.heard(heard.episode, heard.partner_goals)
            if self.experience is not None:
                self.experience.attach()
            reports: list[RoundReport] = []
            if self.averaging is not None and self.trainer.on:
                self.averaging.consider(Counts(self.trainer.updates, self._figures.episodes, ticks, now), now)
                reports = self.averaging.apply()
                for report in reports:
                    self._figures.averaged(report)
        return answers, reports

    def mixed(self) -> list[Mixed]:
        """Rounds of averaging statistics that have closed since the last call, as far as the run's figures are made of them."""
        return [] if self.statistics is None else self.statistics.mixed()

    def metrics(self) -> dict[str, float]:
        """Figures of the parts since the last call."""
        values = self.trainer.take_metrics()
        if self.parts.buffer is not None:
            values["buffer.transitions"] = float(len(self.parts.buffer))
        values["updates"] = float(self.trainer.updates)
        if self.averaging is not None:
            values["consensus.mass"] = self.averaging.machine.mass
        if self.goals is not None:
            values |= self.goals.figures()
        if self.hindsight is not None:
            values |= self.hindsight.figures()
        if self.statistics is not None:
            values |= self.statistics.figures()
        if self.plans is not None:
            values |= self.plans.figures()
        if self.experience is not None:
            values |= self.experience.figures()
        return values

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def settle(self) -> list[RoundReport]:
        """Everybody makes a checkpoint: what can be brought to an end is; the averaging rounds that this closes."""
        now = self._clock.now()
        if self.statistics is not None:
            self.statistics.settle(now)
        reports = [] if self.averaging is None else self.averaging.settle(now)
        for report in reports:
            self._figures.averaged(report)
        return reports

    def save(self, directory: Path, step: int, keep: int, more: Mapping[str, Any]) -> None:
        """Write a checkpoint of that number; `more` goes into its manifest. The state of averaging is part of it between two rounds."""
        with self._shares.spent("checkpoint"):
            tensors, manifest = self.parts.state()
            if self.averaging is not None and not self.averaging.machine.open:
                state = self.averaging.machine.state()
                tensors |= {f"averaging/{name}": torch.from_numpy(np.array(array)) for name, array in state.items()}
            if self.statistics is not None:
                state = self.statistics.state()
                tensors |= {f"statistics/{name}": torch.from_numpy(np.array(array)) for name, array in state.items()}
            manifest |= {
                "node": self._name,
                "updates": self.trainer.updates,
                "fits": self.trainer.fits,
                "episodes": self._figures.episodes,
                "steps": self._figures.steps,
                **more,
            }
            checkpoints.write(directory, step, tensors, manifest, keep)

    def _load(self, checkpoint: checkpoints.Checkpoint) -> None:
        """What the agent has learnt, from a checkpoint; `ResourceError` for one that can't be used."""
        manifest = checkpoint.manifest
        with self._fitting():
            self.parts.load(checkpoint.tensors, manifest)
            self.trainer.updates, self.trainer.fits = int(manifest["updates"]), int(manifest["fits"])
            self._figures.episodes, self._figures.steps = int(manifest["episodes"]), int(manifest["steps"])

    def _take_up(self, checkpoint: checkpoints.Checkpoint, resumed: bool) -> None:
        """Conversations that go on where they ended; `resumed`: with everybody else. `ResourceError` for what can't be used."""

        def part(prefix: str) -> dict[str, NDArray[Any]]:
            tensors = checkpoint.tensors
            return {name.removeprefix(prefix): tensor.numpy() for name, tensor in tensors.items() if name.startswith(prefix)}

        with self._fitting():
            if resumed and self.averaging is not None:
                self.averaging.machine.load_state(part("averaging/"))
            if self.statistics is not None:
                self.statistics.load_state(part("statistics/"), resumed)

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ResourceError(f"the checkpoint of {self._name} does not fit this configuration: {what}") from None
