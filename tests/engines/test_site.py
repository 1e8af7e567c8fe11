"""The hosts that the other tests of this room run on are apart, can be cut off, slowed and killed, and leave nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.engines.conftest import BuildSite
from tests.engines.site import NAMESPACES, Host, Site, SiteError
from tests.orchestrator.run_server.cluster import ROOT, eventually

ECHO = """
import socket, sys, threading
server = socket.create_server((sys.argv[1], 7000))
print("listening", flush=True)
def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)
while True:
    threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
"""

ROUND_TRIP = """
import socket, sys, time
connection = socket.create_connection((sys.argv[1], 7000), timeout=5)
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
times = []
for _ in range(5):
    start = time.monotonic()
    connection.sendall(b"x")
    connection.recv(1)
    times.append(time.monotonic() - start)
print(sorted(times)[2])
"""

LEAVES_A_SITE = """
import subprocess, sys
from tests.engines.site import Site
site = Site(1)
site.__enter__()
sleeping = site.hosts[0].popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
print(site.prefix, sleeping.pid, flush=True)
sys.stdin.read()
"""


def echo_on(host: Host) -> subprocess.Popen[bytes]:
    process = host.popen([sys.executable, "-c", ECHO, host.address], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"listening\n"
    return process


@contextmanager
def connected(host: Host, timeout: float = 5.0) -> Iterator[socket.socket]:
    with socket.create_connection((host.address, 7000), timeout=timeout) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def round_trip(connection: socket.socket) -> float:
    start = time.monotonic()
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
    return time.monotonic() - start


def test_hosts_have_names_and_addresses_of_their_own_and_reach_each_other(build_site: BuildSite) -> None:
    site = build_site(2)
    first, second = site.hosts
    say = "import json, os, socket; print(json.dumps([socket.gethostname(), os.getpid(), os.getcwd()]))"
    names = [json.loads(host.run([sys.executable, "-c", say], cwd="/").stdout) for host in site.hosts]
    assert [name for name, _, _ in names] == ["h1", "h2"] and socket.gethostname() not in ("h1", "h2")
    assert names[0][2] == "/"
    echo_on(first)
    with connected(first) as connection:
        assert connection.getsockname()[0] == site.address, "the root namespace is one of them"
        assert round_trip(connection) < 1.0
    assert float(second.run([sys.executable, "-c", ROUND_TRIP, first.address]).stdout) < 1.0
    with pytest.raises(OSError), socket.create_connection((second.address, 7000), timeout=1.0):
        pass  # the same port on another host


def test_control_groups_are_seen_on_a_host(build_site: BuildSite) -> None:
    here = Path("/sys/fs/cgroup").stat()
    assert build_site(1).hosts[0].run(["stat", "--format=%d %i", "/sys/fs/cgroup"]).stdout.split() == [str(here.st_dev), str(here.st_ino)]


def test_a_host_that_is_cut_off_is_silent_and_goes_on_when_healed(build_site: BuildSite) -> None:
    site = build_site(2)
    first, second = site.hosts
    echo_on(first)
    echo_on(second)
    with connected(first) as connection, connected(second) as other:
        round_trip(connection)
        for _ in range(2):
            first.cut()
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            round_trip(connection)
        assert round_trip(other) < 1.0, "only that one is cut off"
        for _ in range(2):
            first.heal()
        connection.settimeout(10.0)
        assert connection.recv(1) == b"x", "the connection was kept, data sent meanwhile have arrived"


def test_links_hold_what_goes_over_them_as_long_as_they_are_told(build_site: BuildSite) -> None:
    site = build_site(2)
    for host in site.hosts:
        echo_on(host)
    with connected(site.hosts[0]) as connection:
        assert min(round_trip(connection) for _ in range(5)) < 0.02
        site.delay(0.05)
        assert 0.1 <= min(round_trip(connection) for _ in range(5)) < 0.15
        between = float(site.hosts[1].run([sys.executable, "-c", ROUND_TRIP, site.hosts[0].address]).stdout)
        assert 0.2 <= between < 0.3
        whole = os.urandom(2**18)  # segments and checksums that the kernel has left to the card
        connection.settimeout(20.0)
        sent, came = 0, bytearray()
        while sent < len(whole):
            sent += connection.send(whole[sent : sent + 65536])
            came += connection.recv(65536)
        while len(came) < len(whole):
            came += connection.recv(65536)
        assert bytes(came) == whole
        site.hosts[0].cut()
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            round_trip(connection)
        site.hosts[0].heal()
        connection.settimeout(10.0)
        assert connection.recv(1) == b"x", "a slow link can be cut and healed"
        site.delay(0)
        eventually("links are fast again", lambda: round_trip(connection) < 0.02, 10)


def test_a_machine_that_dies_takes_all_its_processes_and_only_these(build_site: BuildSite) -> None:
    first, second = build_site(2).hosts
    # One that has left its session and ignores what can be ignored, as a daemon does.
    daemon = "import os, signal, sys; signal.signal(15, signal.SIG_IGN); os.fork() and sys.exit(); os.setsid(); "
    daemon += "print(1, flush=True); signal.pause()"
    started = [host.popen([sys.executable, "-c", daemon], stdout=subprocess.PIPE) for host in (first, second, first)]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == b"1\n" and process.wait(10) == 0
    assert len(first.processes()) == 2 and len(second.processes()) == 1
    assert psutil.Process() not in first.processes() + second.processes()
    first.kill_all()
    assert first.processes() == [] and len(second.processes()) == 1
    first.heal()
    assert first.run(["hostname"]).stdout == "h1\n", "it can be started again"


def test_nothing_is_left_even_after_an_error(build_site: BuildSite) -> None:
    with pytest.raises(ZeroDivisionError), Site(2) as site:
        prefix = site.prefix
        process = site.hosts[0].popen(["sleep", "1000"])
        site.delay(0.01)
        raise ZeroDivisionError
    assert process.poll() == -signal.SIGKILL
    assert site.left() == [] and not list(NAMESPACES.glob(f"{prefix}-*")) and not Path(f"/sys/class/net/{prefix}").exists()
    with pytest.raises(SiteError, match="Cannot find"):
        site.ip("link set no-such-link up")


def test_what_a_killed_test_process_left_is_removed_by_the_next(build_site: BuildSite) -> None:
    build_site(1)
    killed = subprocess.Popen([sys.executable, "-c", LEAVES_A_SITE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert killed.stdin is not None and killed.stdout is not None
    prefix, pid = killed.stdout.readline().split()
    eventually("it is on its host", lambda: psutil.Process(int(pid)).name() == "sleep")
    killed.kill()
    killed.wait(5)
    killed.stdin.close()
    killed.stdout.close()
    assert list(NAMESPACES.glob(f"{prefix}-*")) and psutil.pid_exists(int(pid))
    build_site(1)
    assert not list(NAMESPACES.glob(f"{prefix}-*"))
    eventually("its processes are gone", lambda: not psutil.pid_exists(int(pid)), 5)
