"""Who may connect to a process, and as whom: the owners of the public keys that the run knows. No socket, no clock.

What a process knows comes from the run server: the roster names the key of every node's newest life. The run server itself hears the keys
of its hosts from their engine, and those of nodes from the host that started them. Whom a process lets in follows from its role: the run
server everybody of the run, an environment server the agents, an agent other agents (`only`: those that it has to do with).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from protocols.conversations.membership.membership_messages import RosterEntry
from protocols.wire.messages import Role

CLIENT = "client-"
"""what names of command lines begin with; they share one key, which speaks for no other name"""
_GUESTS: Mapping[Role, frozenset[Role]] = {
    "run": frozenset(("agent", "env", "host", "client")),
    "env": frozenset(("agent",)),
    "agent": frozenset(("agent",)),
}
"""role of a process that binds -> roles of those that connect to it; roles that are not here bind nothing"""
_RETIRED = 4096
"""keys of past lives that are remembered, to be told from keys that never counted"""


@dataclass(frozen=True)
class KeyOwner:
    """Whose a key is; command lines have no name of their own."""

    name: str
    role: Role

    def speaks_as(self, name: str) -> bool:
        """Whether a message of that sender may come with this key."""
        return name == self.name if self.name else name.startswith(CLIENT)


class Keyring:
    """The allow-list of one process. `role` None: of a process without a part in a run (benchmarks), which lets in whoever was admitted."""

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
        """From now on nobody gets in with that key, whatever a roster says, and what comes with it is refused."""
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

        The run server hears the dead too, to tell them that they are.
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
