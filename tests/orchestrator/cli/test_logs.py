"""Log lines: written, read back, merged, followed over rotation (the rotating handler itself writes)."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.results import run_logs as logs
from protocols.runtime.logs import Formatter, configure, parse
from tests.orchestrator.cli.conftest import Orchestrate


@pytest.fixture
def own_logger() -> Iterator[logging.Logger]:
    logger = logging.Logger("agent_node.process.agent_process")
    yield logger
    for handler in logger.handlers:
        handler.close()


def line(second: int, text: str, level: str = "INFO", milliseconds: int = 0) -> str:
    return f"2026-11-21T14:00:{second:02d}.{milliseconds:03d}Z {level} test {text}\n"


def texts(records) -> list[str]:
    return [record.line.text for record in records]


def test_formatter_and_parser_are_inverse(own_logger: logging.Logger) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter())
    own_logger.addHandler(handler)
    own_logger.warning("round %d of %s", 61, "agent-2")
    read = parse(stream.getvalue())
    assert read is not None
    assert (read.level, read.logger, read.text, read.severity) == ("WARNING", "agent_node.process.agent_process", "round 61 of agent-2", 30)
    assert abs((datetime.now(UTC) - read.time).total_seconds()) < 5
    assert stream.getvalue()[23] == "Z"


def test_configure_replaces_handlers_and_captures_the_root(tmp_path: Path) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        handler = configure("debug", path=tmp_path / "log.txt")
        logging.getLogger("deep.inside").debug("hello")
        assert root.handlers == [handler]
        assert texts(logs.merge({"x": tmp_path / "log.txt"})) == ["hello"]
        handler.close()
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before
        root.setLevel(level)


def test_lines_that_are_no_records_belong_to_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_text("torn start\n" + line(1, "first") + "Traceback (most recent call last):\n  File x\n" + line(2, "second"))
    assert texts(logs.merge({"a": file})) == ["torn start", "first\nTraceback (most recent call last):\n  File x", "second"]


@pytest.mark.parametrize("wrong", ["", "hello", "2026-13-45T14:00:00.000Z INFO a b", "2026-11-21 14:00:00 INFO a b"])
def test_other_lines_are_no_records(wrong: str) -> None:
    assert parse(wrong) is None


def test_merge_orders_by_time_over_files(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text(line(1, "a1") + line(4, "a4") + line(6, "a6", "ERROR"))
    b.write_text(line(2, "b2", "WARNING") + line(3, "b3") + line(5, "b5"))
    files = {"a": a, "b": b}
    assert texts(logs.merge(files)) == ["a1", "b2", "b3", "a4", "b5", "a6"]
    assert texts(logs.merge(files, 2)) == ["b5", "a6"]
    assert texts(logs.merge(files, 5, lambda record: record.line.severity >= 30)) == ["b2", "a6"]
    assert logs.merge(files, 0) == []


def test_the_newest_records_of_a_large_file_are_found_from_its_end(tmp_path: Path) -> None:
    file = tmp_path / "log"
    rare = line(0, "rare", "ERROR")
    file.write_text(rare + "".join(line(i % 60, f"record {i} " + "x" * 100) for i in range(5000)))
    newest = logs.read_last("a", file, 3)
    assert [text.split(" x")[0] for text in texts(newest)] == ["record 4997", "record 4998", "record 4999"]
    assert texts(logs.read_last("a", file, 1, lambda record: record.line.level == "ERROR")) == ["rare"]


def test_following_survives_rotation_and_truncation(tmp_path: Path, own_logger: logging.Logger) -> None:
    from logging.handlers import RotatingFileHandler

    file = tmp_path / "log.txt"
    handler = RotatingFileHandler(file, maxBytes=300, backupCount=2)
    handler.setFormatter(Formatter())
    own_logger.addHandler(handler)
    tail = logs.Tail("a", file)
    seen: list[str] = []
    for i in range(20):  # several rotations, a look after each record
        own_logger.info("record %d %s", i, "x" * 40)
        seen += texts(tail.poll())
    seen += texts(tail.poll()) + texts(tail.poll())
    assert [text.split()[1] for text in seen] == [str(i) for i in range(20)]
    assert (tmp_path / "log.txt.2").exists()
    handler.close()
    file.write_text("")
    assert tail.poll() == []
    file.write_text(line(1, "anew"))
    assert texts(tail.poll() + tail.poll()) == ["anew"]
    tail.close()


def test_a_torn_line_is_not_given_out(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("")
    tail = logs.Tail("a", file)
    whole = line(1, "whole")
    with file.open("a") as writer:
        writer.write(whole[:30])
        writer.flush()
        assert tail.poll() == []
        writer.write(whole[30:])
        writer.flush()
        assert texts(tail.poll() + tail.poll()) == ["whole"]
    tail.close()


def test_a_follower_takes_files_that_appear_later_from_their_beginning(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text(line(0, "old"))
    follower = logs.Follower(tmp_path)
    (tmp_path / "nodes" / "agent-0").mkdir(parents=True)
    (tmp_path / "nodes" / "agent-0" / "log.txt").write_text(line(2, "first of agent-0"))
    with (tmp_path / "server.log").open("a") as writer:
        writer.write(line(1, "new"))
    records = [*follower.poll(), *follower.drain()]
    assert [(record.source, record.line.text) for record in records] == [("server", "new"), ("agent-0", "first of agent-0")]
    follower.close()


def test_the_command_merges_filters_and_speaks_json(orchestrate: Orchestrate, runs: Path) -> None:
    directory = runs / "night"
    for node in ("agent-0", "agent-1", "env-0"):
        (directory / "nodes" / node).mkdir(parents=True)
    (directory / "hosts").mkdir()
    (directory / "run.json").write_text(json.dumps({"state": "DONE", "exit_code": 0}))
    (directory / "nodes" / "agent-0" / "log.txt").write_text(line(1, "one") + line(5, "five \x1b[31mred", "WARNING"))
    (directory / "nodes" / "agent-1" / "log.txt").write_text(line(2, "two", "DEBUG"))
    (directory / "nodes" / "env-0" / "log.txt").write_text(line(3, "three", "ERROR"))
    (directory / "server.log").write_text(line(4, "four"))
    (directory / "hosts" / "here.log").write_text(line(0, "zero"))
    everything = [json.loads(text) for text in orchestrate("logs", "--json").stdout.splitlines()]
    assert [record["text"] for record in everything] == ["zero", "one", "two", "three", "four", "five \x1b[31mred"]
    assert [record["node"] for record in everything] == ["here", "agent-0", "agent-1", "env-0", "server", "agent-0"]
    plain = orchestrate("logs", "night", "agent-*", "--level", "info", "-n", "5").stdout
    assert [text.split("| ")[1] for text in plain.splitlines()] == ["INFO  one", "WARN  five \\x1b[31mred"]
    assert "\x1b" not in plain
    assert orchestrate("logs", "--no-prefix", "env-0").stdout == "ERROR three\n"
    assert orchestrate("logs", "-f").stdout.count("\n") == 6  # a finished run is not waited for
    assert orchestrate("logs", "--since", "2026-11-21T14:00:04Z", "--json").stdout.count("\n") == 2
    (directory / "config.json").write_text(json.dumps({"agents": {"count": 3}}))
    for arguments in (("logs", "night", "agent-7"), ("logs", "-f", "night", "agent-7")):
        unknown = orchestrate(*arguments)
        assert unknown.returncode == 2 and "has no log of agent-7" in unknown.stderr
    assert orchestrate("logs", "-f", "night", "agent-2").returncode == 0, "a node whose log may come"
    (directory / "events.jsonl").write_text(
        '{"id":1,"t":"2026-11-21T14:00:01.000Z","severity":"info","code":"node.alive","node":"agent-0","text":"up"}\n'
        '{"id":2,"t":"2026-11-21T14:00:02.000Z","severity":"warning","code":"node.restart","node":"agent-1","text":"killed by signal 9"}\n'
    )
    events = orchestrate("logs", "--events", "--level", "warning", "--json").stdout
    assert json.loads(events)["text"] == "killed by signal 9"
