"""All that one agent exchanges with its neighbours: what the configuration asks for is made here, and kept together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import GoalValues, SwappingTeacher
from agent_node.exchange.averaging.parameter_averaging import ParameterAveraging
from agent_node.exchange.experience.experience_sharing import ExperienceSharing
from agent_node.exchange.goal_swap.goal_swap import GoalSwap
from agent_node.exchange.hindsight.hindsight_exchange import HindsightExchange
from agent_node.exchange.negotiation.goal_negotiation import GoalNegotiation
from agent_node.exchange.negotiation.settings import NegotiationSettings
from agent_node.exchange.peer_conversations import PeerConversations
from agent_node.exchange.plans.plan_sharing import PlanSharing
from agent_node.exchange.statistics.statistics_exchange import StatisticsExchange
from agent_node.session.agent_spec import AgentSpec
from agent_node.session.session_components import SessionComponents
from protocols.conversations.negotiation.proposals import Negotiation
from protocols.conversations.stepping.stepping_messages import Joined
from protocols.runtime.component_registry import create
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.seeds import Stream, generator, integer
from protocols.spaces.goal_space import DiscreteSpace

Arrays = dict[str, NDArray[Any]]
_INCARNATION_BITS = 40
"""bits for the numbers of one life's goals"""


class Exchanges:
    """One agent's exchanges, each None unless the configuration asks for it and there is somebody to talk with.

    `components` have been restored from the checkpoint, if there is one: sums of statistics begin with what the agent has. `stream_epoch`:
    of the streams of random numbers that no checkpoint keeps.
    """

    def __init__(
        self,
        agent_spec: AgentSpec,
        joined: Joined,
        components: SessionComponents,
        neighbours: PeerConversations,
        stream_epoch: int,
        now: float,
    ) -> None:
        self.goals: GoalNegotiation | None = None
        self.hindsight: HindsightExchange | None = None
        self.experience: ExperienceSharing | None = None
        self.averaging: ParameterAveraging | None = None
        self.statistics: StatisticsExchange | None = None
        self.plans: PlanSharing | None = None
        self.goal_swap: GoalSwap | None = None
        self._random = generator(agent_spec.seed, agent_spec.name, Stream.TRANSPORT, stream_epoch)
        if components.space is not None and components.source is not None:
            self._talk_of_episodes(agent_spec, components, neighbours, max(4096, 4 * joined.copies), now)
        settings, neighbourhood = agent_spec.exchange, agent_spec.neighbourhood
        if settings.experience is not None:
            self.experience = ExperienceSharing(settings.experience, components.features, components.imported, neighbourhood)
            neighbours.add(self.experience.machine, now)
        if not neighbourhood.all_neighbours:
            return
        if settings.consensus is not None:
            seed = integer(agent_spec.seed, agent_spec.name, Stream.COMPRESSION, stream_epoch)
            self.averaging = ParameterAveraging(
                settings.consensus,
                neighbourhood,
                components.learner,
                components.model,
                agent_spec.incarnation,
                agent_spec.rejoin,
                seed=seed,
                teacher=components.teacher,
            )
            neighbours.add(self.averaging.machine, now)
        if settings.statistics is not None and components.world is not None and components.world.shared is not None:
            try:
                self.statistics = StatisticsExchange(
                    settings.statistics,
                    components.world.shared,
                    agent_spec.name,
                    joined.members,
                    neighbourhood,
                    self._random,
                    agent_spec.incarnation,
                )
            except ValueError as error:
                text = f"exchange.statistics: {error}; or have less to add: agents.world_model.features, or larger cells of rewards"
                raise ConfigurationError(text) from None
            neighbours.add(self.statistics.machine, now)
        if settings.plans is not None and components.world is not None:
            self.plans = PlanSharing(settings.plans, agent_spec.name, components.world, components.features, neighbourhood)
            neighbours.add(self.plans.machine, now)
        negotiation = settings.negotiation
        if negotiation is not None and "teacher_goals" in negotiation.capabilities:
            self.goal_swap = self._goal_swap(negotiation, agent_spec, components)
            neighbours.add(self.goal_swap.machine, now)

    @staticmethod
    def _goal_swap(settings: NegotiationSettings, agent_spec: AgentSpec, components: SessionComponents) -> GoalSwap:
        """Goals that change hands; `ConfigurationError` where there are none, or nobody who knows what they are worth."""
        teacher, learner = components.teacher, components.learner
        if teacher is None or not isinstance(teacher, SwappingTeacher):
            raise ConfigurationError(f"exchange.negotiation: {settings.kind} is about goals of a teacher, and agents.teacher sets none")
        if not isinstance(learner, GoalValues):
            raise ConfigurationError(f"exchange.negotiation: {settings.kind} asks what a goal is worth, which this learner can't say")
        first = agent_spec.incarnation << _INCARNATION_BITS
        make = create("negotiation", settings)
        goal_swap: GoalSwap = make(
            settings, agent_spec.name, agent_spec.neighbourhood.all_neighbours, teacher, learner, components.encodings, first
        )
        return goal_swap

    def _talk_of_episodes(
        self, agent_spec: AgentSpec, components: SessionComponents, neighbours: PeerConversations, remembered: int, now: float
    ) -> None:
        """Goals before an episode, traces after it; as many episodes as `remembered` are kept in mind."""
        settings, space, game = agent_spec.exchange, components.space, components.game
        if space is None or components.source is None:
            return
        negotiation = None
        if settings.negotiation is not None and game is not None:
            negotiation = Negotiation(self._random, settings.negotiation.deadline, game.settings.messages, remembered)
            neighbours.add(negotiation, now)
        self.goals = GoalNegotiation(agent_spec.name, agent_spec.seed, components.source, game, negotiation, 2 * remembered)
        if settings.hindsight is not None and isinstance(space, DiscreteSpace):  # vector goals need no traces of partners
            self.hindsight = HindsightExchange(
                settings.hindsight,
                space,
                components.buffer,
                self._random,
                remembered,
                components.learner,
                components.features,
                agent_spec.name,
                components.imported,
            )
            for machine in self.hindsight.machines:
                neighbours.add(machine, now)

    def before_learning(self, now: float) -> None:
        """What the world model is to know before it learns: everybody's statistics, and where the neighbours are going."""
        if self.statistics is not None:
            self.statistics.consider(now)
        if self.plans is not None:
            self.plans.consider(now)

    def metrics(self) -> dict[str, float]:
        """Of all of them since the last call."""
        values: dict[str, float] = {}
        if self.averaging is not None:
            values["consensus.mass"] = self.averaging.machine.mass
        for exchange in (self.goals, self.hindsight, self.statistics, self.plans, self.experience, self.goal_swap):
            if exchange is not None:
                values |= exchange.metrics()
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
