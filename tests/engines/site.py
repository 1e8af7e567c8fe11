"""Several hosts on one machine: network namespaces on one bridge, each with an address and a host name of its own.

    root namespace (pytest, run server)  address .1 --.
    namespace mur<pid>-<n>-h1, "h1"      address .11 --+-- bridge, in a namespace of its own
    namespace mur<pid>-<n>-h2, "h2"      address .12 --'   (a link with a delay leads through `slow_link`)

Commands enter a host by `nsenter --net` and `unshare --uts`, not by `ip netns exec`: that remounts /sys, which hides the control groups.
What hosts share: files, process numbers, users, clocks, processors. What they don't: network interfaces, addresses, ports, abstract
Unix-domain addresses, host names.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import ipaddress
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests.engines.built import Built
from tests.orchestrator.run_server.cluster import eventually

NAMESPACES = Path("/run/netns")
_TOOLS = ("ip", "nsenter", "unshare", "hostname", "sh")
_OURS = re.compile(r"(?P<prefix>mur(?P<pid>\d+)-\d+)-(?P<host>\w+)")
_SLOW_LINK = Path(__file__).with_name("slow_link.py")
_DEADLINE = 10.0
_numbers = itertools.count()


@functools.cache
def why_impossible() -> str:
    """Why no site can be built here; "" where one can."""
    if sys.platform != "linux":
        return "network namespaces exist on Linux only"
    if os.geteuid() != 0:
        return "network namespaces can only be made by root"
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(missing)} not installed (packages iproute2, util-linux, hostname)"
    try:
        with Site(1) as site:
            site.hosts[0].run(["true"])
    except (SiteError, OSError, subprocess.SubprocessError) as error:
        return f"no network namespaces here: {error}"
    return ""


class SiteError(Exception):
    """A site could not be built or changed; or something of it is left."""


class Host:
    """One machine of a site."""

    def __init__(self, site: Site, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.namespace = f"{site.prefix}-{name}"
        self._site = site
        self._slow_link: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[Any]] = []

    # --- processes ----------------------------------------------------------------------------------------------------------------

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` as a command that runs on this host. The process that it starts is that of `argv` in the end: no shell stays between."""
        enter = ["nsenter", f"--net={NAMESPACES / self.namespace}", "unshare", "--uts", "--"]
        return [*enter, "sh", "-c", 'hostname "$0" && exec "$@"', self.name, *argv]

    def popen(self, argv: Sequence[str], **arguments: Any) -> subprocess.Popen[Any]:
        """Start a process here, by default in its own session; it is killed with the site at the latest."""
        arguments.setdefault("start_new_session", True)
        process = subprocess.Popen(self.command(argv), **arguments)
        self._started.append(process)
        return process

    def run(self, argv: Sequence[str], timeout: float = 30.0, **arguments: Any) -> subprocess.CompletedProcess[str]:
        """Run a command here to its end; its output as text. `CalledProcessError` when it fails."""
        arguments = {"check": True, "text": True, "capture_output": True, **arguments}
        return subprocess.run(self.command(argv), timeout=timeout, **arguments)

    def processes(self) -> list[psutil.Process]:
        """All running processes of this host, found by their network namespace."""
        try:
            wanted = (NAMESPACES / self.namespace).stat().st_ino
        except OSError:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            # Gone meanwhile, or a zombie, which has no namespace any more.
            with contextlib.suppress(OSError, psutil.Error):
                if entry.name.isdecimal() and (entry / "ns/net").stat().st_ino == wanted:
                    found.append(psutil.Process(int(entry.name)))
        return found

    def kill_all(self) -> None:
        """The machine dies: first nothing leaves it any more, then all its processes are gone. `heal` gives it its link back."""
        self.cut()
        self._end_processes()

    # --- link ---------------------------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Nothing reaches this host, and nothing leaves it. May be repeated."""
        self._site.ip(f"link set {self.name} down", self._site.switch)

    def heal(self) -> None:
        """The link is there again. May be repeated."""
        self._site.ip(f"link set {self.name} up", self._site.switch)

    def delay(self, seconds: float) -> None:
        """Delay all frames that this host sends and receives by that long each; 0: no delay. Frames on their way are lost."""
        site, name = self._site, self.name
        if self._slow_link is not None:
            _stop(self._slow_link)
            self._slow_link = None
            site.ip(f"link del {name}.in", site.switch)
        if seconds <= 0:
            site.ip(f"link set {name} master bridge", site.switch)
            return
        site.ip(f"link set {name} nomaster\nlink add {name}.in type veth peer name {name}.out", site.switch)
        site.ip(f"link set {name}.in master bridge up\nlink set {name}.out up", site.switch)
        enter = ["nsenter", f"--net={NAMESPACES / site.switch}", "--"]
        argv = [*enter, sys.executable, str(_SLOW_LINK), name, f"{name}.out", str(seconds)]
        self._slow_link = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._slow_link.stdout is not None
        if self._slow_link.stdout.readline() != b"ready\n":  # it prints this line, or ends
            raise SiteError(f"no slow link for {name}")

    # --- end ----------------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Kill what runs here and collect what was started by `popen`."""
        for process in self._started:
            process.kill()  # it may not have entered the namespace yet
        self._end_processes()
        for process in self._started:
            process.wait(_DEADLINE)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        if self._slow_link is not None:
            _stop(self._slow_link)

    def _end_processes(self) -> None:
        def none_left() -> bool:
            for process in self.processes():
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
            return not self.processes()

        eventually(f"all processes of {self.name} are gone", none_left, _DEADLINE)


