"""The guard of a socket with a clock, and a way to put messages to it."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

from protocols.conversations.membership.membership_messages import RosterEntry
from protocols.conversations.proposals import Propose
from protocols.wire.guard import Guard
from protocols.wire.guard_sources import GuardOptions
from protocols.wire.messages import Channel, Message, Role

RUN = "run-1"


def entry(name: str, role: Role = "agent", inc: int = 1, state: Any = "alive") -> RosterEntry:
    return RosterEntry(name=name, role=role, state=state, inc=inc)


class Gate:
    """A guard with a clock and a way to put messages to it; `a` to `c` are three routes."""

    def __init__(self, role: Role | None = "agent", name: str = "agent-0", **options: Any) -> None:
        self.guard = Guard(RUN, name, role, Counter(), GuardOptions(**options))
        self.counters = self.guard.counters
        self.name = name
        self.now = 100.0
        self.numbers: Counter[tuple[str, int]] = Counter()

    def roster(self, *entries: RosterEntry, version: int = 1) -> Gate:
        self.guard.follow(version, entries)
        return self

    def put(self, channel: Channel, key: bytes | str, message: Message, src: str = "agent-1", inc: int = 1, **header: Any) -> str | None:
        self.numbers[src, inc] += 1
        fields = {"run": RUN, "src": src, "dst": self.name, "inc": inc, "seq": self.numbers[src, inc], **header}
        for name, value in fields.items():
            setattr(message, name, value)
        source = self.guard.source(channel, key, fixed=isinstance(key, str))
        return self.guard.judge(source, message, self.now) if self.guard.open(source, 100, self.now) else "closed"

    def state(self) -> Any:
        """All that a message could change, but for counters and the record of offences."""
        speakers = {
            key: (s.incarnation, s.role, s.owner and s.owner.key, s.highest, list(s.gaps)) for key, s in self.guard._speakers.items()
        }
        spoken = {key: (s.vouched, s.last_received) for key, s in self.guard._sources.items() if s.speaker is not None}
        return copy.deepcopy((speakers, spoken, self.guard._incarnations, self.guard._epoch))


def ring() -> Gate:
    """agent-0, which has the run's token, and has received from agent-1 over route a."""
    gate = Gate().roster(entry("agent-0"), entry("agent-1"), entry("agent-2"), entry("env-0", "env"))
    assert gate.put("peer", b"a", Propose()) is None
    gate.now += 0.1
    return gate
