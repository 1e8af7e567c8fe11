"""Slurm's own commands, asked with a deadline: at once, or in the background so that nothing waits for them.

Every one of them talks to slurmctld, and without an answer goes on trying for up to a minute.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.launch.process_control import MARK

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
"""of Slurm's commands, those that the engine needs"""
PATIENCE = 5.0
"""seconds for an answer"""
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER")
_REAP = 5.0


@dataclass(frozen=True)
class SlurmAnswer:
    """The output of a command; `code` None: it did not end in time."""

    code: int | None
    output: str
    errors: str

    @property
    def words(self) -> str:
        """The reason of its failure, on one line, without its own name."""
        lines = [re.sub(r"^\w+: (error|fatal): ", "", line).strip() for line in self.errors.splitlines()]
        said = "; ".join(dict.fromkeys(line for line in lines if line))
        if self.code is None:
            return "no answer in time" + (f" ({said})" if said else "")
        return said or f"exit code {self.code}"


def missing() -> list[str]:
    """Commands that are not on the path."""
    return [name for name in COMMANDS if shutil.which(name) is None]


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without the variables of an allocation around it: each is an option to Slurm's commands. It is not
    marked as a run's either, so that `orchestrate down` does not end a command that it has called itself."""
    kept = {name: value for name, value in os.environ.items() if (not name.startswith("SLURM_") or name in _KEPT) and name != MARK}
    return {**kept, **(more or {})}


class SlurmQuery:
    """One command in the background: `answer()` is None until it has ended, or its time is over and it was killed."""

    def __init__(self, command: Sequence[str], text: str = "", patience: float = PATIENCE) -> None:
        """Start it with `text` on its standard input. What it answers must be shorter than a pipe holds (64 KiB)."""
        self._answer: SlurmAnswer | None = None
        self._deadline = time.monotonic() + patience
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                env=clean_environment(),
            )
        except OSError as error:
            self._answer = SlurmAnswer(127, "", f"{command[0]}: {error.strerror}")
            return
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:
                pipe.write(text)

    def answer(self) -> SlurmAnswer | None:
        """The answer, if the command has ended; None before. Does not wait."""
        if self._answer is None:
            late = time.monotonic() > self._deadline
            if self._process.poll() is not None or late:
                self._answer = self._collect(None if late and self._process.poll() is None else self._process.returncode)
        return self._answer

    def wait(self) -> SlurmAnswer:
        """Until it has answered, or its time is over."""
        while (answer := self.answer()) is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, self._deadline - time.monotonic()) + 0.01)
        return answer

    def drop(self) -> None:
        """The answer is not needed any more."""
        if self._answer is None:
            self._answer = self._collect(None)

    def _collect(self, code: int | None) -> SlurmAnswer:
        if code is None:
            self._process.kill()
        self._process.stdin = None  # closed already
        output, errors = self._process.communicate(timeout=_REAP)
        return SlurmAnswer(code, output, errors)


def ask(command: Sequence[str], patience: float = PATIENCE) -> SlurmAnswer:
    """Run a command to its end; it is killed when it has not answered in time."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience, env=clean_environment(), check=False
        )
    except subprocess.TimeoutExpired as error:
        said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else ""
        return SlurmAnswer(None, "", said)
    except OSError as error:
        return SlurmAnswer(127, "", f"{command[0]}: {error.strerror}")
    return SlurmAnswer(done.returncode, done.stdout, done.stderr)


def no_controller() -> str:
    """Why slurmctld can't be reached; "" when it answers."""
    answer = ask(["scontrol", "ping"])
    if re.search(r"\bUP\b", answer.output):
        return ""
    return answer.output.splitlines()[0].strip() if answer.output.strip() else answer.words


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
