"""Which standard environments run from a configuration of four lines: the table of docs/reference/environments.md, as real runs.

    python benchmarks/environment_table.py                              # all, about a quarter of an hour on two cores
    python benchmarks/environment_table.py gymnasium:Taxi-v3 --print    # one, without writing the page

For each environment: `orchestrate check-env ID`, then `orchestrate up` with four lines for 512 training steps. An environment that cannot
be played must be refused by both, with the cure, before any process of the run starts (exit 2 or 3). What only `check-env` finds stands
in the table. Needs the extras `butterfly`, `box2d` and `atari`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import machine

from protocols.runtime.errors import ExitCode

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "reference" / "environments.md"
CONFIG = """version: 2
environment: {{id: "{id}", copies: {copies}}}
agents: {{count: {agents}}}
until: {{steps: 512}}
"""
ENVIRONMENTS = (
    "gymnasium:CartPole-v1",
    "gymnasium:Acrobot-v1",
    "gymnasium:MountainCar-v0",
    "gymnasium:MountainCarContinuous-v0",
    "gymnasium:Pendulum-v1",
    "gymnasium:LunarLander-v3",
    "gymnasium:BipedalWalker-v3",
    "gymnasium:CarRacing-v3",
    "gymnasium:FrozenLake-v1",
    "gymnasium:Taxi-v4",
    "gymnasium:CliffWalking-v1",
    "gymnasium:Blackjack-v1",
    "minigrid:MiniGrid-Empty-8x8-v0",
    "minigrid:MiniGrid-DoorKey-5x5-v0",
    "gymnasium:MiniGrid-Empty-5x5-v0",
    "mpe2:simple_spread_v3",
    "mpe2:simple_tag_v3",
    "mpe2:simple_speaker_listener_v4",
    "mpe2:simple_reference_v3",
    "mpe2:simple_adversary_v3",
    "mpe2:simple_crypto_v3",
    "mpe2:simple_push_v3",
    "mpe2:simple_world_comm_v3",
    "pettingzoo.butterfly:pistonball_v6",
    "pettingzoo.butterfly:knights_archers_zombies_v11",
    "pettingzoo.butterfly:cooperative_pong_v6",
    "pettingzoo.atari:space_invaders_v2",
    "pettingzoo.classic:rps_v2",
    "pettingzoo.classic:tictactoe_v3",
    "pettingzoo.classic:connect_four_v3",
    "pettingzoo.sisl:pursuit_v5",
    "pettingzoo.sisl:multiwalker_v9",
)


def orchestrate(directory: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command as a user runs it, ended after five minutes."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *words], cwd=directory, capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "ORCHESTRATE_RUNS": str(Path(directory) / "runs")},
    )  # fmt: skip


def row(id: str) -> tuple[str, bool]:
    """The line of an environment, and whether it is as it must be."""
    with tempfile.TemporaryDirectory() as directory:
        checked = orchestrate(directory, "--json", "check-env", id)
        found: dict[str, Any] = json.loads(checked.stdout.splitlines()[-1])
        agents = max(1, len(found["agents"]))
        config = Path(directory) / "four_lines.yaml"
        config.write_text(CONFIG.format(id=id, agents=agents, copies=4))
        run = orchestrate(
            directory, "up", str(config), "--plain", "--name", "one", "evaluation={episodes: 4, final_episodes: 4, min_time: 5s}"
        )
        chosen = re.search(r"(\w+) was chosen for", run.stdout + run.stderr)
        learner = chosen[1] if chosen else "–"
        if found["ok"]:
            spaces = dict.fromkeys((one["observation"], one["action"]) for one in found["spaces"])
            observations, actions = ("; ".join(dict.fromkeys(part)) for part in zip(*spaces, strict=True))
            speed = f"{found['steps_per_second']:,.0f}"
            result = "runs" if run.returncode == ExitCode.OK else f"**exit {run.returncode}**"
            return f"| `{id}` | {agents} | {observations} | {actions} | {speed} | {learner} | {result} |", run.returncode == ExitCode.OK
        refused = run.returncode in (ExitCode.USAGE, ExitCode.CONFIG)
        result = "refused" if refused else "runs, but check-env finds" if run.returncode == ExitCode.OK else f"**exit {run.returncode}**"
        return f"| `{id}` | | | | | | {result}: {found['rule']}; {found['cure']} |", refused or run.returncode == ExitCode.OK


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these")
    parser.add_argument("--print", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    lines = [
        "| environment | agents | observation | action | random steps/s, one copy | learner | four lines |",
        "|---|---|---|---|---|---|---|",
    ]
    wrong = []
    for id in arguments.ids or ENVIRONMENTS:
        line, right = row(id)
        print(line, flush=True)
        lines.append(line)
        if not right:
            wrong.append(id)
    if not arguments.print and not arguments.ids:
        text = PAGE.read_text()
        table = "\n".join([*lines, "", f"Made on {machine().splitlines()[0]}."])
        PAGE.write_text(
            re.sub(r"(<!-- environments -->\n).*?(<!-- end -->)", lambda match: f"{match[1]}{table}\n{match[2]}", text, flags=re.DOTALL)
        )
    if wrong:
        raise SystemExit(f"neither run nor refused before the start: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
