"""Measures that no cell of an experiment can have, and those of unknown names, found before anything starts.

The former are errors. The latter are warnings: parts of an agent that come from elsewhere may write metrics of their own. What is not
found here may still be missing in a run (it never happened): then the row of that cell has the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase

from orchestrator.config.checks.cross_checks import Finding
from orchestrator.config.configuration import Configuration
from orchestrator.config.parsing.problems import Problem
from orchestrator.config.parsing.yaml_tree import Path, format_path
from orchestrator.experiments.design.experiment_cell import Cell
from orchestrator.experiments.design.experiment_design import Measure
from orchestrator.experiments.design.experiment_reader import ExperimentFile
from orchestrator.experiments.running.simulation_outcome import SimulatedEpisodes, SimulationOutcome
from orchestrator.results import metric_names as figure_names
from protocols.runtime.suggestions import nearest

_NO_FIGURES = {"topology", "mode", "curve", "notes", "lost", "episodes"}
_SUMMARY = ["exit_code", "seed", "wall_seconds", "training_seconds", "episodes", "steps", "server_cpu_seconds"]
_SUMMARY += ["nodes", "evaluation", "disagreement", "links", "wire", "slowest", "faults"]
"""what a summary.json has at its top that is a number, or holds some"""

_OF_NODE = re.compile(r"nodes\.[^.]+\.metrics\.(.+)\.(?:last|mean_of_last_tenth|samples)")
"""metrics of a node within a summary.json"""

_NEEDS: dict[str, tuple[str, Callable[[Configuration], object]]] = {
    "consensus.": ("exchange.consensus", lambda found: found.exchange.consensus),
    "hindsight.": ("exchange.hindsight", lambda found: found.exchange.hindsight),
    "convention.": ("exchange.negotiation", lambda found: found.exchange.negotiation),
    "game.": ("exchange.negotiation", lambda found: found.exchange.negotiation),
    "world_model.": ("agents.world_model", lambda found: found.agents.world_model or found.agents.overrides),
    "eval.": ("evaluation.episodes", lambda found: found.evaluation.episodes),
    "eval.aligned.": ("evaluation.aligned", lambda found: found.evaluation.aligned),
}
"""prefix of a metric -> the key without which no node writes it"""


def problems(read: ExperimentFile, cells: Sequence[Cell]) -> list[Problem]:
    """One for each measure that no cell can have, and a warning for each of an unknown name."""
    found: list[Problem] = []
    for number, measure in enumerate(read.design.measure):
        for one in list(_impossible(measure, cells)) or _unknown(measure, cells):
            path: Path = ("measure", number, *one.path)
            found.append(Problem(str(read.location(path)), format_path(path), one.text, one.suggestion, one.severity))
    return found


def _unknown(measure: Measure, cells: Sequence[Cell]) -> Iterator[Finding]:
    if any(cell.simulated is not None for cell in cells):
        return
    agents = dict.fromkeys(name for cell in cells for name in cell.configuration.agent_names())
    name, of_faults = measure.metric, measure.node == "faults"
    if measure.node == "summary":
        if (match := _OF_NODE.fullmatch(name)) is None:
            return
        name = match[1]
    known = figure_names.is_known_of_faults if of_faults else figure_names.is_known
    if not known(name, agents):
        meant = figure_names.likely(name, of_faults)
        text = f"docs/reference/metrics.md has no metric {name}; in cells where no node writes it, it is missing"
        yield Finding(("metric",), text, meant, "warning")


def _impossible(measure: Measure, cells: Sequence[Cell]) -> Iterator[Finding]:
    first = measure.metric.partition(".")[0]
    if any(cell.simulated is not None for cell in cells):
        known = [field.name for field in fields(SimulationOutcome) if field.name not in _NO_FIGURES]
        known += ["lost.DROPPED", *(f"episodes.{field.name}" for field in fields(SimulatedEpisodes))]
        if measure.metric not in known and first != "lost":
            text = f"a simulation has no {measure.metric}; it has {', '.join(known)}"
            yield Finding(("metric",), text, nearest(measure.metric, known))
        return
    if measure.node == "summary":
        if first not in _SUMMARY:
            yield Finding(("metric",), f"a summary.json has no {first}; it has {', '.join(_SUMMARY)}", nearest(first, _SUMMARY))
        return
    if measure.node == "faults":
        return
    nodes = dict.fromkeys(name for cell in cells for name in ("env-0", "run", *cell.configuration.agent_names()))
    if measure.node is not None and not any(fnmatchcase(name, measure.node) for name in nodes):
        shown = [*list(nodes)[:6], *(["..."] if len(nodes) > 6 else []), "agent-*", "faults", "summary"]
        meant = nearest(measure.node, [*nodes, "faults", "summary"])
        yield Finding(("node",), f"no cell has a node {measure.node}; there are {', '.join(shown)}", meant)
    for prefix, (key, needed) in _NEEDS.items():
        if measure.metric.startswith(prefix) and not any(needed(cell.configuration) for cell in cells):
            yield Finding(("metric",), f"no node writes {measure.metric}: {key} is off in every cell")
