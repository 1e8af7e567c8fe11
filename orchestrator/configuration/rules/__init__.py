"""The rules between keys, one function each; the decorator names the keys it reads."""

from __future__ import annotations

from ..checks import Rule
from . import agents, goals, graph, machines, motivation, running

RULES: list[Rule] = [*graph.RULES, *agents.RULES, *goals.RULES, *motivation.RULES, *machines.RULES, *running.RULES]
"""all of them, in the order in which they are asked"""

__all__ = ["RULES"]
