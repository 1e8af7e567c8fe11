#!/usr/bin/env python3
"""Make or complete the environment `.venv` of this checkout. Standard library only; runs with any Python 3.

Steps: virtual environment, torch, everything else from pyproject.toml under constraints.txt, stamp, `orchestrate doctor --brief`. The stamp
holds a digest of pyproject.toml, constraints.txt, the source of the compiled kernels, this script and the interpreter, and which extras are
installed: when nothing has changed, a second call ends at once.

torch comes from the first place that has it, so that no GPU libraries are downloaded for a machine without a GPU:
(a) it is there already; (b) a folder of wheels that pip is configured with; (c) on Linux without an NVIDIA device, the PyTorch project's
index of CPU builds (TORCH_INDEX_URL names another); (d) the default index.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
RESOURCES, USAGE = 6, 2
"""exit codes, as in protocols/runtime/errors.py: something outside is missing; the command line is wrong"""


class SetupError(Exception):
    """What went wrong, and the cure."""


def pinned(constraints: str, name: str) -> str:
    """The version of a package in the text of a constraints file; `SetupError` if it is not pinned."""
    for line in constraints.splitlines():
        package, _, version = line.partition("#")[0].strip().partition("==")
        if package.lower().replace("_", "-") == name and version:
            return version
    raise SetupError(f"constraints.txt pins no version of {name}: add a line {name}==VERSION")


def fits(installed: str | None, pin: str) -> bool:
    """Whether an installed version is the pinned one; a local label such as +cpu or +cu128 does not matter."""
    return installed is not None and installed.partition("+")[0] == pin


def digest(contents: list[bytes], interpreter: str) -> str:
    """SHA-256 over all that the environment depends on."""
    whole = hashlib.sha256(interpreter.encode())
    for content in contents:
        whole.update(hashlib.sha256(content).digest())
    return whole.hexdigest()


def is_current(stamp: str | None, expected: str, extras: set[str]) -> bool:
    """Whether a stamp describes this environment with at least these extras."""
    try:
        found = json.loads(stamp or "null")
        return bool(found["digest"] == expected) and extras <= set(found["extras"])
    except (ValueError, KeyError, TypeError):
        return False


def torch_sources(pin: str, system: str, nvidia: bool, index_url: str | None) -> list[tuple[str, list[str]]]:
    """(b), (c) and (d) of the above as (description, arguments of `pip install`), in the order they are tried."""
    wanted = f"torch=={pin}"
    sources = [("(b) a configured folder of wheels", ["--no-index", "--no-deps", wanted])]
    if index_url or (system == "Linux" and not nvidia):
        index = index_url or CPU_INDEX
        name = "TORCH_INDEX_URL" if index_url else "the index of CPU builds"
        sources.append((f"(c) {name}", ["--index-url", index, "--no-deps", "--retries", "1", "--timeout", "15", wanted]))
    note = ": without a GPU here this may download some gigabytes" if system == "Linux" and not nvidia else ""
    sources.append((f"(d) the default index{note}", [wanted]))
    return sources


def has_nvidia() -> bool:
    """Whether this machine shows an NVIDIA device."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


