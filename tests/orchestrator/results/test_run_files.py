"""Files that are whole or absent, locks, incarnations, the leash, and the sweep of what a killed leader left."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.launch.engine import Invitation
from orchestrator.launch.process_control import MARK, ProcessRecord, identify, remains, sweep, write_records
from orchestrator.results.run_directories import lock_held
from orchestrator.results.run_files import KEPT_EVENTS, EventLog, RunFiles, RunLock, append_line, read_lines, write_json
from orchestrator.run_server.lead.registration import AttachedClients
from protocols.conversations.client_requests.client_messages import StatusRequest
from protocols.runtime.errors import AuthenticationError, ConfigurationError, ResourceError, UsageError
from protocols.runtime.node_start import read_token

SLEEPER = "import sys; print('up', flush=True); sys.stdin.read()"


def sleeper(mark: str) -> subprocess.Popen[bytes]:
    """A process that waits until it is killed (or its standard input ends)."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, MARK: mark},
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    return process


def finish(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate(timeout=5)


def test_replaced_files_are_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1} and [p.name for p in tmp_path.iterdir()] == ["run.json"]
    previous = os.umask(0)
    try:
        write_json(tmp_path / "secret.json", {}, private=True)
    finally:
        os.umask(previous)
    assert (tmp_path / "secret.json").stat().st_mode & 0o777 == 0o600


def test_lines_are_cut_at_the_last_newline_and_torn_ones_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append_line(path, {"n": 1})
    with path.open("a") as file:
        file.write('{"n": 2')
    assert list(read_lines(path)) == [{"n": 1}]
    append_line(path, {"n": 3}, durable=True)
    assert list(read_lines(path)) == [{"n": 1}, {"n": 3}]
    with path.open("a") as file:
        file.write('{"n": 45}')
    assert list(read_lines(path)) == [{"n": 1}, {"n": 3}], "whole to the eye, but its writer may not have been done"
    assert list(read_lines(tmp_path / "absent")) == []


def test_incarnations_rise_over_restarts_of_the_run_server(tmp_path: Path) -> None:
    assert [RunFiles(tmp_path).next_incarnation("agent-0") for _ in range(3)] == [1, 2, 3]
    with (tmp_path / "nodes" / "agent-0" / "incarnations.jsonl").open("a") as file:
        file.write('{"incarnation": 4')
    assert RunFiles(tmp_path).next_incarnation("agent-0") == 4
    assert RunFiles(tmp_path).next_incarnation("agent-1") == 1
    assert RunFiles(tmp_path).next_incarnation("agent-0") == 5


def test_one_lock(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    assert lock_held(tmp_path)
    with pytest.raises(ResourceError, match="orchestrate down"):
        RunLock(tmp_path, timeout=0)
    lock.release()
    lock.release()
    assert not lock_held(tmp_path)
    RunLock(tmp_path).release()


def test_events_are_numbered_over_segments(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for k in range(3):
        log.record("info", "x.y", f"event {k}", node="agent-0", incarnation=k)
    again = EventLog(tmp_path)
    assert again.last_id == 3 and again.record("warning", "z", "next")["id"] == 4
    assert [event["id"] for event in read_lines(tmp_path / "events.jsonl")] == [1, 2, 3, 4]
    assert [event["text"] for event in log.after(1)] == ["event 1", "event 2"]
    for _ in range(KEPT_EVENTS + 5):
        log.record("info", "x", "more")
    assert len(log.after(0)) == KEPT_EVENTS


def test_a_directory_without_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.json"):
        RunFiles(tmp_path).configuration_json()


def test_tokens_are_private(tmp_path: Path) -> None:
    path = tmp_path / "control.json"
    write_json(path, {"token": "t"}, private=True)
    assert read_token(path) == "t"
    path.chmod(0o644)
    with pytest.raises(AuthenticationError, match="chmod 600"):
        read_token(path)
    for value in ({}, {"token": ""}, {"token": 3}, []):
        write_json(path, value, private=True)
        with pytest.raises(AuthenticationError):
            read_token(path)
    with pytest.raises(AuthenticationError):
        read_token(tmp_path / "absent")


def test_invitations_travel_whole() -> None:
    invitation = Invitation("run", "/d", "tcp://c", "tcp://t", "/d/control.json", "local", 7, 0.5, 60.0, {"agent": "m:f"}, ("a", "b"))
    assert Invitation.from_json(invitation.to_json()) == invitation
    for text in ("", "{}", "[]", "null", '{"preload": [], "x": 1}'):
        with pytest.raises(UsageError, match="invitation"):
            Invitation.from_json(text)


def test_the_sweep_kills_what_is_recorded_or_marked_and_nobody_else(tmp_path: Path) -> None:
    recorded, marked, bystander, reused = sleeper("/elsewhere"), sleeper(str(tmp_path.resolve())), sleeper("/elsewhere"), sleeper("")
    try:
        record = identify("agent-0", recorded.pid)
        assert record is not None
        # The number of `reused` is recorded with another start time: it is not the process that was meant.
        write_records(tmp_path, [record, ProcessRecord("agent-1", reused.pid, record.started - 100.0)])
        assert sorted(process.pid for process in remains(tmp_path)) == sorted([recorded.pid, marked.pid])
        assert sweep(tmp_path) == sorted([recorded.pid, marked.pid])
        assert not psutil.pid_exists(recorded.pid) and not psutil.pid_exists(marked.pid)
        assert bystander.poll() is None and reused.poll() is None
        assert sweep(tmp_path) == []
    finally:
        for process in (recorded, marked, bystander, reused):
            finish(process)


def test_a_directory_without_records_is_swept_too(tmp_path: Path) -> None:
    assert sweep(tmp_path) == []
    (tmp_path / "processes.json").write_text("{torn")
    assert remains(tmp_path) == []


def test_the_leash() -> None:
    here, terminal = socket.gethostname(), sleeper("")
    clients = AttachedClients()
    try:
        clients.asked("a", StatusRequest(leash=True, pid=terminal.pid, host=here), 0.0)
        assert not clients.torn(100.0), "silent, but its process runs: a stopped terminal"
        finish(terminal)
        assert not clients.torn(4.9), "it may just have been asked"
        assert clients.torn(5.0)
        clients.asked("a", StatusRequest(leash=False), 6.0)
        assert not clients.torn(100.0), "a client that let go ends nothing"
        clients.asked("b", StatusRequest(leash=True, pid=terminal.pid, host="another-machine"), 6.0)
        assert not clients.torn(100.0), "what can't be seen is not judged"
    finally:
        finish(terminal)


def test_clients_are_remembered_within_bounds() -> None:
    clients = AttachedClients()
    for k in range(300):
        clients.admit(f"client-{k}")
    assert "client-299" in clients and "client-0" not in clients


def test_a_process_that_is_gone_has_no_record() -> None:
    process = sleeper("")
    assert identify("x", process.pid) is not None
    finish(process)
    assert identify("x", process.pid) is None or psutil.pid_exists(process.pid)


def test_the_last_words_of_a_node(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    log = tmp_path / "nodes" / "agent-0" / "log.txt"
    log.parent.mkdir(parents=True)
    assert files.last_words("agent-0") == ""
    log.write_text("2026-11-21T14:02:52.118Z ERROR orchestrator.launch.host.node_child no checkpoint can be read\n")
    assert files.last_words("agent-0") == "no checkpoint can be read"
    with log.open("a") as file:
        file.write("Traceback (most recent call last):\n  File x\nKeyError: 'y'\n")
    assert files.last_words("agent-0") == "KeyError: 'y'"
