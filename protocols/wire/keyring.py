"""Public keys that may connect to a process, and their owners. No socket, no clock.

The keys come from the run server: the roster contains the key of every node's newest incarnation. The run server receives the keys of its
hosts from their engine, and those of nodes from the host that started them. The role of a process decides which keys it admits: the run
server those of the whole run, an environment server those of agents, an agent those of other agents (`only`: of some of them).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from protocols.conversations.membership.membership_messages import RosterEntry
from protocols.wire.messages import Role

CLIENT = "client-"
"""prefix of the names of command lines; they share one key, which is valid for no other name"""
_GUESTS: Mapping[Role, frozenset[Role]] = {
    "run": frozenset(("agent", "env", "host", "client")),
    "env": frozenset(("agent",)),
    "agent": frozenset(("agent",)),
}
"""role of a process that binds -> roles of those that connect to it; roles that are not here bind nothing"""
_RETIRED = 4096
"""keys of earlier incarnations that are stored, to distinguish them from unknown keys"""


@dataclass(frozen=True)
class KeyOwner:
    """Whose a key is; command lines have no name of their own."""

    name: str
    role: Role

    def speaks_as(self, name: str) -> bool:
        """Whether a message of that sender may come with this key."""
        return name == self.name if self.name else name.startswith(CLIENT)


class Keyring:
    """The allow-list of one process. `role` None: of a process without a part in a run (benchmarks), which admits the keys given to
    `admit`."""

    def __init__(self, role: Role | None) -> None:
        self._role = role
        self._admitted: dict[str, KeyOwner] = {}
        self._roster: dict[str, KeyOwner] = {}
        self._only: frozenset[str] | None = None
        self._retired: OrderedDict[str, str] = OrderedDict()
        self._revoked: set[str] = set()

    def admit(self, key: str, name: str, role: Role) -> None:
        """Let a key in that no roster names (hosts, command lines). An earlier key of that name does not count any more."""
        if name:
            for known in [k for k, owner in self._admitted.items() if owner.name == name and k != key]:
                self.revoke(known)
        self._admitted[key] = KeyOwner(name, role)

    def revoke(self, key: str) -> None:
        """From now on no connection with that key is admitted, even if a roster contains it, and its messages are refused."""
        self._revoked.add(key)
        for keys in (self._admitted, self._roster):
            owner = keys.pop(key, None)
            if owner is not None:
                self._retire(key, owner.name)

    def only(self, names: Iterable[str] | None) -> None:
        """Of the roster's nodes let in these alone; None: all of the right role."""
        self._only = None if names is None else frozenset(names)

    def follow(self, entries: Iterable[RosterEntry]) -> None:
        """The newest roster: whose keys are not in it any more do not count any more, nor do those of the dead.

        The run server admits dead nodes too, to answer them with their verdict.
        """
        living = {
            entry.key: KeyOwner(entry.name, entry.role)
            for entry in entries
            if entry.key and entry.key not in self._revoked and (self._role == "run" or entry.state not in ("dead", "lost"))
        }
        for key, owner in self._roster.items():
            if key not in living:
                self._retire(key, owner.name)
        self._roster = living

    def owner(self, key: str) -> KeyOwner | None:
        """Whose key it is, if it may be used here."""
        owner = self._admitted.get(key)
        if owner is None:
            owner = self._roster.get(key)
            if owner is not None and self._only is not None and owner.name not in self._only:
                return None
        if owner is None or (self._role is not None and owner.role not in _GUESTS.get(self._role, ())):
            return None
        return owner

    def retired(self, key: str) -> str | None:
        """Whose key it was, when it counts no more."""
        return self._retired.get(key)

    def _retire(self, key: str, name: str) -> None:
        self._retired[key] = name
        while len(self._retired) > _RETIRED:
            self._retired.popitem(last=False)
