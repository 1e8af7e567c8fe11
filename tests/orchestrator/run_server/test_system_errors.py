"""A full disk, too few file descriptors, a run directory that is moved: clear errors, exit code 6, no traceback, no process left."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.configuration import Configuration
from orchestrator.results.run_files import RunFiles
from orchestrator.run_server import run_server, system_errors
from protocols.runtime.errors import ExitCode, ResourceError
from tests.orchestrator.run_server.cluster import ROOT, starting

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/night/run.json")


def run_directory(path: Path) -> Path:
    path.mkdir()
    configuration = Configuration.model_validate(
        {"version": 2, "environment": {"id": "landmarks"}, "agents": {"count": 2}, "until": {"time": "5s"}}
    )
    (path / "config.json").write_text(configuration.model_dump_json())
    return path


def test_what_an_error_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = run_directory(tmp_path / "night")
    full = system_errors.resource_error(FULL, there)
    assert isinstance(full, ResourceError) and full.exit_code == ExitCode.RESOURCES
    for part in (str(there), "/runs/night/run.json", "the summary and the plots are lost", "--resume night"):
        assert part in str(full)
    few = str(system_errors.resource_error(OSError(errno.EMFILE, "Too many open files"), there))
    assert "file descriptor" in few and "at least 256" in few and "ulimit -n" in few
    missing = OSError(errno.ENOENT, "No such file or directory", str(there / "x"))
    assert system_errors.resource_error(missing, there) is None and system_errors.why_gone(there) is None
    assert "moved or removed" in str(system_errors.resource_error(missing, tmp_path / "gone"))
    assert "moved or removed" in str(system_errors.why_gone(tmp_path / "gone"))
    assert system_errors.resource_error(OSError(errno.EIO, "Input/output error"), there) is None
    monkeypatch.setattr(system_errors, "_FULL_BELOW", 2**62)
    assert "is full" in str(system_errors.why_gone(there))


def test_a_disk_that_is_full_ends_the_run_server_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    directory = run_directory(tmp_path / "night")

    def fails(self: RunFiles, **fields: Any) -> None:
        raise FULL

    monkeypatch.setattr(RunFiles, "update", fails)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        with caplog.at_level(logging.INFO):
            assert run_server.serve(directory) == ExitCode.RESOURCES
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        run_server._held.pop().release()
    assert "is full" in caplog.text and "run.json does not have the end of the run (FAILED)" in caplog.text
    assert "Traceback" not in caplog.text


def test_too_few_descriptors_are_named(tmp_path: Path) -> None:
    directory = run_directory(tmp_path / "night")
    done = subprocess.run(
        [sys.executable, "-m", "tests.orchestrator.run_server.lead", str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (14, 14)),
        check=False,
    )
    assert done.returncode == ExitCode.RESOURCES, done.stderr[-2000:]
    assert "ulimit -n" in done.stderr and "14" in done.stderr and "256" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_a_run_directory_that_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a directory of letters outside ASCII, with a locale that has none of them."""
    monkeypatch.setenv("LC_ALL", "C")
    with starting(tmp_path / "läufe-運行") as start:
        cluster = start()
        cluster.running(60.0)
        moved = cluster.directory.with_name("moved")
        cluster.directory.rename(moved)
        cluster.process.send_signal(signal.SIGTERM)
        code = cluster.ended(60.0)
        log = (moved / "server.log").read_text(encoding="utf-8")
        assert "was moved or removed while the run went on" in log, log
        assert code in (ExitCode.RESOURCES, ExitCode.INTERRUPTED)
        cluster.assert_nothing_left(20.0)
