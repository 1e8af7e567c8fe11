"""Experiment files: every mistake at once, at its line and column, and nothing is started."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from orchestrator.config.json_schema import schema_of, schema_text
from orchestrator.config.loader import load
from orchestrator.config.parsing.problems import Problems
from orchestrator.datasets.mixture import parse_mixture, quotas
from orchestrator.datasets.recording import record_dataset
from orchestrator.experiments.design.cell_generation import make, read_and_make, select
from orchestrator.experiments.design.experiment_design import ExperimentDesign, format_seeds, label_of, parse_seeds
from orchestrator.experiments.design.experiment_reader import ExperimentFile, read
from protocols.runtime.errors import SchemaError, UsageError
from tests.orchestrator.experiments.small import PLAYED, REPOSITORY, SIMULATED, written

EXPERIMENTS = REPOSITORY / "configs" / "experiments"
GOOD = f"""\
version: 1
name: delays
base: {REPOSITORY}/configs/4agents_ring.yaml
set: {{until: {{steps: 5000}}, metrics.sinks: []}}
factors:
  delay: {{key: network.links.0.delay, values: [0ms, 20ms]}}
  liars:
    values:
      none: {{set: {{agents.count: 4}}}}
      five: {{set: {{agents.count: 5, network.topology: {{kind: complete}}}}}}
seeds: 0..2
small: {{factors.delay.values: [0ms], seeds: 0, set.until.steps: 100}}
measure:
  - {{metric: return, over: final 10%}}
  - {{metric: consensus.disagreement, name: apart, higher: worse}}
expect:
  - {{metric: return, where: {{delay: 20ms}}, relative_to: {{delay: 0ms}}, op: ">=", value: 0.9}}
"""


def file(directory: Path, text: str) -> Path:
    path = directory / "delays.yaml"
    path.write_text(text)
    return path


def mistakes(directory: Path, *changes: tuple[str, str]) -> list[str]:
    """`line:column path: rule` of every mistake of the good file with these changes."""
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = file(directory, text)
    with pytest.raises(Problems) as caught:
        make(read(path))
    assert int(caught.value.exit_code) == 3
    return [f"{problem.place.removeprefix(f'{path}:')} {problem.message}" for problem in caught.value.problems]


def links(text: str) -> str:
    """The good file's base has no links, so one is set."""
    return text.replace("metrics.sinks: []", 'metrics.sinks: [], network.links: [{id: lan, from: "agent-*", to: "agent-*", delay: 1ms}]')


def test_a_good_file_gives_the_grid(tmp_path: Path) -> None:
    found = read(file(tmp_path, links(GOOD)))
    assert found.design.shape() == "2 delays x 2 liars x 3 seeds = 12 cells"
    grid = make(found)
    assert len(grid.cells) == 12
    assert [cell.label for cell in grid.cells[:4]] == [
        "delay=0ms liars=none seed 0",
        "delay=0ms liars=none seed 1",
        "delay=0ms liars=none seed 2",
        "delay=0ms liars=five seed 0",
    ]
    last = grid.cells[-1]
    assert last.configuration.agents.count == 5
    assert last.configuration.seed == 2
    assert last.configuration.until.time is None  # `set` replaces the whole of `until`
    assert last.configuration.network.links[0].delay is not None
    assert "'until={steps: 5000}'" in last.command and last.command.endswith("--seed 2")
    assert len({cell.identity("a") for cell in grid.cells} | {cell.identity("b") for cell in grid.cells}) == 24


def test_small_changes_what_it_names_and_is_an_experiment_of_its_own(tmp_path: Path) -> None:
    path = file(tmp_path, links(GOOD))
    small = read(path, small=True)
    assert (small.name, read(path).name) == ("delays-small", "delays")
    assert small.design.shape() == "1 delay x 2 liars x 1 seed = 2 cells"
    assert make(small).cells[0].configuration.until.steps == 100


