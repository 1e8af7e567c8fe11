"""Agents that share a model would all explore the same places: each tells where it is going, and counts as known where its neighbours are.

What an agent plans is what its policy does in the world model, from where its newest episode began. What the neighbours plan is given to
the model (`contracts.Believing`), whose uncertainty falls there, and with it whatever optimism makes of it (the Kriging believer of
parallel Bayesian optimisation; Ginsbourger et al. 2010).
"""

from __future__ import annotations

import numpy as np

from agent_node.contracts import Believing, WorldModel
from agent_node.features import Features
from agent_node.settings import PlanSettings
from agent_node.world_models.world import World
from protocols.consensus.averager import Surroundings
from protocols.errors import ConfigurationError
from protocols.plans import PlanExchange, Planned
from protocols.segments import layout_digest


class Plans:
    """One agent's side; `machine` is the conversation. `ConfigurationError` for a model that can't count what it has not seen."""

    def __init__(self, settings: PlanSettings, name: str, world: World, features: Features, surroundings: Surroundings) -> None:
        model: WorldModel = world.model
        if not isinstance(model, Believing):
            raise ConfigurationError("exchange.plans: this world model can't count what others are going to see; write null, or choose gp")
        self._model = model
        self._settings, self._world = settings, world
        self.machine = PlanExchange(
            name, surroundings.everybody, layout_digest(features.layout), features.size, features.action_size, features.discrete
        )
        self._told = 0
        self._heard: list[Planned] = []

    def consider(self, now: float) -> None:
        """Let the model count what the neighbours plan, and tell the own plan if the model has learnt since. To be called at every tick,
        before the model learns."""
        plans = self.machine.plans()
        if plans != self._heard:
            self._heard = plans
            self._model.expect([(plan.observation[:, None], plan.action) for plan in plans])
        if self._world.refreshes > self._told:
            self._told = self._world.refreshes
            steps = self._world.plan(self._settings.steps)
            if steps is not None and np.isfinite(steps[0]).all():
                self.machine.tell(steps[0][:, -1], steps[1], now)

    def figures(self) -> dict[str, float]:
        """`plans.told`, `plans.heard`: since the start of the process."""
        counters = self.machine.counters
        return {"plans.told": float(counters["told"]), "plans.heard": float(counters["heard"])}
