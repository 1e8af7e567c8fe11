"""An environment that is played in evaluations only: between them its copies are held."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import (
    Array,
    CancellableEvaluation,
    EpisodeRecord,
    HeldEnvironment,
    TickResult,
    VectorEnvironment,
)
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.layout import Layout


class EvaluationOnly:
    """A `VectorEnvironment` whose copies begin no episodes but those that `evaluate` asks for. Where no copy plays, all rows of a tick have
    episode -1 and no flags. `ConfigurationError` for an environment whose copies cannot be held."""

    def __init__(self, base: VectorEnvironment) -> None:
        if not isinstance(base, HeldEnvironment) or not isinstance(base, CancellableEvaluation):
            raise ConfigurationError("dataset: the copies of this environment cannot be held between evaluations; choose another one")
        self._base: Any = base
        self.agents, self.copies = base.agents, base.copies
        self._requested = 0
        """evaluation episodes that have not begun"""
        self._free = np.ones(base.copies, bool)
        """copies that play no episode"""

    def layout(self, agent: str) -> Layout:
        """That of the environment."""
        layout: Layout = self._base.layout(agent)
        return layout

    def reset(self, seed: int, first_episode: int = 0) -> TickResult:
        """All copies are held."""
        self._requested = 0
        self._base.hold(np.ones(self.copies, bool))
        return self._noted(self._base.reset(seed, first_episode))

    def step(self, actions: Mapping[str, Array]) -> TickResult:
        """One step of the copies that are evaluated; as many free ones begin an episode as are requested."""
        begins = self._free & (np.cumsum(self._free) <= self._requested)
        self._base.hold(~begins)
        outcome = self._noted(self._base.step(actions))
        self._requested -= int(np.count_nonzero(begins & (outcome.episode >= 0)))
        return outcome

    def _noted(self, outcome: TickResult) -> TickResult:
        over = np.any([(batch.flags & Flag.OVER) != 0 for batch in outcome.agents.values()], axis=0)
        self._free = (outcome.episode < 0) | over
        return outcome

    def set_present(self, agents: Collection[str]) -> None:
        """As the environment."""
        self._base.set_present(agents)

    def finished(self) -> list[EpisodeRecord]:
        """Evaluation episodes that ended since the last call."""
        records: list[EpisodeRecord] = self._base.finished()
        return records

    def evaluate(self, episodes: int, aligned: bool) -> None:
        """Let the next `episodes` begin."""
        self._requested += episodes
        self._base.evaluate(episodes, False)

    def cancel_evaluation(self, own_only: bool = False) -> tuple[int, int]:
        """Drop those that have not begun."""
        dropped: tuple[int, int] = self._base.cancel_evaluation(own_only)
        self._requested -= sum(dropped)
        return dropped

    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture of one copy."""
        picture: NDArray[np.uint8] = self._base.render(copy)
        return picture

    def close(self) -> None:
        """Release what the environment holds."""
        self._base.close()