class Environment:
    """The virtual environment at `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        windows = os.name == "nt"
        self.python = directory / ("Scripts/python.exe" if windows else "bin/python")
        self.orchestrate = directory / ("Scripts/orchestrate.exe" if windows else "bin/orchestrate")
        self.stamp = directory / "setup-stamp.json"

    def read_stamp(self) -> str | None:
        """Text of the stamp, if the environment has both a stamp and an interpreter."""
        return self.stamp.read_text() if self.stamp.exists() and self.python.exists() else None

    def works(self) -> bool:
        """Whether its interpreter is there, starts, and is of the version that runs this script."""
        if not self.python.exists():
            return False
        script = "import sys, pip; print(sys.version_info[:2] == " + repr(tuple(sys.version_info[:2])) + ")"
        done = subprocess.run([str(self.python), "-c", script], capture_output=True, text=True, check=False)
        return done.stdout.strip() == "True"

    def create(self) -> None:
        """A new, empty environment."""
        shutil.rmtree(self.directory, ignore_errors=True)
        done = subprocess.run([sys.executable, "-m", "venv", str(self.directory)], capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(self.directory, ignore_errors=True)
            cure = "on Debian and Ubuntu: apt-get install python3-venv"
            raise SetupError(f"{sys.executable} cannot make a virtual environment ({cure}):\n{(done.stdout + done.stderr).strip()}")

    def version(self, package: str) -> str | None:
        """Installed version of a package."""
        script = f"from importlib.metadata import version; print(version({package!r}))"
        done = subprocess.run([str(self.python), "-c", script], capture_output=True, text=True, check=False)
        return done.stdout.strip() or None

    def install(self, arguments: list[str], quiet: bool = False) -> bool:
        """`pip install`; whether it succeeded. `quiet` hides its output, for attempts that may fail."""
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *arguments]
        output = subprocess.DEVNULL if quiet else None
        return subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, check=False).returncode == 0


def install_torch(environment: Environment, pin: str) -> None:
    """The pinned torch, from the first source that has it; each attempt is printed."""
    installed = environment.version("torch")
    if fits(installed, pin):
        say(f"  torch {installed}: (a) is there already")
        return
    sources = torch_sources(pin, platform.system(), has_nvidia(), os.environ.get("TORCH_INDEX_URL"))
    for number, (description, arguments) in enumerate(sources, 1):
        say(f"  torch {pin}: {description} ...")
        if environment.install(arguments, quiet=number < len(sources)):
            say(f"  torch {environment.version('torch')} installed")
            return
    raise SetupError(
        f"no source has torch {pin} for this machine: give one with TORCH_INDEX_URL=..., or put a wheel into a pip find-links folder"
    )


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)


def setup(extras: set[str]) -> None:
    """All steps, or none when the stamp is current."""
    begun = time.monotonic()
    environment = Environment(ROOT / ".venv")
    kernels = ROOT / "protocols" / "kernels"
    files = [ROOT / "pyproject.toml", ROOT / "constraints.txt", Path(__file__), kernels / "averaging_kernels.c", kernels / "build.py"]
    expected = digest([file.read_bytes() for file in files], f"{sys.version} {platform.machine()} {ROOT}")
    stamp = environment.read_stamp()
    if is_current(stamp, expected, extras):
        say("environment .venv is up to date")
        return
    if stamp is not None and is_current(stamp, expected, set()):
        extras = extras | set(json.loads(stamp)["extras"])
    say(f"1/5 virtual environment .venv, Python {platform.python_version()}")
    if not environment.works():
        environment.create()
    environment.stamp.unlink(missing_ok=True)
    say("2/5 torch")
    install_torch(environment, pinned((ROOT / "constraints.txt").read_text(), "torch"))
    wanted = ".[" + ",".join(sorted(extras)) + "]" if extras else "."
    say(f"3/5 pip install -c constraints.txt -e '{wanted}'")
    if not environment.install(["-c", "constraints.txt", "-e", wanted]):
        raise SetupError("pip failed, see above; behind a proxy or mirror set PIP_INDEX_URL or ~/.config/pip/pip.conf, then call again")
    say("4/5 stamp")
    temporary = environment.stamp.with_suffix(".new")
    temporary.write_text(json.dumps({"digest": expected, "extras": sorted(extras)}))
    temporary.replace(environment.stamp)
    say("5/5 orchestrate doctor --brief")
    subprocess.run([str(environment.orchestrate), "doctor", "--brief"], cwd=ROOT, check=False)
    say(f"environment .venv is ready after {time.monotonic() - begun:.0f} s")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make or complete the environment .venv of this checkout.")
    parser.add_argument("--extras", default="", help="extras of pyproject.toml, separated by commas: test, dev, ...")
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  the interpreter that starts this script is the user's
        print(f"Python 3.11 or newer is needed, this is {platform.python_version()}: make PYTHON=python3.12 ...", file=sys.stderr)
        return USAGE
    try:
        setup({extra.strip() for extra in arguments.extras.split(",") if extra.strip()})
    except SetupError as error:
        print(f"setup failed: {error}", file=sys.stderr)
        return RESOURCES
    return 0


if __name__ == "__main__":
    sys.exit(main())
