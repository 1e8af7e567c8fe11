"""Results of a finished run, from files written by hand and numbers computed by hand."""

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.results.recorded_run import RecordedRun
from orchestrator.results.run_summary import after_run, curve_text, heading, summarize
from tests.orchestrator.cli.conftest import CONFIG, Orchestrate


def row(node: str, name: str, *values: float, every: int = 100) -> tuple[str, list[dict[str, object]]]:
    return node, [{"t": 1000.0 + k, "step": 10 * k, "episode": every * k, "name": name, "value": v} for k, v in enumerate(values)]


@pytest.fixture
def run(runs: Path) -> Path:
    directory = runs / "night"
    rows = [
        row("env-0", "eval.own.success.individual", 0.25, 0.75, 0.5),
        row("env-0", "eval.own.aligned", 0.1, 0.5),
        row("env-0", "eval.aligned.success.goal.0-2", 0.25, 0.75),
        row("env-0", "eval.own.success.goal.0-2", 0.5),
        row("env-0", "eval.own.agreed.goal.0-2", 0.0, 0.125),
        row("env-0", "eval.aligned.success.goal.10", 1.0),
        row("env-0", "eval.aligned.success.goal.2", 0.5, 1.0),
        row("env-0", "episodes", 100.0, 300.0, 2.0),
        row("env-0", "return.normalised", 0.25, 0.75, 0.0),
        row("env-0", "aligned", 0.5),
        row("run", "convention.accuracy", 0.0, 0.5),
        row("agent-0", "world_model.error", 1.0, 0.5, 0.25),
        row("agent-1", "world_model.error", 2.0, 1.5, 0.75, 0.25),
        row("agent-0", "time.learn", 0.5, 0.5),
        row("agent-0", "time.wait", 0.25, 0.25),
        row("agent-0", "time.other", 0.25, 0.25),
        row("agent-1", "time.learn", 0.25),
        row("agent-1", "time.wait", 0.75),
        row("run", "consensus.contraction", 0.9, 0.4, 0.3),
        row("run", "consensus.disagreement", 0.2, 0.1),
        row("agent-0", "consensus.disagreement", 9.0),
    ]
    for node, lines in rows:
        (directory / "nodes" / node).mkdir(parents=True, exist_ok=True)
        with (directory / "nodes" / node / "metrics.jsonl").open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    with (directory / "nodes" / "agent-0" / "metrics.jsonl").open("a") as file:
        file.write('{"t": 1, "step": 0, "episode": 0, "name": "world_model.error", "value": NaN}\n{"torn": ')
    (directory / "nodes" / "agent-1" / "incarnations.jsonl").write_text('{"incarnation": 1}\n{"incarnation": 2}\n{"incarnation": 3}\n')
    configuration = {
        "seed": 7,
        "agents": {"count": 4},
        "network": {"topology": {"kind": "ring"}},
        "exchange": {"consensus": {"mode": "mh"}},
    }
    (directory / "config.json").write_text(json.dumps(configuration))
    link = {"node": "agent-0", "channel": "peer", "peer": "agent-1", "sent_messages": 12, "sent_bytes": 3072}
    usage = {"cpu_seconds": 2.5, "peak_resident": 2**28}
    (directory / "summary.json").write_text(json.dumps({"links": [link], "nodes": {"agent-0": {"usage": usage}}}))
    times = {"started": "2026-11-21T14:00:00.000Z", "ended": "2026-11-21T14:04:30.000Z"}
    (directory / "run.json").write_text(json.dumps({"state": "DONE", "exit_code": 0, "reason": "4000 episodes", **times}))
    return directory


