"""The watchdog of steps: it ends what hangs, and nothing else."""

from __future__ import annotations

import threading

import pytest

from env_server.serving.step_watchdog import StepWatchdog
from protocols.runtime.errors import ExitCode


class Ended:
    """In place of the end of the process."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.codes: list[int] = []
        self.over = threading.Event()

    def report(self, reason: str) -> None:
        self.reasons.append(reason)

    def end(self, code: int) -> None:
        self.codes.append(code)
        self.over.set()


@pytest.mark.parametrize("kind", ["hangs", "spins"])
def test_a_step_that_does_not_return_ends_the_process_with_its_cause(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    ended = Ended()
    watchdog = StepWatchdog(0.2, ended.report, ended.end)
    with watchdog.watching():
        pass
    with watchdog.watching():
        if kind == "hangs":
            assert ended.over.wait(30)
        else:
            while not ended.over.is_set():
                pass
    assert ended.codes == [ExitCode.ABORTED]
    assert ended.reasons == ["the environment has not returned from step 2 for 0.2 s (environment.step_timeout)"]
    assert "test_step_watchdog.py" in capfd.readouterr().err, "the stack shows where"


def test_many_short_steps_and_long_pauses_between_them_are_no_hang() -> None:
    ended = Ended()
    watchdog = StepWatchdog(0.2, ended.report, ended.end)
    pause = threading.Event()
    for _ in range(30):
        with watchdog.watching():
            pause.wait(0.01)
    pause.wait(0.5)
    watchdog.close()
    assert not ended.over.wait(0.1) and ended.codes == []


def test_a_failure_to_report_ends_the_process_too() -> None:
    ended = Ended()

    def fail(reason: str) -> None:
        raise OSError("no transport")

    hook, threading.excepthook = threading.excepthook, lambda args: None
    try:
        with StepWatchdog(0.1, fail, ended.end).watching():
            assert ended.over.wait(30)
    finally:
        threading.excepthook = hook
