"""Whether a connection is let in: answers libzmq's question at the end of every CURVE handshake (ZAP, RFC 27 of ZeroMQ).

Without an authenticator, libzmq accepts every key. So the authenticator is bound before any other socket, and every bound socket requires
it (one domain, which must be named: an authenticator without one would not be asked). The answer contains the key, by which messages are
identified later: their frames have it as the property `User-Id`, as long as the connection exists.

A key that is not known yet may be one whose owner was started a moment ago: the roster that names it is on its way. So the question is held
for `GRACE` seconds, which is less than a handshake may take; unknown keys wait as long, and are refused.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import zmq
from zmq.utils import z85

DOMAIN = b"murmuration"
USER = "User-Id"
"""property of a received frame: the public key of the sender"""
GRACE = 1.0
_HELD = 64
"""questions that are held at once; further ones are refused at once"""
_ADDRESS = "inproc://zeromq.zap.01"
LOOK_AGAIN = 0.05
"""seconds between two looks whether the key of a held question has become known"""
_BURST = 100


@dataclass(frozen=True, slots=True)
class _AuthenticationRequest:
    envelope: list[bytes]
    request: bytes
    key: str
    due: float


class HandshakeAuthenticator:
    """The ZAP socket of one context; every bound socket of the context asks it. For the driver only."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], allowed: Callable[[str], bool], counters: Counter[str]) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.LINGER = 0
        self.socket.RCVHWM = 0  # a question that is dropped would hold its connection until the time-out
        self.socket.bind(_ADDRESS)
        self._allowed = allowed
        self._counters = counters
        self._held: deque[_AuthenticationRequest] = deque()

    def handle(self, now: float) -> None:
        """Take the questions that have come, and answer those that can be answered."""
        for _ in range(_BURST):
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._ask(frames, now)

    def tick(self, now: float) -> None:
        """Answer held questions: whose key is known by now is let in, whose time is over is not."""
        for _ in range(len(self._held)):
            question = self._held.popleft()
            if self._allowed(question.key):
                self._answer(question, True)
            elif now >= question.due:
                self._answer(question, False)
            else:
                self._held.append(question)

    @property
    def held(self) -> int:
        """Questions that wait for an answer."""
        return len(self._held)

    def _ask(self, frames: list[bytes], now: float) -> None:
        """route, empty, version, request, domain, address, identity, mechanism, credentials (CURVE: the 32 bytes of the key)."""
        if len(frames) < 8:
            return
        question = _AuthenticationRequest(frames[:2], frames[3], "", now + GRACE)
        if frames[2] != b"1.0" or frames[4] != DOMAIN or frames[7] != b"CURVE" or len(frames) != 9 or len(frames[8]) != 32:
            self._answer(question, False)
            return
        question = _AuthenticationRequest(frames[:2], frames[3], z85.encode(frames[8]).decode("ascii"), now + GRACE)
        if self._allowed(question.key):
            self._answer(question, True)
        elif len(self._held) >= _HELD:
            self._answer(question, False)
        else:
            self._held.append(question)

    def _answer(self, question: _AuthenticationRequest, yes: bool) -> None:
        self._counters["rx.admitted" if yes else "rx.refused.key"] += 1
        status, text, user = (b"200", b"OK", question.key.encode()) if yes else (b"400", b"this key is not of the run", b"")
        reply = [*question.envelope, b"1.0", question.request, status, text, user, b""]
        try:
            self.socket.send_multipart(reply, zmq.NOBLOCK)
        except zmq.ZMQError:
            self._counters["rx.refused.lost"] += 1  # the connection is gone
