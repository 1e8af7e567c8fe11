"""`orchestrate simulate`: a configuration's conversations alone, in tables, JSON and pictures; and what does not go together is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.pictures.disagreement import text_plot, to_svg
from orchestrator.simulate import Simulation, configured
from orchestrator.simulated import Outcome, Request
from protocols.errors import ExitCode
from protocols.faults.schedule import compile_schedule
from protocols.simulation.averaging import Point
from tests.cli.conftest import CONFIG, Orchestrate, orchestrate, runs  # noqa: F401

BAD = "network.links=[{id: bad, delay: {dist: uniform, min: 10ms, max: 50ms}, loss: 0.2, duplicate: {p: 0.1}}]"
AGENTS = [f"agent-{number}" for number in range(8)]
PUSHSUM = "exchange.consensus.mode=pushsum"
FAULTS = (
    "faults={events: [{id: crash, at: {round: 5}, process: {target: agent-2, action: kill, restart_after: 2s}},"
    " {id: slow, at: {time: 1s}, straggler: {target: agent-1}},"
    " {id: split, at: {time: 1s}, for: 3s, partition: {groups: [[agent-0, agent-1], [agent-2, agent-3]]}}]}"
)


def outcome(*overrides: str, **request: Any) -> Outcome:
    asked = Request(**request)
    return Simulation(configured(CONFIG, overrides, asked), asked).run()


def test_the_main_configuration_agrees_as_predicted_and_plays() -> None:
    found = outcome(PUSHSUM, agents=8, episodes=2)
    assert found.agreed and found.predicted is not None and 0.8 * found.predicted < found.rounds <= found.predicted
    assert found.topology == "ring" and found.edges == 8 and found.contraction == pytest.approx(0.8047, abs=1e-4)
    assert found.mass < 1e-14 and found.error < 1e-7 and found.retries == 0 and found.lost == {}
    assert found.episodes is not None
    assert (found.episodes.played, found.episodes.negotiated, found.episodes.complete) == (16, 16, 16)


def test_equal_seeds_give_equal_outcomes() -> None:
    def told(seed: int) -> dict[str, Any]:
        found = outcome(PUSHSUM, BAD, agents=6, episodes=2, seed=seed).to_dict()
        return {name: value for name, value in found.items() if name != "real"}

    assert told(3) == told(3)
    assert told(3) != told(4)


def test_faults_of_the_schedule_happen_and_the_rest_is_named() -> None:
    found = outcome(PUSHSUM, FAULTS, agents=4, episodes=3)
    assert found.agreed and found.died == 1 and found.lost["lost.split"] > 0
    assert any("slow" in note for note in found.notes) and not any("split" in note for note in found.notes)
    assert found.episodes is not None and found.episodes.complete < 12
    assert found.seconds > 4.0, "nobody agrees over a cut"


def test_events_that_are_never_reached_are_named() -> None:
    faults = (
        "faults={links: [{id: lossy, loss: 0.01, during: {stop: {step: 9}}}], events: ["
        "{id: storm, at: {step: 10}, for: {steps: 20}, link: {from: agent-2, loss: 0.3}},"
        " {id: crash, at: {step: 10}, process: {target: agent-2, action: kill}},"
        " {id: late, at: {episode: 500}, for: 1s, partition: {groups: [[agent-0, agent-1], [agent-2, agent-3]]}},"
        " {id: never, at: {time: 1h}, process: {target: agent-2, action: kill}},"
        " {id: soon, at: {round: 2}, for: 1s, link: {from: agent-2, loss: 0.3}},"
        " {id: slow, at: {step: 10}, straggler: {target: agent-1}}]}"
    )
    found = outcome(PUSHSUM, faults, agents=4, episodes=1)
    assert found.agreed and found.died == 0
    assert found.notes[-4:] == [
        "not simulated, since a simulation has no processes and nothing is learnt: slow",
        "not begun, since a simulation makes no steps: storm, crash",
        "not begun, since the simulation was over before: late, never",
        "not ended, since a simulation makes no steps: lossy",
    ]


def test_drawn_faults_happen_too_and_those_of_learning_are_named() -> None:
    faults = "faults={seed: 3, random: {every: 500ms, duration: 400ms, weights: {partition: 1, kill: 2, pause: 1, slow: 1, link: 1}}}"
    found = outcome(PUSHSUM, faults, "network.links=[{id: long, delay: 100ms}]", agents=8, episodes=0)
    settings = configured(CONFIG, [faults], Request(agents=8)).faults
    drawn = compile_schedule(settings, [], AGENTS).random_events(found.seconds)
    actions = [getattr(event.deed, "action", event.kind) for event in drawn]
    splits = [event.id for event, action in zip(drawn, actions, strict=True) if action == "partition"]
    assert found.died == actions.count("kill") > 0 and splits and all(found.lost[f"lost.{name}"] > 0 for name in splits)
    left = [event.id for event, action in zip(drawn, actions, strict=True) if action in ("pause", "straggler")]
    assert found.notes[-1] == f"not simulated, since a simulation has no processes and nothing is learnt: {', '.join(left)}"


def test_gossip_under_loss_agrees_on_something_else() -> None:
    found = outcome("exchange.consensus.mode=mh", BAD, agents=6, episodes=0)
    assert found.agreed and found.error > 1e-3 and found.missing > 0 and found.episodes is None


def test_more_agents_than_a_run_can_have() -> None:
    asked = Request(agents=1500, rounds=3, dimension=1)
    simulation = Simulation(configured(CONFIG, [PUSHSUM, "network.topology={kind: random_regular, degree: 4}"], asked), asked)
    found = simulation.run()
    assert not found.agreed and found.rounds == pytest.approx(3.0, abs=0.1) and found.episodes is None
    assert found.messages == pytest.approx(1500 * 4 * 4, rel=0.01)


def test_the_table_says_it_in_words(orchestrate: Orchestrate) -> None:  # noqa: F811
    done = orchestrate("simulate", str(CONFIG), PUSHSUM, BAD, "--agents", "6", "--dimension", "2")
    assert done.returncode == 0, done.stderr
    for text in ("ring of 6 agents, pushsum", "agreement", "without faults", "1e0", "rounds", "negotiated", "lost" if False else "bad"):
        assert text in done.stdout
    assert "Traceback" not in done.stderr


def test_json_and_picture_for_scripts(orchestrate: Orchestrate, tmp_path: Path) -> None:  # noqa: F811
    picture = tmp_path / "curve.svg"
    done = orchestrate("simulate", str(CONFIG), "--agents", "4", "--episodes", "0", "--json", "--picture", str(picture))
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["agreed"] and found["agents"] == 4 and len(found["curve"]["rounds"]) > 5
    assert picture.read_text().startswith("<svg") and "4 agents" in picture.read_text()


def test_who_does_not_agree_in_time_ends_with_one(orchestrate: Orchestrate) -> None:  # noqa: F811
    done = orchestrate("simulate", str(CONFIG), "--agents", "16", "--rounds", "5", "--episodes", "0")
    assert done.returncode == ExitCode.EXPECTATION_FAILED and "NOT within 5" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["network.topology={kind: random_regular, degree: 3}", "--agents", "7"], 3, "make one of them even"),
        (["network.topology.kind=exponential", "exchange.consensus.mode=mh"], 3, "needs an undirected graph"),
        (["network.topology={kind: edges, edges: [[agent-0, agent-1]]}"], 3, "falls into"),
        (["network.topolgy.kind=ring"], 3, "topology"),
        (["--tolerance", "2"], 2, "no share between 0 and 1"),
        (["--agents", "0"], 2, "agents"),
        (["--rounds", "2", "--episodes", "0", "--picture", "/nowhere/x.svg"], 6, "can't be written"),
    ],
)
def test_what_does_not_go_together_is_said(orchestrate: Orchestrate, arguments: list[str], code: int, text: str) -> None:  # noqa: F811
    done = orchestrate("simulate", str(CONFIG), *arguments)
    assert done.returncode == code, done.stderr
    assert text in done.stderr and "Traceback" not in done.stderr


def test_a_curve_is_drawn_between_its_ends() -> None:
    curve = [Point(float(i), 0.01 * i, 10.0 ** (-i / 10), 0.0) for i in range(61)]
    lines = text_plot(curve, 60).splitlines()
    assert lines[0].startswith("   1e0 ┤•") and lines[9].startswith("  1e-6 ┤") and lines[9].endswith("•") and lines[11].endswith("60")
    assert text_plot(curve[:1]) == "no round was closed\n"
    assert to_svg(curve, "a <b>").count("<polyline") == 1 and "a &lt;b&gt;" in to_svg(curve, "a <b>")
