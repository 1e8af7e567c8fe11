"""Encrypted links over real sockets: who is served, and who is not."""

from __future__ import annotations

import logging
import socket as plain
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
import zmq

from protocols.conversations.lockstep_messages import Marker
from protocols.conversations.membership.membership_messages import Bye, Hello, Roster, Welcome
from protocols.conversations.stepping.stepping_messages import Join
from protocols.runtime.errors import AuthenticationError
from protocols.runtime.key_pairs import KeyPair
from protocols.transport import Identity, Transport, TransportOptions, handshakes
from protocols.transport.handshakes import ATTEMPTS, GRACE
from protocols.transport.sockets import open_socket
from tests.protocols.transport.driving import RUN, bye, collect, needs_ipc, numbers, until
from tests.protocols.transport.strangers import join, raw, roster, transport

SERVER, HONEST, OTHER = KeyPair.make(), KeyPair.make(), KeyPair.make()


class Scene:
    """An environment server that admits agent-0 and agent-1, and agent-0, which is served."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.server = self.add(transport("env-0", SERVER, "env"))
        self.endpoint = self.server.bind("env")
        self.server.guard.follow(1, roster(("agent-0", HONEST, 1), ("agent-1", OTHER, 1)))
        self.honest = self.add(transport("agent-0", HONEST, "agent"))
        self.honest.connect("env", "env-0", self.endpoint, SERVER.public)
        self.asked = 0
        self.ask()

    def add(self, made: Transport) -> Transport:
        self._stack.callback(made.close, 0.1)
        return made

    def ask(self) -> float:
        """The honest agent sends a message, and the server receives nothing else; seconds until it did."""
        self.asked += 1
        begin = time.perf_counter()
        self.honest.send("env", "env-0", Join(rid=str(self.asked)))
        received = collect(self.server, 1)
        spent = time.perf_counter() - begin
        assert [(item.src, item.message.rid) for item in received] == [("agent-0", str(self.asked))]
        return spent

    def counted(self, name: str, least: int = 1) -> None:
        until(lambda: self.server.counters[name] >= least, self.server)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack)


def test_answers_reach_who_asked_and_nothing_is_readable_on_the_way(scene: Scene) -> None:
    scene.server.send("env", "agent-0", bye(7))
    # An agent takes no Bye from an environment server: that it is refused there shows that it came whole.
    until(lambda: scene.honest.counters["rx.bad.E_AUTH"] == 1, scene.honest)
    assert scene.server.counters["rx.admitted"] == 1


def test_what_is_sent_is_not_on_the_wire() -> None:
    """A wire-tapper between client and server sees neither names nor texts."""
    seen = bytearray()
    with closing(plain.create_server(("127.0.0.1", 0))) as tap, ExitStack() as stack:
        server, client = transport("env-0", SERVER), transport("agent-0", HONEST)
        stack.callback(server.close, 0.1)
        stack.callback(client.close, 0.1)
        server.guard.admit(HONEST.public, "agent-0", "agent")
        port = int(server.bind("env").rpartition(":")[2])
        client.connect("env", "env-0", f"tcp://127.0.0.1:{tap.getsockname()[1]}", SERVER.public)
        client.send("env", "env-0", Bye(code=0, reason="a rather secret word"))
        tap.settimeout(5)
        near = stack.enter_context(tap.accept()[0])
        far = stack.enter_context(plain.create_connection(("127.0.0.1", port)))
        near.settimeout(0.02)
        far.settimeout(0.02)
        received: list[object] = []
        deadline = time.monotonic() + 10
        while not received and time.monotonic() < deadline:
            for source, sink in ((near, far), (far, near)):
                try:
                    piece = source.recv(65536)
                except TimeoutError:
                    continue
                seen += piece
                sink.sendall(piece)
            received += server.receive(0.0)
        assert [item.message.reason for item in received] == ["a rather secret word"]  # type: ignore[attr-defined]
    assert len(seen) > 300
    assert b"secret word" not in seen
    assert b"agent-0" not in seen


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown keys are held for a tenth of a second only."""
    monkeypatch.setattr(handshakes, "GRACE", 0.1)


