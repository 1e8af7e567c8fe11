"""The search for fault schedules that break a promise: drawn schedules, what is checked, shrinking, and the commands that repeat it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.planted_bugs import BUGS, configuration, patched
from orchestrator.cli.app import app
from orchestrator.experiments.nemesis.promises import severity
from orchestrator.experiments.nemesis.schedule_check import broken_promise, with_schedule
from orchestrator.experiments.nemesis.schedule_draws import MOST_ENTRIES, Entry, drawn_schedule
from orchestrator.experiments.nemesis.schedule_search import Failure, repeats, search
from orchestrator.experiments.nemesis.schedule_shrinking import Shrinking
from protocols.averaging.push_sum import PushSum
from protocols.faults.fault_schedule import compile_schedule
from protocols.faults.settings import FaultsSettings
from tests.orchestrator.cli.conftest import CONFIG

AGENTS = [f"agent-{number}" for number in range(4)]
REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.yaml"))


def test_schedules_are_functions_of_their_seeds_and_end_by_themselves() -> None:
    kinds: set[str] = set()
    calm = mild = deaths = 0
    for seed in range(200):
        entries = drawn_schedule(seed, AGENTS)
        assert entries == drawn_schedule(seed, AGENTS) and 1 <= len(entries) <= MOST_ENTRIES
        schedule = compile_schedule(FaultsSettings.model_validate({"events": entries}), [], AGENTS)
        worst = severity(schedule)
        assert 0.0 < worst.end < 10.0
        calm, mild, deaths = calm + worst.calm, mild + worst.mild, deaths + worst.deaths
        kinds |= {event.kind for event in schedule.events}
    assert kinds == {"link", "partition", "process", "membership"}
    assert calm > 5 and mild > calm + 5 and 30 < deaths < 60


def test_rules_of_links_end_where_they_say() -> None:
    rule = {"id": "lossy", "loss": 1.0, "during": {"start": {"time": "1s"}, "stop": {"time": "120s"}}}
    assert severity(compile_schedule(FaultsSettings.model_validate({"links": [rule]}), [], AGENTS)).end == 120.0


@pytest.mark.parametrize("mode", ["pushsum", "mh"])
def test_the_protocols_keep_their_promises(mode: str) -> None:
    outcome = search(configuration(mode), 6, math.inf)
    assert outcome.failure is None and outcome.simulated == 6, outcome.failure


def test_shrinking_leaves_what_matters_and_shortens_it() -> None:
    entries: list[Entry] = [
        {"id": f"f{number}", "at": {"time": "4s"}, "for": "800ms", "link": {"from": "agent-0", "loss": 0.5, "delay": {"mean": "1s"}}}
        for number in range(6)
    ]

    def fails(trial: Sequence[Entry]) -> bool:
        found = {entry["id"]: entry for entry in trial}
        return {"f1", "f4"} <= found.keys() and "loss" in found["f1"]["link"]

    shrinking = Shrinking(fails)
    smallest = shrinking.smallest(entries)
    assert [entry["id"] for entry in smallest] == ["f1", "f4"]
    assert list(smallest[0]["link"]) == ["from", "loss"] and smallest[0]["for"] == "50ms" and smallest[0]["at"]["time"] == "4s"
    assert shrinking.trials <= 60
    assert Shrinking(fails, most=3).smallest(entries), "with few trials something is left that fails"


def test_a_planted_bug_is_found_shrunk_repeated_and_saved(tmp_path: Path) -> None:
    """All in one process, since the bug is planted in this one only."""
    saved = tmp_path / "found.yaml"
    mode = "exchange.consensus.mode=pushsum"
    base = tmp_path / "base.yaml"  # its own faults are no part of what is searched, nor of the file that is saved
    base.write_text(f"extends: {CONFIG}\nfaults: {{links: [{{id: lossy, loss: 0.9}}], random: {{every: 1s}}}}\n")
    with patched(BUGS["forgets_lost_offers"]):
        found = CliRunner().invoke(app, ["simulate", str(base), mode, "--search", "10", "--save", str(saved)])
        assert found.exit_code == 1, found.output
        lines = {line[:16].strip(): line[16:] for line in found.output.splitlines()}
        assert "averaging.mass" in lines["broken promise"] and "entries, after" in lines["schedule"]
        words = shlex.split(lines["simulate again"])
        assert words[:2] == ["orchestrate", "simulate"] and words[-1] == "--check"
        again = CliRunner().invoke(app, words[1:])
        assert again.exit_code == 1 and "averaging.mass" in again.output
        assert lines["run again"].startswith("orchestrate up ") and "clock=logical" in lines["run again"]
        of_file = CliRunner().invoke(app, ["simulate", str(saved), "--check"])
        assert of_file.exit_code == 1 and of_file.output == again.output
    healthy = CliRunner().invoke(app, ["simulate", str(saved), "--check"])
    assert healthy.exit_code == 0 and "all promises are kept" in healthy.output, healthy.output


def test_an_exception_of_a_state_machine_is_found_and_shrunk_like_a_broken_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(self: PushSum, peer: str, now: float) -> None:
        raise KeyError(peer)

    monkeypatch.setattr(PushSum, "peer_dead", raises)
    failure = search(configuration("pushsum"), 20, math.inf).failure
    assert failure is not None and failure.promise == "exceptions.KeyError"
    assert "agent-" in failure.text and "in raises of test_nemesis.py:" in failure.text
    assert len(failure.schedule) == 1 and failure.schedule[0].keys() & {"process", "membership"}, "one death is left"


def test_a_failure_of_stepping_is_not_repeated_under_the_logical_clock() -> None:
    entries: list[Entry] = [{"id": "f1", "at": {"time": "1s"}, "process": {"target": "env-0", "action": "kill", "restart_after": "1s"}}]
    failure = Failure(3, "steps.once", "steps.once: ...", 4, entries, 9)
    found = repeats(failure, configuration("mh"), CONFIG, [])
    assert found["up"].startswith("not under clock: logical: ") and "env-0" in found["up"]
    assert asdict(failure)["schedule"] == entries


@pytest.mark.parametrize("file", REGRESSIONS, ids=lambda file: file.stem)
def test_what_a_search_has_found_once_is_not_found_again(file: Path) -> None:
    """Files of `orchestrate simulate --search N --save FILE`."""
    done = CliRunner().invoke(app, ["simulate", str(file), "--check"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("file", REGRESSIONS, ids=lambda file: file.stem)
def test_a_regression_file_fails_with_the_bug_that_it_is_named_after(file: Path) -> None:
    with patched(BUGS[file.stem]):
        done = CliRunner().invoke(app, ["simulate", str(file), "--check"])
    assert done.exit_code == 1, done.output


@pytest.mark.parametrize("seed", [1])
def test_one_seed_is_one_simulation(seed: int) -> None:
    """What is broken, and when, is a function of the seed."""
    drawn = with_schedule(configuration("pushsum"), seed, drawn_schedule(seed, AGENTS))
    with patched(BUGS["forgets_lost_offers"]):
        first, second = broken_promise(drawn), broken_promise(drawn)
    assert first is not None and str(first) == str(second) and "averaging.mass" in str(first)
