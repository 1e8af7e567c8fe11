"""Lock-step of an environment server and its agents, as two state machines.

Tick t: the server has sent `Observation(tick=t)` to all agents and waits for `Act(tick=t)` of those that are present. When all have acted,
or the deadline has passed, it steps the environment once and sends `Observation(tick=t+1)`. An agent repeats its `Act` until the answer is
there; a repetition never steps twice: the first value of (agent, tick) wins, and what was answered already is answered again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from protocols.conversations.retries import RetryAttempt, RetryTimers

Array = NDArray[Any]
Verdict = Literal["stored", "duplicate", "repeat", "ahead", "unknown"]

ANSWERS = 2
"""newest observations kept for each agent: the present one, and the one that an agent may have missed"""


@dataclass(frozen=True)
class ClosedTick:
    """A tick that may be played: the actions that came in time, and who is present but late."""

    tick: int
    actions: Mapping[str, Array]
    late: frozenset[str]


class StepServer:
    """The server's side.

    `agents`: all who may take part. `deadline`: seconds that an open tick waits for an action. Agents that join or leave do so between
    ticks: who joins is admitted by `advance`, who leaves is no longer waited for at once.
    """

    def __init__(self, agents: Collection[str], deadline: float) -> None:
        self._agents = frozenset(agents)
        self._deadline = deadline
        self._opened = 0.0
        self._present: set[str] = set()
        self._joining: set[str] = set()
        self._actions: dict[str, Array] = {}
        self._answers: dict[str, OrderedDict[int, Any]] = {agent: OrderedDict() for agent in agents}
        self.tick = 0

    @property
    def present(self) -> frozenset[str]:
        """Agents whose actions this tick waits for."""
        return frozenset(self._present)

    @property
    def joining(self) -> frozenset[str]:
        """Agents that take part from the next tick on."""
        return frozenset(self._joining)

    @property
    def awaited(self) -> int:
        """Actions that the open tick still waits for."""
        return len(self._present) - len(self._actions)

    @property
    def missing(self) -> frozenset[str]:
        """Agents whose actions the open tick still waits for."""
        return frozenset(self._present - self._actions.keys())

    @property
    def opened(self) -> float:
        """Time in seconds at which the open tick was opened."""
        return self._opened

    def join(self, agent: str) -> bool:
        """`agent` (re)joins; False for unknown agents. Actions of an earlier incarnation in this tick are dropped."""
        if agent not in self._agents:
            return False
        self.leave(agent)
        self._joining.add(agent)
        return True

    def leave(self, agent: str) -> None:
        """`agent` is gone: the tick does not wait for it, and its cached answers are dropped."""
        self._present.discard(agent)
        self._joining.discard(agent)
        self._actions.pop(agent, None)
        if agent in self._answers:
            self._answers[agent].clear()

    def receive(self, agent: str, tick: int, action: Array) -> Verdict:
        """An action arrived. `repeat`: ask `answer(agent, tick)` and send it again; `ahead` and `unknown` have no effect."""
        if agent not in self._present:
            return "unknown"
        if tick < self.tick:
            return "repeat"
        if tick > self.tick:
            return "ahead"
        if agent in self._actions:
            return "duplicate"
        self._actions[agent] = action
        return "stored"

    def ready(self, now: float) -> bool:
        """Whether the open tick may be closed: all have acted, or the deadline has passed, and an agent is present."""
        if not self._present and not self._joining:
            return False
        return len(self._actions) == len(self._present) or now >= self._opened + self._deadline

    def due(self) -> float:
        """Time in seconds at which `ready` becomes true without further messages."""
        return self._opened + self._deadline

    def close(self) -> ClosedTick:
        """Close the open tick and return the actions that have arrived for it."""
        actions, self._actions = self._actions, {}
        return ClosedTick(self.tick, actions, frozenset(self._present - actions.keys()))

    def advance(self, now: float) -> frozenset[str]:
        """The environment was stepped: open the next tick. Returns who takes part from now on."""
        self.tick += 1
        self._opened = now
        joined, self._joining = frozenset(self._joining), set()
        self._present |= joined
        return joined

    def answered(self, agent: str, answer: Any) -> None:
        """Keep what was sent to `agent` for the tick that is open now."""
        kept = self._answers[agent]
        kept[self.tick] = answer
        while len(kept) > ANSWERS:
            kept.popitem(last=False)

    def answer(self, agent: str, tick: int) -> Any | None:
        """What to send again to an agent that repeats its action of `tick`: the observation that followed it, or else the newest."""
        kept = self._answers[agent]
        return kept.get(tick + 1, next(reversed(kept.values())) if kept else None)


class StepClient:
    """An agent's side: which observation is new, and when an action is sent again."""

    def __init__(self, random: np.random.Generator) -> None:
        self._timers = RetryTimers(random)
        self._attempt: RetryAttempt | None = None
        self._server = ""
        self.tick = -1
        self.acted = True

    def reset(self) -> None:
        """Forget the ticks of a server that was replaced."""
        self.tick, self.acted, self._attempt = -1, True, None

    def observed(self, server: str, tick: int, now: float) -> bool:
        """An observation arrived; True if it is new (older and repeated ones are not). `continuous`: whether no tick was missed."""
        if tick <= self.tick:
            return False
        self.continuous = tick == self.tick + 1 and self.acted
        if self._attempt is not None:
            self._timers[server].answered(self._attempt, now)
        self._server, self.tick, self.acted, self._attempt = server, tick, False, None
        return True

    continuous = False
    """whether the newest observation follows the one before it"""

    def act(self, now: float) -> None:
        """The action of the present tick is sent now."""
        self.acted = True
        self._attempt = self._timers[self._server].start(now)

    @property
    def acted_at(self) -> float | None:
        """Time in seconds at which the action was sent that waits for its observation; None while none does."""
        return None if self._attempt is None else self._attempt.sent

    def due(self) -> float:
        """When `again` becomes true; infinite while no answer is awaited."""
        return inf if self._attempt is None else self._attempt.due

    def again(self, now: float) -> bool:
        """Whether the action is due to be sent once more."""
        if self._attempt is None or now < self._attempt.due:
            return False
        self._timers[self._server].again(self._attempt, now)
        return True