def test_figures(run: Path) -> None:
    summary = summarize(RecordedRun(run))
    evaluation = {c.name: c for c in summary.evaluation}
    individual = evaluation["eval.own.success.individual"]
    assert (individual.first, individual.best, individual.last, individual.best_episode) == (0.25, 0.75, 0.5, 100)
    assert list(evaluation) == ["eval.own.aligned", "eval.own.success.individual"], "goals have a table of their own"
    training = {c.name: c for c in summary.training}
    assert list(training) == ["return.normalised", "aligned", "convention.accuracy"]
    # The third window has two episodes only, and goes with the one before: (300 * 0.75 + 2 * 0) / 302
    returned = training["return.normalised"]
    assert returned.values == pytest.approx([0.25, 225 / 302]) and returned.best_step == 20
    assert (training["convention.accuracy"].last, training["convention.accuracy"].best_step) == (0.5, 10)
    goals = [(goal.goal, goal.given, goal.own, goal.agreed) for goal in summary.goals]
    assert goals == [("{2}", 1.0, None, None), ("{10}", 1.0, None, None), ("{0,2}", 0.75, 0.5, 0.125)]
    error = summary.world_model[0]
    # k-th reports together: (1 + 2)/2, (0.5 + 1.5)/2, (0.25 + 0.75)/2, and the last of agent-1 alone; the smallest is the best
    assert (error.values, error.best, error.best_episode) == ([1.5, 1.0, 0.5, 0.25], 0.25, 300)
    assert summary.contraction_measured == 0.4
    assert summary.contraction_predicted == pytest.approx(1 / 3)  # a ring of four: W has eigenvalues 1, 1/3, 1/3, -1/3
    assert summary.disagreement is not None and (summary.disagreement.first, summary.disagreement.last) == (0.2, 0.1)
    assert summary.time["agent-0"] == {"learn": 0.5, "wait": 0.25, "other": 0.25}
    assert summary.slowest == "learn at agent-0 (50 %)"
    assert summary.restarts == {"agent-1": 2}
    assert (summary.seed, summary.elapsed, summary.state) == (7, 270.0, "DONE")
    assert curve_text(individual) == "0.25 -> 0.50 (best 0.75 at episode 100)"


def test_small_returns_keep_significant_digits(run: Path, orchestrate: Orchestrate) -> None:
    other = run.with_name("day")
    shutil.copytree(run, other)
    (other / "config.json").write_text((run / "config.json").read_text().replace("ring", "star"))
    for directory, values in ((run, (0.0127, 0.0134)), (other, (10.0, 20000.0))):
        with (directory / "nodes" / "env-0" / "metrics.jsonl").open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in row("env-0", "eval.own.return", *values)[1])
    curve = next(c for c in summarize(RecordedRun(run)).evaluation if c.name == "eval.own.return")
    assert curve_text(curve) == "0.0127 -> 0.0134"
    assert [heading(curve, agents) for agents in (1, 4)] == ["eval.own.return", "eval.own.return (all members)"]
    assert "own.return (all members) 0.0127" in " ".join(orchestrate("show", "night").stdout.split())
    compared = orchestrate("compare", "night", "day", "--metric", "eval.own.return").stdout
    assert compared.split()[-2:] == ["0.0134", "20,000"]


def test_metrics_without_a_direction_have_no_best(run: Path) -> None:
    with (run / "nodes" / "env-0" / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in row("env-0", "eval.own.length", 38.0, 500.0, 40.0)[1])
    curve = next(c for c in summarize(RecordedRun(run)).evaluation if c.name == "eval.own.length")
    assert (curve.best, curve.best_episode, curve.best_step) == (None, None, None)
    assert curve_text(curve) == "38.00 -> 40.00"


def test_the_words_after_a_run(run: Path) -> None:
    text = " ".join(after_run(run).split())
    assert "eval.own.success.individual 0.25 -> 0.50 (best 0.75 at episode 100)" in text
    assert "eval.own.aligned 0.10 -> 0.50" in text and "convention.accuracy 0.00 -> 0.50" in text and "goal.0-2" not in text
    assert "consensus contraction a round 0.400 (predicted 0.333)" in text
    assert "where the time goes wait 50 % learn 38 % other 12 %" in text
    assert "restarts agent-1 2" in text
    assert "orchestrate show night" in text


def test_sums_of_statistics_that_are_averaged(run: Path, orchestrate: Orchestrate) -> None:
    configuration = json.loads((run / "config.json").read_text())
    configuration["exchange"] = {"consensus": None, "statistics": {"mode": "mh"}}
    (run / "config.json").write_text(json.dumps(configuration))
    rows = row("run", "statistics.contraction", 0.25, 0.5, 0.125)[1] + row("run", "statistics.disagreement", 0.5, 1e-9)[1]
    with (run / "nodes" / "run" / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in rows)
    summary = summarize(RecordedRun(run))
    assert (summary.averaged, summary.contraction_measured) == ("statistics", 0.25)
    assert summary.disagreement is not None and summary.disagreement.last == 1e-9
    assert "statistics contraction a round 0.250 (predicted 0.333)" in " ".join(after_run(run).split())
    text = [" ".join(line.split()) for line in orchestrate("show", "night").stdout.splitlines()]
    assert text[text.index("statistics") + 2] == "disagreement: 5.0e-01 -> 1.0e-09"
    configuration["exchange"]["statistics"]["mode"] = "ledger"
    (run / "config.json").write_text(json.dumps(configuration))
    assert summarize(RecordedRun(run)).contraction_measured is None, "a ledger has no rounds"


