"""The report of a real run, from its directory alone; and runs beside each other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from orchestrator.report import report, run_report
from orchestrator.report.run_comparison import ABSENT, compare, differing
from orchestrator.results.recorded_run import RecordedRun
from protocols.runtime.errors import UsageError
from tests.orchestrator.report.material import design, results
from tests.orchestrator.report.report_reading import data_of, page_of, unfounded

REPOSITORY = Path(__file__).resolve().parents[3]
SMALL = (
    "agents.count=2", "agents.learner.learning_starts=100", "agents.learner.replay_ratio=0.25",
    "agents.learner.batch_size=16", "agents.learner.hidden=[8]",
    "agents.world_model=null",
    "environment.copies=4", "environment.options.horizon=10", "evaluation={every: 100, episodes: 4, final_episodes: 4}",
    "metrics.every=200ms",
    "metrics.sinks=[]", "exchange.consensus={mode: mh, groups: [critic], every: {updates: 5}}", "until={time: 4s, steps: 100000000}",
    "faults.heal_before_end=10%",
    "faults.events=[{id: cut, at: {time: 1s}, for: 1s, partition: {groups: [[agent-0], [agent-1]]}}]",
    "faults.links=[{id: lossy, loss: 0.2}]", "faults.expect=[{metric: episodes.lost, op: '<', value: 100000}]",
)  # fmt: skip


def orchestrate(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    names = ("PATH", "HOME", "TMPDIR", "LANG")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    environment = {**kept, "ORCHESTRATE_RUNS": str(home / "runs"), "COLUMNS": "160", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run `real` of two agents, some seconds long, with a partition and lossy links."""
    home = tmp_path_factory.mktemp("home")
    done = orchestrate(home, "up", str(REPOSITORY / "configs" / "4agents_ring.yaml"), *SMALL, "--name", "real", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    return home


@pytest.fixture(scope="module")
def page(home: Path) -> Path:
    return run_report(home / "runs" / "real", home / "out")


def similar(home: Path, name: str, change: Any = None, factor: float = 1.0) -> Path:
    """A copy of the run with another configuration and other metrics."""
    directory = home / "runs" / name
    shutil.copytree(home / "runs" / "real", directory)
    config = json.loads((directory / "config.json").read_text())
    if change is not None:
        change(config)
    (directory / "config.json").write_text(json.dumps(config))
    path = directory / "nodes" / "env-0" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**line, "value": line["value"] * factor}) + "\n" for line in lines))
    return directory


@pytest.mark.cluster
def test_a_real_run_has_all_sections(home: Path, page: Path) -> None:
    text = (home / "out" / "report.md").read_text()
    sections = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert sections[:5] == ["Learning", "Disagreement", "Faults", "Verdict", "Traffic"]
    assert {"Where the time goes", "Configuration", "To repeat it"} <= set(sections)
    assert text.splitlines()[2].startswith("**done** (exit 0) after ")
    command = (home / "runs" / "real" / "command.txt").read_text().strip()
    assert command in text
    assert "| discrete_sac" in text or "| learner | " in text
    figures = {path.stem for path in (home / "out" / "figures").glob("*.svg")}
    assert {"learning", "disagreement", "faults", "time"} == figures
    for path in (home / "out" / "figures").glob("*.svg"):
        ElementTree.parse(path)


@pytest.mark.cluster
def test_every_number_of_a_run_is_one_of_its_data(home: Path, page: Path) -> None:
    text = (home / "out" / "report.md").read_text()
    assert unfounded(text, data_of(page)) == []
    assert unfounded(text + "\n0.73912\n", data_of(page)) == ["0.73912"]


@pytest.mark.cluster
def test_the_page_of_a_run_needs_nothing_else(page: Path) -> None:
    read = page_of(page)
    assert (read.problems, read.foreign, read.unresolved()) == ([], [], [])
    assert len(read.ids) == len(set(read.ids))


@pytest.mark.cluster
def test_faults_and_traffic_are_those_of_the_run(home: Path, page: Path) -> None:
    directory = home / "runs" / "real"
    found = {fault.id: fault for fault in RecordedRun(directory).faults}
    cut = found["cut"]
    assert cut.end is not None and 0.9 < cut.begin < cut.end and cut.end > 1.9, "planned from 1 s to 2 s; a busy machine is late"
    links, stored = RecordedRun(directory).traffic, json.loads((directory / "summary.json").read_text())
    assert sum(counts["bytes"] for counts in links.values()) == sum(link["sent_bytes"] for link in stored["links"])
    assert sum(counts.get("lost", 0.0) for counts in links.values()) == sum(counts.get("tx.lost", 0) for counts in stored["wire"].values())
    drawing = ElementTree.parse(home / "out" / "figures" / "disagreement.svg")
    words = {element.text for element in drawing.getroot().iter() if element.text}
    assert {"cut", "lossy", "seconds of training"} <= words


