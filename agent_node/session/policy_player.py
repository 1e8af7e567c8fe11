"""One agent's policy as a checkpoint has it, played without a run: no process, no neighbours, no learning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.session import checkpoints
from agent_node.session.acting import Actor
from agent_node.session.agent_components import AgentComponents
from agent_node.session.agent_spec import settings_of
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ResourceError
from protocols.spaces.layout import Layout

Array = NDArray[Any]


class PolicyPlayer:
    """The components of an agent, built as in a run and loaded from `checkpoint`; `facts` are the agent's counters in it.

    `greedy`: the most likely actions, where the learner has them, with `Flag.EVALUATION` in every row; else actions as in training. It may
    be changed between two calls of `act`.
    """

    def __init__(
        self,
        name: str,
        configuration: Mapping[str, Any],
        layout: Layout,
        checkpoint: Path,
        greedy: bool,
        seed: int,
        party: int = 0,
        copies: int = 1,
    ) -> None:
        self.name = name
        self.greedy = greedy
        held = checkpoints.read(checkpoint)
        settings = _without_restarts(settings_of(name, configuration))
        exchange = ExchangeSettings.model_validate(configuration["exchange"])
        try:
            played = _with_mode_actions(settings) if greedy else settings
            components = AgentComponents(played, exchange, layout, copies, name, seed, party=max(2, party))
            components.load(held.tensors, held.manifest)
        except (ValueError, KeyError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ResourceError(f"the checkpoint {checkpoint} does not fit the configuration of its run: {what}") from None
        self._actor = Actor(components, copies)
        self._grid = None if components.features.grids is None else components.features.grids.whole
        size = len(layout.actions) or len(layout.low)
        self._last: Array = np.zeros((copies, size), np.int32 if layout.actions else np.float32)
        self.facts = {key: int(held.manifest[key]) for key in ("step", "updates", "episodes", "steps") if key in held.manifest}

    @property
    def goal(self) -> tuple[int, int, int, int] | None:
        """The cell (x, y) that its teacher has set for the newest observation of the first copy, and the sides (width, height) of the grid
        that it is in; None without a teacher."""
        goals, whole = self._actor.goals, self._grid
        if goals is None or whole is None or goals[0] < 0:
            return None
        return int(goals[0]) // whole.height, int(goals[0]) % whole.height, whole.width, whole.height

    def act(
        self,
        observation: Array,
        reward: NDArray[np.float32],
        flags: NDArray[np.uint16],
        episode: NDArray[np.int64],
        achieved: Array | None = None,
        goal: Array | None = None,
    ) -> Array:
        """Actions `[K, A]` for the agent's frames of a tick."""
        if self.greedy:
            flags = flags | np.where(flags & Flag.MEMBER, np.uint16(Flag.EVALUATION), np.uint16(0)).astype(np.uint16)
        seen: dict[str, Array] = {"observation": observation, "reward": reward, "flags": flags, "episode": episode}
        if achieved is not None and goal is not None:
            seen |= {"achieved": achieved, "goal": goal}
        self._last, _ = self._actor.observe({**seen, "applied": self._last}, continuous=True)
        return self._last


def _without_restarts(settings: AgentSettings) -> AgentSettings:
    """The same with a teacher that ends no episodes: each is played until the environment ends it."""
    teacher = settings.teacher
    if teacher is None or not getattr(teacher, "restart_episode", False):
        return settings
    return settings.model_copy(update={"teacher": teacher.model_copy(update={"restart_episode": False})})


def _with_mode_actions(settings: AgentSettings) -> AgentSettings:
    """The same with a learner that does not draw its actions in evaluations."""
    if "evaluation" not in type(settings.learner).model_fields:
        return settings
    return settings.model_copy(update={"learner": settings.learner.model_copy(update={"evaluation": "mode"})})