@pytest.mark.usefixtures("impatient")
def test_an_unknown_key_is_refused_and_gives_up_after_five(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    stranger = scene.add(transport("agent-0", KeyPair.make(), "agent"))
    stranger.connect("env", "env-0", scene.endpoint, SERVER.public)
    stranger.send("env", "env-0", Join())
    with caplog.at_level(logging.INFO):
        until(lambda: stranger.refusal("env", "env-0"), scene.server, stranger)
    assert scene.server.counters["rx.refused.key"] == ATTEMPTS
    assert scene.server.counters["rx.admitted"] == 1
    assert stranger.counters["tx.given_up"] == 1
    assert not stranger.connected("env", "env-0")
    assert "does not know this process's public key" in caplog.text
    scene.ask()
    # The socket is closed: no further attempt comes, nor does one when the same node is named again.
    accepted = scene.server.counters["rx.accepted"]
    stranger.connect("env", "env-0", scene.endpoint, SERVER.public)
    for _ in range(5):
        stranger.receive(0.1)
        scene.ask()
    assert scene.server.counters["rx.accepted"] == accepted


def test_a_wrong_server_key_gives_up_after_five(scene: Scene) -> None:
    deceived = scene.add(transport("agent-1", OTHER, "agent"))
    deceived.connect("env", "env-0", scene.endpoint, KeyPair.make().public)
    deceived.send("env", "env-0", Join())
    until(lambda: deceived.refusal("env", "env-0"), scene.server, deceived)
    scene.counted("rx.refused.protocol", ATTEMPTS)
    scene.ask()
    accepted = scene.server.counters["rx.accepted"]
    for _ in range(5):
        deceived.receive(0.1)
        scene.ask()
    assert scene.server.counters["rx.accepted"] == accepted


def test_nobody_is_served_without_encryption(scene: Scene) -> None:
    def turned_away() -> int:
        # The first of the two to notice the incompatible protocol closes the connection.
        return scene.server.counters["rx.refused.protocol"] + scene.server.counters["rx.refused.unfinished"]

    with raw(scene.endpoint) as dealer:
        dealer.send_multipart(join("agent-1"))
        until(lambda: turned_away() >= 1, scene.server)
        scene.ask()
    before = turned_away()
    plaintext = scene.add(transport("agent-1", None, "agent"))
    plaintext.connect("env", "env-0", scene.endpoint)
    plaintext.send("env", "env-0", Join())
    until(lambda: turned_away() > before, scene.server)
    scene.ask()


def test_the_third_message_in_somebody_elses_name_is_the_last_that_is_read(scene: Scene) -> None:
    with raw(scene.endpoint, OTHER, SERVER.public) as dealer:
        for number in range(1, 4):
            dealer.send_multipart(join("agent-0", seq=number))
        scene.counted("rx.quarantines")
        assert scene.server.counters["rx.bad.E_KEY"] == 3
        dealer.send_multipart(join("agent-1", seq=4))
        scene.counted("rx.quarantined")
        scene.ask()
    # Connecting anew does not help: the key is quarantined.
    with raw(scene.endpoint, OTHER, SERVER.public) as dealer:
        dealer.send_multipart(join("agent-1", seq=5))
        scene.counted("rx.quarantined", 2)
        scene.ask()


def test_a_key_that_is_revoked_is_not_heard_over_the_connection_that_it_has(scene: Scene) -> None:
    with raw(scene.endpoint, OTHER, SERVER.public) as dealer:
        dealer.send_multipart(join("agent-1", seq=1))
        assert [item.src for item in collect(scene.server, 1)] == ["agent-1"]
        scene.server.guard.follow(2, roster(("agent-0", HONEST, 1), ("agent-1", KeyPair.make(), 2)))
        dealer.send_multipart(join("agent-1", seq=2))
        dealer.send_multipart(join("agent-1", incarnation=2, seq=3))
        scene.counted("rx.bad.E_REVOKED", 2)
        scene.ask()
    refused = scene.server.counters["rx.refused.key"]
    with raw(scene.endpoint, OTHER, SERVER.public) as dealer:
        dealer.send_multipart(join("agent-1", seq=4))
        scene.counted("rx.refused.key", refused + 1)
        scene.ask()


def test_the_dead_are_not_heard(scene: Scene) -> None:
    with raw(scene.endpoint, OTHER, SERVER.public) as dealer:
        dealer.send_multipart(join("agent-1", seq=1))
        collect(scene.server, 1)
        scene.server.guard.follow(2, roster(("agent-0", HONEST, 1), ("agent-1", OTHER, 1), dead=("agent-1",)))
        dealer.send_multipart(join("agent-1", seq=2))
        scene.counted("rx.bad.E_REVOKED")
        scene.ask()


def test_messages_of_another_run_are_dropped_whatever_their_key(scene: Scene) -> None:
    with raw(scene.endpoint, OTHER, SERVER.public) as dealer:
        dealer.send_multipart(join("agent-1", run="another"))
        scene.counted("rx.bad.E_RUN")
        scene.ask()


def test_garbage_is_survived_and_never_admitted(scene: Scene) -> None:
    port = int(scene.endpoint.rpartition(":")[2])
    pieces = [b"GET / HTTP/1.1\r\n\r\n" * 50, b"\xff" * 5000, b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01CURVE" + b"\0" * 500, b"\0" * 64]
    for piece in pieces:
        with plain.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(piece)
        scene.ask()
    scene.counted("rx.accepted", 1 + len(pieces))
    assert scene.server.counters["rx.admitted"] == 1


def test_an_agent_lets_in_those_that_it_has_to_do_with() -> None:
    pairs = {f"agent-{i}": KeyPair.make() for i in range(4)}
    with ExitStack() as stack:
        agents = {name: transport(name, pair, "agent") for name, pair in pairs.items()}
        for agent in agents.values():
            stack.callback(agent.close, 0.1)
        server = agents["agent-0"]
        endpoint = server.bind("peer")
        entries = roster(*((name, pair, 1) for name, pair in pairs.items()))
        server.guard.follow(1, entries)
        server.guard.only(["agent-1", "agent-3"])
        for name in ("agent-1", "agent-2"):
            agents[name].connect("peer", "agent-0", endpoint, pairs["agent-0"].public)
        until(lambda: server.counters["rx.refused.key"] >= 1 and server.counters["rx.admitted"] >= 1, server, agents["agent-1"])
        server.guard.only(None)
        # One attempt later it is in: no notification is needed.
        until(lambda: server.counters["rx.admitted"] >= 2, server, agents["agent-2"])


@pytest.mark.usefixtures("impatient")
def test_an_environment_server_lets_in_no_command_line_and_no_environment(scene: Scene) -> None:
    for name, role in (("client-1", "client"), ("env-1", "env")):
        pair = KeyPair.make()
        scene.server.guard.admit(pair.public, name, role)  # type: ignore[arg-type]
        refused = scene.server.counters["rx.refused.key"]
        with raw(scene.endpoint, pair, SERVER.public):
            scene.counted("rx.refused.key", refused + 1)


def test_who_is_started_is_let_in_though_the_roster_comes_after_it(scene: Scene) -> None:
    """Its key is not known when it connects, and is a moment later: it is not refused, and nothing is lost."""
    pair = KeyPair.make()
    newcomer = scene.add(transport("agent-1", pair, "agent", incarnation=2))
    newcomer.connect("env", "env-0", scene.endpoint, SERVER.public)
    newcomer.send("env", "env-0", Join())
    scene.counted("rx.accepted", 2)
    assert scene.ask() < GRACE
    scene.server.guard.follow(2, roster(("agent-0", HONEST, 1), ("agent-1", pair, 2)))
    assert [(item.src, item.message.inc) for item in collect(scene.server, 1)] == [("agent-1", 2)]
    assert newcomer.counters["tx.refused"] == 0


@pytest.mark.usefixtures("impatient")
def test_who_gave_up_tries_again_when_the_other_one_speaks() -> None:
    """Both bind, as agents do. One does not have the other's key for long, and is then the first to send."""
    near, far = KeyPair.make(), KeyPair.make()
    with ExitStack() as stack:
        a, b = transport("agent-0", near, "agent"), transport("agent-1", far, "agent")
        stack.callback(a.close, 0.1)
        stack.callback(b.close, 0.1)
        at_a, at_b = a.bind("peer"), b.bind("peer")
        entries = roster(("agent-0", near, 1), ("agent-1", far, 1))
        a.guard.follow(1, entries)
        a.connect("peer", "agent-1", at_b, far.public)
        until(lambda: a.refusal("peer", "agent-1"), a, b)
        b.guard.follow(1, entries)
        b.connect("peer", "agent-0", at_a, near.public)
        b.send("peer", "agent-0", Marker(count=1))
        collect(a, 1)
        assert a.connected("peer", "agent-1")
        a.send("peer", "agent-1", Marker(count=2))
        assert [item.message for item in collect(b, 1) if isinstance(item.message, Marker) and item.message.count == 2]


def test_telemetry_and_control_know_whose_key_it_is() -> None:
    pair, command_lines = KeyPair.make(), KeyPair.make()
    with ExitStack() as stack:
        server = transport("run", SERVER, "run")
        stack.callback(server.close, 0.1)
        control = server.bind("ctl")
        server.guard.admit(command_lines.public, "", "client")
        server.guard.follow(1, roster(("agent-0", pair, 1)))
        # Two command lines at once have one key; each is answered over its own connection.
        clients = [transport(f"client-{i}", command_lines, "client") for i in range(2)]
        for number, client in enumerate(clients):
            stack.callback(client.close, 0.1)
            client.connect("ctl", "run", control, SERVER.public)
            client.send("ctl", "run", Hello(role="client", rid=str(number)))
        assert sorted(item.src for item in collect(server, 2)) == ["client-0", "client-1"]
        for number, client in enumerate(clients):
            server.send("ctl", f"client-{number}", Welcome(rid=str(number)))
            assert [item.message.rid for item in collect(client, 1)] == [str(number)]
        # The key of command lines authenticates no node.
        clients[0].identity = Identity(RUN, "agent-0", 1, "client")
        clients[0].send("ctl", "run", Hello(role="agent"))
        until(lambda: server.counters["rx.bad.E_KEY"] == 1, server)


def test_latency_stays_while_strangers_knock(scene: Scene) -> None:
    before = statistics.median(scene.ask() for _ in range(50))
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(raw(scene.endpoint, KeyPair.make(), SERVER.public))
            stack.enter_context(raw(scene.endpoint, OTHER, KeyPair.make().public))  # knocks ten times a second
            stack.enter_context(raw(scene.endpoint))
        during = statistics.median(scene.ask() for _ in range(100))
        scene.counted("rx.refused.protocol", 20)
        scene.counted("rx.refused.key", 10)
    assert during < 5 * before + 0.005


@needs_ipc
def test_unix_domain_sockets_are_encrypted_too(scene: Scene) -> None:
    with ExitStack() as stack:
        server, client = transport("env-0", SERVER), transport("agent-0", HONEST)
        stack.callback(server.close, 0.1)
        stack.callback(client.close, 0.1)
        server.guard.admit(HONEST.public, "agent-0", "agent")
        client.connect("env", "env-0", server.bind("env", carrier="ipc"), SERVER.public)
        client.send("env", "env-0", bye(3))
        assert numbers(collect(server, 1)) == [3]
        assert server.counters["rx.admitted"] == 1


def test_a_roster_admits_whom_it_names_over_the_wire() -> None:
    """As in a run: the run server's roster reaches an agent, which from then on lets its neighbour in."""
    run, agent, peer = KeyPair.make(), KeyPair.make(), KeyPair.make()
    with ExitStack() as stack:
        server, a, b = transport("run", run, "run"), transport("agent-0", agent, "agent"), transport("agent-1", peer, "agent")
        for made in (server, a, b):
            stack.callback(made.close, 0.1)
        entries = roster(("agent-0", agent, 1), ("agent-1", peer, 1))
        server.guard.follow(1, entries)
        a.connect("ctl", "run", server.bind("ctl"), run.public)
        a.send("ctl", "run", Hello(role="agent"))
        collect(server, 1)
        b.connect("peer", "agent-0", a.bind("peer"), agent.public)
        until(lambda: a.counters["rx.accepted"] == 1, a, b)
        server.send("ctl", "agent-0", Roster(version=1, entries=entries))
        assert isinstance(collect(a, 1)[0].message, Roster)
        b.guard.follow(1, entries)
        until(lambda: a.counters["rx.admitted"] == 1, a, b)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "*", "192.0.2.1", "example.org"])