def test_tables_and_json(run: Path, orchestrate: Orchestrate) -> None:
    done = orchestrate("show", "night")
    text = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert text[0] == "night done exit 0 seed 7 4:30 4000 episodes"
    assert any(line.startswith("own.success.individual 0.250 0.750 100 0.500 3") for line in text)
    assert any(line.startswith("convention.accuracy 0.000 0.500 10 0.500") for line in text)
    assert "{0,2} 0.75 0.50 0.12" in text and "{10} 1.00 - -" in text
    assert "agent-0 peer agent-1 12 3.0 KiB" in text
    assert "agent-0 2.5 256.0 MiB" in text
    assert "contraction a round: measured 0.400, predicted (largest) 0.333" in text
    for arguments in (("show", "--json"), ("show", "night", "--format", "json")):
        assert json.loads(orchestrate(*arguments).stdout)["contraction_measured"] == 0.4
    assert orchestrate("show", "night", "--format", "svg").returncode == 2
    assert orchestrate("show", "night", "agents.count=3").returncode == 2


def test_plots_are_drawn_anew(run: Path, runs: Path, orchestrate: Orchestrate) -> None:
    done = orchestrate("show", "night", "--plots")
    assert done.stdout == f"{run / 'plots' / 'learning.svg'}\n", done.stderr
    assert "Alignment of goals" in (run / "plots" / "learning.svg").read_text()
    (runs / "empty").mkdir()
    (runs / "empty" / "config.json").write_text("{}")
    assert "nothing was measured" in orchestrate("show", "empty", "--plots").stdout and not (runs / "empty" / "plots").exists()
    assert orchestrate("show", str(CONFIG), "--plots").returncode == 2


def test_an_empty_run_directory_is_shown_as_it_is(runs: Path, orchestrate: Orchestrate) -> None:
    (runs / "young").mkdir(parents=True)
    (runs / "young" / "config.json").write_text("{}")
    done = orchestrate("show")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("young  starting")


def test_a_configuration_is_drawn(orchestrate: Orchestrate) -> None:
    assert "agent-3" in orchestrate("show", str(CONFIG)).stdout
    assert orchestrate("show", str(CONFIG), "--format", "svg").stdout.startswith("<svg")
    assert "graph" in orchestrate("show", str(CONFIG), "--format", "dot").stdout
    assert orchestrate("show", str(CONFIG), "agents.count=0").returncode == 3
    json.loads(orchestrate("show", str(CONFIG), "--json").stdout)


def test_sums_of_statistics_are_told_with_their_traffic(run: Path, orchestrate: Orchestrate) -> None:
    for i, (origins, published) in enumerate(((4, 10), (3, 20)), start=1):
        path = run / "nodes" / f"agent-{i}" / "metrics.jsonl"
        path.parent.mkdir(exist_ok=True)
        values = {"origins": origins, "staleness": 1, "published": published, "refused": 2, "bytes_taken": 2**21 * 10}
        with path.open("a") as file:
            for name, value in values.items():
                file.write(json.dumps({"t": 1.0, "step": 1, "episode": 1, "name": f"statistics.{name}", "value": value}) + "\n")
    assert "statistics of 3 .. 4 agents, 1.5 MiB taken by an agent a refresh" in " ".join(after_run(run).split())
    text = " ".join(orchestrate("show", "night").stdout.split())
    assert "agent-1 4 1 10 2.0 MiB 2" in text and "agent-2 3 1 20 1.0 MiB 2" in text


def test_warnings_about_learning_are_in_the_summary_once(run: Path) -> None:
    idle = {"severity": "warning", "code": "learner.idle", "text": "the learner made no update: train longer"}
    events = [
        {**idle, "node": "agent-0"},
        {**idle, "node": "agent-1"},
        {**idle, "node": "agent-0"},
        {**idle, "code": "model.unused", "text": "x"},
    ]
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert summarize(RecordedRun(run)).learning_warnings == {idle["text"]: ["agent-0", "agent-1"]}
    assert "warning agent-0, agent-1: the learner made no update: train longer" in " ".join(after_run(run).split())
