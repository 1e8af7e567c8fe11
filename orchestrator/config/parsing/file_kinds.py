"""Which kind of file it is: read as the other kind, a right one would be a page of misspelt keys."""

from __future__ import annotations

from orchestrator.config.parsing.problems import Problem
from orchestrator.config.parsing.yaml_tree import Map, Node

CONFIGURATION = frozenset(
    ("agents", "clock", "environment", "evaluation", "exchange", "extends", "faults", "launch", "metrics", "network", "security", "seed")
    + ("supervision", "until")
)
"""keys that only the configuration of a run has"""
EXPERIMENT = frozenset(("base", "cells", "compare", "factors", "limits", "measure", "question", "seeds", "set", "small"))
"""keys that only the file of an experiment has"""
_LEAST = 2
"""keys of the other kind, with none of its own beside them, by which a file is one of the other kind"""


def taken_for_configuration(tree: Node, file: str) -> Problem | None:
    """What is wrong where the tree of `file` is that of an experiment, and a configuration is wanted."""
    if not (keys := _of_the_other_kind(tree, CONFIGURATION, EXPERIMENT)):
        return None
    text = f"this is an experiment (it has {', '.join(keys)}), not the configuration of a run"
    return Problem(str(tree.location), "", f"{text}; check it with: orchestrate experiment {file} --dry-run")


def taken_for_experiment(tree: Node, file: str) -> Problem | None:
    """What is wrong where the tree of `file` is that of a configuration, and an experiment is wanted."""
    if not (keys := _of_the_other_kind(tree, EXPERIMENT, CONFIGURATION)):
        return None
    text = f"this is the configuration of a run (it has {', '.join(keys)}), not an experiment"
    return Problem(str(tree.location), "", f"{text}; start it with: orchestrate up {file}")


def _of_the_other_kind(tree: Node, own: frozenset[str], other: frozenset[str]) -> list[str]:
    """Keys by which the file is one of the other kind, in the order of the file; none where it is not."""
    if not isinstance(tree, Map) or own & tree.entries.keys():
        return []
    found = [key for key in tree.entries if key in other]
    return found if len(found) >= _LEAST else []
