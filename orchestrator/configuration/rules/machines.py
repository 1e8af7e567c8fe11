"""Rules of the engines that use other machines."""

from __future__ import annotations

from collections.abc import Iterator

from ..checks import Finding, Subject
from .reading import Rules

RULES = Rules()
reads = RULES.reads


@reads("launch.engine", "launch.ssh", "launch.hosts")
def _ssh(subject: Subject) -> Iterator[Finding]:
    launch = subject.configuration.launch
    if launch.engine != "ssh":
        return
    where, hosts = ("launch", "ssh", "hosts"), launch.ssh.hosts
    if not hosts:
        yield Finding(where, "launch.engine is ssh, and no machine is named: write [{name: box-a, ssh: user@box-a, python: ...}]")
    if launch.hosts not in (1, len(hosts)):
        text = f"{launch.hosts} hosts are asked for, and launch.ssh.hosts names {len(hosts)} machines; one host runs on each: leave it out"
        yield Finding(("launch", "hosts"), text)
    names = [host.name for host in hosts]
    for number, host in enumerate(hosts):
        if host.name in names[:number]:
            yield Finding((*where, number, "name"), f'two machines are called "{host.name}"; a name stands for one')
        if host.ssh.startswith("-") or not host.ssh.strip():
            yield Finding((*where, number, "ssh"), f'"{host.ssh}" is no destination for ssh; write user@host, or a name of ~/.ssh/config')
