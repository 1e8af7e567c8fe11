"""All that one agent exchanges with its neighbours: what the configuration asks for is made here, and kept together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Lender, Valuing
from agent_node.exchange.averaging import Averaging
from agent_node.exchange.experience import ExperienceSharing
from agent_node.exchange.goals import GoalExchange
from agent_node.exchange.hindsight import HindsightExchange
from agent_node.exchange.lending import GoalLending
from agent_node.exchange.neighbours import Neighbours
from agent_node.exchange.plans import Plans
from agent_node.exchange.statistics import StatisticsExchange
from agent_node.parts import Parts
from agent_node.persona import Persona
from agent_node.settings import NegotiationSettings
from protocols.errors import ConfigurationError
from protocols.messages import Joined
from protocols.negotiation.proposals import Negotiation
from protocols.registry import create
from protocols.seeds import Stream, generator, integer

Arrays = dict[str, NDArray[Any]]
_LIFE = 40
"""bits for the numbers of one life's goals"""


class Exchanges:
    """One agent's exchanges, each None unless the configuration asks for it and there is somebody to talk with.

    `parts` have been restored from the checkpoint, if there is one: sums of statistics begin with what the agent has. `life`: of the
    streams of random numbers that no checkpoint keeps.
    """

    def __init__(self, persona: Persona, joined: Joined, parts: Parts, neighbours: Neighbours, life: int, now: float) -> None:
        self.goals: GoalExchange | None = None
        self.hindsight: HindsightExchange | None = None
        self.experience: ExperienceSharing | None = None
        self.averaging: Averaging | None = None
        self.statistics: StatisticsExchange | None = None
        self.plans: Plans | None = None
        self.lending: GoalLending | None = None
        self._random = generator(persona.seed, persona.name, Stream.TRANSPORT, life)
        if parts.space is not None and parts.source is not None:
            self._talk_of_episodes(persona, parts, neighbours, max(4096, 4 * joined.copies), now)
        settings, surroundings = persona.exchange, persona.surroundings
        if settings.experience is not None:
            self.experience = ExperienceSharing(settings.experience, parts.features, parts.imported, surroundings)
            neighbours.add(self.experience.machine, now)
        if not surroundings.everybody:
            return
        if settings.consensus is not None:
            seed = integer(persona.seed, persona.name, Stream.COMPRESSION, life)
            self.averaging = Averaging(
                settings.consensus,
                surroundings,
                parts.learner,
                parts.model,
                persona.incarnation,
                persona.rejoin,
                seed=seed,
                teacher=parts.teacher,
            )
            neighbours.add(self.averaging.machine, now)
        if settings.statistics is not None and parts.world is not None and parts.world.shared is not None:
            try:
                self.statistics = StatisticsExchange(
                    settings.statistics, parts.world.shared, persona.name, joined.members, surroundings, self._random, persona.incarnation
                )
            except ValueError as error:
                text = f"exchange.statistics: {error}; or have less to add: agents.world_model.features, or larger cells of rewards"
                raise ConfigurationError(text) from None
            neighbours.add(self.statistics.machine, now)
        if settings.plans is not None and parts.world is not None:
            self.plans = Plans(settings.plans, persona.name, parts.world, parts.features, surroundings)
            neighbours.add(self.plans.machine, now)
        negotiation = settings.negotiation
        if negotiation is not None and negotiation.of_teachers:
            self.lending = self._lending(negotiation, persona, parts)
            neighbours.add(self.lending.machine, now)

    @staticmethod
    def _lending(settings: NegotiationSettings, persona: Persona, parts: Parts) -> GoalLending:
        """Goals that change hands; `ConfigurationError` where there are none, or nobody who knows what they are worth."""
        teacher, learner = parts.teacher, parts.learner
        if teacher is None or not isinstance(teacher, Lender):
            raise ConfigurationError(f"exchange.negotiation: {settings.kind} is about goals of a teacher, and agents.teacher sets none")
        if not isinstance(learner, Valuing):
            raise ConfigurationError(f"exchange.negotiation: {settings.kind} asks what a goal is worth, which this learner can't say")
        first = persona.incarnation << _LIFE
        make = create("negotiation", settings)
        lending: GoalLending = make(settings, persona.name, persona.surroundings.everybody, teacher, learner, parts.encodings, first)
        return lending

    def _talk_of_episodes(self, persona: Persona, parts: Parts, neighbours: Neighbours, remembered: int, now: float) -> None:
        """Goals before an episode, traces after it; as many episodes as `remembered` are kept in mind."""
        settings, space, game = persona.exchange, parts.space, parts.game
        if space is None or parts.source is None:
            return
        negotiation = None
        if settings.negotiation is not None and game is not None:
            negotiation = Negotiation(self._random, settings.negotiation.deadline, game.settings.messages, remembered)
            neighbours.add(negotiation, now)
        self.goals = GoalExchange(persona.name, persona.seed, parts.source, game, negotiation, 2 * remembered)
        if settings.hindsight is not None:
            self.hindsight = HindsightExchange(
                settings.hindsight,
                space,
                parts.buffer,
                self._random,
                remembered,
                parts.learner,
                parts.features,
                persona.name,
                parts.imported,
            )
            for machine in self.hindsight.machines:
                neighbours.add(machine, now)

    def before_learning(self, now: float) -> None:
        """What the world model is to know before it learns: everybody's statistics, and where the neighbours are going."""
        if self.statistics is not None:
            self.statistics.consider(now)
        if self.plans is not None:
            self.plans.consider(now)

    def figures(self) -> dict[str, float]:
        """Of all of them since the last call."""
        values: dict[str, float] = {}
        if self.averaging is not None:
            values["consensus.mass"] = self.averaging.machine.mass
        for exchange in (self.goals, self.hindsight, self.statistics, self.plans, self.experience, self.lending):
            if exchange is not None:
                values |= exchange.figures()
        return values

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def state(self) -> Arrays:
        """What goes on where a checkpoint ended. Averaging is part of it between two rounds."""
        state: Arrays = {}
        if self.averaging is not None and not self.averaging.machine.open:
            state |= {f"averaging/{name}": np.array(array) for name, array in self.averaging.machine.state().items()}
        if self.statistics is not None:
            state |= {f"statistics/{name}": np.array(array) for name, array in self.statistics.state().items()}
        return state

    def load_state(self, state: Mapping[str, NDArray[Any]], together: bool) -> None:
        """Restore; `together`: everybody goes on from this checkpoint. `ValueError` for what does not fit."""

        def part(prefix: str) -> Arrays:
            return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}

        if together and self.averaging is not None:
            self.averaging.machine.load_state(part("averaging/"))
        if self.statistics is not None:
            self.statistics.load_state(part("statistics/"), together)
