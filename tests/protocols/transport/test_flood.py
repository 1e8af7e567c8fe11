"""Many connections that send nothing, to a server that may open few files: connected peers are served throughout."""

from __future__ import annotations

import json
import socket as plain
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from protocols.runtime.key_pairs import KeyPair
from protocols.transport import Transport
from tests.protocols.transport.driving import bye, collect, numbers, until
from tests.protocols.transport.strangers import transport

ROOT = Path(__file__).resolve().parents[3]
FILES = 96


@contextmanager
def serving(pair: KeyPair, guest: KeyPair) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "tests.protocols.transport.echo"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        order: dict[str, Any] = {"public": pair.public, "secret": pair.secret, "guest": guest.public, "files": FILES}
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        yield json.loads(process.stdout.readline()), process
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait(5)
        process.stdout.close()


@pytest.mark.parametrize("idle", [120, pytest.param(500, marks=pytest.mark.slow)])
def test_idle_connections_take_all_files_and_nobody_notices(idle: int) -> None:
    pair, guest, asked = KeyPair.make(), KeyPair.make(), count()

    def ask(client: Transport) -> float:
        number, begin = next(asked), time.perf_counter()
        client.send("env", "env-0", bye(number))
        assert numbers(collect(client, 1)) == [number]
        return time.perf_counter() - begin

    with ExitStack() as stack:
        endpoint, process = stack.enter_context(serving(pair, guest))
        client = transport("agent-0", guest)
        stack.callback(client.close, 0.1)
        client.connect("env", "env-0", endpoint, pair.public)
        before = statistics.median(ask(client) for _ in range(50))
        address = ("127.0.0.1", int(endpoint.rpartition(":")[2]))
        silent = [stack.enter_context(plain.create_connection(address, timeout=5)) for _ in range(idle)]
        during = statistics.median(ask(client) for _ in range(100))
        assert during < 5 * before + 0.05
        # They are closed after the time a handshake may take, and later peers are served.
        for connection in silent:
            connection.close()
        client.disconnect("env", "env-0")
        client.connect("env", "env-0", endpoint, pair.public)
        client.send("env", "env-0", bye(next(asked)))
        until(lambda: client.receive(0.1))
        ask(client)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        counters = json.loads(process.stdout.readline())
        assert counters["rx.admitted"] == 2
        assert counters["rx.accepted"] - counters["rx.admitted"] >= FILES // 2
