"""Going beyond the boundary of what is known is worth something (BeBold: Zhang et al., arXiv 2012.08621; NovelD, NeurIPS 2021).

    r_i = coefficient max(n(s') - a n(s), 0) [s' is visited for the first time in this episode]

n by random network distillation, a = 1 in BeBold and 0.5 in NovelD. Visits are counted by everything that an observation shows of the whole
grid, and what the agent carries; an episode's first observation counts as visited, and s' at its end is that in which it ended.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, PolicySpec, TransitionBatch
from agent_node.intrinsic.bebold.settings import BeBoldSettings
from agent_node.intrinsic.rnd.rnd import RND
from protocols.runtime.errors import ConfigurationError


class EpisodeVisits:
    """What each of K copies has shown in its episode."""

    def __init__(self, copies: int) -> None:
        self._seen: list[set[bytes]] = [set() for _ in range(copies)]

    def first(self, rows: NDArray[np.int64], before: Array, after: Array, begins: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether each of `after[n, D]` is shown for the first time in its episode, which has `begun` with `before[n, D]`, or goes on."""
        fresh = np.zeros(len(rows), bool)
        for number, row in enumerate(rows):
            seen = self._seen[row]
            if begins[number]:
                seen.clear()
            if not seen:
                seen.add(before[number].tobytes())
            key = after[number].tobytes()
            fresh[number] = key not in seen
            seen.add(key)
        return fresh


class BeBold(RND):
    """Curiosity `bebold`. `ConfigurationError` where observations are not bytes: no two of them would be equal."""

    def __init__(self, settings: BeBoldSettings, policy_spec: PolicySpec, copies: int, seed: int) -> None:
        if policy_spec.grids is None:
            text = "agents.curiosity: bebold counts visits, and this environment shows no grid, so that visits cannot be distinguished"
            raise ConfigurationError(f"{text}; write kind: rnd, or null")
        super().__init__(settings, policy_spec, copies, seed)
        self._previous = settings.previous
        self._part = slice(policy_spec.grids.whole.start, policy_spec.grids.whole.stop)
        self._visits = EpisodeVisits(copies)

    def reward(self, transitions: TransitionBatch) -> NDArray[np.float32]:
        """coefficient max(n(s') - a n(s), 0), at first visits."""
        n = len(transitions.rows)
        before, after = transitions.raw[:, self._part], transitions.next_raw[:, self._part]
        first = self._visits.first(transitions.rows, before, after, transitions.begins)
        both = self.novelty(np.concatenate([transitions.observation, transitions.next_observation]))
        rise = np.maximum(both[n:] - self._previous * both[:n], 0)
        return self._noted(self.settings.coefficient * rise * first, novelty=both[n:], first=first)
