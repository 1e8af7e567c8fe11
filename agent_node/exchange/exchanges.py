"""The exchanges of an agent: what the configuration asks for is constructed here, in the order in which messages are sent.

Exchanges are constructed after the learning components were restored: sums of statistics start from the restored model, averaging from the
restored parameters. Third parties register exchanges in the room "exchange": the constructor takes the settings, and conversations start in
`joined`.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent_node.contracts import Component
from agent_node.exchange.experience_sharing import ExperienceSharing
from agent_node.exchange.goal_negotiation import GoalNegotiation
from agent_node.exchange.hindsight_exchange import HindsightExchange
from agent_node.exchange.joint_experience import JointExperience
from agent_node.exchange.parameter_averaging import ParameterAveraging
from agent_node.exchange.plan_sharing import PlanSharing
from agent_node.exchange.statistics_exchange import StatisticsExchange
from agent_node.exchange.stored_joint_experience import StoredJointExperience
from agent_node.session.roles import (
    AVERAGING,
    EXPERIENCE,
    GOAL_NEGOTIATION,
    GOAL_SOURCE,
    GOAL_SWAP,
    HINDSIGHT,
    IMPORTED_REPLAY,
    JOINT_EXPERIENCE,
    NEGOTIATION,
    PLANS,
    REPLAY,
    STATISTICS,
    WORLD_MODEL,
)
from agent_node.session.session_context import SessionContext
from protocols.conversations.proposals import Negotiation
from protocols.runtime.component_registry import create
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.seeds import Stream
from protocols.spaces.goal_space import DiscreteSpace


def join_exchanges(context: SessionContext) -> tuple[str, ...]:
    """Construct the exchanges of an agent, add them to its components, and let them join; their roles. An exchange is constructed where the
    configuration asks for it, and where the agent has what it needs (neighbours, goals, a world model)."""
    roles = []
    for name, exchange in _exchanges(context):
        context.components.add(name, exchange)
        exchange.joined(context)
        roles.append(name)
    return tuple(roles)


def _exchanges(context: SessionContext) -> Iterator[tuple[str, Component]]:
    """Each is constructed when the one before has joined."""
    components, spec, settings, neighbourhood = context.components, context.agent_spec, context.agent_spec.exchange, context.neighbourhood
    features, space, replay, imported = components.features, components.space, components.get(REPLAY), components.get(IMPORTED_REPLAY)
    world, retries, remembered = components.get(WORLD_MODEL), context.retries, context.episodes_remembered
    source, table, negotiation = components.get(GOAL_SOURCE), components.get(NEGOTIATION), settings.negotiation
    if source is not None:
        machine = None
        if table is not None and negotiation is not None:
            machine = Negotiation(retries, negotiation.deadline, table.vocabulary, remembered)
        yield GOAL_NEGOTIATION.name, GoalNegotiation(spec.name, spec.seed, source, table, machine, 2 * remembered)
    if settings.hindsight is not None and isinstance(space, DiscreteSpace):  # vector goals need no traces of partners
        yield HINDSIGHT.name, HindsightExchange(settings.hindsight, space, replay, retries, remembered)
    if settings.experience is not None:
        yield EXPERIENCE.name, ExperienceSharing(settings.experience, features, imported, neighbourhood)
    if settings.joint_experience is not None:
        joint_experience = JointExperience if spec.dataset is None else StoredJointExperience
        yield JOINT_EXPERIENCE.name, joint_experience(settings.joint_experience, context)
    if neighbourhood.all_neighbours:
        if settings.consensus is not None:
            seed = components.own_seed(Stream.COMPRESSION, components.stream_epoch)
            averaging = ParameterAveraging(settings.consensus, neighbourhood, components, spec.incarnation, spec.rejoin, seed)
            yield AVERAGING.name, averaging
        if settings.statistics is not None and world is not None and world.shared is not None:
            try:
                statistics = StatisticsExchange(
                    settings.statistics, world.shared, spec.name, context.members, neighbourhood, retries, spec.incarnation
                )
            except ValueError as error:
                text = f"exchange.statistics: {error}; or add less: fewer agents.world_model.features, or larger cells of rewards"
                raise ConfigurationError(text) from None
            yield STATISTICS.name, statistics
        if settings.plans is not None and world is not None:
            yield PLANS.name, PlanSharing(settings.plans, spec.name, world, features, neighbourhood)
        if negotiation is not None and "teacher_goals" in negotiation.capabilities:
            yield GOAL_SWAP.name, create("negotiation", negotiation)(negotiation)
    for index, more in enumerate(settings.components):
        yield f"exchange.{index}.{more.kind}", create("exchange", more)(more)
