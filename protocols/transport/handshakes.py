"""Outcomes of handshakes, as libzmq's monitors report them: refusals by this process, and the reaction to refusals of it.

A client whose key is refused is not connected again by libzmq; one that has the wrong key of the server is, ten times a second, for ever.
Here both are the same: the socket is closed, and opened anew after 0.1 s, doubled each time. After `ATTEMPTS` refusals in a row there is no
further attempt, until something new is known: another endpoint or key, or a message from that node. A handshake without an answer
(a process that is stopped, a link that is cut) is no refusal, and libzmq continues to try.
"""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import zmq
from zmq.utils.monitor import parse_monitor_message

ATTEMPTS = 5
_FIRST = 0.1
_BURST = 200
_FAILED = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
_PROTOCOL = int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
_REFUSED = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
_SUCCEEDED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_ACCEPTED = int(zmq.EVENT_ACCEPTED)
_HUNG_UP = (errno.EPIPE, errno.ECONNRESET)
"""the other side closed the connection in the middle of the handshake, as one does who can't read what came"""
_OF_SERVER = {
    _ACCEPTED: "rx.accepted",
    _PROTOCOL: "rx.refused.protocol",
    _FAILED: "rx.refused.unfinished",
}
"""event of a bound socket -> what it is counted as. A peer without ZeroMQ is only missing: accepted, and never admitted"""

Socket = zmq.Socket[bytes]


def watch(context: zmq.Context[Socket], socket: Socket) -> Socket:
    """A socket from which the handshakes of another can be read. It must be read, and closed before the other one (`stop_watching`)."""
    server = socket.type in (zmq.ROUTER, zmq.PULL)
    events = _FAILED | _PROTOCOL | (_ACCEPTED if server else _REFUSED | _SUCCEEDED)
    address = f"inproc://handshakes-{socket.underlying}"
    socket.monitor(address, events)
    monitor = context.socket(zmq.PAIR)
    monitor.LINGER = 0
    monitor.RCVHWM = 0  # libzmq waits until an event is taken, in the thread that moves all messages
    monitor.connect(address)
    return monitor


def stop_watching(socket: Socket, monitor: Socket) -> None:
    """Stop monitoring `socket` and close the `monitor` that `watch` returned; call it before `socket` is closed."""
    socket.disable_monitor()
    monitor.close(0)


def read(monitor: Socket) -> list[tuple[int, int]]:
    """Handshake events (event, value) since the last call, as libzmq reports them; does not wait."""
    events = []
    for _ in range(_BURST):
        try:
            frames = monitor.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            break
        event = parse_monitor_message(frames)
        events.append((int(event["event"]), int(event["value"])))
    return events


def count_guests(monitor: Socket, counters: Counter[str]) -> None:
    """Add the handshakes at a bound socket since the last call to `counters`."""
    for event, _ in read(monitor):
        counters[_OF_SERVER[event]] += 1


@dataclass(eq=False, slots=True)
class HandshakeAttempts:
    """Handshakes of one connection that we make. No socket, no clock."""

    refusals: int = 0
    """in a row"""

    def happened(self, event: int, value: int) -> Literal["on", "again", "over"]:
        """What to do after that event: go on, close and open the socket `delay` seconds later, or give up."""
        if event == _SUCCEEDED:
            self.refusals = 0
            return "on"
        if event == _FAILED and value not in _HUNG_UP:
            return "on"
        self.refusals += 1
        return "over" if self.refusals >= ATTEMPTS else "again"

    @property
    def delay(self) -> float:
        """Seconds until the next attempt; doubled by every refusal after the first."""
        return float(_FIRST * 2 ** max(0, self.refusals - 1))
