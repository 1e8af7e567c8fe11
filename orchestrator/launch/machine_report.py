"""What this machine offers a run, and what is missing: each finding with its cure.

Nothing heavy is imported: versions come from package metadata, the kind of torch build from a file inside its package.
"""

from __future__ import annotations

import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from orchestrator.launch.process_control import available_cores

Status = Literal["ok", "warn", "bad"]

_CGROUP = Path("/sys/fs/cgroup")
_GIB = 2**30


@dataclass(frozen=True)
class MachineCheck:
    """One finding; `cure` is what to do when it is not ok."""

    status: Status
    name: str
    text: str
    cure: str = ""


def _unless(bad: bool, name: str, text: str, cure: str) -> MachineCheck:
    """A warning with its cure where it is `bad`."""
    return MachineCheck("warn", name, text, cure) if bad else MachineCheck("ok", name, text)


def checks(runs_dir: Path, brief: bool = False) -> Iterator[MachineCheck]:
    """All findings; `brief` leaves out those that take longer than a few milliseconds (importing torch, watching the clock)."""
    yield _python()
    yield _packages()
    yield _torch()
    if not brief:
        yield _torch_works()
    yield _cores()
    yield _memory()
    yield _open_files()
    yield from (_writable("run directories", runs_dir), _writable("temporary files", Path(tempfile.gettempdir())))
    yield _loopback()
    if not brief:
        yield _clock()
    yield _engines()


def _engines() -> MachineCheck:
    """Launch engines: those that work here, and what the others need."""
    try:
        ray = f"ray {metadata.version('ray')}"
    except metadata.PackageNotFoundError:
        ray = "ray (not installed: pip install 'murmuration-rl[ray]')"
    ssh = "ssh" if shutil.which("ssh") else "ssh (not installed: OpenSSH's client)"
    return MachineCheck("ok", "engines", f"local, {ray}, {_slurm()}, {ssh}")


def _slurm() -> str:
    if shutil.which("srun") is None:
        return "slurm (no srun here: start runs where jobs are submitted)"
    try:
        said = subprocess.run(["srun", "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5.0, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"slurm (srun does not answer: {type(error).__name__})"
    return said.stdout.strip() or "slurm (its commands find no cluster here: set SLURM_CONF)"


def _python() -> MachineCheck:
    return MachineCheck("ok", "python", f"{sys.version.split()[0]} ({sys.executable})")


def _packages() -> MachineCheck:
    try:
        required = metadata.requires("murmuration-rl") or []
        own = metadata.version("murmuration-rl")
    except metadata.PackageNotFoundError:
        return MachineCheck("bad", "packages", "murmuration-rl is not installed in this environment", "pip install -e .")
    found, missing = [], []
    for requirement in required:
        if "extra ==" in requirement:
            continue
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        name = match[0] if match else requirement
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return MachineCheck("bad", "packages", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return MachineCheck("ok", "packages", f"murmuration {own}; {', '.join(found)}")


def _torch() -> MachineCheck:
    try:
        distribution = metadata.distribution("torch")
    except metadata.PackageNotFoundError:
        return MachineCheck("bad", "torch", "not installed", "pip install torch")
    build = "CPU build"
    try:
        text = Path(str(distribution.locate_file("torch/version.py"))).read_text(encoding="utf-8")
        if (match := re.search(r"^cuda\b[^=]*=\s*'([^']+)'", text, re.MULTILINE)) is not None:
            build = f"CUDA {match[1]} build"
        elif (match := re.search(r"^hip\b[^=]*=\s*'([^']+)'", text, re.MULTILINE)) is not None:
            build = f"ROCm {match[1]} build"
    except OSError:
        build = "unknown build"
    return MachineCheck("ok", "torch", f"{distribution.version} ({build})")


def _torch_works() -> MachineCheck:
    try:
        import torch

        total = float(torch.ones(8, 8).matmul(torch.ones(8, 8)).sum())
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    except (ImportError, OSError, RuntimeError) as error:
        return MachineCheck(
            "bad", "torch works", f"{type(error).__name__}: {error}", "install torch anew: pip install --force-reinstall torch"
        )
    if total != 512.0:
        return MachineCheck("bad", "torch works", f"8x8 ones times 8x8 ones sums to {total}, not 512", "install torch anew")
    return MachineCheck("ok", "torch works", f"computes; {gpus} GPU{'' if gpus == 1 else 's'}")


def _cores() -> MachineCheck:
    cores: float = available_cores()
    try:
        quota, period = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        pass
    cure = "agents will take turns: fewer environment copies (environment.copies=16) keep it lively"
    return _unless(cores < 2, "cores", f"{cores:g}", cure)


def _memory() -> MachineCheck:
    import psutil

    memory = psutil.virtual_memory()
    free, total = float(memory.available), float(memory.total)
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            used = float((_CGROUP / "memory.current").read_text(encoding="ascii"))
            total = min(total, float(limit))
            free = min(free, float(limit) - used)
    except (OSError, ValueError):
        pass
    text = f"{free / _GIB:.1f} GiB free of {total / _GIB:.1f} GiB"
    return _unless(free < _GIB, "memory", text, "a run of four agents needs about 1 GiB: end other programs or use fewer agents")


def _open_files() -> MachineCheck:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"at most {soft} (may be raised to {hard})"
    return _unless(soft < 1024, "open files", text, f"ulimit -n {min(4096, hard)}")


def _writable(name: str, folder: Path) -> MachineCheck:
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
        free = shutil.disk_usage(place).free
    except OSError as error:
        return MachineCheck(
            "bad", name, f"{folder}: {error.strerror}", "choose another folder: --runs-dir DIR" if "run" in name else "set TMPDIR"
        )
    text = f"{folder} is writable, {free / _GIB:.1f} GiB free"
    return _unless(free < _GIB, name, text, "make room on the disk")


def _loopback() -> MachineCheck:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=1.0):
            pass
    except OSError as error:
        return MachineCheck("bad", "loopback", f"127.0.0.1: {error}", "allow TCP connections on the loopback interface")
    return MachineCheck("ok", "loopback", "127.0.0.1 accepts connections")


def _clock() -> MachineCheck:
    wall, steady = time.time(), time.monotonic()
    time.sleep(0.2)
    drift = abs((time.time() - wall) - (time.monotonic() - steady))
    if drift > 0.005:
        text = f"the wall clock moved {1000 * drift:.0f} ms against the steady one in 0.2 s"
        return MachineCheck("warn", "clock", text, "check time synchronisation")
    if (year := time.gmtime().tm_year) < 2024:
        return MachineCheck("warn", "clock", f"the year is {year}", "set the clock: times in logs and run names will be wrong")
    return MachineCheck("ok", "clock", f"steady (moved {1e6 * drift:.0f} µs in 0.2 s)")
