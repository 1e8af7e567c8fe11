"""A configuration as Kubernetes manifests (YAML files) that other people apply. Nothing is started, and no network is used.

| object | what for |
|---|---|
| ConfigMap | the resolved configuration |
| PersistentVolumeClaim | the run directory; without one it is as old as its pod |
| Job | one pod with the run server, a host and all nodes; begins the run, or goes on with it |

Plain core API: there is no controller to install.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from orchestrator.config.configuration import Configuration
from orchestrator.config.resolved_configuration import resolved_yaml
from orchestrator.launch.placement import Slot, node_requests, place
from protocols.runtime.errors import NEVER_RESTARTED, ConfigurationError, ExitCode, ResourceError, UsageError

Manifest = dict[str, Any]

HOST_CORES = 0.2
HOST_MEMORY = 768 * 2**20
"""of a host process and the warm parent of its nodes, which holds torch"""
SERVER_CORES = 0.5
SERVER_MEMORY = 512 * 2**20
"""of the run server and the command that looks on"""
MINORS = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
"""minor versions of Kubernetes whose schemas the tests use"""
_RUNS = "/runs"
_CONFIG = "/etc/murmuration"
_USER = 1000
_MIB = 2**20
_GPU = "nvidia.com/gpu"
_WIDTH = 130
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9/._-]*")
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"})
"""words that are no text to readers of YAML 1.1, as kubectl is one"""
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_IMAGE = re.compile(r"\S+")
_HEADS = {
    "config": "The resolved configuration of the run.",
    "storage": "The volume of the run directory, which outlives the run.",
    "run-server": "Leads the run. A pod that follows another one goes on from the checkpoints of the run, if the run directory is still "
    "there. Exit codes 1 to 6 and 20 are final; after any other a new pod is made.",
}


@dataclass(frozen=True)
class Target:
    """Where and from what: `name` of the run and of all objects, `image` with this package, size of the `storage` (None: emptyDir)."""

    name: str
    image: str
    namespace: str = "default"
    storage: str | None = "10Gi"
    storage_class: str | None = None

    @property
    def labels(self) -> dict[str, str]:
        """By which all objects of a run are found."""
        return {"app.kubernetes.io/name": "murmuration", "app.kubernetes.io/instance": self.name}

    def metadata(self, suffix: str) -> Manifest:
        """Of an object."""
        return {"name": f"{self.name}{suffix}", "namespace": self.namespace, "labels": self.labels}


@dataclass(frozen=True)
class Pod:
    """What the pod asks for: cores, bytes of memory, and GPUs; `nodes` maps the names of nodes to the name of their slot."""

    cores: float
    memory: int
    gpus: int
    nodes: Mapping[str, str]


def pod_for(configuration: Configuration) -> Pod:
    """One pod for all nodes. `PlacementError` for pins that name another host than `local`."""
    requests = node_requests(configuration)
    cores, memory = sum(node.cores for node in requests), sum(node.memory for node in requests)
    slot = Slot("local", cores, memory, sum(node.gpus for node in requests))
    nodes = place(requests, [slot], configuration.launch.placement)
    return Pod(SERVER_CORES + HOST_CORES + cores, SERVER_MEMORY + HOST_MEMORY + memory, slot.gpus, nodes)


def manifests(configuration: Configuration, pod: Pod, target: Target) -> dict[str, Manifest]:
    """Objects by the name of their file, in the order in which they are to be applied."""
    content = {"config.yaml": resolved_yaml(configuration)}
    found = {"config": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": target.metadata("-config"), "data": content}}
    if target.storage is not None:
        spec: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": target.storage}}}
        if target.storage_class is not None:
            spec["storageClassName"] = target.storage_class
        found["storage"] = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": target.metadata("-runs"), "spec": spec}
    return {**found, "run-server": _job(target, pod, configuration.supervision.max_restarts)}


def _job(target: Target, pod: Pod, attempts: int) -> Manifest:
    # What would fail again is not tried again; an expectation that failed is a result, and so is a run that was given up.
    final = sorted(int(code) for code in {*NEVER_RESTARTED, ExitCode.EXPECTATION_FAILED, ExitCode.ABORTED})
    storage: Manifest = {"emptyDir": {}}
    if target.storage is not None:
        storage = {"persistentVolumeClaim": {"claimName": f"{target.name}-runs"}}
    # Cores are asked for and not limited: a limit would stop all threads of a pod for parts of each tenth of a second.
    limits = {"memory": f"{ceil(pod.memory / _MIB)}Mi", **({_GPU: str(pod.gpus)} if pod.gpus else {})}
    container = {
        "name": "run-server",
        "image": target.image,
        "command": ["/bin/sh", "-c", _script(target.name)],
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "PYTHONUNBUFFERED", "value": "1"}],
        "resources": {"requests": {"cpu": f"{ceil(pod.cores * 1000 - 1e-6)}m", **limits}, "limits": limits},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "runs", "mountPath": _RUNS}, {"name": "config", "mountPath": _CONFIG, "readOnly": True}],
    }
    pod_spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 90,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # So that the children of ended processes are collected: number 1 is then the pod's own, not ours.
        "shareProcessNamespace": True,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            # Always would open the run's private files to the group whenever another pod mounts the volume.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "runs", **storage}, {"name": "config", "configMap": {"name": f"{target.name}-config"}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": target.metadata("-server"),
        "spec": {
            "completionMode": "NonIndexed",
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": attempts,
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onExitCodes": {"containerName": "run-server", "operator": "In", "values": final}},
                    # A pod that the cluster itself took away doesn't count as failed.
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {"metadata": {"labels": {**target.labels, "app.kubernetes.io/component": "run-server"}}, "spec": pod_spec},
        },
    }


def _script(run: str) -> str:
    """Begin the run, or go on with it where an earlier pod left it. `up` is the container's process, so that the signal by which a pod is
    ended stops the run in order, with checkpoints."""
    return f"""set -eu
