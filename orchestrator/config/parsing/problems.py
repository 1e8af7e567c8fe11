"""Mistakes in a configuration: one `Problem` each, all of them together in one `Problems`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from protocols.runtime.errors import ConfigurationError, ExitCode

Severity = Literal["error", "warning", "notice", "choice"]
"""error: nothing is started; warning: probably not what is meant; notice: a feature that does not apply was switched off; choice: a value
that was left open was chosen, which is no mistake where strictness is asked for"""


@dataclass(frozen=True)
class Problem:
    """One broken rule: where it stands (`file:line:column`, `argument n`), the key's path, the rule, and the nearest right name."""

    place: str
    path: str
    text: str
    suggestion: str | None = None
    severity: Severity = "error"
    missing: bool = False
    """whether a package is missing"""

    @property
    def message(self) -> str:
        """The problem in one line: `path: rule; did you mean "x"?`"""
        text = f"{self.path}: {self.text}" if self.path else self.text
        return f'{text}; did you mean "{self.suggestion}"?' if self.suggestion is not None else text


class Problems(ConfigurationError):
    """All problems of a configuration; nothing was started. `exit_code` is 3, or 6 where all errors are missing packages."""

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        super().__init__(subject)
        self.subject = subject
        self.problems = list(problems)
        errors = [problem for problem in problems if problem.severity == "error"]
        if errors and all(problem.missing for problem in errors):
            self.exit_code = ExitCode.RESOURCES

    def __str__(self) -> str:
        return "\n".join([f"{self.subject}: {counted(self.problems)}, nothing was started", *lines(self.problems)])


def counted(problems: Iterable[Problem]) -> str:
    """`2 errors`, `1 error, 3 warnings`."""
    severities = [problem.severity for problem in problems]
    counts = {severity: severities.count(severity) for severity in get_args(Severity)}
    return ", ".join(_number(count, noun) for noun, count in counts.items() if count or (noun == "error" and not severities))


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def lines(problems: Sequence[Problem], indent: str = "  ") -> list[str]:
    """One line a problem: the place, padded to the widest, then the severity of warnings and notices, then the message."""
    width = max((len(problem.place) for problem in problems), default=0)
    severities = ("" if problem.severity == "error" else f"{problem.severity}: " for problem in problems)
    return [
        f"{indent}{problem.place:<{width}}  {severity}{problem.message}" for problem, severity in zip(problems, severities, strict=True)
    ]