def test_every_mistake_at_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        ("seeds: 0..2", "seeds: 2..0"),
        ("over: final 10%", "over: final"),
        ("higher: worse", "highr: worse"),
        ("{metric: return, where: {delay: 20ms}", "{metric: retrun, where: {delay: 21ms, speed: 1}"),
        ("base:", "bsae:"),
    )
    assert found == [
        '3:1 bsae: unknown key; did you mean "base"?',
        '11:8 seeds: "2..0" is no range of 1 to 10000 seeds; write for example 0..4',
        '14:28 measure[0].over: "final" is no part of a run; write "final 10%", all, or last',
        '15:51 measure[1].highr: unknown key; did you mean "higher"?',
        '17:14 expect[0].metric: retrun is not measured; measured are return, apart; did you mean "return"?',
        '17:37 expect[0].where.delay: 21ms is no value of delay; values are 0ms, 20ms; did you mean "20ms"?',
        "17:43 expect[0].where.speed: there is no factor speed; factors are delay, liars",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("key: network.links.0.delay, values: [0ms, 20ms]", "values: [0ms]", "no key that they are of"),
        ("values: [0ms, 20ms]", "values: []", "a factor has at least one value"),
        ("values: [0ms, 20ms]", "values: [0ms, 0ms]", "0ms is given twice"),
        ("values: [0ms, 20ms]", "values: ['a,b', 20ms]", "without commas"),
        ("key: network.links.0.delay", "key: seed", "is set by the experiment itself"),
        ("key: network.links.0.delay", "key: agents.count", "a key belongs to one factor"),
        ("key: network.links.0.delay", "key: simulate.agents", "write with: simulate"),
        ("{set: {agents.count: 4}}", "{agents.count: 4}", "sets no keys"),
        ("seeds: 0..2", "seeds: [1, 1]", "names a seed twice"),
        ("metrics.sinks: []", "name: other", "cells get names of their own"),
        ("name: apart", "name: return", 'a measure is called "return" already'),
        ("relative_to: {delay: 0ms}, ", "statistic: probability_of_improvement, ", "give relative_to"),
        ("relative_to: {delay: 0ms}", "relative_to: {delay: 20ms}", "is the same group"),
        ("where: {delay: 20ms}, ", "", "where doesn't name the delay that is compared with 0ms"),
        ("expect:", "compare: {baseline: {delay: 20ms}, tolerance: 5%}\nexpect:", "must be the least amount (0ms of delay)"),
        ("expect:", "compare: {baseline: {liars: none}, tolerance: 5%}\nexpect:", "amounts of one unit"),
        ("expect:", "compare: {baseline: {delay: 0ms, liars: none}, tolerance: 5%}\nexpect:", "the amount of one factor"),
        ("small: {", "small: {factor.delay: 3, ", "unknown key"),
        ("seeds: 0..2", "cells: [{delay: 0ms}]", "gives no label of liars"),
        ("seeds: 0..2", "cells: [{delay: 0ms, liars: many}]", "many is no value of liars"),
        ("metric: return, over", "metric: return, node: agent-9, over", "no cell has a node agent-9"),
        ("metric: return, over", "metric: experience.x, name: return, node: summary, over", "a summary.json has no experience"),
    ],
)
def test_rules_between_keys(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = links(GOOD)
    assert text.count(old) == 1
    with pytest.raises(Problems) as caught:
        make(read(file(tmp_path, text.replace(old, new))))
    assert any(said in problem.message for problem in caught.value.problems), caught.value


def test_mistakes_of_configurations_stand_at_their_factor(tmp_path: Path) -> None:
    text = links(GOOD).replace("[0ms, 20ms]", "[0ms, 20]").replace("set: {until: {steps: 5000}", "set: {untl: 3")
    text = text.replace("where: {delay: 20ms}, relative_to: {delay: 0ms}, ", "")
    path = file(tmp_path, text)
    with pytest.raises(Problems) as caught:
        make(read(path))
    said = {problem.place.removeprefix(f"{path}:"): problem.message for problem in caught.value.problems}
    assert said["4:13"] == 'untl: unknown key; did you mean "until"?'
    assert "has no unit" in said["6:53"] and said["6:53"].endswith("(in delay=20 liars=none seed 0 and 5 more cells)")


def test_a_factor_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    text = links(GOOD).replace("key: network.links.0.delay, values: [0ms, 20ms]", "key: supervision.keep_checkpoints, values: [2, 3]")
    text = text.replace("where: {delay: 20ms}, relative_to: {delay: 0ms}, ", "").replace("values: [0ms]", "values: [2]")
    with pytest.raises(Problems, match="are the same run"):
        make(read(file(tmp_path, text.replace("factors.delay.values: [0ms], ", ""))))


def test_figures_that_no_cell_writes(tmp_path: Path) -> None:
    for change, said in (
        ({"set": {**PLAYED["set"], "exchange.consensus": None}, "factors": {}}, "exchange.consensus is off in every cell"),
        ({"set": {**PLAYED["set"], "evaluation.episodes": 0}}, "evaluation.episodes is off in every cell"),
    ):
        metrics = [{"metric": "consensus.disagreement"}, {"metric": "eval.own.return"}]
        with pytest.raises(Problems, match=said):
            make(read(written(tmp_path, PLAYED, measure=metrics, **change)))
    with pytest.raises(Problems, match=r'a simulation has no round; .*did you mean "rounds"'):
        make(read(written(tmp_path, SIMULATED, measure=[{"metric": "round"}], expect=[])))


def test_a_newer_file_and_one_without_small(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="is newer than this program reads"):
        read(file(tmp_path, GOOD.replace("version: 1", "version: 2")))
    with pytest.raises(Problems, match="there is no section small"):
        read(written(tmp_path, PLAYED), small=True)


def test_selection(tmp_path: Path) -> None:
    found = read(written(tmp_path, SIMULATED))
    cells = make(found).cells
    assert len(select(cells, found.design, ["topology=ring", "seed=1"])) == 2
    assert len(select(cells, found.design, ["agents=4,12", "seed=0..1"])) == 8
    for wrong in ("topology", "topo=ring", "topology=star", "seed=x"):
        with pytest.raises(UsageError, match="--only"):
            select(cells, found.design, [wrong])


def test_labels_are_found_as_numbers_too(tmp_path: Path) -> None:
    rates = {
        "rate": {"key": "agents.learner.learning_rate", "values": [1e-3, 1e-4]},
        "word": {"key": "environment.copies", "values": {"1.0": 4}},
    }
    expect = [{"metric": "return", "where": {"rate": "1e-3"}, "relative_to": {"rate": "1e-4"}, "op": ">", "value": 0}]
    changes: dict[str, Any] = {
        "factors": rates,
        "compare": {"baseline": {"rate": "1E-3"}},
        "expect": expect,
        "measure": PLAYED["measure"],
    }
    changes["small"] = {"factors.rate.values": [1e-4]}
    path = written(tmp_path, PLAYED, **changes, cells=[{"rate": "1.0e-4", "word": "1"}])
    found = read(path)
    assert found.design.compare is not None and found.design.compare.baseline == {"rate": "0.001"}
    assert (found.design.expect[0].where, found.design.expect[0].relative_to) == ({"rate": "0.001"}, {"rate": "0.0001"})
    (cell,) = make(found).cells
    assert cell.factors == {"rate": "0.0001", "word": "1.0"}
    assert select([cell], found.design, ["rate=1e-3,1e-4"]) == [cell]
    with pytest.raises(UsageError, match=r"2e-4 is no value of rate; values are 0\.001, 0\.0001"):
        select([cell], found.design, ["rate=2e-4"])
    small = read(path, small=True).design
    assert small.compare is None and not small.expect, "what the small form has left out is known by number too"
    for label, labels, meant in (("1", ["1", "1.0"], "1"), ("1e0", ["1", "1.0"], "1e0"), ("x", ["1"], "x"), ("true", ["1"], "true")):
        assert label_of(label, labels) == meant


def test_mistakes_of_cells_come_with_those_of_the_file_where_it_is_understood(tmp_path: Path) -> None:
    text = links(GOOD).replace("set: {until: {steps: 5000}", "set: {untl: 3").replace("higher: worse", "highr: worse")
    with pytest.raises(Problems) as caught:
        read_and_make(file(tmp_path, text))
    said = [problem.path for problem in caught.value.problems if problem.severity == "error"]
    assert said == ["untl", "measure[1].highr"]
    with pytest.raises(Problems) as caught:
        read_and_make(file(tmp_path, text.replace("base:", "bsae:")))
    assert [problem.path for problem in caught.value.problems] == ["bsae", "measure[1].highr"], "of an unknown base"
    assert len(read_and_make(file(tmp_path, links(GOOD)))[1].cells) == 12


def test_the_name_of_a_factor_is_what_its_mistake_shows(tmp_path: Path) -> None:
    found = mistakes(tmp_path, ("  liars:", "  größe:"))
    assert any('"größe" breaks the rule for names' in one for one in found), found


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        ({"metric": "retrun"}, 'no metric retrun; in cells where no node writes it, it is missing; did you mean "return"?'),
        ({"metric": "success.coperative"}, 'did you mean "success.cooperative"?'),
        ({"metric": "recovery_time.maxx", "node": "faults"}, 'did you mean "recovery_time.max"?'),
        ({"metric": "nodes.agent-0.metrics.retrun.last", "node": "summary"}, 'did you mean "return"?'),
        *[({"metric": metric}, "") for metric in ("return", "learner.of_a_guest", "success.agent-1", "eval.aligned.success.goal.0-2")],
        *[({"metric": metric, "node": "faults"}, "") for metric in ("recovery_time.max", "return.final")],
        *[({"metric": metric, "node": "summary"}, "") for metric in ("nodes.agent-0.metrics.updates.last", "wall_seconds")],
    ],
)
def test_unknown_names_deserve_a_warning(tmp_path: Path, measure: dict[str, str], said: str) -> None:
    set_ = {**PLAYED["set"], "evaluation": {"every": 1000, "episodes": 4, "aligned": True}}
    grid = make(read(written(tmp_path, PLAYED, measure=[measure], set=set_)))
    found = [problem for problem in grid.warnings if problem.path == "measure[0].metric"]
    assert [problem.severity for problem in found] == (["warning"] if said else []) and all(said in problem.message for problem in found)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20, unique=True))
