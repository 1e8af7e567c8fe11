"""Former and alternative names of configuration keys: the loader refuses the former ones with their present name, the alternative ones are
accepted, and `migration_of` renames the keys of configurations and experiments of version 1; comments and layout stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath

from agent_node.settings.agent import AgentSettings
from orchestrator.config.checks.settings_shape import owner_at
from orchestrator.config.parsing.file_kinds import taken_for_configuration
from orchestrator.config.parsing.problems import Problem, Problems
from orchestrator.config.parsing.yaml_reader import UnreadableYaml, read_file
from orchestrator.config.parsing.yaml_tree import List, Location, Map, Node, Path, Scalar, changed, find, format_path, plain, renamed
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
_LSTM = "is replaced by `recurrent`: write recurrent: {cell: lstm, layers: N} for N layers, and recurrent: null for 0"
_REPLACED = {
    ("agents.learner", "lstm_layers"): _LSTM,
    ("agents.learner", "memory"): _LSTM,
    ("agents.learner", "updates_per_tick"): "is replaced by `replay_ratio`, updates per environment step: divide by environment.copies",
    ("agents.world_model", "basis"): "was removed: the basis is always the former hsgp; leave it out",
    ("agents.world_model", "basis_seed"): "was removed: nothing of the basis is drawn; leave it out",
    ("exchange.hindsight", "weighting"): "was removed: goals are drawn uniformly from those that a strategy offers; leave it out",
    ("exchange.hindsight", "partner"): "was removed: the actions of partners are not corrected for; leave it out",
    ("exchange.hindsight", "segments"): "was removed: agents with goals exchange traces only, without observations; leave it out",
}
"""by section and former key: what to write instead, where a value depends on other keys or the key was removed, so that `orchestrate
migrate` leaves it"""
_CHANGED_VALUES = {"agents.teacher.changed_by": {"anybody": "any_agent"}}
"""by key: value of version 1 -> present value"""
_REMOVED_VALUES = {("exchange.hindsight.strategies", "near_miss"): "was removed: it offers only failures; leave it out"}
"""by key (of lists without the place) and former value: what to write instead"""
ALIASES = {"agents.learner": {"gamma": "discount"}}
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


def replaced_key(path: Path, root: type[Settings] | None = None) -> str | None:
    """What replaces a former key whose value must be changed too, or that was removed; None for other keys."""
    path = _common(path, root)
    return _REPLACED.get((".".join(map(str, path[:-1])), str(path[-1]))) if path else None


def present_value(path: Path, value: object, root: type[Settings] | None = None) -> str | None:
    """The present name of a value of version 1; None where it was not renamed."""
    return _CHANGED_VALUES.get(".".join(map(str, _common(path, root))), {}).get(str(value))


def removed_value(path: Path, value: object, root: type[Settings] | None = None) -> str | None:
    """What to write instead of a value that was removed; None for other values."""
    key = ".".join(part for part in _common(path, root) if isinstance(part, str))
    return _REMOVED_VALUES.get((key, str(value)))


def accepted_names(tree: Node, root: type[Settings]) -> tuple[Node, list[Problem]]:
    """A copy of the tree in which accepted names are replaced by the keys, except in components that have such a key themselves. Where the
    sources of the tree give both, the later source counts; both in one file are a problem."""
    problems, data = [], plain(tree)
    for section, names in ALIASES.items():
        for path in _places(tree, tuple(section.split("."))):
            holder, owner = find(tree, path), owner_at(root, path, data)
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


# --- migration ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One text at a place of the file, and its replacement."""

    location: Location
    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.location}  {self.path}: {self.old} -> {self.new}"


@dataclass(frozen=True)
class Migration:
    """The changes of one file, and its text with them."""

    changes: list[Change]
    text: str


def migration_of(file: FilePath) -> Migration:
    """What `orchestrate migrate` changes in a file. `Problems` where it cannot be read."""
    try:
        tree, text, problems = read_file(file, str(file))
    except UnreadableYaml as unreadable:
        raise Problems(str(file), unreadable.problems) from unreadable
    if problems:
        raise Problems(str(file), problems)
    found = list(_of_experiment(tree) if taken_for_configuration(tree, str(file)) is not None else _of_configuration(tree))
    changes = sorted(dict.fromkeys(found), key=lambda change: (change.location.line, change.location.column))
    return Migration(changes, _changed_text(text, changes))


def _of_configuration(tree: Map) -> Iterator[Change]:
    version = find(tree, ("version",))
    if isinstance(version, Scalar) and version.value == 1:
        yield Change(version.location, "version", "1", str(VERSION))
        yield from _below(tree, ())


def _of_experiment(tree: Map) -> Iterator[Change]:
    """Keys under `set`, and those of factors with what their values hold."""
    given = find(tree, ("set",))
    if isinstance(given, Map):
        for name, entry in given.entries.items():
            yield from _dotted(name, entry.key)
            yield from _below(entry.value, _present(name))
    factors = find(tree, ("factors",))
    for factor in factors.entries.values() if isinstance(factors, Map) else ():
        key = find(factor.value, ("key",))
        if isinstance(key, Scalar) and isinstance(key.value, str):
            yield from _dotted(key.value, key.location)
            values = find(factor.value, ("values",))
            for item in [entry.value for entry in values.entries.values()] if isinstance(values, Map) else getattr(values, "items", ()):
                yield from _below(item, _present(key.value))


def _present(dotted: str) -> Path:
    path: Path = ()
    for part in dotted.split("."):
        path = (*path, present_key((*path, part)) or part)
    return path


def _dotted(name: str, location: Location) -> Iterator[Change]:
    new = format_path(_present(name))
    if new != name:
        yield Change(location, name, name, new)


def _below(node: Node, path: Path) -> Iterator[Change]:
    """Renamed keys and values of the tree that stands at `path`, whose keys have their present names."""
    if isinstance(node, Map):
        for name, entry in node.entries.items():
            new = present_key((*path, name))
            if new is not None and new not in node.entries:
                yield Change(entry.key, format_path((*path, name)), name, new)
            yield from _below(entry.value, (*path, new or name))
    elif isinstance(node, List):
        for index, item in enumerate(node.items):
            yield from _below(item, (*path, index))
    elif isinstance(node.value, str) and (value := present_value(path, node.value)) is not None:
        yield Change(node.location, format_path(path), node.value, value)


def _changed_text(text: str, changes: list[Change]) -> str:
    """Every change made at its line and column, the last one first, so that places before it stay valid."""
    lines = text.splitlines(keepends=True)
    for change in reversed(changes):
        row, start = change.location.line - 1, change.location.column - 1
        start += lines[row][start] in "\"'"
        if not lines[row].startswith(change.old, start):
            raise Problems(str(change.location), [])
        end = start + len(change.old)
        lines[row] = lines[row][:start] + change.new + _aligned(lines[row][end:], len(change.new) - len(change.old))
    return "".join(lines)


def _aligned(rest: str, longer: int) -> str:
    """The rest of a line, its comment kept in its column where there is room."""
    before, mark, comment = rest.partition("  #")
    padding = len(before) - len(before.rstrip(" "))
    if not mark or '"' in before or "'" in before:
        return rest
    return before.rstrip(" ") + " " * max(0, padding - longer) + mark + comment
