"""`orchestrate check-env`: an environment is made as a run makes it, played with random actions, and checked.

The environment is played in a process of its own: what it prints goes to standard error, and a crash of its libraries is a broken rule.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from orchestrator.cli.command_options import app, examples, options, print_error, print_json, print_text
from orchestrator.results import number_text as numbers
from orchestrator.results.run_files import read_json
from protocols.runtime.errors import ExitCode, UsageError

_EPILOG = examples(
    "orchestrate check-env mpe2:simple_spread_v3 N=3",
    "orchestrate check-env gymnasium:CartPole-v1 --steps 1000",
    "orchestrate check-env my_room:Corridor agents=2 length=8",
)


@app.command("check-env", epilog=_EPILOG)
def check_env(
    context: typer.Context,
    environment: Annotated[str, typer.Argument(metavar="ID", help="As environment.id of a configuration.")],
    given: Annotated[
        list[str] | None, typer.Argument(metavar="[option=value ...]", help="As environment.options of a configuration: N=3.")
    ] = None,
    agents: Annotated[int | None, typer.Option("--agents", min=1, help="Number of agents; else that of the environment.")] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Random steps.")] = 300,
) -> None:
    """Play random steps of an environment: spaces, agents, speed, seeds, signatures, shapes, finite values, range of rewards.

    Exit 0, or 3 with the first broken rule and its cure, 6 where a package is missing.
    """
    settings = options(context)
    request = {"id": environment, "options": _options(given or []), "agents": agents, "steps": steps}
    found = _played(request)
    code = ExitCode.OK if found["ok"] else ExitCode.RESOURCES if found.get("missing") else ExitCode.CONFIG
    if settings.json:
        print_json({**found, "exit_code": int(code)})
    else:
        if settings.verbosity >= 0:
            print_text(trial_text(found))
            if found.get("warning"):
                print_error(f"warning: {found['warning']}")
        if not found["ok"]:
            print_error(f"{environment}: {found['rule']}\n  -> {found['cure']}")
    if not found["ok"]:
        raise typer.Exit(int(code))


def _options(given: list[str]) -> dict[str, Any]:
    """`name=value` with values in YAML."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    found: dict[str, Any] = {}
    for argument in given:
        name, equals, text = argument.partition("=")
        if not equals or not name:
            raise UsageError(f'check-env: "{argument}" is no option of the environment; write option=value, for example N=3')
        try:
            found[name.strip()] = YAML(typ="safe").load(text)
        except YAMLError:
            raise UsageError(f'check-env: the value of "{argument}" is not YAML; put texts with special characters in quotes') from None
    return found


def _played(request: dict[str, Any]) -> dict[str, Any]:
    """The result of the process that plays the environment (`murmuration.testing.EnvironmentTrial` as JSON)."""
    with TemporaryDirectory(prefix="check-env-") as folder:
        file = Path(folder) / "trial.json"
        path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH"))))
        process = subprocess.run(
            [sys.executable, "-m", "murmuration.testing", json.dumps(request), str(file)],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        )
        found = read_json(file)
    if found:
        return found
    code = process.returncode
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    rule = f"the process that plays the environment {how}"
    return {"id": request["id"], "ok": False, "rule": rule, "cure": "see what it printed above; environments must not end their process"}


def trial_text(found: dict[str, Any]) -> str:
    """The result for people, without the broken rule."""
    lines = [f"{found['id']}: {'no rule is broken' if found['ok'] else 'a rule is broken'}"]
    if names := found.get("agents"):
        lines.append(f"  agents        {len(names)}: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}")
    spaces = found.get("spaces") or []
    alike = len({(space["observation"], space["action"]) for space in spaces}) == 1
    for space in spaces[:1] if alike else spaces:
        who = "" if alike else f"{space['agent']}: "
        lines += [f"  observation   {who}{space['observation']}", f"  action        {who}{space['action']}"]
    if (speed := found.get("steps_per_second")) is not None:
        lines.append(f"  speed         {numbers.count(speed)} steps/s ({numbers.count(found['steps'])} steps of one copy)")
    if (reward := found.get("reward")) is not None:
        lines.append(f"  rewards       {reward[0]:g} to {reward[1]:g} in a step")
    if (returns := found.get("returns")) is not None:
        shortest, longest = found["lengths"]
        steps = numbers.counted(longest, "step") if shortest == longest else f"{shortest} to {longest} steps"
        episodes = f"{numbers.counted(found['episodes'], 'episode')} of {steps}"
        lines.append(f"  returns       {returns[0]:g} to {returns[1]:g} in {episodes}, all agents")
    elif found.get("reward") is not None:
        lines.append("  returns       no episode ended in these steps")
    return "\n".join(lines)