@pytest.mark.cluster
def test_what_faults_and_links_did_to_the_runs_of_an_experiment(home: Path, tmp_path: Path) -> None:
    directory = home / "runs" / "real"
    of = design(report=["time_bands", "links"], seeds="0..1", expect=[], measure=[{"metric": "steps_per_second"}])
    page = report(results(of, directories={0: directory, 1: directory, 3: directory}, states={3: "FAILED"}), tmp_path)
    text = page.with_name("report.md").read_text()
    assert unfounded(text, data_of(page)) == []
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| delay=0ms, topology=ring |")
    ]
    cut = next(row for row in rows if row[1] == "cut")
    assert cut[7] == "1", "one directory is one run"
    speeds = [
        (RecordedRun(directory).training_time.of(line["t"]), line["value"])
        for line in map(json.loads, (directory / "nodes" / "env-0" / "usage.jsonl").read_text().splitlines())
        if line["name"] == "steps_per_second"
    ]
    window = next(fault for fault in RecordedRun(directory).faults if fault.id == "cut")
    assert window.end is not None
    during = [speed for time, speed in speeds if window.begin <= time < window.end]
    if during:  # on a busy machine no row may fall into the second of the cut
        assert float(cut[3].replace(",", "")) == pytest.approx(sum(during) / len(during), rel=0.01)
    peer = next(row for row in rows if row[1] == "peer")
    assert float(peer[2].replace(",", "")) == sum(
        counts["messages"] for (_, channel, _), counts in RecordedRun(directory).traffic.items() if channel == "peer"
    )
    assert "delay=0ms, topology=complete" not in text[text.index("## Around faults") : text.index("## Failures")], "it has no finished run"


@pytest.mark.cluster
def test_a_run_that_was_cut_off_is_reported(home: Path, tmp_path: Path) -> None:
    directory = similar(home, "torn")
    for name in ("summary.json", "verdict.json", "metrics.csv"):
        (directory / name).unlink(missing_ok=True)
    record = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps({**record, "state": "RUNNING", "exit_code": None, "ended": None}))
    page = run_report(directory, tmp_path)
    text = page.with_name("report.md").read_text()
    assert "This run has not come to its end." in text
    assert "| cut | partition" in text, "faults are read from the events"
    assert unfounded(text, data_of(page)) == []
    shutil.rmtree(directory)


@pytest.mark.cluster
def test_the_command_writes_and_says_where(home: Path) -> None:
    done = orchestrate(home, "report", "real", "-o", str(home / "there"), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["kind"] == "run" and Path(said["page"]).is_file() and Path(said["markdown"]).is_file() and len(said["figures"]) == 4
    wrong = orchestrate(home, "report", "reel")
    assert wrong.returncode == 2 and 'did you mean "real"?' in wrong.stderr


@pytest.mark.cluster
def test_seeds_are_one_side_and_keys_come_first(home: Path) -> None:
    def seed(number: int) -> Any:
        return lambda config: config.update(seed=number)

    def star(config: dict[str, Any]) -> None:
        config["network"]["topology"] = {"kind": "star"}
        config["name"] = "other"

    made = [similar(home, f"s{number}", seed(number), 1 + 0.1 * number) for number in range(1, 5)]
    other = similar(home, "other", star, 3.0)
    real = home / "runs" / "real"
    found = compare([real, *made, other])
    assert [side.seeds for side in found.sides] == [(0, 1, 2, 3, 4), (0,)]
    assert set(found.keys) == {"network.topology.kind"} and found.keys["network.topology.kind"] == ("ring", "star")
    one, two = found.metrics["length"]
    assert one.n == 5 and one.interval is not None and two.n == 1 and two.value is not None
    assert two.value == pytest.approx(3 * one.points[0])
    assert one.interval[0] <= one.points[2] == pytest.approx(one.value or 0.0, rel=0.05)
    assert "episodes" in found.equal and "episodes" not in found.metrics
    done = orchestrate(home, "compare", "real", *(path.name for path in made), "other", "--metric", "length")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("network.topology.kind") < done.stdout.index("length  ")
    assert "n=5" in done.stdout
    said = json.loads(orchestrate(home, "compare", "real", "other", "--json").stdout)
    assert said["keys"] == {"network.topology.kind": ["ring", "star"]}
    for path in (*made, other):
        shutil.rmtree(path)


@pytest.mark.cluster
def test_a_metric_that_a_run_lacks(home: Path) -> None:
    other = similar(home, "second", lambda config: config.update(seed=9))
    done = orchestrate(home, "compare", "real", "second", "--metric", "eval.own.retrun")
    assert done.returncode == 2
    assert 'real, second have no metric "eval.own.retrun"; did you mean "eval.own.return"' in done.stderr
    with pytest.raises(UsageError, match="at least two different runs"):
        compare([home / "runs" / "real", home / "runs" / "real"])
    (home / "runs" / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty has no config\.json"):
        compare([home / "runs" / "real", home / "runs" / "empty"])
    shutil.rmtree(other)


def test_entries_of_lists_are_told_by_their_names() -> None:
    one = {"a": [{"id": "x", "p": 1}, {"id": "y", "p": 2}], "b": 1, "c": {"d": [1, 2]}}
    two = {"a": [{"id": "y", "p": 3}], "b": 1, "c": {"d": [1, 2], "e": None}}
    assert differing([one, two]) == {"a.x": ({"id": "x", "p": 1}, ABSENT), "a.y.p": (2, 3), "c.e": (ABSENT, None)}