def test_seeds_are_read_as_they_are_written(seeds: list[int]) -> None:
    assert parse_seeds(format_seeds(tuple(seeds))) == tuple(seeds)


@pytest.mark.parametrize("value", ["4", "a..b", "1..", [], [-1], [1.5], True, {}, "0..20000"])
def test_what_are_no_seeds(value: Any) -> None:
    with pytest.raises(ValueError, match=r"seed|range"):
        parse_seeds(value)


def record(found: ExperimentFile) -> None:
    """An episode of the dataset that an experiment learns from, if it does."""
    given, mixture = found.design.set, parse_mixture("random")
    if "dataset" in given and not Path(given["dataset"]).exists():
        world = [f"{key}={json.dumps(value)}" for key, value in given.items() if key.split(".")[0] in ("environment", "agents")]
        record_dataset(
            Path(given["dataset"]),
            load(found.base, [*world, "environment.copies=1", "dataset=null"]).configuration,
            mixture,
            quotas(mixture, 1),
            False,
            0,
            Path(),
        )


def test_the_committed_schema_is_current_and_fits_what_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where datasets are
    again = "write it anew: orchestrate schema --experiment --write configs/experiments/schema.json"
    assert (EXPERIMENTS / "schema.json").read_text() == schema_text(schema_of(ExperimentDesign)), again
    validator = jsonschema.Draft202012Validator(schema_of(ExperimentDesign))
    files = sorted(EXPERIMENTS.glob("*.yaml"))
    assert files
    for path in files:
        assert list(validator.iter_errors(YAML(typ="safe", pure=True).load(path))) == []
        for small in (False, True):
            found = read(path, small)
            record(found)
            one_seed = found.design.model_copy(update={"seeds": found.design.seeds[:1]})
            assert make(replace(found, design=one_seed)).cells
    assert [error.json_path for error in validator.iter_errors({**PLAYED, "seeds": "many", "withh": 1})] == ["$", "$.seeds"]


def test_designs_are_stored_as_they_are(tmp_path: Path) -> None:
    for design in (PLAYED, SIMULATED):
        found = read(written(tmp_path, design)).design
        assert ExperimentDesign.model_validate_json(json.dumps(found.model_dump(mode="json")), strict=True) == found


def test_the_file_of_the_documentation_is_right(tmp_path: Path) -> None:
    block = (REPOSITORY / "docs" / "howto" / "experiments.md").read_text().split("```yaml\n")[1].split("```")[0]
    path = tmp_path / "delay_sweep.yaml"
    path.write_text(
        block.replace("../4agents_ring.yaml", str(REPOSITORY / "configs" / "4agents_ring.yaml")).replace("seeds: 0..4", "seeds: 0")
    )
    assert make(read(path)).cells[-1].configuration.agents.count == 6
    assert len(make(read(path, small=True)).cells) == 8
