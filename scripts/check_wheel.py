#!/usr/bin/env python3
"""Build the wheel, install it into an empty environment, and run the commands and programs of README.md there, as they are written.

The environment sees the third-party packages of the interpreter that runs this script (so that torch is not installed again), but not the
checkout: commands run in an empty folder, and what they need of ours must be in the wheel. Commands that follow a run, or train for
minutes, are interrupted as with Ctrl-C (`INTERRUPTED`). Exit code 1 where a command fails.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agent_node", "env_server", "murmuration", "orchestrator", "protocols")
NOT_RUN = {
    "make ": "needs a checkout",
    "source ": "activates the environment of a checkout",
    "pip ": "the wheel is installed already",
    "orchestrate clean ": "asks at a terminal",
}
"""beginning of a command -> why it is left out"""
INTERRUPTED = {
    r"orchestrate attach\b": 5.0,
    r"orchestrate dash\b": 5.0,
    r"orchestrate logs -f\b": 5.0,
    r"orchestrate up --resume\b": 20.0,
    r"orchestrate up (?!.*( -d\b|--dry-run|until\.time))": 20.0,
}
"""commands that follow a run or train for minutes -> seconds after which they are interrupted"""
LIMIT = 300.0
"""seconds for any other command"""
GRACE = 60.0
"""seconds in which an interrupted command must end"""
ENDS = {0, 130}
"""exit codes of a command that was interrupted"""


@dataclass(frozen=True)
class Snippet:
    """A command line or a Python program of the README."""

    line: int
    text: str
    python: bool = False


def snippets(text: str) -> list[Snippet]:
    """Command lines (`$ ...`) of the console blocks, and whole Python blocks, in order."""
    found = []
    for block in re.finditer(r"^```(console|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        first = text.count("\n", 0, block.start()) + 2
        if block[1] == "python":
            found.append(Snippet(first, block[2], python=True))
            continue
        found += [Snippet(first + n, line[2:]) for n, line in enumerate(block[2].splitlines()) if line.startswith("$ ")]
    return found


def reason_not_to_run(snippet: Snippet) -> str | None:
    """Why a command is left out; None where it is run."""
    return next((reason for start, reason in NOT_RUN.items() if not snippet.python and snippet.text.startswith(start)), None)


def interrupted_after(snippet: Snippet) -> float | None:
    """Seconds after which a command is interrupted; None where it ends by itself."""
    return next((seconds for pattern, seconds in INTERRUPTED.items() if re.match(pattern, snippet.text)), None)


def build(directory: Path) -> Path:
    """The wheel of this checkout."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(directory), str(ROOT)]
    subprocess.run(command, check=True, timeout=LIMIT)
    (wheel,) = directory.glob("murmuration_rl-*.whl")
    return wheel


def install(wheel: Path, directory: Path) -> dict[str, str]:
    """Install the wheel into a new environment; the variables with which its commands run."""
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--quiet", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, check=True, timeout=LIMIT)
    (own,) = (directory / "lib").glob("python*/site-packages")
    (own / "third_parties.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {"PATH": f"{directory / 'bin'}:/usr/local/bin:/usr/bin:/bin", "HOME": str(directory.parent), "LANG": "C.UTF-8"}
    probe = f"import importlib; print(*(importlib.import_module(name).__file__ for name in {PACKAGES!r}), sep='\\n')"
    found = subprocess.run([str(python), "-c", probe], env=environment, cwd=directory, capture_output=True, text=True, check=True)
    if outside := [path for path in found.stdout.splitlines() if not path.startswith(str(own))]:
        raise RuntimeError(f"imported from outside the wheel: {', '.join(outside)}")
    return environment


def play(snippet: Snippet, folder: Path, environment: dict[str, str]) -> str | None:
    """Run one snippet; what went wrong, or None."""
    command = ["python", "-c", snippet.text] if snippet.python else ["bash", "-c", snippet.text]
    until = interrupted_after(snippet)
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        allowed = {0}
        try:
            process.wait(LIMIT if until is None else until)
        except subprocess.TimeoutExpired:
            if until is not None:
                allowed = ENDS
                os.killpg(process.pid, signal.SIGINT)
            else:
                os.killpg(process.pid, signal.SIGKILL)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode in allowed:
            return None
        output.seek(0)
        return f"exit code {process.returncode}\n{output.read()[-4000:]}"


def left_over(directory: Path) -> list[psutil.Process]:
    """Processes that were started from the environment in `directory`, and live."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(directory) in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


def main() -> int:
    """Check everything; the exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with SIGINT ignored, and children inherit that
    failures = 0
    with tempfile.TemporaryDirectory(prefix="check-wheel-") as name:
        folder = Path(name)
        begun = time.monotonic()
        environment = install(build(folder / "dist"), folder / "environment")
        print(f"the wheel is built and installed after {time.monotonic() - begun:.0f} s", flush=True)
        (folder / "work").mkdir()
        for snippet in snippets((ROOT / "README.md").read_text(encoding="utf-8")):
            title = "python program" if snippet.python else snippet.text
            if (reason := reason_not_to_run(snippet)) is not None:
                print(f"README.md:{snippet.line:<4} not run   {title}  ({reason})", flush=True)
                continue
            begun = time.monotonic()
            problem = play(snippet, folder / "work", environment)
            print(
                f"README.md:{snippet.line:<4} {'ok' if problem is None else 'FAILED':<6} {time.monotonic() - begun:4.0f} s  {title}",
                flush=True,
            )
            if problem is not None:
                failures += 1
                print(problem, flush=True)
        for process in left_over(folder):
            failures += 1
            print(f"FAILED: still running: {process}", flush=True)
            process.kill()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
