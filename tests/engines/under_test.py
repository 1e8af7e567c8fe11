"""What the contract asks of an engine's tests: machines with its daemons on them, its configuration, and ways to break things.

One small class an engine. `machines` are the names of the run's two hosts, as in `placement.json`.
"""

from __future__ import annotations

import os
import signal
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import psutil

from orchestrator.launch.slurm.slurm_script import LOOK
from tests.engines.ray_cluster import RayCluster, why_no_ray
from tests.engines.site import Host, Site, why_impossible
from tests.engines.slurm_cluster import SlurmCluster, why_no_slurm
from tests.engines.sshd import SshServers, why_no_sshd
from tests.orchestrator.run_server.cluster import Cluster, eventually


class EngineUnderTest(ABC):
    """Entered once for all tests; what it has started is gone after its exit."""

    name: str
    machines: Sequence[str] = ("h1", "h2")

    @staticmethod
    @abstractmethod
    def why_not() -> str:
        """Why this engine can't be tried here; "" where it can."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    @abstractmethod
    def launch(self) -> dict[str, Any]:
        """The section `launch` of a run on both machines."""

    @abstractmethod
    def kill_machine(self, machine: str, cluster: Cluster) -> None:
        """All processes of a machine are gone at once, and nothing reaches it any more."""

    @abstractmethod
    def revive_machine(self, machine: str) -> None:
        """It has been started again, with its daemons, and without the run's processes."""

    @abstractmethod
    def cut(self, machine: str, cluster: Cluster) -> None:
        """Nothing reaches the machine or leaves it; its processes live."""

    @abstractmethod
    def heal(self, machine: str, cluster: Cluster) -> None:
        """Undo `cut`."""

    @abstractmethod
    def break_channels(self, cluster: Cluster) -> bool:
        """Cut the engine's own way to its hosts, without touching these; False where it has none."""

    @abstractmethod
    def processes(self, machine: str) -> list[psutil.Process]:
        """Processes of runs on that machine, without the daemons."""


class Local(EngineUnderTest):
    """This machine, divided in two. A machine is a host and all that it has started."""

    name = "local"
    machines = ("local-0", "local-1")

    @staticmethod
    def why_not() -> str:
        return ""

    def launch(self) -> dict[str, Any]:
        return {"hosts": 2, "home": "shared", "placement": {"policy": "spread"}}

    def kill_machine(self, machine: str, cluster: Cluster) -> None:
        self._signal(machine, cluster, signal.SIGKILL)

    def revive_machine(self, machine: str) -> None:
        pass

    def cut(self, machine: str, cluster: Cluster) -> None:
        self._signal(machine, cluster, signal.SIGSTOP)

    def heal(self, machine: str, cluster: Cluster) -> None:
        self._signal(machine, cluster, signal.SIGCONT)

    def break_channels(self, cluster: Cluster) -> bool:
        return False

    def processes(self, machine: str) -> list[psutil.Process]:
        return []  # all are seen by the cluster itself

    def _signal(self, machine: str, cluster: Cluster, number: signal.Signals) -> None:
        leader = next(pid for name, pid in cluster.recorded() if name == machine)
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == leader:
                    process.send_signal(number)
            except (OSError, psutil.Error):
                continue


