"""K copies of the simplified prison, and its scripted policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import Array
from env_server.environments.environment_factory import EnvironmentContext, EnvironmentFactory, ScriptedPolicy
from env_server.environments.prison.prison_world import CELLS, LEFT, LENGTH, RIGHT, TOUCHED, PrisonWorld
from env_server.environments.renderer import AGENTS, FLOOR, INK, Renderer
from env_server.environments.world_copies import WorldCopies
from protocols.spaces.layout import Layout


class VectorPrison(WorldCopies):
    """The `prison` environment for a whole run. An absent agent stays where it is."""

    def __init__(self, horizon: int, agents: Sequence[str], copies: int, seed: int = 0) -> None:
        self.world = PrisonWorld(len(agents), copies)
        super().__init__(self.world, horizon, agents, copies, seed)

    def decode(self, actions: Mapping[str, Array]) -> NDArray[np.intp]:
        """`[N, K]`, 0 to 2."""
        return self.choices(actions, 3)

    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[480, 480, 3]`: one corridor for each agent, filled walls are those that it has touched."""
        position, touched = self.world.position[:, copy], self.world.touched[:, :, copy]
        canvas, height = Renderer(LENGTH), LENGTH / len(position)
        for agent, x in enumerate(position.tolist()):
            bottom, colour = agent * height, AGENTS[agent % len(AGENTS)]
            for wall, left in enumerate((0.0, LENGTH - TOUCHED)):
                box = canvas.box(left, bottom, left + TOUCHED, bottom + height)
                canvas.paint(box, INK)
                canvas.paint(box + 0.1, colour if touched[agent, wall] else FLOOR)
            canvas.paint(canvas.disc(x, bottom + height / 2, min(0.35 * height, 1.0)), colour)
        return np.clip(canvas.pixels + 0.5, 0, 255).astype(np.uint8)


def bounce(agent: str, layout: Layout, observation: NDArray[Any]) -> NDArray[Any]:
    """Go right until the right wall is touched, then left: actions `[K, 1]`."""
    touched_right = observation[:, CELLS + 1] > 0
    return np.where(touched_right, LEFT, RIGHT)[:, None].astype(np.int32)


class PrisonFactory(EnvironmentFactory):
    """All agents of the run play in each copy."""

    def create(self, context: EnvironmentContext) -> VectorPrison:
        """Any number of agents fits."""
        return VectorPrison(context.options.horizon, context.agents, context.copies, context.seed)

    def scripted_policies(self, context: EnvironmentContext) -> Mapping[str, ScriptedPolicy]:
        """`bounce`."""
        return {"bounce": bounce}
