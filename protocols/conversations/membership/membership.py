"""Membership: the run server's view of every node, from heartbeats, progress and silence.

    JOINING -> ALIVE <-> STUCK
       |         |  \\    |
       |         |   SUSPECT        SUSPECT -> ALIVE on any message
       v         v      v
      DEAD      LEFT   DEAD         final for this incarnation; LOST: the supervisor gave the node up

SUSPECT after `suspect` and DEAD after `dead` seconds without any valid message, STUCK after `stuck` seconds of messages without progress.
A machine without socket, clock or thread: its driver drains the sockets *before* it calls `tick`, so that its own stalls are not taken
for other nodes' silence; a gap of more than `lag` between two ticks is moreover given to every node once, as time in which the run server
did not receive. Where silence has another cause (`spares`), a node stays SUSPECT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from protocols.conversations.membership.membership_messages import Roster, RosterEntry
from protocols.wire.messages import Role


class MemberState(StrEnum):
    """State of a node; the values are those of `RosterEntry.state`."""

    JOINING = "joining"
    ALIVE = "alive"
    STUCK = "stuck"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"
    LOST = "lost"

    @property
    def living(self) -> bool:
        """Whether a process of this incarnation may still send."""
        return self in (MemberState.JOINING, MemberState.ALIVE, MemberState.STUCK, MemberState.SUSPECT)


@dataclass(frozen=True)
class MembershipTimeouts:
    """Times in seconds; 0 switches `stuck` off."""

    suspect: float = 3.0
    dead: float = 10.0
    stuck: float = 60.0
    joining: float = 60.0
    """from the start of a process to its `Hello`"""
    lag: float = 1.0
    """longest time between two ticks that is not a stall of our own"""


@dataclass(frozen=True)
class MembershipChange:
    """One node went from one state to another; `reason`: the cause, as text."""

    node: str
    role: Role
    incarnation: int
    old: MemberState | None
    new: MemberState
    reason: str


@dataclass
class MemberNode:
    """One node, at its newest incarnation."""

    name: str
    role: Role
    incarnation: int
    state: MemberState
    endpoint: str = ""
    key: str = ""
    """public key of its process, where connections are encrypted"""
    last_message: float = 0.0
    """time of the newest message (of the start, while JOINING)"""
    progressed: float = 0.0
    progress: tuple[object, ...] = field(default=())


class Membership:
    """State of every node. `changes()` hands out what changed since it was last asked; `version` rises with every change of the roster."""

    def __init__(self, timeouts: MembershipTimeouts = MembershipTimeouts(), version: int = 0) -> None:
        """`version`: where those of the roster begin, above all that receivers have seen."""
        self.timeouts = timeouts
        self.members: dict[str, MemberNode] = {}
        self.version = version
        self.spares: Callable[[str, float, float, float], bool] = lambda name, since, now, limit: False
        """asked about every suspect node at every tick, with its name, the time of its last message, the present time and `timeouts.dead`:
        whether its process is there in spite of its silence"""
        self._changes: list[MembershipChange] = []
        self._ticked: float | None = None

    def __getitem__(self, name: str) -> MemberNode:
        return self.members[name]

    # --- what happens -------------------------------------------------------------------------------------------------------------

    def expect(self, name: str, role: Role, incarnation: int, now: float, reason: str = "started") -> None:
        """A process of this incarnation was started, or runs and is to register again (`reason`). `ValueError` unless the incarnation is
        newer than any known one."""
        known = self.members.get(name)
        if known is not None and incarnation <= known.incarnation:
            raise ValueError(f"{name}: incarnation {incarnation} is not newer than {known.incarnation}")
        if known is not None and known.state.living:
            self._set(known, MemberState.DEAD, f"replaced by incarnation {incarnation}")
        member = MemberNode(name, role, incarnation, MemberState.JOINING, last_message=now, progressed=now)
        self.members[name] = member
        self.version += 1
        self._changes.append(MembershipChange(name, role, incarnation, known.state if known else None, MemberState.JOINING, reason))

    def keyed(self, name: str, incarnation: int, key: str) -> None:
        """Its host has reported the public key of the process."""
        member = self._living(name, incarnation)
        if member is not None and member.key != key:
            member.key = key
            self.version += 1

    def hello(self, name: str, incarnation: int, endpoint: str, now: float) -> bool:
        """The node sent `Hello`, perhaps again. False for unknown nodes, foreign incarnations, and incarnations that have ended."""
        member = self._living(name, incarnation)
        if member is None:
            return False
        self._alive(member, now)
        if member.endpoint != endpoint:
            member.endpoint = endpoint
            self.version += 1
        if member.state == MemberState.JOINING:
            member.progressed = now
            self._set(member, MemberState.ALIVE, "joined")
        return True

    def message_received(self, name: str, incarnation: int, now: float, progress: Iterable[object] | None = None) -> bool:
        """Any valid message came; `progress` are the counters of a heartbeat. False where it must be ignored (`E_STALE_INC`)."""
        member = self._living(name, incarnation)
        if member is None or member.state == MemberState.JOINING:
            return False
        self._alive(member, now)
        if progress is not None and (counters := tuple(progress)) != member.progress:
            member.progress, member.progressed = counters, now
            if member.state == MemberState.STUCK:
                self._set(member, MemberState.ALIVE, "makes progress again")
        return True

    def ended(self, name: str, incarnation: int, left: bool, reason: str) -> bool:
        """Its process is gone: LEFT in order, or DEAD. False when that incarnation was not living."""
        member = self._living(name, incarnation)
        if member is None:
            return False
        self._set(member, MemberState.LEFT if left else MemberState.DEAD, reason)
        return True

    def lost(self, name: str, reason: str) -> None:
        """The supervisor gives the node up: it will not come back in this run."""
        member = self.members[name]
        if member.state != MemberState.LOST:
            self._set(member, MemberState.LOST, reason)

    def begin(self, now: float) -> None:
        """All nodes are started: progress is checked from now on."""
        for member in self.members.values():
            member.progressed = max(member.progressed, now)

    def tick(self, now: float, judge_progress: bool = True) -> None:
        """Declare members suspect, dead or stuck by the time since their last message and progress. `now` in seconds; a gap between
        calls above `timeouts.lag` is not held against them. Process received messages first. Without `judge_progress`, silence only."""
        gap = 0.0 if self._ticked is None else now - self._ticked
        self._ticked = now
        for member in self.members.values():
            if gap > self.timeouts.lag:
                member.last_message = min(now, member.last_message + gap)
                member.progressed = min(now, member.progressed + gap)
            if member.state.living:
                self._judge(member, now, judge_progress)

    # --- what is asked ------------------------------------------------------------------------------------------------------------

    def changes(self) -> list[MembershipChange]:
        """All changes since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes

    def roster(self) -> Roster:
        """The present states of all nodes as a message, with a version that rises with each change."""
        entries = [
            RosterEntry(name=m.name, role=m.role, state=m.state.value, endpoint=m.endpoint, inc=m.incarnation, key=m.key)
            for m in self.members.values()
        ]
        return Roster(version=self.version, entries=entries)

    def names(self, *states: MemberState, role: Role | None = None) -> list[str]:
        """Names of the nodes in these states (all states if none is given), of this role if given."""
        return [m.name for m in self.members.values() if (not states or m.state in states) and role in (None, m.role)]

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _living(self, name: str, incarnation: int) -> MemberNode | None:
        member = self.members.get(name)
        return member if member is not None and member.incarnation == incarnation and member.state.living else None

    def _alive(self, member: MemberNode, now: float) -> None:
        member.last_message = max(member.last_message, now)
        if member.state == MemberState.SUSPECT:
            self._set(member, MemberState.ALIVE, "messages again")

    def _judge(self, member: MemberNode, now: float, judge_progress: bool) -> None:
        silence, limits = now - member.last_message, self.timeouts
        if member.state == MemberState.JOINING:
            if silence >= limits.joining:
                self._set(member, MemberState.DEAD, f"did not join within {limits.joining:g} s")
        elif silence >= limits.suspect and self.spares(member.name, member.last_message, now, limits.dead):
            pass
        elif silence >= limits.dead:
            self._set(member, MemberState.DEAD, f"silent for {silence:.1f} s")
        elif silence >= limits.suspect:
            if member.state != MemberState.SUSPECT:
                self._set(member, MemberState.SUSPECT, f"silent for {silence:.1f} s")
        elif member.state == MemberState.ALIVE and judge_progress and limits.stuck > 0:
            idle = now - member.progressed
            if idle >= limits.stuck:
                self._set(member, MemberState.STUCK, f"no progress for {idle:.0f} s")

    def _set(self, member: MemberNode, state: MemberState, reason: str) -> None:
        old, member.state = member.state, state
        self.version += 1
        self._changes.append(MembershipChange(member.name, member.role, member.incarnation, old, state, reason))
