"""A process and its run server: when it registers again, and which rows of metrics are sent again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocols.conversations.control.control_messages import HeartbeatAck, Metrics
from protocols.conversations.control.unconfirmed_metrics import UnconfirmedMetrics
from protocols.conversations.membership.membership_messages import Welcome
from protocols.conversations.membership.run_server_contact import HELLO_AGAIN, SILENCE, ContactState, RunServerContact


def test_hello_is_sent_until_welcomed_and_again_after_silence() -> None:
    contact = RunServerContact(0.0)
    assert contact.tick(0.0) and not contact.tick(HELLO_AGAIN / 2) and contact.tick(HELLO_AGAIN)
    assert not contact.receive(HeartbeatAck(inc=1), 0.6) and contact.state == ContactState.JOINING, "only `Welcome` registers"
    assert contact.receive(Welcome(inc=1), 1.0) and contact.state == ContactState.REGISTERED
    assert not contact.receive(HeartbeatAck(inc=1), 2.0)
    assert not contact.tick(2.0 + SILENCE - 0.01)
    assert contact.tick(2.0 + SILENCE) and contact.state == ContactState.UNANSWERED
    assert not contact.tick(2.0 + SILENCE + HELLO_AGAIN / 2) and contact.tick(2.0 + SILENCE + HELLO_AGAIN)


def test_a_run_server_that_was_slow_needs_no_new_registration() -> None:
    contact = RunServerContact(0.0)
    contact.receive(Welcome(inc=1), 0.0)
    assert contact.tick(SILENCE)
    assert contact.receive(HeartbeatAck(inc=1), 2.5) and contact.state == ContactState.REGISTERED, "what was sent may be lost"
    assert not contact.tick(3.0) and contact.answered == 2.5


def test_a_successor_counts_from_its_welcome_on() -> None:
    contact = RunServerContact(0.0)
    contact.receive(Welcome(inc=1), 0.0)
    assert contact.tick(SILENCE)
    assert not contact.receive(HeartbeatAck(inc=2), 3.0) and contact.state == ContactState.UNANSWERED and contact.answered == 0.0
    assert contact.receive(Welcome(inc=2), 3.1) and contact.state == ContactState.REGISTERED
    assert not contact.receive(HeartbeatAck(inc=1), 3.2) and contact.answered == 3.1, "a late message of the former one"
    assert contact.receive(Welcome(inc=3), 3.3), "even where no silence was noticed"


def test_long_periods_of_heartbeats_are_no_silence() -> None:
    contact = RunServerContact(0.0)
    contact.receive(Welcome(inc=1), 0.0)
    contact.beats(5.0)
    assert not contact.tick(19.0) and contact.tick(20.0)


class Receiver:
    """Takes rows until it has so many."""

    def __init__(self, most: int = 1000) -> None:
        self.numbers: list[int] = []
        self.most = most

    def __call__(self, message: Metrics, arrays: Mapping[str, Any]) -> bool:
        if len(self.numbers) >= self.most:
            return False
        self.numbers.append(message.number)
        return True


def row(step: int) -> Metrics:
    return Metrics(step=step, episode=0, names=[], stamp=0.0)


def test_rows_are_sent_once_in_order_and_kept_until_confirmed() -> None:
    rows, receiver = UnconfirmedMetrics(confirmed_after=10.0), Receiver(most=3)
    for step in range(5):
        rows.add(row(step), {})
    rows.send(receiver, 1.0)
    assert receiver.numbers == [1, 2, 3], "the rest waits for room"
    receiver.most = 1000
    rows.send(receiver, 2.0)
    rows.send(receiver, 3.0)
    assert receiver.numbers == [1, 2, 3, 4, 5]
    rows.answered(10.9)
    assert len(rows) == 5
    rows.answered(11.5)
    assert len(rows) == 2, "three were sent more than ten seconds ago"


def test_what_is_not_confirmed_is_sent_again() -> None:
    rows, receiver = UnconfirmedMetrics(confirmed_after=10.0), Receiver()
    for step in range(3):
        rows.add(row(step), {})
    rows.send(receiver, 1.0)
    rows.answered(2.0)
    rows.add(row(3), {})  # without a run server
    rows.send_again()
    rows.answered(100.0)
    assert len(rows) == 4, "an answer confirms nothing that is still to be sent"
    rows.send(receiver, 100.0)
    assert receiver.numbers == [1, 2, 3, 1, 2, 3, 4]
    rows.answered(110.0)
    assert len(rows) == 0 and rows.dropped == 0


def test_rows_without_room_are_dropped_and_counted() -> None:
    rows, receiver = UnconfirmedMetrics(most=4, confirmed_after=1.0), Receiver()
    for step in range(10):
        rows.add(row(step), {})
    assert len(rows) == 4 and rows.dropped == 6
    rows.send(receiver, 1.0)
    assert receiver.numbers == [7, 8, 9, 10]
    rows.add(row(10), {})
    assert rows.dropped == 7, "row 7 was sent, and never confirmed"
    rows.answered(2.5)
    rows.send(receiver, 2.5)
    for step in range(4):
        rows.add(row(step), {})
    assert rows.dropped == 8, "row 11 was not confirmed"
