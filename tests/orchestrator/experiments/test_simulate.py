"""`orchestrate simulate`: a configuration's conversations alone, in tables, JSON and pictures; and refused combinations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.experiments.design.experiment_design import SimulationSettings
from orchestrator.experiments.running.array_simulation import simulation_of
from orchestrator.experiments.running.averaging_simulation import Simulation, loaded
from orchestrator.experiments.running.simulation_outcome import SimulationOutcome
from orchestrator.report.charts import disagreement_chart as disagreement
from protocols.averaging.averaging_messages import Average, Compressed
from protocols.faults.fault_schedule import compile_schedule
from protocols.runtime.errors import ConfigurationError, ExitCode
from protocols.simulation.simulated_averaging import PopulationPoint
from protocols.simulation.simulated_network import SimulatedConnection
from protocols.wire.messages import Message
from tests.orchestrator.cli.conftest import CONFIG, Orchestrate, orchestrate, runs  # noqa: F401

BAD = "network.links=[{id: bad, delay: {dist: uniform, min: 10ms, max: 50ms}, loss: 0.2, duplicate: {p: 0.1}}]"
AGENTS = [f"agent-{number}" for number in range(8)]
PUSHSUM = "exchange.consensus.mode=pushsum"
FAULTS = (
    "faults={events: [{id: crash, at: {round: 5}, process: {target: agent-2, action: kill, restart_after: 2s}},"
    " {id: slow, at: {time: 1s}, straggler: {target: agent-1}},"
    " {id: split, at: {time: 1s}, for: 3s, partition: {groups: [[agent-0, agent-1], [agent-2, agent-3]]}}]}"
)


def outcome(*overrides: str, **request: Any) -> SimulationOutcome:
    return simulation(*overrides, **request).run()


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
    assert found.seconds > 4.0, "no agreement over a cut"


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
    settings = loaded(CONFIG, [faults], SimulationSettings(agents=8)).configuration.faults
    drawn = compile_schedule(settings, [], AGENTS).random_events(found.seconds)
    actions = [getattr(event.node_fault, "action", event.kind) for event in drawn]
    splits = [event.id for event, action in zip(drawn, actions, strict=True) if action == "partition"]
    assert found.died == actions.count("kill") > 0 and splits and all(found.lost[f"lost.{name}"] > 0 for name in splits)
    left = [event.id for event, action in zip(drawn, actions, strict=True) if action in ("pause", "straggler")]
    assert found.notes[-1] == f"not simulated, since a simulation has no processes and nothing is learnt: {', '.join(left)}"


SLOW = "network.links=[{id: long, delay: 100ms}]"


def leaving(who: str, return_after: str) -> str:
    return f"faults={{events: [{{id: go, at: {{time: 500ms}}, membership: {{leave: '{who}', return_after: {return_after}}}}}]}}"


def simulation(*overrides: str, **request: Any) -> Simulation:
    seed = request.pop("seed", None)
    asked = SimulationSettings(**request)
    return Simulation(loaded(CONFIG, overrides, asked, seed).configuration, asked)


REGULAR = "network.topology={kind: random_regular, degree: 4}"


def chosen(*overrides: str, **request: Any) -> SimulationOutcome:
    asked = SimulationSettings(**request)
    return simulation_of(loaded(CONFIG, overrides, asked).configuration, asked).run()


@pytest.mark.parametrize("every", ["{updates: 5}", "{time: 5ms}", "{time: 50ms}"])
@pytest.mark.parametrize("mode", ["mh", "pushsum"])
def test_arrays_have_the_outcome_of_the_messages(mode: str, every: str) -> None:
    overrides = (REGULAR, f"exchange.consensus={{mode: {mode}, every: {every}, groups: [critic]}}")
    found, fast = (chosen(*overrides, agents=60, dimension=3, episodes=0, arrays=arrays).to_dict() for arrays in (False, None))
    assert fast.pop("arrays") and not found.pop("arrays")
    for name in ("rounds", "time", "disagreement", "error"):
        assert fast["curve"][name] == pytest.approx(found["curve"][name], abs=1e-12)
    for name in ("disagreement", "error", "mass", "seconds"):
        assert fast.pop(name) == pytest.approx(found.pop(name), abs=1e-12)
    for made in (found, fast):
        del made["curve"], made["real"]
    assert fast == found and found["agreed"]


def test_arrays_under_losses_have_the_outcome_of_messages_in_synchronous_rounds() -> None:
    overrides = (REGULAR, "network.links=[{id: bad, loss: 0.2}]", "exchange.consensus={mode: mh, every: {time: 3s}, groups: [critic]}")
    found, fast = (chosen(*overrides, agents=100, dimension=3, episodes=0, arrays=arrays) for arrays in (False, True))
    assert fast.arrays and fast.agreed and "synchronous" in fast.notes[-1]
    assert (fast.rounds, fast.messages, fast.bytes, fast.lost) == (found.rounds, found.messages, found.bytes, found.lost)
    assert fast.missing == pytest.approx(found.missing) and fast.error == pytest.approx(found.error, abs=1e-12)


@pytest.mark.parametrize(
    ("overrides", "request_", "why"),
    [
        ([REGULAR, BAD], {}, "does more than to delay"),
        ([REGULAR, "network.links=[{id: bad, loss: 0.1}]"], {}, "rounds overlap"),
        ([REGULAR, PUSHSUM, "network.links=[{id: far, delay: 60ms}]"], {}, "may close rounds after 0.05 s"),
        ([REGULAR, "network.links=[{id: far, delay: 3s}]"], {}, "rounds close after 2 s"),
        ([REGULAR, "exchange.consensus.mode=choco"], {}, "mode choco"),
        ([REGULAR, "exchange.consensus={mode: pushsum, offer_dtype: float32}"], {}, "float32"),
        (["network.topology.kind=one_peer_exponential", PUSHSUM], {}, "changes from round to round"),
        ([REGULAR], {"wire": True}, "codec"),
        ([REGULAR], {"episodes": 1}, "episodes are negotiated"),
    ],
)
def test_what_arrays_do_not_model_goes_message_by_message_and_is_named(overrides: list[str], request_: dict[str, Any], why: str) -> None:
    asked = SimulationSettings(agents=1000, dimension=1, rounds=1, **request_)
    configuration = loaded(CONFIG, overrides, asked).configuration
    made = simulation_of(configuration, asked)
    assert isinstance(made, Simulation) and why in made.notes[-1]
    if "synchronous" in made.notes[-1]:  # unless it is asked for
        assert simulation_of(configuration, asked.model_copy(update={"arrays": True})).run().arrays
    else:
        with pytest.raises(ConfigurationError, match=why):
            simulation_of(configuration, asked.model_copy(update={"arrays": True}))


@pytest.mark.parametrize("length", ["{episodes: 2}", "{rounds: 3}"])
def test_who_leaves_for_episodes_or_rounds_is_back(length: str) -> None:
    made = simulation(PUSHSUM, leaving("agent-1", length), SLOW, agents=4, episodes=3)
    found = made.run()
    assert found.agreed and found.died == 1 and made.network.nodes["agent-1"].incarnation == 2
    assert not any("go" in note for note in found.notes)


def test_a_simulation_in_which_nobody_is_left_ends() -> None:
    found = outcome(PUSHSUM, leaving("agent-*", "{episodes: 2}"), SLOW, agents=4, episodes=3)
    assert not found.agreed and found.died == 4
    assert found.notes[-2:] == [
        "over at 0.5 s: no agent ran, and none was due back",
        "no return, since the simulation ended before: go",
    ]


def test_nobody_left_and_everybody_due_back_is_no_end() -> None:
    found = outcome(PUSHSUM, leaving("agent-*", "2s"), SLOW, agents=4, episodes=0)
    assert found.agreed and found.died == 4 and found.seconds > 2.5


def stormy(mode: str = "mh", **storm: str) -> list[tuple[int, int]]:
    """(incarnation of agent-2, round) of its messages in a storm; it is killed in round 3 and returns two seconds later."""
    faults = (
        "faults={events: [{id: crash, at: {round: 3}, process: {target: agent-2, action: kill, restart_after: 2s}},"
        f" {{id: storm, at: {storm['at']}, for: {storm['lasts']}, link: {{from: agent-2, loss: 1.0}}}}]}}"
    )
    made = simulation(f"exchange.consensus.mode={mode}", faults, SLOW, agents=4, episodes=0, rounds=80, tolerance=1e-300)
    lost: set[tuple[int, int]] = set()

    def look(route: SimulatedConnection, message: Message, arrays: object, cause: str) -> None:
        if cause == "storm" and isinstance(message, Average | Compressed):
            lost.add((route.src.incarnation, message.round))

    made.network.observe = look
    assert made.run().died == 1
    return sorted(lost)


def test_links_count_the_rounds_that_the_averaging_counts_in_every_life() -> None:
    """As real nodes do: who comes back joins the round of its neighbours, and a fault by round finds it there."""
    found = stormy(at="{round: 40}", lasts="{rounds: 10}")
    assert found == [(2, round) for round in range(41, 51)], "from the end of round 40 to that of round 50"


def test_links_that_were_disturbed_in_one_life_are_not_disturbed_again_in_the_next() -> None:
    found = stormy(at="{time: 100ms}", lasts="{rounds: 1}")
    assert found and {life for life, _ in found} == {1}


@pytest.mark.parametrize("mode", ["mh", "choco"])
def test_a_life_that_comes_into_a_fault_of_so_many_rounds_has_it_for_as_many(mode: str) -> None:
    found = stormy(mode, at="{time: 1s}", lasts="{rounds: 10}")
    assert {life for life, _ in found} == {2}
    first = min(round for _, round in found if round)  # the round 0 with which it begins is none of its neighbours'
    assert first > 5 and first + 9 <= max(round for _, round in found) <= first + 20, "from the first round that it has closed"


def test_gossip_under_loss_agrees_on_something_else() -> None:
    found = outcome("exchange.consensus.mode=mh", BAD, agents=6, episodes=0)
    assert found.agreed and found.error > 1e-3 and found.missing > 0 and found.episodes is None


def test_more_agents_than_a_run_can_have() -> None:
    found = outcome(PUSHSUM, "network.topology={kind: random_regular, degree: 4}", agents=1500, rounds=3, dimension=1)
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
        (["network.topology={kind: edges, edges: [[agent-0, agent-1]]}"], 3, "is not connected"),
        (["network.topolgy.kind=ring"], 3, "topology"),
        (["--tolerance", "2"], 2, "no share between 0 and 1"),
        (["--agents", "0"], 2, "agents"),
        ([BAD, "--arrays"], 3, "not modelled as arrays: rule bad"),
        (["--rounds", "2", "--episodes", "0", "--picture", "/nowhere/x.svg"], 6, "can't be written"),
    ],
)
def test_what_does_not_go_together_is_said(orchestrate: Orchestrate, arguments: list[str], code: int, text: str) -> None:  # noqa: F811
    done = orchestrate("simulate", str(CONFIG), *arguments)
    assert done.returncode == code, done.stderr
    assert text in done.stderr and "Traceback" not in done.stderr


def test_a_curve_is_drawn_between_its_ends() -> None:
    curve = [PopulationPoint(float(i), 0.01 * i, 10.0 ** (-i / 10), 0.0) for i in range(61)]
    lines = disagreement.text_plot(curve, 60).splitlines()
    assert lines[0].startswith("   1e0 ┤•") and lines[9].startswith("  1e-6 ┤") and lines[9].endswith("•") and lines[11].endswith("60")
    assert disagreement.text_plot(curve[:1]) == "no round was closed\n"
    drawn = disagreement.picture(curve, "a <b>")
    (axes,) = drawn.figure.axes
    (line,) = axes.lines
    assert np.array_equal(np.column_stack(line.get_data()), [(point.rounds, point.disagreement) for point in curve])
    assert axes.get_yscale() == "log"
    assert ">a &lt;b&gt;</text>" in drawn.svg and ">rounds of each agent</text>" in drawn.svg
