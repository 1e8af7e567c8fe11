"""The exchanges of an agent: what the configuration asks for is constructed here, in the order in which messages are sent.

Exchanges are constructed after the learning components were restored: sums of statistics start from the restored model, averaging from the
restored parameters. Third parties register exchanges in the room "exchange": the constructor takes the settings, and conversations start in
`joined`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent_node.contracts import Component
from agent_node.exchange.averaging.parameter_averaging import ParameterAveraging
from agent_node.exchange.experience.experience_sharing import ExperienceSharing
from agent_node.exchange.hindsight.hindsight_exchange import HindsightExchange
from agent_node.exchange.negotiation.goal_negotiation import GoalNegotiation
from agent_node.exchange.plans.plan_sharing import PlanSharing
from agent_node.exchange.statistics.statistics_exchange import StatisticsExchange
from agent_node.session.roles import (
    AVERAGING,
    EXPERIENCE,
    GOAL_NEGOTIATION,
    GOAL_SOURCE,
    GOAL_SWAP,
    HINDSIGHT,
    IMPORTED_REPLAY,
    LEARNER,
    NEGOTIATION,
    PLANS,
    REPLAY,
    STATISTICS,
    WORLD_MODEL,
)
from agent_node.session.session_context import SessionContext
from protocols.conversations.negotiation.proposals import Negotiation
from protocols.runtime.component_registry import create
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.seeds import Stream
from protocols.spaces.goal_space import DiscreteSpace


def join_exchanges(context: SessionContext) -> tuple[str, ...]:
    """Construct the exchanges of an agent, add them to its components, and let them join; their roles. An exchange is constructed where the
    configuration asks for it, and where the agent has what it needs (neighbours, goals, a world model)."""
    before = set(context.components.roles)
    for name, build in _BUILDERS:
        _join(context, name, build(context))
    for index, settings in enumerate(context.agent_spec.exchange.components):
        _join(context, f"exchange.{index}.{settings.kind}", create("exchange", settings)(settings))
    return tuple(name for name in context.components.roles if name not in before)


def _join(context: SessionContext, name: str, exchange: Component | None) -> None:
    if exchange is not None:
        context.components.add(name, exchange)
        exchange.joined(context)


def _goal_negotiation(context: SessionContext) -> GoalNegotiation | None:
    source, table, settings = context.get(GOAL_SOURCE), context.get(NEGOTIATION), context.agent_spec.exchange.negotiation
    if source is None:
        return None
    remembered, machine = context.episodes_remembered, None
    if table is not None and settings is not None:
        machine = Negotiation(context.retries, settings.deadline, table.vocabulary, remembered)
    return GoalNegotiation(context.name, context.agent_spec.seed, source, table, machine, 2 * remembered)


def _hindsight(context: SessionContext) -> HindsightExchange | None:
    settings, space = context.agent_spec.exchange.hindsight, context.goal_space
    if settings is None or not isinstance(space, DiscreteSpace):  # vector goals need no traces of partners
        return None
    return HindsightExchange(
        settings,
        space,
        context.get(REPLAY),
        context.retries,
        context.episodes_remembered,
        context.components[LEARNER],
        context.features,
        context.name,
        context.get(IMPORTED_REPLAY),
    )


def _experience(context: SessionContext) -> ExperienceSharing | None:
    settings = context.agent_spec.exchange.experience
    if settings is None:
        return None
    return ExperienceSharing(settings, context.features, context.get(IMPORTED_REPLAY), context.neighbourhood)


def _averaging(context: SessionContext) -> ParameterAveraging | None:
    settings, spec = context.agent_spec.exchange.consensus, context.agent_spec
    if settings is None or not context.neighbourhood.all_neighbours:
        return None
    seed = context.components.own_seed(Stream.COMPRESSION, context.components.stream_epoch)
    return ParameterAveraging(settings, context.neighbourhood, context.components, spec.incarnation, spec.rejoin, seed)


def _statistics(context: SessionContext) -> StatisticsExchange | None:
    settings, world, spec = context.agent_spec.exchange.statistics, context.get(WORLD_MODEL), context.agent_spec
    if settings is None or world is None or world.shared is None or not context.neighbourhood.all_neighbours:
        return None
    try:
        return StatisticsExchange(
            settings, world.shared, spec.name, context.members, context.neighbourhood, context.retries, spec.incarnation
        )
    except ValueError as error:
        text = f"exchange.statistics: {error}; or add less: fewer agents.world_model.features, or larger cells of rewards"
        raise ConfigurationError(text) from None


def _plans(context: SessionContext) -> PlanSharing | None:
    settings, world = context.agent_spec.exchange.plans, context.get(WORLD_MODEL)
    if settings is None or world is None or not context.neighbourhood.all_neighbours:
        return None
    return PlanSharing(settings, context.name, world, context.features, context.neighbourhood)


def _goal_swap(context: SessionContext) -> Component | None:
    settings = context.agent_spec.exchange.negotiation
    if settings is None or "teacher_goals" not in settings.capabilities or not context.neighbourhood.all_neighbours:
        return None
    swap: Component = create("negotiation", settings)(settings)
    return swap


_BUILDERS: Iterable[tuple[str, Callable[[SessionContext], Component | None]]] = (
    (GOAL_NEGOTIATION.name, _goal_negotiation),
    (HINDSIGHT.name, _hindsight),
    (EXPERIENCE.name, _experience),
    (AVERAGING.name, _averaging),
    (STATISTICS.name, _statistics),
    (PLANS.name, _plans),
    (GOAL_SWAP.name, _goal_swap),
)
