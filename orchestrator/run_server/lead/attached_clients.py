"""Attached command lines: which have sent `Hello`, and whose end ends the run (the leash)."""

from __future__ import annotations

import socket
from collections import OrderedDict
from dataclasses import dataclass

import psutil

from orchestrator.launch.process_control import exists
from protocols.conversations.client_requests.client_messages import StatusRequest

_KNOWN = 256
_SILENCE = 5.0


@dataclass
class _Leash:
    pid: int
    machine: str
    started: float | None
    asked: float


def _start_of(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


class AttachedClients:
    """Clients of one run server."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self._leashes: dict[str, _Leash] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def admit(self, name: str) -> None:
        """A client showed the run's token. The oldest of many are dropped, and must send `Hello` again."""
        self._known[name] = None
        self._known.move_to_end(name)
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def asked(self, name: str, request: StatusRequest, now: float) -> None:
        """A client asks for the status; the newest request states whether it holds the leash."""
        if not request.leash:
            self._leashes.pop(name, None)
        elif (leash := self._leashes.get(name)) is not None:
            leash.asked = now
        else:
            self._leashes[name] = _Leash(request.pid, request.host, _start_of(request.pid), now)

    def torn(self, now: float) -> bool:
        """A client that held the leash is gone: silent for 5 s, and its process exists no more on this machine.

        A stopped terminal (Ctrl-Z) or a busy machine is silent too, but its process exists; a client on another machine can't be seen,
        and its silence ends nothing.
        """
        for leash in self._leashes.values():
            if now - leash.asked < _SILENCE or leash.machine != socket.gethostname():
                continue
            if not exists(leash.pid) or _start_of(leash.pid) != leash.started:
                return True
        return False
