"""The second table of docs/reference/environments.md: environments with several numbers of agents, each by `orchestrate check-env`.

    python benchmarks/agent_counts.py                    # all, about fifteen minutes on two cores
    python benchmarks/agent_counts.py pursuit --print    # those whose id contains the text, without writing the page

200 random steps of each; a broken rule ends it with exit code 1. Needs the extras `butterfly`, `box2d` and `atari`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "reference" / "environments.md"
STEPS = 200
ENVIRONMENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pettingzoo.butterfly:pistonball_v6", tuple(f"n_pistons={n} continuous=false" for n in (5, 8, 20))),
    ("pettingzoo.butterfly:knights_archers_zombies_v11", tuple(f"num_archers={n} num_knights={n}" for n in (1, 2, 4))),
    ("pettingzoo.butterfly:cooperative_pong_v6", ("",)),
    ("pettingzoo.sisl:multiwalker_v9", tuple(f"n_walkers={n}" for n in (2, 3, 6))),
    ("pettingzoo.sisl:pursuit_v5", ("n_pursuers=2 n_evaders=8", "n_pursuers=8 n_evaders=30", "n_pursuers=16 n_evaders=60")),
    ("pettingzoo.atari:space_invaders_v2", tuple(f"obs_type={kind}" for kind in ("rgb_image", "grayscale_image", "ram"))),
    ("mpe2:simple_spread_v3", tuple(f"N={n}" for n in (3, 5, 10))),
    ("mpe2:simple_spread_v3", tuple(f"N={n} num_agent_neighbors=2 num_landmark_neighbors=3" for n in (3, 5, 10))),
    ("mpe2:simple_tag_v3", tuple(f"num_adversaries={n}" for n in (3, 6, 12))),
    ("particles:simple_spread", ("--agents 3", "--agents 5", "--agents 10")),
    ("particles:simple_tag", ("--agents 4", "--agents 7", "--agents 13")),
    ("prison", ("--agents 3", "--agents 8", "--agents 20")),
)


def tried(id: str, words: str) -> dict[str, Any]:
    """What check-env finds."""
    command = [sys.executable, "-m", "orchestrator", "--json", "check-env", id, *words.split(), "--steps", str(STEPS)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(id: str, words: str) -> tuple[str, bool]:
    """The line of the table, and whether no rule is broken."""
    found = tried(id, words)
    options = " ".join(word for word in words.split() if word != "--agents" and not word.isdigit()) or "-"
    if not found["ok"]:
        return f"| `{id}` | {options} | | | | {found['rule']}; {found['cure']} |", False
    observations, actions = ("; ".join(dict.fromkeys(space[key] for space in found["spaces"])) for key in ("observation", "action"))
    rewards = "{:.3g} to {:.3g}".format(*found["reward"])
    return f"| `{id}` | {options} | {len(found['agents'])} | {observations} | {actions} | {rewards} |", True


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="?", default="", help="only ids that contain it")
    parser.add_argument("--print", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    lines = [
        "| environment | options | agents | observation of each | action | rewards in a step |",
        "|---|---|---|---|---|---|",
    ]
    wrong = []
    for id, cases in ENVIRONMENTS:
        for words in cases if arguments.text in id else ():
            line, right = row(id, words)
            print(line, flush=True)
            lines.append(line)
            if not right:
                wrong.append(f"{id} {words}")
    if not arguments.print and not arguments.text:
        table = "\n".join([*lines, "", f"{STEPS} random steps of one copy."])
        pattern = r"(<!-- counts -->\n).*?(<!-- end counts -->)"
        PAGE.write_text(re.sub(pattern, lambda match: f"{match[1]}{table}\n{match[2]}", PAGE.read_text(), flags=re.DOTALL))
    if wrong:
        raise SystemExit(f"a rule is broken: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
