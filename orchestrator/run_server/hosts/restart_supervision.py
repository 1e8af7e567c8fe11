"""Who is restarted, when, and when a run gives up: a state machine without processes or clock.

The k-th failure in a row is followed by a restart after min(max, first * 2^(k-1)) seconds, +-20 % so that nodes that failed together do
not return together; k starts again at 1 after a node was alive for `reset` seconds. A node with more than `at_most` failures within
`within` seconds, or that ended with an exit code that a restart can't cure (2 to 7), is given up. The run goes on while enough agents
are not given up, the graph of these is connected, and every environment server is there.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf

import networkx as nx
import numpy as np

from protocols.runtime.errors import NEVER_RESTARTED, ExitCode
from protocols.wire.messages import Role


@dataclass(frozen=True)
class RestartPolicy:
    """Delays, limits and resets of restarts; times in seconds (see the module)."""

    first: float = 0.5
    max: float = 30.0
    at_most: int = 5
    within: float = 600.0
    jitter: float = 0.2
    reset: float = 60.0


class RestartOutcome(Enum):
    """What becomes of a node whose process ended."""

    LEFT = auto()
    """it ended in order and stays away"""
    RESTART = auto()
    LOST = auto()
    """given up"""


@dataclass(frozen=True)
class RestartDecision:
    """`delay` until the restart, `attempt` of `of`; `reason` for people."""

    outcome: RestartOutcome
    reason: str
    delay: float = 0.0
    attempt: int = 0
    of: int = 0


@dataclass
class _Node:
    role: Role
    failures: deque[float] = field(default_factory=deque)
    in_a_row: int = 0
    alive_since: float | None = None
    due: float | None = None
    gone: RestartOutcome | None = None
    restarts: int = 0


_PROGRAM_FAULTS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL})
"""signals that a process causes itself, by a mistake in native code"""


def describe_exit(code: int) -> str:
    """An exit code or negative signal number in words."""
    if code < 0:
        fault = f" ({str(signal.strsignal(-code)).lower()})" if -code in _PROGRAM_FAULTS else ""
        return f"killed by signal {-code}{fault}"
    name = ExitCode(code).name.lower().replace("_", " ") if code in set(ExitCode) else "an unlisted code"
    return f"exit {code} ({name})"


class Supervisor:
    """Decides for all nodes of a run; `roles` maps node to role, `graph` is that of the agents."""

    def __init__(
        self, policy: RestartPolicy, roles: Mapping[str, Role], graph: nx.Graph, min_agents: int, random: np.random.Generator
    ) -> None:
        self.policy = policy
        self._nodes = {name: _Node(role) for name, role in roles.items()}
        self._graph = graph
        agents = sum(role == "agent" for role in roles.values())
        self._min_agents = min(min_agents, agents)
        self._judge_connected = agents > 0 and nx.is_connected(graph)
        self._random = random

    def alive(self, node: str, now: float) -> None:
        """The node has sent `Hello`."""
        self._nodes[node].alive_since = now

    def planned(self, node: str, delay: float | None, now: float, reason: str = "by the fault schedule") -> RestartDecision:
        """The process ended because of the fault schedule or a user's request: it counts as no failure, and is back after `delay` seconds,
        or, where that is None, when `bring_back` is called."""
        record = self._nodes[node]
        record.alive_since = None
        record.due = inf if delay is None else now + delay
        return RestartDecision(RestartOutcome.RESTART, reason, inf if delay is None else delay)

    def bring_back(self, node: str, now: float) -> None:
        """A planned absence is over."""
        if self._nodes[node].due == inf:
            self._nodes[node].due = now

    def hasten(self, node: str, now: float) -> None:
        """Where a restart is pending, or has no time yet, it is now."""
        if self._nodes[node].due is not None:
            self._nodes[node].due = now

    def asked(self, node: str, now: float) -> None:
        """A user starts a node that has no process: it is due, whatever was decided. One that was given up begins with no failures
        on its record."""
        record = self._nodes[node]
        if record.gone is not None:
            record.failures.clear()
            record.in_a_row, record.gone = 0, None
        record.due = now

    def ended(self, node: str, code: int, now: float) -> RestartDecision:
        """The process ended with this exit code, or by the signal of this negative number; what is to be done."""
        record = self._nodes[node]
        alive_since, record.alive_since = record.alive_since, None
        if code == ExitCode.OK:
            record.gone = RestartOutcome.LEFT
            return RestartDecision(RestartOutcome.LEFT, "left in order")
        if code in NEVER_RESTARTED:
            record.gone = RestartOutcome.LOST
            return RestartDecision(RestartOutcome.LOST, f"{describe_exit(code)}: a restart would not help")
        if alive_since is not None and now - alive_since >= self.policy.reset:
            record.in_a_row = 0
        record.in_a_row += 1
        record.failures.append(now)
        while record.failures and record.failures[0] <= now - self.policy.within:
            record.failures.popleft()
        if len(record.failures) > self.policy.at_most:
            record.gone = RestartOutcome.LOST
            return RestartDecision(
                RestartOutcome.LOST, f"{describe_exit(code)}: {len(record.failures)} failures within {self.policy.within:g} s"
            )
        # The exponent is bounded: 2.0**1024 overflows, and any delay is at `max` long before.
        delay = min(self.policy.max, self.policy.first * 2.0 ** min(record.in_a_row - 1, 60))
        delay *= 1.0 + self.policy.jitter * float(self._random.uniform(-1.0, 1.0))
        record.due = now + delay
        return RestartDecision(RestartOutcome.RESTART, describe_exit(code), delay, len(record.failures), self.policy.at_most)

    def due(self, now: float) -> list[str]:
        """Nodes whose restart is due; each is named once."""
        names = [name for name, record in self._nodes.items() if record.due is not None and record.due <= now]
        for name in names:
            self._nodes[name].due = None
            self._nodes[name].restarts += 1
        return names

    def back_in(self, node: str, now: float) -> float | None:
        """Seconds until the node's restart, or None when none is pending or the time is unknown."""
        due = self._nodes[node].due
        return None if due is None or due == inf else max(0.0, due - now)

    def restarts(self, node: str) -> int:
        """How often the node was restarted."""
        return self._nodes[node].restarts

    def given_up(self) -> list[str]:
        """Nodes that are not restarted any more."""
        return [name for name, record in self._nodes.items() if record.gone is RestartOutcome.LOST]

    def verdict(self) -> str | None:
        """Why the run must end now, or None while it can go on."""
        for name, record in self._nodes.items():
            if record.role == "env" and record.gone is not None:
                return f"{name} is gone: without an environment server nothing can be played"
        remaining = [name for name, record in self._nodes.items() if record.role == "agent" and record.gone is None]
        if len(remaining) < self._min_agents:
            return f"fewer than {self._min_agents} agents are left ({len(remaining)})"
        if self._judge_connected and remaining and not nx.is_connected(self._graph.subgraph(remaining)):
            parts = " | ".join(", ".join(sorted(part)) for part in nx.connected_components(self._graph.subgraph(remaining)))
            return f"the agents that are left are not connected: {parts}"
        return None
