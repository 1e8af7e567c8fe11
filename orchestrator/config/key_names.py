"""Former and alternative names of configuration keys: the loader refuses the former ones with their present name, `orchestrate migrate`
renames them, and the alternative ones are accepted."""

from __future__ import annotations

from collections.abc import Iterator

from agent_node.settings.agent import AgentSettings
from orchestrator.config.checks.settings_shape import shape_at
from orchestrator.config.parsing.problems import Problem
from orchestrator.config.parsing.yaml_tree import Map, Node, Path, changed, find, format_path, plain, renamed
from protocols.runtime.settings_types import Settings

VERSION = 2
"""the version of the format that this program reads"""

_RENAMED = {
    "agents.learner": {
        "warmup": "learning_starts",
        "target_rate": "tau",
        "trace_decay": "gae_lambda",
        "divergence_limit": "target_kl",
        "divergence_weight": "kl_coef",
        "divergence_target": "adaptive_kl_target",
        "minibatch": "minibatch_size",
        "entropy": "entropy_coef",
        "baseline": "value_coef",
        "memory": "lstm_layers",
        "gradient_norm": "max_grad_norm",
    },
    "agents.curiosity": {"gradient_norm": "max_grad_norm"},
    "agents.teacher": {"gradient_norm": "max_grad_norm", "entropy": "entropy_coef", "baseline": "value_coef"},
    "agents.world_model": {"warmup": "learning_starts", "walls": "clip_to_bounds", "imaginary": "imagination"},
    "agents.world_model.imagination": {
        "anywhere": "uniform_start_ratio",
        "kept": "kept_refreshes",
        "paying": "rewarded_ratio",
        "trust": "max_uncertainty",
        "cell": "reward_cell_size",
    },
    "agents.optimism": {"until": "anneal_steps", "between_agents": "agent_scale_range"},
    "environment": {"stand_in": "late_action"},
    "evaluation": {"final": "final_episodes"},
    "exchange.consensus": {"liars": "num_byzantine", "offers": "offer_dtype", "step": "step_size"},
    "exchange.statistics": {"least": "min_transitions", "forget": "withdraw_after", "check": "check_every", "report": "report_every"},
    "exchange.hindsight.segments": {
        "rare": "rare_goal_share",
        "roles": "match_roles",
        "oldest": "max_policy_age",
        "least_weight": "min_importance",
        "most_imported": "max_imported_ratio",
    },
    "faults.random": {"at_most": "max_concurrent"},
    "launch.ssh": {"patience": "connect_timeout"},
    "supervision": {
        "first": "restart_delay",
        "max": "max_restart_delay",
        "at_most": "max_restarts",
        "within": "restart_window",
        "checkpoint": "checkpoint_interval",
        "keep": "keep_checkpoints",
    },
}
"""by section (with its present name): key of version 1 -> present key"""
_CHANGED_VALUES = {"agents.teacher.changed_by": {"anybody": "any_agent"}}
"""by key: value of version 1 -> present value"""
_ALIASES = {"agents.learner": {"gamma": "discount"}}
"""by section: accepted name -> key"""


def _common(path: Path, root: type[Settings] | None = None) -> Path:
    """`agents.overrides.NAME.learner`, or `learner` in the settings of an agent, as `agents.learner`."""
    if root is AgentSettings:
        return ("agents", *path)
    return (path[0], *path[3:]) if path[:2] == ("agents", "overrides") else path


def present_key(path: Path, root: type[Settings] | None = None) -> str | None:
    """The present name of a key of version 1; None where it was not renamed. The keys before it have their present names."""
    path = _common(path, root)
    return _RENAMED.get(".".join(map(str, path[:-1])), {}).get(str(path[-1])) if path else None


def present_value(path: Path, value: object, root: type[Settings] | None = None) -> str | None:
    """The present name of a value of version 1; None where it was not renamed."""
    return _CHANGED_VALUES.get(".".join(map(str, _common(path, root))), {}).get(str(value))


def accepted_names(tree: Node, root: type[Settings]) -> tuple[Node, list[Problem]]:
    """A copy of the tree in which accepted names are replaced by the keys, except in components that have such a key themselves. Where the
    sources of the tree give both, the later source counts; both in one file are a problem."""
    problems, data = [], plain(tree)
    for section, names in _ALIASES.items():
        for path in _places(tree, tuple(section.split("."))):
            holder, shape = find(tree, path), shape_at(root, path, data)
            kind = plain(holder).get("kind") if isinstance(holder, Map) else None
            owner = shape.settings(kind) if shape is not None else None
            for alias, key in names.items():
                if not isinstance(holder, Map) or alias not in holder.entries or (owner is not None and alias in owner.by_key()):
                    continue
                order, given = list(holder.entries), holder.entries
                if key in given and given[key].key.source == given[alias].key.source:
                    text = f"is another name of {key}, which is given too; leave one of them out"
                    problems.append(Problem(str(given[alias].key), format_path((*path, alias)), text))
                unused = alias if key in given and order.index(key) > order.index(alias) else key
                tree = changed(tree, (*path, unused), given[alias].key, lambda _: None) if unused in given else tree
                tree = renamed(tree, (*path, alias), key) if unused == key else tree
    return tree, problems


def _places(tree: Node, section: Path) -> Iterator[Path]:
    """The section, and the same section of every agent that differs."""
    yield section
    differing = find(tree, ("agents", "overrides"))
    if section[0] == "agents" and isinstance(differing, Map):
        yield from (("agents", "overrides", name, *section[1:]) for name in differing.entries)