class Site(Built):
    """So many hosts, `h1` and so on, and the root namespace among them at `address`. Use it in a `with` statement."""

    def __init__(self, hosts: int) -> None:
        self.prefix = f"mur{os.getpid()}-{next(_numbers)}"
        self.switch = f"{self.prefix}-switch"
        self._count = hosts
        self.network = ipaddress.ip_network("10.0.0.0/24")
        self.address = ""
        self.hosts: list[Host] = []

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        if left := self.left():
            raise SiteError(f"left behind: {', '.join(left)}")

    def delay(self, seconds: float) -> None:
        """Every host's link holds what goes over it for that long: between two hosts that makes twice as much one way."""
        for host in self.hosts:
            host.delay(seconds)

    def left(self) -> list[str]:
        """What is there of this site: namespaces, links, processes."""
        namespaces = [path.name for path in NAMESPACES.glob(f"{self.prefix}-*")]
        links = [self.prefix] if Path(f"/sys/class/net/{self.prefix}").exists() else []
        return namespaces + links + [str(process) for host in self.hosts for process in host.processes()]

    def close(self) -> None:
        """Kill all processes of all hosts; then no namespace, no link is left. May be repeated."""
        problems = []
        for host in self.hosts:
            try:
                host.close()
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                problems.append(str(error))
        _remove(self.prefix)
        if problems:
            raise SiteError("; ".join(problems))

    def ip(self, commands: str, namespace: str = "") -> None:
        """Let `ip` do these lines."""
        inside = ["-netns", namespace] if namespace else []
        done = subprocess.run(["ip", *inside, "-batch", "-"], input=commands, text=True, capture_output=True, timeout=_DEADLINE)
        if done.returncode:
            raise SiteError(f"ip: {done.stderr.strip()} in: {commands}")

    def _build(self) -> None:
        _remove_those_of_dead_processes()
        self.ip(f"netns add {self.switch}")
        self.ip("link add bridge type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set bridge up", self.switch)
        self.ip(f"link add {self.prefix} type veth peer name root netns {self.switch}")
        self.ip("link set root master bridge up", self.switch)
        with _one_at_a_time():
            self.network = _free_network()
            self.address = str(self.network[1])
            self.ip(f"address add {self.address}/{self.network.prefixlen} dev {self.prefix}\nlink set {self.prefix} up")
        for number in range(1, self._count + 1):
            host = Host(self, f"h{number}", str(self.network[10 + number]))
            self.ip(f"netns add {host.namespace}")
            self.hosts.append(host)
            self.ip(f"link add {host.name} type veth peer name eth0 netns {host.namespace}", self.switch)
            self.ip(f"link set {host.name} master bridge up", self.switch)
            up = f"link set lo up\naddress add {host.address}/{self.network.prefixlen} dev eth0\nlink set eth0 up"
            # Nothing is routed, but a host that asks by which of its addresses it reaches others gets an answer.
            self.ip(f"{up}\nroute add default via {self.address}", host.namespace)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(_DEADLINE)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _remove(prefix: str) -> None:
    """Remove a site's namespaces; the links end with them."""
    subprocess.run(["ip", "link", "del", prefix], capture_output=True, timeout=_DEADLINE)
    for path in NAMESPACES.glob(f"{prefix}-*"):
        subprocess.run(["ip", "netns", "del", path.name], capture_output=True, timeout=_DEADLINE)


def _remove_those_of_dead_processes() -> None:
    """A test process that was killed could not close its sites."""
    found = [_OURS.fullmatch(path.name) for path in NAMESPACES.glob("mur*-*-*")] if NAMESPACES.exists() else []
    left = [match for match in found if match is not None and not psutil.pid_exists(int(match["pid"]))]
    for prefix in {match["prefix"] for match in left}:
        site = Site(0)
        site.prefix = prefix
        site.hosts = [Host(site, match["host"], "") for match in left if match["prefix"] == prefix]
        with contextlib.suppress(SiteError):  # another test process does the same
            site.close()


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two processes that look for a free network at once would find the same."""
    directory = os.open(NAMESPACES, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _free_network() -> ipaddress.IPv4Network:
    """A network of 254 addresses in 10.64.0.0/10 that no route of this machine leads to."""
    shown = subprocess.run(["ip", "-4", "route", "show", "table", "all"], capture_output=True, text=True, timeout=_DEADLINE).stdout
    used = [ipaddress.IPv4Network(found, strict=False) for found in re.findall(r"\d+\.\d+\.\d+\.\d+(?:/\d+)?", shown)]
    start = os.getpid()
    for number in range(64 * 256):
        place = (start + number) % (64 * 256)
        network = ipaddress.IPv4Network(f"10.{64 + place // 256}.{place % 256}.0/24")
        if not any(network.overlaps(other) for other in used if other.prefixlen > 0):
            return network
    raise SiteError("all of 10.64.0.0/10 is in use")
