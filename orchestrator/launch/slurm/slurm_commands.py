"""Slurm's own commands, asked with a deadline: at once, or in the background so that nothing waits for them.

Every one of them talks to slurmctld, and without an answer goes on trying for up to a minute.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence

from orchestrator.launch.engine_commands import BackgroundCommand, CommandAnswer
from orchestrator.launch.process_control import MARK

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
"""of Slurm's commands, those that the engine needs"""
PATIENCE = 5.0
"""seconds for an answer"""
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER")


def words(answer: CommandAnswer) -> str:
    """The reason of a command's failure, on one line, without its own name."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line).strip() for line in answer.errors.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line)) or f"exit code {answer.code}"


def missing() -> list[str]:
    """Commands that are not on the path."""
    return [name for name in COMMANDS if shutil.which(name) is None]


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without the variables of an allocation around it: each is an option to Slurm's commands. It is not
    marked as a run's either, so that `orchestrate down` does not end a command that it has called itself."""
    kept = {name: value for name, value in os.environ.items() if (not name.startswith("SLURM_") or name in _KEPT) and name != MARK}
    return {**kept, **(more or {})}


def query(command: Sequence[str], text: str = "", patience: float = PATIENCE) -> BackgroundCommand:
    """Start a command in the background, with `text` on its standard input."""
    return BackgroundCommand(command, patience, clean_environment(), text)


def ask(command: Sequence[str]) -> CommandAnswer:
    """Run a command to its end; it is killed when it has not answered in time."""
    return query(command).wait()


def no_controller() -> str:
    """Why slurmctld can't be reached; "" when it answers."""
    answer = ask(["scontrol", "ping"])
    if re.search(r"\bUP\b", answer.output):
        return ""
    return answer.output.splitlines()[0].strip() if answer.output.strip() else words(answer)


def expand(hosts: str) -> list[str]:
    """The names in one of Slurm's host lists: `h[1-3,07],login` is h1, h2, h3, h07 and login."""
    names = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", hosts):
        grown = [""]
        for plain, ranges in re.findall(r"([^\[]+)|\[([^\]]*)\]", part):
            ends = [plain] if plain else [number for span in ranges.split(",") for number in _numbers(span)]
            grown = [name + end for name in grown for end in ends]
        names.extend(grown)
    return names


def _numbers(span: str) -> list[str]:
    first, _, last = span.partition("-")
    return [str(number).zfill(len(first)) for number in range(int(first), int(last or first) + 1)]
