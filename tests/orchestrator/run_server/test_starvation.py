"""A silent process of this machine: gone, hanging, stopped, or waiting for a processor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from orchestrator.run_server.hosts.starvation import STARVED_LIMIT, ProcessorTime, StarvationWatch, is_starved, processor_time
from protocols.conversations.membership.membership import Membership, MembershipTimeouts, MemberState
from tests.orchestrator.run_server.cluster import eventually

BUSY = "import sys; print('up', flush=True); sys.stdin.read(1)\nwhile True: pass"


def test_what_is_starved() -> None:
    before = ProcessorTime(used=1.0, waited=2.0)
    assert is_starved(before, ProcessorTime(1.0, 7.0), 7.0), "ready, and without a processor for five of seven seconds"
    assert not is_starved(before, ProcessorTime(1.0, 2.1), 7.0), "it sleeps or hangs"
    assert not is_starved(before, ProcessorTime(8.0, 2.1), 7.0), "it had all the processor that it wanted"
    assert not is_starved(before, ProcessorTime(1.0, 7.0, stopped=True), 7.0)
    assert not is_starved(before, None, 7.0), "it is gone"
    assert not is_starved(None, before, 7.0), "the system has no counts"


class Silent:
    """A member that sent its last message at 0, and its process's counts."""

    def __init__(self, waited: float, stopped: bool = False, pid: int | None = 17) -> None:
        self.now = 0.0
        self._waited, self._stopped = waited, stopped
        self.watch = StarvationWatch(lambda name: pid, self._read)
        self.membership = Membership(MembershipTimeouts(suspect=3.0, dead=10.0, stuck=0.0))
        self.membership.spares = self.watch.spares
        self.membership.expect("agent-0", "agent", 1, 0.0)
        self.membership.hello("agent-0", 1, "", 0.0)

    def _read(self, pid: int) -> ProcessorTime:
        return ProcessorTime(used=0.0, waited=self._waited * self.now, stopped=self._stopped)

    def until(self, end: float) -> MemberState:
        while self.now < end:
            self.now = round(self.now + 0.1, 3)
            self.membership.tick(self.now)
        return self.membership["agent-0"].state


def test_a_starved_process_stays_suspect_up_to_a_limit_and_recovers() -> None:
    silent = Silent(waited=0.9)
    assert silent.until(2.0) == MemberState.ALIVE
    assert silent.until(30.0) == MemberState.SUSPECT
    ((name, text),) = silent.watch.starved
    assert name == "agent-0" and "waited" in text and "60 s" in text
    silent.membership.message_received("agent-0", 1, silent.now)
    assert silent.until(32.0) == MemberState.ALIVE
    assert silent.until(32.0 + 10.0 * STARVED_LIMIT) == MemberState.DEAD, "no silence is borne for ever"
    assert len(silent.watch.starved) == 2


@pytest.mark.parametrize("silent", [Silent(0.01), Silent(0.9, stopped=True), Silent(0.9, pid=None)], ids=["hangs", "stopped", "elsewhere"])
def test_others_are_dead_as_before(silent: Silent) -> None:
    assert silent.until(9.9) == MemberState.SUSPECT
    assert silent.until(10.1) == MemberState.DEAD
    assert silent.watch.starved == []


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.communicate(timeout=10)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts the time that a process waits for a processor")
def test_counts_of_real_processes(busy: subprocess.Popen[str]) -> None:
    sleeping = processor_time(busy.pid)
    if sleeping is None:
        pytest.skip("this kernel has no /proc/PID/task/*/schedstat")
    assert not sleeping.stopped
    assert busy.stdin is not None
    busy.stdin.write("x")
    busy.stdin.flush()

    def ran() -> bool:
        now = processor_time(busy.pid)
        return now is not None and now.used + now.waited > sleeping.used + sleeping.waited + 0.3

    eventually("the process uses a processor, or waits for one", ran)
    os.kill(busy.pid, signal.SIGSTOP)
    eventually("it is stopped", lambda: (now := processor_time(busy.pid)) is not None and now.stopped)
    os.kill(busy.pid, signal.SIGCONT)
    eventually("it goes on", lambda: (now := processor_time(busy.pid)) is not None and not now.stopped)
    busy.kill()
    busy.wait(10)
    assert processor_time(busy.pid) is None
