"""The client against a peer that uses the protocol over real sockets: retries, refusals, deadlines."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from orchestrator.run_server.run_client import RunClient, Unreachable
from protocols.conversations.client_requests.client_messages import Status, StatusRequest, StopRequest
from protocols.conversations.membership.membership_messages import Hello, Refuse, Welcome
from protocols.runtime.errors import AuthenticationError, ExitCode
from protocols.runtime.node_start import RUN_SERVER
from protocols.transport import Identity, Transport, TransportOptions
from protocols.wire.messages import Message

Answer = Callable[[Message], tuple[Message, dict[str, object]] | None]


class Peer:
    """Answers on a `ctl` socket by `answer`, and stores the requests."""

    def __init__(self, directory: Path) -> None:
        self.asked: list[Message] = []
        self.answer: Answer = lambda message: None
        self._over = threading.Event()
        self._transport = Transport(Identity("night", RUN_SERVER), TransportOptions(token="secret"))
        endpoint = self._transport.bind("ctl")
        directory.mkdir(parents=True)
        (directory / "control.json").write_text(json.dumps({"endpoint": endpoint, "token": "secret", "run": "night"}))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over.is_set():
            for received in self._transport.receive(0.05):
                self.asked.append(received.message)
                if (answer := self.answer(received.message)) is not None:
                    message, snapshot = answer
                    message.rid = received.message.rid
                    frame = {"snapshot": np.frombuffer(json.dumps(snapshot).encode(), np.uint8)} if isinstance(message, Status) else None
                    self._transport.send("ctl", received.src, message, frame)

    def close(self) -> None:
        self._over.set()
        self._thread.join(5)
        self._transport.close()


@pytest.fixture
def peer(runs: Path) -> Iterator[Peer]:
    one = Peer(runs / "night")
    yield one
    one.close()


def test_status_and_stop(peer: Peer, runs: Path) -> None:
    peer.answer = lambda message: (Welcome(), {}) if isinstance(message, Hello) else (Status(), {"state": "RUNNING", "event_id": 17})
    with RunClient(runs / "night") as client:
        assert client.status(leash=True)["state"] == "RUNNING"
        client.status()
        assert client.stop(now=True, reason="enough")["state"] == "RUNNING"
    hello, first, second, stop = peer.asked
    assert isinstance(hello, Hello) and (hello.role, hello.token) == ("client", "secret")
    assert isinstance(first, StatusRequest) and first.leash and first.after == 0
    assert isinstance(second, StatusRequest) and not second.leash and second.after == 17
    assert isinstance(stop, StopRequest) and stop.now and stop.reason == "enough"


def test_an_answer_that_is_lost_is_asked_for_again(peer: Peer, runs: Path) -> None:
    lost: list[Message] = []

    def answer(message: Message) -> tuple[Message, dict[str, object]] | None:
        if isinstance(message, Hello):
            return Welcome(), {}
        if not lost:
            lost.append(message)
            return None
        return Status(), {"state": "RUNNING"}

    peer.answer = answer
    with RunClient(runs / "night") as client:
        assert client.status()["state"] == "RUNNING"
    assert [message.rid for message in peer.asked[1:]] == [lost[0].rid] * 2, "the same request, twice"


def test_a_refusal_is_an_error_of_its_kind(peer: Peer, runs: Path) -> None:
    peer.answer = lambda message: (Refuse(code=ExitCode.AUTHENTICATION, text="the token is not that of this run"), {})
    with pytest.raises(AuthenticationError, match="not that of this run"):
        RunClient(runs / "night")


def test_a_client_that_was_forgotten_says_hello_again(peer: Peer, runs: Path) -> None:
    hellos: list[Message] = []

    def answer(message: Message) -> tuple[Message, dict[str, object]]:
        if isinstance(message, Hello):
            hellos.append(message)
            return Welcome(), {}
        return (Status(), {"state": "RUNNING"}) if len(hellos) > 1 else (Refuse(code=ExitCode.AUTHENTICATION, text="send Hello"), {})

    peer.answer = answer
    with RunClient(runs / "night") as client:
        assert client.status()["state"] == "RUNNING"
    assert len(hellos) == 2


def test_silence_ends_at_the_deadline(peer: Peer, runs: Path) -> None:
    with pytest.raises(Unreachable, match=r"did not answer within 0\.3 s"):
        RunClient(runs / "night", timeout=0.3)


@pytest.mark.parametrize("end", ["in order", "killed"])
def test_nobody_waits_for_a_run_server_that_has_ended(peer: Peer, runs: Path, end: str) -> None:
    peer.answer = lambda message: (Welcome(), {}) if isinstance(message, Hello) else None
    with RunClient(runs / "night") as client:
        if end == "in order":
            (runs / "night" / "control.json").unlink()
        else:
            (runs / "night" / "run.lock").touch()  # no process holds it
        began = time.monotonic()
        with pytest.raises(Unreachable, match="has ended"):
            client.status(timeout=100.0)
        assert time.monotonic() - began < 50.0


def test_a_run_without_an_address(runs: Path) -> None:
    (runs / "old").mkdir(parents=True)
    with pytest.raises(Unreachable, match="it has ended"):
        RunClient(runs / "old")
