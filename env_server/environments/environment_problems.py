"""Errors of an environment's configuration, with the keys to change."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class OptionProblem:
    """Something to change: the path of the key in the configuration, and the rule broken with its cure."""

    path: tuple[str, ...]
    message: str


class EnvironmentProblem(ConfigurationError):
    """The environment cannot be made from this configuration; `problems` holds the places."""

    def __init__(self, *problems: OptionProblem) -> None:
        super().__init__("; ".join(f"{'.'.join(problem.path)}: {problem.message}" for problem in problems))
        self.problems = list(problems)
