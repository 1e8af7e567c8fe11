"""What `orchestrate dataset make` records, how fast, and in how many bytes: the table of docs/reference/datasets.md.

    python benchmarks/dataset_table.py                         # all, about three minutes of processor time
    python benchmarks/dataset_table.py pistonball --print      # rows whose name contains this, without writing the page

Each environment is recorded twice, with random actions: speeds are those of the additional episodes, per second of processor time of the
whole process, so that its start does not count. Environments that are not vectorised have one copy, since others would play episodes that
are not recorded. A row whose environment can't be made here shows why.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measuring import machine

from protocols.datasets.dataset_reader import Dataset

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "reference" / "datasets.md"
DISCRETE, CONTINUOUS = "environments/particles_spread", "environments/pendulum"
SMALL = "environment.images={size: [42, 42], grayscale: true}"


@dataclass(frozen=True)
class Row:
    """An environment: its name and options, the number of agents, and how many episodes are recorded."""

    id: str
    options: str
    agents: int
    episodes: int
    extra: str = ""
    config: str = DISCRETE
    more: tuple[str, ...] = ("environment.copies=1",)


ROWS = (
    Row("particles:simple_spread", "", 3, 4000, more=("environment.copies=64",)),
    Row("particles:simple_tag", "", 4, 4000, more=("environment.copies=64",)),
    Row("mpe2:simple_spread_v3", "", 3, 300),
    Row("mpe2:simple_tag_v3", "", 4, 300),
    Row("pettingzoo.sisl:pursuit_v5", "n_pursuers: 8", 8, 4),
    Row("pettingzoo.sisl:multiwalker_v9", "n_walkers: 3", 3, 20, "box2d", CONTINUOUS),
    Row("pettingzoo.sisl:waterworld_v4", "n_pursuers: 2", 2, 4, "", CONTINUOUS),
    Row("pettingzoo.butterfly:knights_archers_zombies_v11", "", 4, 12, "butterfly"),
    Row("pettingzoo.butterfly:pistonball_v6", "n_pistons: 5, continuous: false", 5, 8, "butterfly", more=("environment.copies=1", SMALL)),
    Row("pettingzoo.butterfly:pistonball_v6", "n_pistons: 20, continuous: false", 20, 4, "butterfly", more=("environment.copies=1", SMALL)),
    Row(
        "pettingzoo.atari:space_invaders_v2", "", 2, 2, "atari",
        more=("environment.copies=1", "environment.images={size: [84, 84], grayscale: true}"),
    ),
)  # fmt: skip


def make(row: Row, directory: Path, episodes: int) -> tuple[float, Dataset]:
    """Processor seconds of the command, and the dataset. `RuntimeError` with the command's last line where it fails."""
    words = ["-m", "orchestrator", "--json", "dataset", "make", row.config, f"environment.id={row.id}", f"agents.count={row.agents}"]
    words += [f"environment.options={{{row.options}}}", *row.more, "-o", str(directory), "-n", str(episodes)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=1800, check=False, env=dict(os.environ)
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(re.sub(r"\s+", " ", done.stderr.strip().splitlines()[-1]))
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, Dataset(directory)


def line(row: Row) -> str:
    """A line of the table."""
    head = f"| `{row.id}`{f', {row.options}' if row.options else ''} | {row.agents} | {f'`{row.extra}`' if row.extra else '-'} |"
    with tempfile.TemporaryDirectory() as folder:
        try:
            start, few = make(row, Path(folder) / "few", max(1, row.episodes // 4))
            end, many = make(row, Path(folder) / "many", row.episodes)
        except RuntimeError as error:
            print(f"{row.id}: {error}", file=sys.stderr)
            return f"{head} | | | | not made: {str(error)[:200]} |"
        steps = [sum(1 + max(int(part.moment[-1]) for part in parts.values()) for parts in found.joined()) for found in (few, many)]
        manifest, seconds = many.manifest, end - start
        layouts = {f"{shard.layout.dtype} {json.dumps(shard.layout.shape)}": None for shard in manifest.shards}
        own = (manifest.steps - few.manifest.steps) / seconds
        size = many.size() / manifest.steps
        returns = manifest.behaviours[0].returns.mean
        return f"{head} {'; '.join(layouts)} | {(steps[1] - steps[0]) / seconds:,.0f} | {own:,.0f} | {size:,.0f} | {returns:.4g} |"


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="only rows whose id contains this")
    parser.add_argument("--print", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    lines = [
        "| environment | agents | extra | observation | steps/s | agent steps/s | bytes per agent step | random return |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        if arguments.name in row.id:
            lines.append(line(row))
            print(lines[-1], flush=True)
    if not arguments.print and not arguments.name:
        table = "\n".join([*lines, "", f"Made on {machine().splitlines()[0]}."])
        text = PAGE.read_text()
        PAGE.write_text(
            re.sub(r"(<!-- speeds -->\n).*?(<!-- end -->)", lambda match: f"{match[1]}{table}\n{match[2]}", text, flags=re.DOTALL)
        )


if __name__ == "__main__":
    main()
