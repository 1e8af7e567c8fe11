"""Observations and rewards are finite numbers: what an environment returns is checked before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import AgentBatch, Array, TickResult
from protocols.runtime.errors import EnvironmentFailure
from protocols.spaces.layout import Layout

_CURE = "correct the environment, or replace such values in a wrapper (environment.wrappers)"


class FiniteValues:
    """Checks the results of one environment, tick by tick, and counts the steps of every copy's episode for its message."""

    def __init__(self, layouts: Mapping[str, Layout], copies: int) -> None:
        self._layouts = layouts
        self._episode: NDArray[np.int64] = np.full(copies, -1, np.int64)
        self._steps = np.zeros(copies, np.int64)

    def check(self, result: TickResult) -> None:
        """`EnvironmentFailure` names the agent, the reward or the component of its observation, and the step of the episode."""
        self._steps += 1
        self._steps[result.episode != self._episode] = 0
        self._episode = result.episode
        for agent, batch in result.agents.items():
            if not _finite(batch.reward) or (batch.observation.dtype != np.uint8 and not _finite(batch.observation)):
                self._fail(agent, batch)

    def _fail(self, agent: str, batch: AgentBatch) -> None:
        wrong = np.flatnonzero(~np.isfinite(batch.reward))
        if wrong.size:
            copy = int(wrong[0])
            what = f"the reward of {agent} is {batch.reward[copy]}"
        else:
            rows = batch.observation.reshape(len(batch.observation), -1)
            places = np.argwhere(~np.isfinite(rows))
            copy, component = map(int, places[0])
            others = int((places[:, 0] == copy).sum()) - 1
            name = self._name(agent, component)
            more = f" (and {others} more)" if others else ""
            what = f"component {component}{name} of the observation of {agent} is {rows[copy, component]}{more}"
        episode = int(self._episode[copy])
        place = f"at step {self._steps[copy]} of episode {episode}" if episode >= 0 else "between two episodes"
        raise EnvironmentFailure(f"{what} {place}, copy {copy}: it must be finite; {_CURE}")

    def _name(self, agent: str, component: int) -> str:
        """The name of the field that a component belongs to, in brackets, where it has one."""
        fields = self._layouts[agent].fields
        names = [field.name for field in fields if field.start <= component < field.start + field.size and field.name]
        return f" ({names[0]})" if names else ""


def _finite(values: Array) -> bool:
    """Whether all values are finite. The sum of squares is not finite if one of them is not; it is computed without a second array, and
    values whose squares overflow are looked at again."""
    return isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())
