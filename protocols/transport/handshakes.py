"""Handshakes of connections: which ones this process admits (`HandshakeAuthenticator`: ZAP, RFC 27 of ZeroMQ), by the key of the other
process (CURVE) or by the run's token (PLAIN), and their outcomes, as libzmq's monitors report them: refusals by this process, and the
reaction to refusals of it.

A client whose key is refused is not connected again by libzmq; one that has the wrong key of the server is, ten times a second, for ever.
Here both are the same: the socket is closed, and opened anew after 0.1 s, doubled each time. After `ATTEMPTS` refusals in a row there is no
further attempt, until something new is known: another endpoint or key, or a message from that node. A handshake without an answer
(a process that is stopped, a link that is cut) is no refusal, and libzmq continues to try.
"""

from __future__ import annotations

import errno
import hmac
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

DOMAIN = b"murmuration"
USER = "User-Id"
"""property of a received frame: the public key of the sender"""
GRACE = 1.0
_HELD = 64
"""questions that are held at once; further ones are refused at once"""
_ADDRESS = "inproc://zeromq.zap.01"
LOOK_AGAIN = 0.05
"""seconds between two looks whether the key of a held question has become known"""
_QUESTIONS = 100
"""most questions that are taken at once"""
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
OF_SERVER = {
    _ACCEPTED: "rx.accepted",
    _PROTOCOL: "rx.refused.protocol",
    _FAILED: "rx.refused.unfinished",
}
"""event of a bound socket -> what it is counted as. A peer without ZeroMQ is only missing: accepted, and never admitted"""

Socket = zmq.Socket[bytes]


def watch(context: zmq.Context[Socket], socket: Socket) -> Socket:
    """A socket from which the handshakes of another can be read. It must be read, and closed before the other one."""
    server = socket.type in (zmq.ROUTER, zmq.PULL)
    events = _FAILED | _PROTOCOL | (_ACCEPTED if server else _REFUSED | _SUCCEEDED)
    address = f"inproc://handshakes-{socket.underlying}"
    socket.monitor(address, events)
    monitor = context.socket(zmq.PAIR)
    monitor.LINGER = 0
    monitor.RCVHWM = 0  # libzmq waits until an event is taken, in the thread that moves all messages
    monitor.connect(address)
    return monitor


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


@dataclass(frozen=True, slots=True)
class _AuthenticationRequest:
    envelope: list[bytes]
    request: bytes
    key: str
    """public key; "": it showed a token, or neither"""
    due: float


class HandshakeAuthenticator:
    """The ZAP socket of one context; every bound socket of the context asks it. For the driver only.

    Without an authenticator, libzmq accepts every key. So the authenticator is bound before any other socket, and every bound socket
    requires it (one domain, which must be named: an authenticator without one would not be asked). The answer contains the key, by which
    messages are identified later: their frames have it as the property `User-Id`, as long as the connection exists.

    A key that is not known yet may be one whose owner was started a moment ago: the roster that names it is on its way. So the question is
    held for `GRACE` seconds, which is less than a handshake may take; unknown keys wait as long, and are refused. A token is right or wrong
    at once. `token`: that of the run, where nothing is encrypted.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], allowed: Callable[[str], bool], counters: Counter[str], token: str = ""
    ) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.LINGER = 0
        self.socket.RCVHWM = 0  # a question that is dropped would hold its connection until the time-out
        self.socket.bind(_ADDRESS)
        self._allowed = allowed
        self._token = token.encode()
        self._counters = counters
        self.held: deque[_AuthenticationRequest] = deque()
        """questions that wait for an answer"""

    def handle(self, now: float) -> None:
        """Take the questions that have come, and answer those that can be answered."""
        for _ in range(_QUESTIONS):
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._ask(frames, now)

    def tick(self, now: float) -> None:
        """Answer held questions: whose key is known by now is let in, whose time is over is not."""
        for _ in range(len(self.held)):
            question = self.held.popleft()
            if self._allowed(question.key):
                self._answer(question, True)
            elif now >= question.due:
                self._answer(question, False)
            else:
                self.held.append(question)

    def _ask(self, frames: list[bytes], now: float) -> None:
        """route, empty, version, request, domain, address, identity, mechanism, credentials (CURVE: the 32 bytes of the key; PLAIN: user
        and token)."""
        if len(frames) < 8:
            return
        question = _AuthenticationRequest(frames[:2], frames[3], "", now + GRACE)
        if self._token:
            right = frames[2] == b"1.0" and frames[4] == DOMAIN and frames[7] == b"PLAIN" and len(frames) == 10
            self._answer(question, right and hmac.compare_digest(frames[9], self._token))
            return
        if frames[2] != b"1.0" or frames[4] != DOMAIN or frames[7] != b"CURVE" or len(frames) != 9 or len(frames[8]) != 32:
            self._answer(question, False)
            return
        question = _AuthenticationRequest(frames[:2], frames[3], z85.encode(frames[8]).decode("ascii"), now + GRACE)
        if self._allowed(question.key):
            self._answer(question, True)
        elif len(self.held) >= _HELD:
            self._answer(question, False)
        else:
            self.held.append(question)

    def _answer(self, question: _AuthenticationRequest, yes: bool) -> None:
        self._counters["rx.admitted" if yes else "rx.refused.token" if self._token else "rx.refused.key"] += 1
        status, text, user = (b"200", b"OK", question.key.encode()) if yes else (b"400", b"not a process of the run", b"")
        reply = [*question.envelope, b"1.0", question.request, status, text, user, b""]
        try:
            self.socket.send_multipart(reply, zmq.NOBLOCK)
        except zmq.ZMQError:
            self._counters["rx.refused.lost"] += 1  # the connection is gone
