"""Starting a run: a checked configuration becomes a run directory, and its run server is started in a session of its own."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.launch.process_control import MARK, sweep
from orchestrator.results.run_files import read_json
from protocols.runtime.errors import ConfigurationError, MurmurationError, ResourceError, error_of

if TYPE_CHECKING:
    from orchestrator.config.loader import Loaded


def command_line(config: Path, overrides: Sequence[str], seed: int | None) -> str:
    """One line that repeats the run (under another name)."""
    words = ["orchestrate", "up", str(config), *overrides]
    if seed is not None:
        words += ["--seed", str(seed)]
    return shlex.join(words)


def prepare_run(loaded: Loaded, runs_dir: Path, name: str | None, command: str) -> Path:
    """Make a new run directory with the configuration as resolved, canonical and given, and the command. Names are never used twice:
    an existing one is a `ConfigurationError`."""
    from orchestrator.config.resolved_configuration import canonical_json, resolved_yaml

    directory = create_run_directory(runs_dir, loaded.configuration.name, name)
    (directory / "config.yaml").write_text(resolved_yaml(loaded.configuration, notices=loaded.notices), encoding="utf-8")
    (directory / "config.origin.yaml").write_text(loaded.source, encoding="utf-8")
    (directory / "command.txt").write_text(command + "\n", encoding="utf-8")
    # The run server starts from this one: it comes last.
    (directory / "config.json").write_text(canonical_json(loaded.configuration) + "\n", encoding="utf-8")
    return directory


START_TIMEOUT = 60.0
"""seconds until every node must be up"""


def start_detached(directory: Path, timeout: float = 30.0, start_timeout: float = START_TIMEOUT) -> int:
    """Start the run server of this directory in a session of its own, wait until it can be reached, and return its process number.
    `start_timeout` are the seconds until every node must be up.

    Its output goes to `server.log`. When it ends before it can be reached, the error it ended with is raised here; the run directory
    stays, with the reason in `run.json`.
    """
    directory = directory.resolve()
    with (directory / "server.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "_serve", str(directory), "--start-timeout", f"{start_timeout:g}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, MARK: str(directory)},
        )
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise _failure(directory, process.wait(0.05))
        # Until then the file of a run server may be there that was killed: its successor reads it.
        if read_json(directory / "control.json").get("pid") == process.pid:
            return process.pid
    process.kill()
    process.wait(5.0)
    sweep(directory)
    raise ResourceError(f"the run server could not be reached within {timeout:g} s; its log is {directory / 'server.log'}")


def _failure(directory: Path, code: int) -> MurmurationError:
    """The run server ended before it could be reached; `exit_code` is what it ended with."""
    reason = str(read_json(directory / "run.json").get("reason") or "")
    return error_of(code, reason or f"the run server ended at once (exit {code}); its log is {directory / 'server.log'}")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES = _words(
    "amber able agile airy ample apt awake bold brave brief bright brisk calm clear clever cosy crisp curious deft dewy eager early "
    "easy fair fast fine fleet fond free fresh gentle glad golden grand green happy hardy honest humble jolly keen kind late light "
    "lively mellow merry mild misty neat nimble noble patient plain polite prompt proud quick quiet rapid ready round ruddy "
    "sandy sharp shy silent silver sleek smooth snowy soft solid spry steady still stout sturdy sunny sure swift tidy tiny true "
    "upbeat vivid warm wary wide wild wise witty young"
)
ANIMALS = _words(
    "adder albatross ant badger bat bear beaver bee beetle bison bittern boar buzzard carp cat cicada clam cod condor coot crab crane "
    "cricket crow curlew deer dipper dolphin dove duck dunlin eagle eel eider elk falcon ferret finch fox frog gannet gecko godwit "
    "goose grebe grouse gull hare harrier hawk heron hoopoe hornet ibex ibis jackdaw jay kestrel kite knot lark linnet lizard lynx "
    "magpie marten martin mole moose moth mouse newt otter owl oyster perch pigeon pike pipit plover puffin quail rabbit raven robin "
    "rook ruff salmon seal shrew shrike siskin skua skylark snail snipe sparrow starling stoat stork swallow swan swift tern thrush "
    "tit toad trout turtle viper vole wagtail warbler weasel whale wigeon wolf wren"
)
_GIVEN = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")  # it is the field `run` of every message
_NUMBERED = re.compile(r".*-(\d{4,})")
_ATTEMPTS = 100


def next_number(runs: Path) -> int:
    """One more than the highest number that a run in this directory ends with; the first is 1."""
    try:
        found = [_NUMBERED.fullmatch(entry.name) for entry in runs.iterdir()]
    except FileNotFoundError:
        return 1
    return 1 + max((int(match[1]) for match in found if match is not None), default=0)


def check_name(runs: Path, name: str) -> None:
    """`ConfigurationError`, as of `create_run_directory`, for a name that is no file name, and for one that is taken already."""
    if _GIVEN.fullmatch(name) is None:
        text = f'"{name}" is no name for a run: small letters, digits, "_", "." and "-", at most 64, not "-" or "." first'
        raise ConfigurationError(f"{text}; write {name.lower()}" if _GIVEN.fullmatch(name.lower()) else text)
    if (runs / name).exists():
        raise _taken(runs, name)


def _taken(runs: Path, name: str | None) -> ConfigurationError:
    return ConfigurationError(f"run {name} exists already in {runs}; choose another name or remove the directory")


def create_run_directory(runs: Path, configuration: str, name: str | None = None) -> Path:
    """Make and return the new, empty directory `runs/NAME`.

    Without a `name` it is the configuration's name, two words drawn at random, and a number that increases from run to run. Making the
    directory is what takes the name, so of any number of callers with one name exactly one gets it; the others, and names that are no
    file names, get a `ConfigurationError`.
    """
    if runs.exists() and not runs.is_dir():
        raise ConfigurationError(f"{runs} is a file, and runs need a directory; choose another place with --runs-dir")
    try:
        runs.mkdir(parents=True, exist_ok=True)
        if name is not None:
            check_name(runs, name)
            (runs / name).mkdir()
            return runs / name
        words = random.SystemRandom()  # not the run's seed: two runs with one seed are two runs
        for _ in range(_ATTEMPTS):
            directory = runs / f"{configuration}-{words.choice(ADJECTIVES)}-{words.choice(ANIMALS)}-{next_number(runs):04d}"
            try:
                directory.mkdir()
            except FileExistsError:
                continue
            return directory
    except FileExistsError:
        raise _taken(runs, name) from None
    except OSError as error:
        raise ResourceError(f"cannot make a run directory in {runs}: {error.strerror}; choose another place with --runs-dir") from error
    raise ResourceError(f"no free name was found in {runs} after {_ATTEMPTS} attempts; give one with --name")
