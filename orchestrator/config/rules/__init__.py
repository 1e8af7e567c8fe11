"""The rules between keys, one function each; the decorator names the keys it reads. Importing the files adds them to `RULES`."""

from orchestrator.config.checks.cross_checks import RULES
from orchestrator.config.rules import (  # noqa: F401
    agent_rules,
    dataset_rules,
    goal_rules,
    graph_rules,
    joint_rules,
    observation_rules,
    run_rules,
    unused_key_rules,
)

__all__ = ["RULES"]
