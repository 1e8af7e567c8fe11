"""Agents that share a model would all explore the same places: each tells where it is going, and counts as known where its neighbours are.

What an agent plans is what its policy does in the world model, from where its newest episode began. What the neighbours plan is given to
the model (`contracts.PlanAwareModel`), whose uncertainty falls there, and with it whatever optimism makes of it (the Kriging believer of
parallel Bayesian optimisation; Ginsbourger et al. 2010).
"""

from __future__ import annotations

import numpy as np

from agent_node.contracts import PlanAwareModel, WorldModel
from agent_node.exchange.plans.settings import PlanSettings
from agent_node.session.observation_features import Features
from agent_node.world_models.imagination.world_model_component import WorldModelComponent
from protocols.averaging.averager import Neighbourhood
from protocols.conversations.experience.segment_exchange import layout_digest
from protocols.conversations.plans.plan_exchange import NeighbourPlan, PlanExchange
from protocols.runtime.errors import ConfigurationError


class PlanSharing:
    """One agent's side; `machine` is the conversation. `ConfigurationError` for a model that can't count what it has not seen."""

    def __init__(
        self, settings: PlanSettings, name: str, world: WorldModelComponent, features: Features, neighbourhood: Neighbourhood
    ) -> None:
        model: WorldModel = world.model
        if not isinstance(model, PlanAwareModel):
            raise ConfigurationError("exchange.plans: this world model can't count what others are going to see; write null, or choose gp")
        self._model = model
        self._settings, self._world = settings, world
        self.machine = PlanExchange(
            name, neighbourhood.all_neighbours, layout_digest(features.layout), features.size, features.action_size, features.discrete
        )
        self._sent_plans = 0
        self._received_plans: list[NeighbourPlan] = []

    def consider(self, now: float) -> None:
        """Let the model count what the neighbours plan, and tell the own plan if the model has learnt since. To be called at every tick,
        before the model learns."""
        plans = self.machine.plans()
        if plans != self._received_plans:
            self._received_plans = plans
            self._model.condition_on_plans([(plan.observation[:, None], plan.action) for plan in plans])
        if self._world.refreshes > self._sent_plans:
            self._sent_plans = self._world.refreshes
            steps = self._world.plan(self._settings.steps)
            if steps is not None and np.isfinite(steps[0]).all():
                self.machine.share_plan(steps[0][:, -1], steps[1], now)

    def metrics(self) -> dict[str, float]:
        """`plans.sent`, `plans.received`: since the start of the process."""
        counters = self.machine.counters
        return {"plans.sent": float(counters["told"]), "plans.received": float(counters["heard"])}
