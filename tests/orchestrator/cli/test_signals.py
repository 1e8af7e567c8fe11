"""Signals and keys are waited for, never slept for."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from orchestrator.terminal.interrupts import Interrupts
from tests.orchestrator.cli.conftest import REPOSITORY, environment
from tests.orchestrator.cli.terminal import Terminal

KEYS = """
import sys
from orchestrator.terminal.interrupts import Interrupts
with Interrupts(keys=True) as interrupts:
    print("ready", flush=True)
    print("pressed", repr(interrupts.wait(20.0)), interrupts.count, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_wakes_and_is_counted(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), number)
        began = time.monotonic()
        interrupts.wait(60.0)
        assert time.monotonic() - began < 30.0
        assert (interrupts.count, interrupts.last) == (1, number)
        os.kill(os.getpid(), number)
        interrupts.wait(10.0)
        assert interrupts.count == 2
    assert signal.getsignal(number) is before


def test_without_a_signal_the_deadline_ends_it() -> None:
    with Interrupts() as interrupts:
        assert interrupts.wait(0.01) == ""
        assert interrupts.count == 0


def test_keys_come_without_return_and_the_terminal_is_restored(tmp_path: Path) -> None:
    script = f"{KEYS}\nimport termios; print('canonical', bool(termios.tcgetattr(0)[3] & termios.ICANON))"
    screen = Terminal([sys.executable, "-c", script], tmp_path, {**environment(tmp_path), "PYTHONPATH": str(REPOSITORY)})
    try:
        screen.wait_for("ready")
        screen.press("d")
        assert screen.wait() == 0
        assert "pressed 'd' 0" in screen.text
        assert "canonical True" in screen.text
    finally:
        screen.close()