umask 077
if [ -e {_RUNS}/{run}/run.json ]; then
  exec orchestrate --runs-dir {_RUNS} up --resume {run} --plain
fi
exec orchestrate --runs-dir {_RUNS} up {_CONFIG}/config.yaml --name {run} --plain
"""


# --- checks ------------------------------------------------------------------------------------------------------------------------


def check_target(target: Target) -> None:
    """`ConfigurationError` with all names and sizes that a cluster would refuse."""
    rules = (
        ("--image", target.image, _IMAGE, "an image reference has no spaces"),
        ("--namespace", target.namespace, _LABEL, 'a namespace has lowercase letters, digits and "-" inside, at most 63 characters'),
        ("--storage", target.storage, _QUANTITY, "a size is a number and a unit, for example 10Gi or 500M"),
        ("--storage-class", target.storage_class, _SUBDOMAIN, 'a storage class has lowercase letters, digits, "-" and "." inside'),
    )
    problems = [
        f'  {option}: "{value}" is not valid: {rule}'
        for option, value, pattern, rule in rules
        if value is not None and pattern.fullmatch(value) is None
    ]
    if problems:
        raise ConfigurationError("\n".join(["Kubernetes would refuse these manifests; no file was written:", *problems]))


def check_minor(minor: str) -> list[str]:
    """Notes on a Kubernetes version for which the manifests are meant. `UsageError` for one that is too old, or is no minor version."""
    if re.fullmatch(r"\d+\.\d+", minor) is None:
        raise UsageError(f'--kubernetes: "{minor}" is no minor version of Kubernetes; write for example {MINORS[-1]}')
    if _numbers(minor) < _numbers(MINORS[0]):
        raise UsageError(f"--kubernetes {minor}: these manifests need {MINORS[0]} or later")
    if _numbers(minor) > _numbers(MINORS[-1]):
        return [f"Kubernetes {minor} is newer than the newest version whose schemas the manifests were tested with, {MINORS[-1]}."]
    return []


def _numbers(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))


# --- files -------------------------------------------------------------------------------------------------------------------------


def texts(found: Mapping[str, Manifest], target: Target, notes: Sequence[str], command: str) -> dict[str, str]:
    """File name to content with a heading on how it is used, numbered in the order of application."""
    named = enumerate(found.items())
    return {f"{number}-{name}.yaml": f"{_head(name, target, notes, command)}\n{dumped(manifest)}" for number, (name, manifest) in named}


def _head(name: str, target: Target, notes: Sequence[str], command: str) -> str:
    label = f"-n {target.namespace} -l app.kubernetes.io/instance={target.name}"
    lines = [
        f"{target.name} on Kubernetes: {name}. Made by:",
        f"  {command}",
        *textwrap.wrap(_HEADS[name], _WIDTH),
        "",
        *(line for note in notes for line in (*textwrap.wrap(f"NOTE: {note}", _WIDTH), "")),
        "start:  kubectl apply -f THIS_FOLDER",
        f"watch:  kubectl logs -f job/{target.name}-server -n {target.namespace}",
        f"stop:   kubectl delete job {label}",
        f"remove: kubectl delete job,configmap,persistentvolumeclaim {label}    (results too)",
        "",
        f"For Kubernetes {MINORS[0]} or later; tested with the schemas of {MINORS[0]} to {MINORS[-1]}, never applied to a cluster.",
    ]
    return "\n".join(f"# {line}".rstrip() for line in lines)


def dumped(manifest: Manifest) -> str:
    """One object as YAML that versions 1.1 and 1.2 read alike."""
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(_quoted(manifest), stream)
    return stream.getvalue()


def _quoted(value: Any) -> Any:
    """Texts of several lines as blocks, others, keys too, in quotes unless they are plain words."""
    if isinstance(value, dict):
        return {_quoted(key): _quoted(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_quoted(part) for part in value]
    if isinstance(value, str):
        if "\n" in value:
            return LiteralScalarString(value)
        if _PLAIN.fullmatch(value) is None or value.lower() in _NOT_TEXT:
            return DoubleQuotedScalarString(value)
    return value


def write(directory: Path, files: Mapping[str, str], force: bool) -> list[Path]:
    """Write all files. `UsageError` where there are manifests already, unless `force`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        present = sorted(path.name for path in directory.glob("*.yaml"))
        if present and not force:
            raise UsageError(f"{directory} holds {', '.join(present)} already; choose another folder with -o, or replace them with --force")
        # What another export left would be applied along with these.
        for name in present:
            if re.fullmatch(rf"\d-({'|'.join(_HEADS)})\.yaml", name):
                (directory / name).unlink()
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResourceError(f"{directory} can't be written: {error.strerror}; choose another folder with -o") from None
    return [directory / name for name in files]
