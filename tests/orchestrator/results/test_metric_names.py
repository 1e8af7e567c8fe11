"""The names in the program are those of docs/reference/metrics.md, section by section."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.results import metric_names as figure_names
from orchestrator.results.metric_names import AGENTS, ENVIRONMENT, FAULTS, RUN, counted_in, is_known, is_known_of_faults, likely

DOCS = Path(__file__).resolve().parents[3] / "docs"
SECTIONS = {
    "Environment server (`env-0`)": ENVIRONMENT,
    "Agents": AGENTS,
    "The run (`run`)": RUN,
    "Faults (`verdict.json`, `summary.json`)": FAULTS,
}
EVALUATED = re.compile(r"`(eval\.\w+)\.\*`")


def told(section: str) -> dict[str, str]:
    """First column of the tables of a section -> second column."""
    text = (DOCS / "reference" / "metrics.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ", 1) for line in text.splitlines() if line.startswith("| `")]
    return {first.strip(): second for first, second in rows}


def names(cell: str) -> list[str]:
    """`a.max`, `.mean` -> a.max, a.mean."""
    found: list[str] = []
    for name in re.findall(r"`([^`]+)`", cell):
        found.append(found[-1].rpartition(".")[0] + name if name.startswith(".") else name)
    return found


@pytest.mark.parametrize("section", SECTIONS)
def test_every_documented_name_is_known(section: str) -> None:
    known = SECTIONS[section]
    for cell in told(section):
        for name in names(cell):
            if name.endswith("*"):
                assert any(one.startswith(name[:-1]) for one in known), name
            elif ".goal.G" in name:
                assert is_known(name.replace(".goal.G", ".goal.0-2"))
            else:
                assert name in known, name


@pytest.mark.parametrize("section", SECTIONS)
def test_every_known_name_is_documented(section: str) -> None:
    documented = [name for cell in told(section) for name in names(cell)]
    for cell, text in told(section).items():
        if group := EVALUATED.match(cell):
            documented += [f"{group[1]}.{name}" for name in re.findall(r"`([^`]+)`", text)]
            # "the same" as of the evaluation before it
            documented += [name.replace("eval.own", group[1]) for name in documented if name.startswith("eval.own.")]
    hindsight = (DOCS / "explanation" / "hindsight.md").read_text()
    documented += [f"experience.{name}" for name in re.findall(r"(\w+)`", hindsight)]
    for name in SECTIONS[section]:
        assert any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in documented), name


def test_names_that_depend_on_the_run() -> None:
    assert is_known("success.agent-1", ["agent-1"]) and not is_known("success.agent-7", ["agent-1"])
    assert is_known("eval.own.success.agent-1", ["agent-1"])
    assert is_known("eval.aligned.success.goal.0-2") and not is_known("eval.aligned.agreed.goal.0")
    assert is_known("learner.whatever.a.part.reports") and not is_known("lerner.loss")
    assert is_known_of_faults("return.final") and is_known_of_faults("recovery_time.max")
    assert not is_known_of_faults("return") and not is_known_of_faults("retrun.final")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("retrun", "return"), ("success.coperative", "success.cooperative"), ("consensus.disagrement", "consensus.disagreement")],
)
def test_the_nearest_name(written: str, meant: str) -> None:
    assert not is_known(written) and likely(written) == meant
    assert likely(f"{written}.final", of_faults=True) == f"{meant}.final"


def test_what_steps_count() -> None:
    # docs/reference/metrics.md states of each such metric that its step is the round.
    assert {name for name in figure_names.EVERY if counted_in(name) == "rounds"} == set(RUN) - {
        "convention.accuracy",
        "models.disagreement",
    }
    assert counted_in("consensus.round") == "updates" and counted_in("consensus.mass") == counted_in("return") == "steps"