class OnSite(EngineUnderTest):
    """On two hosts of a site. Subclasses start their daemons in `set_up`, and what is there then is none of the run's."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.directory = Path()
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mur-", ignore_cleanup_errors=True)))
            site = stack.enter_context(Site(len(self.machines)))
            self.hosts = {host.name: host for host in site.hosts}
            self.set_up(site)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @abstractmethod
    def set_up(self, site: Site) -> None:
        """Start what the engine needs."""

    def kill_machine(self, machine: str, cluster: Cluster) -> None:
        self.hosts[machine].kill_all()

    def revive_machine(self, machine: str) -> None:
        self.hosts[machine].heal()

    def cut(self, machine: str, cluster: Cluster) -> None:
        self.hosts[machine].cut()

    def heal(self, machine: str, cluster: Cluster) -> None:
        self.hosts[machine].heal()

    def processes(self, machine: str) -> list[psutil.Process]:
        return [process for process in self.hosts[machine].processes() if (words := _words(process)) and not self.is_daemon(words)]

    @abstractmethod
    def is_daemon(self, words: Sequence[str]) -> bool:
        """Whether a process with this command line is the engine's own, not a run's."""


class Ssh(OnSite):
    """A real ssh server on each host, called by the real client."""

    name = "ssh"

    @staticmethod
    def why_not() -> str:
        return why_impossible() or why_no_sshd()

    def set_up(self, site: Site) -> None:
        self.servers = SshServers(site.hosts, self.directory)
        self.servers.set_up()

    def launch(self) -> dict[str, Any]:
        hosts = [{"name": name, "ssh": name, "python": str(self.servers.python(host))} for name, host in self.hosts.items()]
        options = ["-F", str(self.servers.client_configuration)]
        return {"engine": "ssh", "home": "server", "placement": {"policy": "spread"}, "ssh": {"hosts": hosts, "options": options}}

    def revive_machine(self, machine: str) -> None:
        super().revive_machine(machine)
        self.servers.start(self.hosts[machine])

    def break_channels(self, cluster: Cluster) -> bool:
        clients = [process for process in cluster.processes() if _words(process)[:1] == ["ssh"]]
        assert len(clients) == len(self.machines)
        for process in clients:
            process.kill()
        # Servers notice it, and end what they have for that connection: here only their own processes.
        eventually("the servers have closed the connections", lambda: all(not self._sessions(host) for host in self.hosts.values()))
        return True

    def is_daemon(self, words: Sequence[str]) -> bool:
        return words[0].startswith("sshd:")

    def _sessions(self, host: Host) -> list[psutil.Process]:
        return [process for process in host.processes() if "@notty" in " ".join(_words(process))]


class SshByNames(Ssh):
    """Machines that address each other and the run server by names, each by addresses of its own: the first host has the run server's
    machine by its first address, the second by another one; this machine resolves none of the names."""

    def set_up(self, site: Site) -> None:
        other = f"{site.address.rpartition('.')[0]}.253"
        device = next(name for name, found in psutil.net_if_addrs().items() if any(one.address == site.address for one in found))
        site.ip(f"addr add {other}/24 dev {device}")
        files = {}
        for host, head in zip(site.hosts, (site.address, other), strict=True):
            files[host.name] = self.directory / f"{host.name}.hosts"
            names = "".join(f"{each.address} {each.name}.example\n" for each in site.hosts)
            files[host.name].write_text(f"127.0.0.1 localhost\n{head} head.example\n{names}")
        self.servers = SshServers(site.hosts, self.directory, files)
        self.servers.set_up()

    def launch(self) -> dict[str, Any]:
        launch = super().launch()
        for host in launch["ssh"]["hosts"]:
            host["advertise"] = f"{host['name']}.example"
        return launch


class Slurm(OnSite):
    """slurmd on each host; slurmctld and the run server are in the root namespace."""

    name = "slurm"

    @staticmethod
    def why_not() -> str:
        return why_no_slurm()

    def set_up(self, site: Site) -> None:
        self.slurm = SlurmCluster(site, self.directory)
        self.slurm.__enter__()
        os.environ["SLURM_CONF"] = str(self.slurm.configuration)

    def __exit__(self, *error: object) -> None:
        os.environ.pop("SLURM_CONF", None)
        self.slurm.close()
        super().__exit__(*error)

    def launch(self) -> dict[str, Any]:
        return {"engine": "slurm", "hosts": 2, "placement": {"policy": "spread"}}

    def revive_machine(self, machine: str) -> None:
        self.slurm.repair()

    def break_channels(self, cluster: Cluster) -> bool:
        channels = [process for process in cluster.processes() if process.name() == "srun"]
        assert len(channels) >= len(self.machines)
        # Each has a child that has the step killed when its parent is gone: it goes first.
        for process in sorted(channels, key=lambda process: process.parent() not in channels):
            process.kill()
        return True

    def is_daemon(self, words: Sequence[str]) -> bool:
        # The script that holds the nodes ends a minute after the last step; that it does is tried elsewhere.
        return (
            words[0].endswith("slurmd")
            or words[0].startswith("slurmstepd")
            or words[-1].endswith("/slurm_script")
            or list(words) == ["sleep", str(LOOK)]
        )


class Ray(OnSite):
    """A Ray cluster with a node on each host. Runs are led where its head is."""

    name = "ray"

    @staticmethod
    def why_not() -> str:
        return why_no_ray() or why_impossible()

    def set_up(self, site: Site) -> None:
        self.cluster = RayCluster(site)
        try:
            self.cluster.start()
        except BaseException:
            self.cluster.close()
            raise

    def __exit__(self, *error: object) -> None:
        self.cluster.close()
        super().__exit__(*error)

    def launch(self) -> dict[str, Any]:
        return {"engine": "ray", "hosts": 2, "placement": {"policy": "spread"}, "ray": {"address": self.cluster.address}}

    def revive_machine(self, machine: str) -> None:
        super().revive_machine(machine)
        self.cluster.start()

    def break_channels(self, cluster: Cluster) -> bool:
        return False  # hosts are notified by their actors that these have gone: they end

    def is_daemon(self, words: Sequence[str]) -> bool:
        run = words[0].startswith("ray::RemoteHost") or any(word.startswith("orchestrator.launch") for word in words)
        return not run and "multiprocessing.forkserver" not in " ".join(words)


def _words(process: psutil.Process) -> list[str]:
    """Its command line, empty when it is gone."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


ENGINES: dict[str, type[EngineUnderTest]] = {"local": Local, "ssh": Ssh, "slurm": Slurm, "ray": Ray}
