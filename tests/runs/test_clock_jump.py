"""A run on a machine whose clock is set a day ahead and then two hours back: real processes, with a shim before the C library's clock."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.launch.process_control import sweep
from tests.runs.system import CONFIG, SMALL, command, environment, events, eventually, metrics, processes_of

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(480)]

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(id, now);
    long ahead = 0;
    if (id == CLOCK_REALTIME) {
        FILE *file = fopen(getenv("CLOCK_AHEAD"), "r");
        if (file) {
            if (fscanf(file, "%ld", &ahead) != 1) ahead = 0;
            fclose(file);
        }
    }
    now->tv_sec += ahead;
    return code;
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = tmp_path_factory.mktemp("shim") / "clock.c"
    source.write_text(SHIM)
    library = source.with_suffix(".so")
    built = subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], capture_output=True, text=True, check=False
    )
    if built.returncode:
        pytest.skip(f"the shim can't be compiled here: {built.stderr[-200:]}")
    return library


def test_a_clock_that_is_set_ahead_and_back_changes_nothing(shim: Path, tmp_path: Path) -> None:
    directory, ahead = tmp_path / "runs" / "jumps", tmp_path / "ahead"
    faults = {
        "events": [
            {"id": "slow", "at": {"episode": 40}, "for": "2s", "straggler": {"target": "agent-1", "factor": 2}},
            {"id": "crash", "at": {"episode": 120}, "process": {"target": "agent-0", "action": "kill", "restart_after": "200ms"}},
        ]
    }
    changes = [
        *SMALL,
        "agents.count=2",
        "environment.options.horizon=10",
        "until={episodes: 250, time: 10min}",
        f"faults={json.dumps(faults)}",
    ]
    directory.parent.mkdir()
    output = (tmp_path / "output.txt").open("wb")
    process = subprocess.Popen(
        command("up", str(CONFIG), "--name", "jumps", *changes, "--plain", "--timeout", "150s"),
        cwd=tmp_path,
        env=environment(directory.parent) | {"LD_PRELOAD": str(shim), "CLOCK_AHEAD": str(ahead)},
        stdout=output,
        stderr=subprocess.STDOUT,
    )

    def begun(fault: str) -> bool:
        return bool(events(directory, "fault.begin") and any(e["fields"]["fault"] == fault for e in events(directory, "fault.begin")))

    try:
        eventually("training", lambda: events(directory, "run.running"), 150)
        ahead.write_text("86400")
        eventually("the slow agent", lambda: begun("slow"), 60)
        ahead.write_text("-7200")
        code = process.wait(240)
    finally:
        process.kill()
        process.wait(10)
        output.close()
        left = processes_of(directory)
        sweep(directory)
    text = (tmp_path / "output.txt").read_text()
    assert code == 0, text
    assert left == [] and json.loads((directory / "run.json").read_text())["state"] == "DONE"
    summary = json.loads((directory / "summary.json").read_text())
    assert 0 < summary["training_seconds"] < 600 and summary["episodes"] >= 250
    assert len(events(directory, "node.alive", "agent-0")) == 2, "it was started again after the clock was set"
    # No verdict over a process, and no fault that lasts for as long as the clock was wrong.
    assert not events(directory, "node.dead", "agent-1") and not events(directory, "node.lost")
    lines = [json.loads(line) for line in (directory / "faults.jsonl").read_text().splitlines()]
    begin, end = (next(line["t"] for line in lines if line.get("id") == "slow" and line["what"] == what) for what in ("begin", "end"))
    assert 2.0 <= end - begin < 120.0
    times = [json.loads(line)["t"] for line in (directory / "nodes/agent-0/metrics.jsonl").read_text().splitlines()]
    assert times == sorted(times) and times[-1] - times[0] < 600, "also across its restart"
    assert metrics(directory, "agent-0", "updates")[-1] > 0
