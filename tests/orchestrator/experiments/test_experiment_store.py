"""The store under kill -9, its lock, and what belongs to an experiment when code or file have changed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.experiments.design.cell_generation import make
from orchestrator.experiments.design.experiment_design import ExperimentLimits
from orchestrator.experiments.design.experiment_reader import read
from orchestrator.experiments.results.experiment_results import load, write_tables
from orchestrator.experiments.running import experiment_store as storing
from orchestrator.experiments.running.cell_runners import player
from orchestrator.experiments.running.experiment_store import FILE, Lock, PlannedCell, Store
from protocols.runtime.errors import ResourceError, SchemaError, UsageError
from tests.orchestrator.experiments.small import PLAYED, REPOSITORY, SIMULATED, written

_WRITER = """
import sys
from pathlib import Path
from orchestrator.experiments.running.experiment_store import Lock, PlannedCell, Store
directory = Path(sys.argv[1])
lock = Lock(directory)
store = Store(directory, create=True)
cells = [(PlannedCell(f"cell-{n}", {"a": str(n)}, n, "orchestrate up"), "code") for n in range(50)]
store.set_plan(cells, design={"whole": True})
for turn in range(10**6):
    n = turn % 50
    store.update(f"cell-{n}", state="RUNNING", directory=f"runs/{n}", attempts=turn)
    store.update(f"cell-{n}", state="WAITING", directory=f"runs/{n}", attempts=turn)
    print(turn, flush=True)
