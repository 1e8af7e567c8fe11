"""What a process does to itself, in processes that are really there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from protocols.faults.node_faults.fault_log import FaultLog, read

ROOT = Path(__file__).resolve().parents[3]


def child(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", f"from protocols.faults.node_faults import process_faults as process\n{code}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("process.signal_itself('kill')", -signal.SIGKILL),
        ("process.signal_itself('term')", -signal.SIGTERM),
        ("process.end(10)", 10),
        ("process.end(0)", 0),
    ],
)
def test_a_process_ends_as_it_was_told(code: str, expected: int) -> None:
    ended = child(code)
    ended.communicate(timeout=30)
    assert ended.returncode == expected


def test_a_pause_stops_everything_until_it_is_continued() -> None:
    paused = child("print('before', flush=True)\nprocess.signal_itself('pause')\nprint('after', flush=True)")
    assert paused.stdout is not None and paused.stdout.readline() == "before\n"
    os.waitpid(paused.pid, os.WUNTRACED)
    assert psutil.Process(paused.pid).status() == psutil.STATUS_STOPPED
    os.kill(paused.pid, signal.SIGCONT)
    assert paused.communicate(timeout=10)[0] == "after\n" and paused.returncode == 0


def test_a_hang_holds_the_main_thread_only_and_ends_by_its_time_or_by_sigcont() -> None:
    code = """
import threading, time
beats = []
def beat():
    while True:
        beats.append(1); time.sleep(0.01)
threading.Thread(target=beat, daemon=True).start()
hang = process.Hang()
print(round(hang.hang(0.2), 1), len(beats) > 5, flush=True)
hang.get_ready()
print('hanging', flush=True)
print(hang.hang(60.0) < 30, flush=True)
"""
    hung = child(code)
    assert hung.stdout is not None
    assert hung.stdout.readline() == "0.2 True\n" and hung.stdout.readline() == "hanging\n"
    os.kill(hung.pid, signal.SIGCONT)
    assert hung.communicate(timeout=10)[0] == "True\n"


def test_out_of_memory_is_a_refusal_by_the_system_and_takes_no_more_than_its_limit() -> None:
    code = """
import psutil
try:
    process.run_out_of_memory(64 * 2**20)
except MemoryError:
    print(psutil.Process().memory_info().rss < 200 * 2**20)
    raise
"""
    hungry = child(code)
    out, err = hungry.communicate(timeout=30)
    assert out == "True\n" and hungry.returncode == 1 and "MemoryError" in err and "out of memory after" in err


def test_the_log_is_written_before_the_deed_and_known_to_the_next_incarnation(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from protocols.faults.node_faults.fault_log import FaultLog
log = FaultLog(Path({str(tmp_path)!r}), 'agent-0', 1)
log.write('begin', 'crash', 'process.kill', step=5000)
process.signal_itself('kill')
"""
    killed = child(code)
    killed.communicate(timeout=30)
    assert killed.returncode == -signal.SIGKILL
    with (tmp_path / "faults.jsonl").open("a") as file:
        file.write('{"what": "begin", "id": "torn')  # a write that the death cut short
    log = FaultLog(tmp_path, "agent-0", 2)
    assert log.begun == {"crash"}
    (line,) = read(tmp_path / "faults.jsonl")
    assert line["step"] == 5000 and line["incarnation"] == 1 and abs(line["t"] - time.time()) < 60
    assert read(tmp_path / "faults.jsonl", line["_end"]) == []


def test_a_torn_line_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "faults.jsonl").write_text('{"what": "begin", "id": "torn')
    FaultLog(tmp_path, "agent-0", 2).write("begin", "late", "storage.full")
    assert FaultLog(tmp_path, "agent-0", 3).begun == {"late"}