def test_nothing_is_bound_outside_loopback_without_keys(host: str, make: Callable[..., Transport]) -> None:
    with pytest.raises(AuthenticationError, match=r"security\.mode=curve"):
        make("server").bind("env", host)


def test_bound_and_advertised_addresses_are_two() -> None:
    with ExitStack() as stack:
        server, client = transport("env-0", SERVER), transport("agent-0", HONEST)
        stack.callback(server.close, 0.1)
        stack.callback(client.close, 0.1)
        server.guard.admit(HONEST.public, "agent-0", "agent")
        endpoint = server.bind("env", "0.0.0.0", advertise="localhost")
        assert endpoint.startswith("tcp://localhost:")
        client.connect("env", "env-0", endpoint, SERVER.public)
        client.send("env", "env-0", bye(4))
        assert numbers(collect(server, 1)) == [4]


def test_no_connection_is_made_to_who_has_no_key(make: Callable[..., Transport], scene: Scene) -> None:
    with pytest.raises(AuthenticationError, match="no public key"):
        scene.honest.connect("peer", "agent-1", scene.endpoint)


def test_the_domain_is_asked_for() -> None:
    """An authenticator without domain would not be asked, and all peers let in."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with closing(open_socket(context, "env", zmq.ROUTER, TransportOptions(keys=SERVER))) as socket:
            assert socket.getsockopt(zmq.CURVE_SERVER) == 1
            assert socket.getsockopt(zmq.ZAP_ENFORCE_DOMAIN) == 1
            assert socket.getsockopt(zmq.ZAP_DOMAIN)
    finally:
        context.term()
