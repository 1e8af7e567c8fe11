"""A Slurm of its own for tests: munged and slurmctld in the root namespace, one slurmd on each host of a site.

Everything is in one directory: configuration, key, sockets, spools, logs. Nothing of a system's own Slurm is touched: `SLURM_CONF` names
which one is meant.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.engines.built import Built
from tests.engines.site import Host, Site, why_impossible
from tests.orchestrator.run_server.cluster import eventually

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
_PLACES = "/usr/sbin:/sbin"
_DEADLINE = 20.0
CORES = 4
MEMORY = 6000
"""of each host in Slurm's configuration: processor cores, and MiB"""
PATIENCE = 25
"""seconds after which Slurm declares a silent node down"""


@functools.cache
def why_no_slurm() -> str:
    """Why no Slurm can be started here; "" where one can."""
    if reason := why_impossible():
        return reason
    if missing := [name for name in _PROGRAMS if _program(name) is None]:
        return f"{', '.join(missing)} not installed (packages slurm-wlm, munge)"
    return ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PLACES}")


class SlurmCluster(Built):
    """Slurm on all hosts of a site, in `directory`. Use it in a `with` statement, inside that of the site."""

    def __init__(self, site: Site, directory: Path) -> None:
        self.site, self.directory = site, directory
        self.configuration = directory / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.configuration)}
        self._daemons: dict[str, psutil.Process] = {}

    # --- daemons ------------------------------------------------------------------------------------------------------------------

    def start_controller(self) -> None:
        """Start slurmctld, and wait until it answers."""
        self._start("slurmctld", ["slurmctld", "-D", "-i", "-f", str(self.configuration)])
        eventually("slurmctld answers", lambda: "UP" in self.run("scontrol", "ping", check=False), _DEADLINE)

    def kill_controller(self) -> None:
        """SIGKILL to slurmctld."""
        self._end("slurmctld")

    def start_node(self, host: Host) -> None:
        """Start slurmd there."""
        arguments = host.command([_program("slurmd") or "", "-D", "-f", str(self.configuration)])
        self._start(f"slurmd-{host.name}", arguments)

    def repair(self) -> None:
        """Start what a test has ended, and wait until no node is in use."""
        if "slurmctld" not in self._daemons:
            self.start_controller()
        for host in self.site.hosts:
            host.heal()
            daemon = self._daemons[f"slurmd-{host.name}"]
            if not daemon.is_running() or daemon.status() == psutil.STATUS_ZOMBIE:
                self.start_node(host)
        self.wait_for_nodes(within=2 * PATIENCE)

    def wait_for_nodes(self, state: str = "idle", within: float = _DEADLINE) -> None:
        """Until every node is in that state."""
        wanted = {(host.name, state) for host in self.site.hosts}
        eventually(f"all nodes are {state}: {self.run('sinfo', '-N')}", lambda: wanted == set(self.nodes().items()), within)

    # --- asking -------------------------------------------------------------------------------------------------------------------

    def run(self, *command: str, check: bool = True, **arguments: Any) -> str:
        """Standard output of a command of Slurm's."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command, env=self.environment, text=True, capture_output=True, timeout=_DEADLINE, **arguments
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}{self.logs()}")
        return done.stdout

    def nodes(self) -> dict[str, str]:
        """State of each node."""
        return dict(line.split() for line in self.run("sinfo", "-h", "-N", "-o", "%N %T").splitlines())

    def jobs(self) -> list[str]:
        """Numbers of jobs that wait or run, or are about to end."""
        return self.run("squeue", "-h", "-o", "%A").split()

    def logs(self) -> str:
        """The last lines of every daemon."""
        return "".join(f"\n== {path.name}\n" + "\n".join(path.read_text().splitlines()[-15:]) for path in self.directory.glob("*.log"))

    # --- end ----------------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End all jobs and all daemons. May be repeated."""
        for host in self.site.hosts:
            host.heal()
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.run("scancel", "--user=root", check=False)
            eventually("no job is left", lambda: not self.jobs(), 5)
        for name in reversed(list(self._daemons)):
            self._end(name)
        for process in psutil.process_iter():
            # slurmstepd has left its parent's session.
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SLURM_CONF") == str(self.configuration) and process.pid != os.getpid():
                    process.kill()

    def _start(self, name: str, command: Sequence[str]) -> None:
        """Detached from all parents, so that a test may end one and start another."""
        program = _program(command[0]) or command[0]
        script = 'exec setsid "$@" >>"$0" 2>&1 </dev/null & echo $!'
        log = str(self.directory / f"{name}.log")
        self._daemons[name] = psutil.Process(int(self.run("sh", "-c", script, log, program, *command[1:])))

    def _end(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            daemon.kill()
            eventually(f"{name} is gone", lambda: not daemon.is_running() or daemon.status() == psutil.STATUS_ZOMBIE, _DEADLINE)

    def _build(self) -> None:
        self.directory.chmod(0o755)
        key = self.directory / "munge" / "munge.key"
        key.parent.mkdir(mode=0o700)
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = ["key-file", "log-file", "pid-file", "seed-file"]
        options = [f"--{kind}={key if kind == 'key-file' else key.with_name(kind)}" for kind in files]
        munge = self.directory / "munge.socket"
        self._start("munged", ["munged", "--foreground", "--force", f"--socket={munge}", *options])
        eventually("munged listens", munge.exists, _DEADLINE)
        for name in ("state", *(f"spool-{host.name}" for host in self.site.hosts)):
            (self.directory / name).mkdir(mode=0o755)
        self.configuration.write_text(self._text(munge))
        device = self.directory / "gpu0"
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # as good as a GPU for those that only count them
        (self.directory / "gres.conf").write_text(f"AutoDetect=off\nName=gpu File={device}\n")
        for host in self.site.hosts:
            self.start_node(host)
        self.start_controller()
        self.wait_for_nodes()

    def _text(self, munge: Path) -> str:
        with socket.create_server((self.site.address, 0)) as probe:
            port = probe.getsockname()[1]
        place = self.directory
        names = ",".join(host.name for host in self.site.hosts)
        nodes = [f"NodeName={h.name} NodeAddr={h.address} CPUs={CORES} RealMemory={MEMORY} Gres=gpu:1" for h in self.site.hosts]
        return "\n".join(
            [
                "ClusterName=mur",
                f"SlurmctldHost={socket.gethostname()}({self.site.address})",
                f"SlurmctldPort={port}",
                "SlurmdPort=6818",
                "SlurmUser=root",
                "AuthType=auth/munge",
                f"AuthInfo=socket={munge}",
                f"StateSaveLocation={place}/state",
                f"SlurmdSpoolDir={place}/spool-%n",
                f"SlurmctldPidFile={place}/slurmctld.pid",
                f"SlurmdPidFile={place}/slurmd-%n.pid",
                "ProctrackType=proctrack/linuxproc",
                "TaskPlugin=task/none",
                "MpiDefault=none",
                "ReturnToService=2",
                f"SlurmdTimeout={PATIENCE}",
                "SlurmctldTimeout=10",
                "InactiveLimit=0",
                "KillWait=5",
                "MinJobAge=30",
                "SchedulerType=sched/backfill",
                "SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2",
                "SelectType=select/cons_tres",
                "SelectTypeParameters=CR_Core_Memory",
                "SlurmdParameters=config_overrides",
                "GresTypes=gpu",
                "EnforcePartLimits=ALL",
                "AccountingStorageType=accounting_storage/none",
                "JobAcctGatherType=jobacct_gather/none",
                *nodes,
                f"PartitionName=cpu Nodes={names} Default=YES MaxTime=INFINITE State=UP",
                f"PartitionName=short Nodes={names} MaxTime=60 State=UP",
                "",
            ]
        )
