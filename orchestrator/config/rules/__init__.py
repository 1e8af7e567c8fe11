"""The rules between keys, one function each; the decorator names the keys it reads."""

from __future__ import annotations

from orchestrator.config.checks.cross_checks import Rule
from orchestrator.config.rules import (
    agent_rules as agents,
)
from orchestrator.config.rules import (
    goal_rules as goals,
)
from orchestrator.config.rules import (
    graph_rules as graph,
)
from orchestrator.config.rules import (
    machine_rules as machines,
)
from orchestrator.config.rules import (
    reward_rules as motivation,
)
from orchestrator.config.rules import (
    run_rules as running,
)

RULES: list[Rule] = [*graph.RULES, *agents.RULES, *goals.RULES, *motivation.RULES, *machines.RULES, *running.RULES]
"""all of them, in the order in which they are asked"""

__all__ = ["RULES"]