"""


@pytest.mark.parametrize("turns", [1, 7, 40])
def test_killed_at_any_moment_it_is_whole_and_free(tmp_path: Path, turns: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        last = [process.stdout.readline() for _ in range(turns)][-1]
        with pytest.raises(ResourceError, match=f"process {process.pid}"):
            Lock(tmp_path)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    with Lock(tmp_path), Store(tmp_path, create=True) as store:
        records = store.records()
        assert len(store.plan()) == len(records) == 50 and store.meta("design") == {"whole": True}
        assert records[f"cell-{int(last) % 50}"].attempts >= int(last)  # what was reported is on disk


def test_done_stays_done(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        store.set_plan([(PlannedCell("a", {}, 0, ""), "code")])
        store.update("a", state="DONE", seconds=1.0)
        store.update("a", state="FAILED", failure="too late")
        store.set_plan([(PlannedCell("a", {}, 0, ""), "code")])
        assert store.record("a").state == "DONE" and store.record("a").failure == ""


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no experiment in"):
        load(tmp_path)
    (tmp_path / FILE).write_bytes(b"no database, but text that is long enough to look like one" * 50)
    with pytest.raises(ResourceError, match="damaged"):
        load(tmp_path)
    (tmp_path / FILE).unlink()
    with Store(tmp_path, create=True) as store:
        store.set_meta(version=99)
    with pytest.raises(SchemaError, match="version 99"):
        load(tmp_path)


def test_cells_of_other_code_are_counted_told_of_and_used_only_when_accepted(tmp_path: Path) -> None:
    found = read(written(tmp_path, SIMULATED))
    cells = make(found).cells
    with Store(tmp_path, create=True) as store:
        for playing in storing.enter(store, found, cells, "old", [], False)[:3]:
            home = tmp_path / "runs" / playing.identity
            home.mkdir(parents=True)
            (home / "summary.json").write_text(json.dumps({"rounds": 5, "disagreement": 0.1, "curve": {}}))
            store.update(playing.identity, state="DONE", directory=f"runs/{playing.identity}")
        new = storing.enter(store, found, cells, "new", [], False)
        assert {one.record.state for one in new} == {"WAITING"} and {one.code for one in new} == {"new"}
        assert storing.other_codes(cells, store.records(), new) == {"old": 3}
        assert load(tmp_path).strangers == ("old",)
        accepted = storing.enter(store, found, cells, "new", ["old"], False)
        assert [one.code for one in accepted] == ["old"] * 3 + ["new"] * 5
        assert storing.other_codes(cells, store.records(), accepted) == {}
        with pytest.raises(UsageError, match="there are cells of new, old"):
            storing.enter(store, found, cells, "new", ["odl"], False)
    results = load(tmp_path)
    assert [cell.code for cell in results.cells] == ["old"] * 3 + ["new"] * 5
    assert results.count("DONE") == 3
    write_tables(results)
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert lines[0] == "topology,agents,seed,metric,value"
    assert lines[1] == "ring,4,0,rounds,5.0" and lines[-1] == "complete,12,1,disagreement," and len(lines) == 17


def test_a_finished_cell_whose_directory_is_gone_waits_again(tmp_path: Path) -> None:
    found = read(written(tmp_path, SIMULATED))
    cells = make(found).cells
    with Store(tmp_path, create=True) as store:
        first = storing.enter(store, found, cells, "code", [], False)[0]
        store.update(first.identity, state="DONE", directory="runs/gone")
        again = storing.enter(store, found, cells, "code", [], False)[0]
        assert (again.record.state, again.record.directory) == ("WAITING", None)


def test_an_accepted_cell_whose_directory_is_gone_is_played_with_the_present_code(tmp_path: Path) -> None:
    found = read(written(tmp_path, SIMULATED))
    cells = make(found).cells
    with Store(tmp_path, create=True) as store:
        first = storing.enter(store, found, cells, "old", [], False)[0]
        store.update(first.identity, state="DONE", directory="runs/gone")
        again = storing.enter(store, found, cells, "new", ["old"], False)
        assert {(one.code, one.record.state) for one in again} == {("new", "WAITING")}
        assert load(tmp_path).count("WAITING") == len(cells)


def test_a_simulation_by_other_code_does_not_count(tmp_path: Path) -> None:
    cell = make(read(written(tmp_path, SIMULATED))).cells[0]
    summary = tmp_path / "cell" / "summary.json"
    summary.parent.mkdir()
    for made, state in (("old", "FAILED"), ("new", "DONE")):
        summary.write_text(json.dumps({"rounds": 5, "code_version": made}))
        ended = player(cell, summary.parent, "new", ExperimentLimits()).poll()
        assert ended is not None and ended.state == state
        assert state == "DONE" or "made with the code old, and the experiment is of new" in ended.failure


def test_contents_of_files_that_a_configuration_names_are_part_of_a_cell(tmp_path: Path) -> None:
    delays = tmp_path / "delays.txt"
    delays.write_text("10ms\n20ms\n")
    for node in ("agent-0", "agent-1", "env-0"):
        past = tmp_path / "past" / "nodes" / node / "faults.jsonl"
        past.parent.mkdir(parents=True)
        past.write_text(json.dumps({"what": "start", "t": 0.0}) + "\n")
    links = [{"id": "slow", "delay": {"dist": "empirical", "file": str(delays)}}]
    replay = {"clock": "wall", "faults.mode": "replay", "faults.trace": str(tmp_path / "past")}
    designs: list[dict[str, object]] = [{"network.links": links}, replay]
    found = [make(read(written(tmp_path / str(number), PLAYED, set={**PLAYED["set"], **keys}))) for number, keys in enumerate(designs)]
    (delayed, replayed) = (grid.cells[0] for grid in found)
    before = [delayed.identity("code"), replayed.identity("code")]
    assert before == [delayed.identity("code"), replayed.identity("code")]
    delays.write_text("10ms\n20ms\n30ms\n")
    assert delayed.identity("code") != before[0] and replayed.identity("code") == before[1]
    past.write_text(past.read_text() * 2)
    assert replayed.identity("code") != before[1]


def test_more_seeds_keep_what_is_there(tmp_path: Path) -> None:
    fewer, more = (read(written(tmp_path / name, SIMULATED, seeds=seeds)) for name, seeds in (("a", 0), ("b", "0..3")))
    with Store(tmp_path, create=True) as store:
        before = {one.identity for one in storing.enter(store, fewer, make(fewer).cells, "code", [], False)}
        after = {one.identity for one in storing.enter(store, more, make(more).cells, "code", [], False)}
        assert before < after and len(store.records()) == len(after) == 16


def test_a_reader_sees_one_state_while_it_is_written(tmp_path: Path) -> None:
    with Store(tmp_path, create=True) as store:
        store.set_plan([(PlannedCell("a", {}, 0, ""), "code")], design={})
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            other.execute("DELETE FROM plan")
            assert len(store.plan()) == 1
        finally:
            other.execute("ROLLBACK")
            other.close()
