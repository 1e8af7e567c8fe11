"""Every benchmark works: its quick form is run as a user runs it, and prints its tables.

`QUICK_FORMS` is the list of the commands; a script of `benchmarks/` stands there, or in `EXCEPTIONS` with the reason.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from orchestrator.launch.process_control import kill_all, living

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 400.0
"""seconds for one command, on a machine with four busy processes for each core"""
GRACE = 20.0
"""seconds within which the processes of a command that has ended must be gone"""


@dataclass(frozen=True)
class QuickForm:
    """A command, and what its standard output must contain."""

    command: str
    """script of `benchmarks/` and its arguments; {place} is an empty directory"""
    tables: int = 1
    """number of Markdown tables"""
    lines: tuple[str, ...] = ()
    """regular expressions of further lines"""
    before: str = ""
    """arguments of a command of `orchestrate` that makes what the script needs"""
    needs: tuple[str, ...] = ()
    """modules of extras"""

    @property
    def script(self) -> str:
        """Name of the script."""
        return self.command.split()[0]


QUICK_FORMS = (
    QuickForm("adoption --quick"),
    QuickForm("agent_counts particles:simple_tag --print"),
    QuickForm("amigo_speed --configs default --seconds 2 --repeats 1"),
    QuickForm("arena_speed --repeats 1 --steps 4000"),
    QuickForm("averaging --quick"),
    QuickForm('compare_rows odmar far hallucination "no optimism"', 0, (r"no optimism: mean [\d.]+", r"rank test: p = \d")),
    QuickForm("coordination_table --quick"),
    QuickForm("crowded --quick", lines=(r"\| alone +\| [1-9]", r"\| 8 busy processes +\| [1-9]")),
    QuickForm("curve_cost --quick --carrier tcp", lines=(r"bare sockets, 1,000,000 bytes a message: [\d,]+ .* encrypted",)),
    QuickForm("dataset_table particles:simple_tag --print"),
    QuickForm("environment_table gymnasium:CartPole-v1 --print", lines=(r"\| runs \|",)),
    QuickForm("footprint --seconds 2", 0, (r"^up, before .* [\d.]+ MiB each", r"^after 2 s .* [\d.]+ MiB each", r"^4 agents up [\d.]+ s")),
    QuickForm("fuzz --frames 3600", 0, (r"^token: .*ended: none", r"^keys: .*ended: none", r"^insider, pushsum: .*ended: none")),
    QuickForm("gp_refresh --repeats 2 --features 64"),
    QuickForm("hops", 0, (r"^transition: \d+ hops, [1-9]", r"^negotiated goal: \d+ hops, [1-9]")),
    QuickForm("link_fates", 0, (r"^no rule +\d+ ns", r"^two rules of loss and delay +\d+ ns", r"^progress, nothing due +\d+ ns")),
    QuickForm("minigrid_speed --seconds 0.1 --copies 4 --view full --env MiniGrid-DoorKey-8x8-v0"),
    QuickForm("offline_transfer --list", 0, (r"(done|missing)$",)),
    QuickForm("omar_table --list", 0, (r"(done|missing)$",)),
    QuickForm("optimisers --quick"),
    QuickForm("optimism_track --quick", 3),
    QuickForm("page_cost --nodes 8 --seconds 2 --lines 5000 --warm-up 1", 2),
    QuickForm("page_cost --ratio 1 --seconds 4 --every 0.5 --warm-up 1"),
    QuickForm("particles_speed --seconds 0.05 --repeats 2 --copies 1 4"),
    QuickForm(
        "pistonball configs/standard/pistonball.yaml --episodes 2",
        0,
        (r"^random +return +-?\d", r"^scripted +return +-?\d"),
        needs=("pymunk",),
    ),
    QuickForm("planted_bugs --only steps_twice waits_without_deadline --seeds 20", lines=(r"^2 of 2 found",)),
    QuickForm("planted_bugs --correct 1", 0, (r"^pushsum: 1 seeds.*all promises are kept", r"^mh: 1 seeds.*all promises are kept")),
    QuickForm("pmic_cost navigation --least 500 --steps 3000 --set environment.copies=8"),
    QuickForm("pooled_team maddpg --steps 400 --evaluations 1 --episodes 4"),
    QuickForm(
        "random_opponent {place}/played --games 4",
        before="--runs-dir {place} up configs/standard/tictactoe.yaml --name played --plain until.episodes=64",
    ),
    QuickForm("recovery --quick", 0, (r"^  1 s before +[\d.]+$", r"^  longest round +[\d.]+$", r"^  agent-3( +[\d.]+){5}$")),
    QuickForm("remote_stepping --quick --copies 2"),
    QuickForm("simulation --quick", 2),
    QuickForm("simulation --quick --table"),
    QuickForm("soak --quick", lines=(r" [1-9][\d,]* steps$",)),
    QuickForm("threads --quick", 0, (r"^under the orchestrator( +[1-9]\d*){3}$", r"^four bare processes( +[1-9]\d*){3}$")),
    QuickForm("why_planted_hangs --runs learning", lines=(r"^2 of 2 named",)),
)
EXCEPTIONS = {
    "amigo": "a study of hours; its report: test_study.py",
    "benchmarl_peer": "needs another package",
    "dec_imsap": "a study of hours; its report: test_study.py",
    "hosts": "minutes on two machines, with bounds on times that a busy machine breaks; such runs: tests/engines",
    "gp_consensus": "a study; its report: test_gp_consensus.py",
    "main_configuration": "a study of half an hour; its runs: tests/runs/test_main_configuration.py",
    "odmar": "a study of hours; its report: test_study.py",
    "offline_reference": "a study of hours; its report: test_offline_report.py",
    "offline_report": "a report of studies: test_offline_report.py",
    "pmic": "a study of hours; its report: test_study.py",
    "ring": "the processes of recovery.py, which has a quick form",
    "standard": "a study of hours; its report: test_study.py",
    "standard_peers": "needs other packages",
}


def test_every_script_has_a_quick_form_or_a_reason() -> None:
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if 'if __name__ == "__main__":' in path.read_text()}
    listed = {form.script for form in QUICK_FORMS}
    assert not listed & EXCEPTIONS.keys()
    assert listed | EXCEPTIONS.keys() == scripts


@pytest.mark.benchmarks
@pytest.mark.timeout(2 * DEADLINE + 60)
@pytest.mark.parametrize("form", QUICK_FORMS, ids=lambda form: form.command.replace(" ", "_"))
def test_the_quick_form_prints_its_tables(form: QuickForm, tmp_path: Path) -> None:
    for module in form.needs:
        pytest.importorskip(module)
    if form.before:
        call(["-m", "orchestrator", *words(form.before, tmp_path)], tmp_path)
    script, *arguments = words(form.command, tmp_path)
    output = call([f"benchmarks/{script}.py", *arguments], tmp_path)
    assert not re.search(r"\bnan\b", output), output
    found = tables(output)
    assert len(found) == form.tables, output
    for rows in found:
        assert rows, output
        assert all(cell not in ("", "None") for row in rows for cell in row), output
    for line in form.lines:
        assert re.search(line, output, re.MULTILINE), f"{line}\n{output}"


def words(text: str, place: Path) -> list[str]:
    """The words of a command."""
    return [word.replace("{place}", str(place)) for word in shlex.split(text)]


def call(arguments: list[str], place: Path) -> str:
    """Standard output of a command, which ends well and leaves no processes behind; these are found by their temporary directory."""
    temporary = place / "tmp"
    temporary.mkdir(exist_ok=True)

    def left() -> list[psutil.Process]:
        return living(lambda process: process.environ().get("TMPDIR") == str(temporary))

    with (place / "output").open("w") as output, (place / "errors").open("w") as errors:
        try:
            environment = {**os.environ, "TMPDIR": str(temporary)}
            done = subprocess.run(
                [sys.executable, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                timeout=DEADLINE, check=False,
            )  # fmt: skip
            _, remaining = psutil.wait_procs(left(), timeout=GRACE)
        finally:
            kill_all(left)
    printed, error = (place / "output").read_text(), (place / "errors").read_text()
    assert done.returncode == 0, f"exit code {done.returncode}\n{printed}\n{error}"
    assert "Traceback (most recent call last)" not in error, error
    assert not remaining, f"still running: {remaining}"
    return printed


def tables(text: str) -> list[list[list[str]]]:
    """The cells of all Markdown tables, without their heads."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()]
        headed = len(rows) > 1 and all(re.fullmatch("-+", cell) for cell in rows[1])
        found.append(rows[2:] if headed else rows)
    return found
