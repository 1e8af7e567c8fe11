"""Exchange of planned trajectories, so that agents that share a model do not all explore the same places.

The plan of an agent is the trajectory of its policy in the world model from the start of its newest episode. The model is conditioned on
the plans of the neighbours (`contracts.WorldModel.condition_on_plans`): its uncertainty falls there, and with it the bonus of optimism (the
Kriging believer of parallel Bayesian optimisation; Ginsbourger et al. 2010).
"""

from __future__ import annotations

import numpy as np

from agent_node.contracts import Component, Metrics, ObservedTick
from agent_node.exchange.settings import PlanSettings
from agent_node.session.observation_features import Features
from agent_node.session.session_context import SessionContext
from agent_node.world_models.imagination.world_model_component import WorldModelComponent
from protocols.averaging.averager import Neighbourhood
from protocols.conversations.plan_exchange import NeighbourPlan, PlanExchange
from protocols.conversations.segment_exchange import layout_digest
from protocols.runtime.errors import ConfigurationError


class PlanSharing(Component):
    """Exchange of planned trajectories with the neighbours, on the side of one agent; `machine` is the conversation.
    `ConfigurationError` for a world model without the capability "plan_aware"."""

    def __init__(
        self, settings: PlanSettings, name: str, world: WorldModelComponent, features: Features, neighbourhood: Neighbourhood
    ) -> None:
        if "plan_aware" not in world.model.capabilities:
            raise ConfigurationError("exchange.plans: this world model does not use the plans of others; write null, or choose gp")
        self._model = world.model
        self._settings, self._world = settings, world
        self.machine = PlanExchange(
            name, neighbourhood.all_neighbours, layout_digest(features.layout), features.size, features.action_size, features.discrete
        )
        self._sent_plans = 0
        self._received_plans: list[NeighbourPlan] = []

    def joined(self, context: SessionContext) -> None:
        """Exchange plans with the neighbours."""
        context.converse(self.machine)

    def observed(self, tick: ObservedTick) -> None:
        """Condition the model on the neighbours' newest plans, and send the own plan if the model was refreshed since the last one."""
        plans = self.machine.plans()
        if plans != self._received_plans:
            self._received_plans = plans
            self._model.condition_on_plans([(plan.observation[:, None], plan.action) for plan in plans])
        if self._world.refreshes > self._sent_plans:
            self._sent_plans = self._world.refreshes
            steps = self._world.plan(self._settings.steps)
            if steps is not None and np.isfinite(steps[0]).all():
                self.machine.share_plan(steps[0][:, -1], steps[1], tick.now)

    def metrics(self) -> Metrics:
        """`plans.sent`, `plans.received`: since the start of the process."""
        counters = self.machine.counters
        return {"plans.sent": float(counters["sent"]), "plans.received": float(counters["received"])}
