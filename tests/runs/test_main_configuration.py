"""`orchestrate up configs/4agents_ring.yaml`, small: every feature on, every process real."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

import pytest

from tests.runs.system import CONFIG, SMALL, events, eventually, metrics, orchestrate, pids, processes_of, table

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished run that several tests look at."""
    runs = tmp_path_factory.mktemp("main") / "runs"
    done = orchestrate(runs, "up", str(CONFIG), "--name", "main", *SMALL, "metrics.sinks=[csv, tensorboard]", "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout and "orchestrate show main" in done.stdout
    return runs / "main"


def test_the_run_directory_is_complete(run: Path) -> None:
    expected = {
        "run.json", "run.lock", "config.yaml", "config.json", "config.origin.yaml", "command.txt", "versions.json", "hosts.json",
        "placement.json", "events.jsonl", "nodes", "tensorboard", "metrics.csv", "summary.json", "plots",
    }  # fmt: skip
    assert expected <= {path.name for path in run.iterdir()}
    assert not (run / "control.json").exists(), "the token goes with the run"
    record = json.loads((run / "run.json").read_text())
    assert record["state"] == "DONE" and record["exit_code"] == 0
    for i in range(4):
        node = run / "nodes" / f"agent-{i}"
        assert {"log.txt", "metrics.jsonl", "incarnations.jsonl", "checkpoints", "links.json"} <= {path.name for path in node.iterdir()}
        assert "Traceback" not in (node / "log.txt").read_text()
        assert (node / "checkpoints" / "LATEST").exists()
    names = {row["name"] for row in table(run)}
    assert {"return", "success.cooperative", "aligned", "world_model.error", "consensus.contraction", "time.learn"} <= names


def test_every_node_was_a_process_of_its_own_and_is_gone(run: Path) -> None:
    found = pids(run)
    nodes = {"env-0", "agent-0", "agent-1", "agent-2", "agent-3"}
    assert nodes <= found.keys() and len({found[node] for node in nodes}) == 5 and os.getpid() not in found.values()
    assert processes_of(run) == []


def test_all_parts_were_at_work(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert summary["disagreement"]["contraction_median"] == pytest.approx(1 / 3, rel=1e-3)
    assert summary["disagreement"]["contraction_predicted"] == pytest.approx(1 / 3)
    for i in range(4):
        agent = f"agent-{i}"
        assert median(metrics(run, agent, "negotiated")) > 0.5
        assert metrics(run, agent, "updates")[-1] > 20
        assert metrics(run, agent, "buffer.transitions")[-1] > 300
        assert len(metrics(run, agent, "world_model.error")) >= 2
        assert set(metrics(run, agent, "world_model.imagined")) == {0.0} and len(events(run, "model.unused", agent)) == 1, "so short a run"
        assert sum(metrics(run, agent, "consensus.rounds")) >= 3
        links = {(row["channel"], row["peer"]): row for row in json.loads((run / "nodes" / agent / "links.json").read_text())}
        neighbours = {f"agent-{(i - 1) % 4}", f"agent-{(i + 1) % 4}"}
        assert {peer for channel, peer in links if channel == "peer"} == neighbours, "models and goals stay on the graph's edges"
        assert all(links["peer", peer]["received_messages"] > 10 for peer in neighbours)
    for figure in ("eval.own.success.individual", "eval.own.aligned", "eval.aligned.return"):
        assert len(metrics(run, "env-0", figure)) == 2, "one evaluation at the start, one at the end"
    assert median(metrics(run, "env-0", "negotiated")) > 0.5


def test_show_names_the_results(run: Path) -> None:
    shown = orchestrate(run.parent, "show", "main")
    assert shown.returncode == 0 and "\x1b" not in shown.stdout
    for word in ("success.individual", "0.333", "agent-3", "learn", "world model"):
        assert word in shown.stdout
    as_json = orchestrate(run.parent, "show", "main", "--json")
    assert json.loads(as_json.stdout)


def test_skills_and_agreement_are_measured_and_drawn(run: Path) -> None:
    rows = [row for row in table(run) if row["name"] == "convention.accuracy"]
    assert rows and {row["node"] for row in rows} == {"run"} and all(0 <= float(row["value"]) <= 1 for row in rows)
    steps = metrics(run, "env-0", "steps")
    assert steps[-1] / 4 < int(rows[-1]["step"]) <= 1.1 * steps[-1], "in environment steps, of which eight are one tick"
    for name in ("return.normalised", "goals.pursued_entropy", "eval.aligned.return.per_goal", "eval.aligned.diversity"):
        assert metrics(run, "env-0", name), name
    assert metrics(run, "env-0", "return.normalised") == pytest.approx([value / 1.5 for value in metrics(run, "env-0", "return")])
    goals = [f"eval.aligned.success.goal.{landmarks}" for landmarks in ("0", "1", "2", "0-1", "0-2", "1-2")]
    assert all(len(metrics(run, "env-0", name)) == 2 for name in goals), "both evaluations had eight episodes, over six goals"
    learning, tables = ((run / "plots" / name).read_text() for name in ("learning.svg", "coordination_tables.svg"))
    for picture, words in ((learning, ["Alignment of goals", "all pairs"]), (tables, ["agent-0", "agent-3", "{1,2}", ">29<"])):
        ElementTree.fromstring(picture)
        assert all(word in picture for word in words)
    shown = orchestrate(run.parent, "show", "main").stdout
    assert all(word in shown for word in ("convention.accuracy", "goals, newest evaluation", "{0,2}"))


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One run that goes on behind the terminal, for commands during a run: in the order of the next tests, the last of
    which stops it."""
    runs = tmp_path_factory.mktemp("living") / "runs"
    started = orchestrate(
        runs, "up", "-d", str(CONFIG), "--name", "living", *SMALL, "until={time: 250s}", "supervision.restart_delay=200ms"
    )
    assert started.returncode == 0, started.stdout + started.stderr
    yield runs / "living"
    orchestrate(runs, "down", "living", "--now")
    assert processes_of(runs / "living") == []


def test_secrets_are_private_while_a_run_lives(living: Path) -> None:
    control = living / "control.json"
    assert stat.S_IMODE(control.stat().st_mode) == 0o600
    token = json.loads(control.read_text())["token"]
    read = 0
    for path in living.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # older checkpoints make room
            if path.is_file() and path != control:
                assert token not in path.read_text(errors="ignore"), path
                read += 1
    assert read > 10


def test_kill_9_of_an_agent_neither_hangs_nor_ends_the_others(living: Path) -> None:
    eventually("training with a checkpoint", lambda: list((living / "nodes/agent-2/checkpoints").glob("*.json")), 80)
    before = pids(living)
    os.kill(before["agent-2"], signal.SIGKILL)
    eventually("agent-2 has rejoined from its checkpoint", lambda: events(living, "node.restored", "agent-2"), 60)
    after = pids(living)
    assert after["agent-2"] != before["agent-2"]
    assert {name: pid for name, pid in after.items() if name != "agent-2"} == {n: p for n, p in before.items() if n != "agent-2"}
    seen = [len(metrics(living, f"agent-{i}", "success")) for i in range(4)]
    eventually(
        "all four play and learn again",
        lambda: all(len(metrics(living, f"agent-{i}", "success")) >= seen[i] + 3 for i in range(4)),
        60,
    )
    rounds = sum(metrics(living, "agent-2", "consensus.rounds"))
    eventually("it averages again", lambda: sum(metrics(living, "agent-2", "consensus.rounds")) > rounds + 2, 60)
    incarnations = [json.loads(line) for line in (living / "nodes/agent-2/incarnations.jsonl").read_text().splitlines()]
    assert len(incarnations) == 2


def test_kill_9_of_the_environment_server_is_survived(living: Path) -> None:
    eventually("agents play", lambda: metrics(living, "agent-0", "success"), 60)
    agents = {name: pid for name, pid in pids(living).items() if name.startswith("agent")}
    os.kill(pids(living)["env-0"], signal.SIGKILL)
    eventually("a second environment server", lambda: len(events(living, "node.alive", "env-0")) == 2, 60)
    seen = len(metrics(living, "agent-0", "success"))
    eventually("agents play again", lambda: len(metrics(living, "agent-0", "success")) >= seen + 3, 60)
    before = metrics(living, "agent-0", "buffer.transitions")[-1]
    eventually("and remember what they play", lambda: metrics(living, "agent-0", "buffer.transitions")[-1] > before + 50, 60)
    assert {name: pid for name, pid in pids(living).items() if name.startswith("agent")} == agents, "no agent was restarted"


def test_down_leaves_nothing_of_a_run_with_two_deaths(living: Path) -> None:
    stopped = orchestrate(living.parent, "down", "living")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert processes_of(living) == []
    assert json.loads((living / "run.json").read_text())["state"] == "STOPPED"


BAD = {
    "unknown environment": (["environment.id=landmark"], 3, ["environment.id", "landmarks"]),
    "unknown package": (["environment.id=mpe3:simple_spread_v3"], 3, ["environment.id", "mpe3"]),
    "more agents than the environment has": (
        ["environment.id=mpe2:simple_spread_v3", "environment.options={N: 3}", "agents.goals=null", "exchange.negotiation=null",
         "exchange.hindsight=null"],
        3, ["4", "3", "agents.count"],
    ),
    "an unknown node": (
        ["network.topology={kind: edges, edges: [[agent-0, agent-1], [agent-1, agent-2], [agent-2, agent-7]]}"], 3, ["agent-7"],
    ),
    "disconnected": (
        ["network.topology={kind: edges, edges: [[agent-0, agent-1], [agent-2, agent-3]]}"], 3, ["2 parts", "agent-2, agent-3"],
    ),
    "no address for others": (["network.bind=0.0.0.0"], 3, ["network.bind", "network.advertise"]),
    "in the open": (["network.bind=192.0.2.1", "security.mode=none"], 4, ["network.bind", "security.mode=auto"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_anything_starts(case: str, tmp_path: Path) -> None:
    overrides, code, words = BAD[case]
    runs = tmp_path / "runs"
    done = orchestrate(runs, "up", str(CONFIG), *overrides)
    text = done.stdout + done.stderr
    assert done.returncode == code, text
    assert all(word in text for word in words), text
    assert "Traceback" not in text and "nothing was started" in text
    assert not runs.exists() or not list(runs.iterdir()), "no directory is left"


def test_a_name_that_exists_is_refused_and_nothing_is_overwritten(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    done = orchestrate(run.parent, "up", str(CONFIG), *SMALL, "--name", "main")
    assert done.returncode == 3 and "main" in done.stderr + done.stdout and "another name" in done.stderr + done.stdout
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before
