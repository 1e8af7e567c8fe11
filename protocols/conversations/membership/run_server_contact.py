"""Whether the run server answers a node or a host, and when it is to register (again).

    JOINING -> REGISTERED <-> UNANSWERED
      `Welcome`    nothing received for `silence` seconds; any message of the run server, or the `Welcome` of its successor

A run server that was killed may have a successor: a later incarnation of it, which accepts nothing from a process before its `Hello`.
So `Hello` is sent while JOINING and UNANSWERED. What was sent since the last answer may be lost and must be sent again after it. A machine
without socket, clock or thread.
"""

from __future__ import annotations

from enum import Enum, auto

from protocols.conversations.membership.membership_messages import Welcome
from protocols.wire.messages import Message

SILENCE = 2.0
"""seconds without a message after which the run server does not answer; at least four heartbeats, each of which it answers"""
HELLO_AGAIN = 0.5
"""seconds between two `Hello`"""


class ContactState(Enum):
    """See the module."""

    JOINING = auto()
    REGISTERED = auto()
    UNANSWERED = auto()


class RunServerContact:
    """The registration of one process; times in seconds."""

    def __init__(self, now: float) -> None:
        self.state = ContactState.JOINING
        self.answered = now
        """time of the newest message of the run server at which this process is registered (of the start, while JOINING)"""
        self._silence = SILENCE
        self._server = 0
        self._due = now

    def beats(self, period: float) -> None:
        """This process sends heartbeats with this period, in seconds."""
        self._silence = max(SILENCE, 4 * period)

    def receive(self, message: Message, now: float) -> bool:
        """A message of the run server has come: whether this process was not registered before, and is now."""
        if isinstance(message, Welcome):
            renewed = self.state != ContactState.REGISTERED or message.inc > self._server
            self._server = message.inc
        elif self.state != ContactState.JOINING and message.inc == self._server:
            renewed = self.state == ContactState.UNANSWERED
        else:
            return False
        self.state, self.answered = ContactState.REGISTERED, now
        return renewed

    def tick(self, now: float) -> bool:
        """Whether `Hello` is to be sent now."""
        if self.state == ContactState.REGISTERED:
            if now - self.answered < self._silence:
                return False
            self.state, self._due = ContactState.UNANSWERED, now
        if now < self._due:
            return False
        self._due = now + HELLO_AGAIN
        return True
