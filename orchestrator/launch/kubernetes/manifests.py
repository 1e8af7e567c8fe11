"""The objects of a run on Kubernetes: plain core API, no controller to install.

| object | what for |
|---|---|
| ConfigMap | the resolved configuration; one invitation for each host |
| Secret | the token by which hosts and run server authenticate each other |
| PersistentVolumeClaim | the run directory, shared by all pods; without one it is as old as its pod |
| Service | headless: the run server and the hosts find each other by name, before they are ready too |
| Job, run server | leads the run; begins it, or goes on with it |
| Indexed Job, hosts | one pod for each host; its index is the host's number. A host that failed is started again by itself, not with all
others |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from orchestrator.config.configuration import Configuration
from orchestrator.config.resolved_configuration import resolved_yaml
from orchestrator.launch.kubernetes import pods as commands
from orchestrator.launch.kubernetes.pods import Pods
from protocols.runtime.errors import ExitCode

Manifest = dict[str, Any]

_USER = 1000
_MIB = 2**20
_GPU = "nvidia.com/gpu"
FINAL_CODES = sorted(int(code) for code in (ExitCode.USAGE, ExitCode.CONFIG, ExitCode.AUTHENTICATION, ExitCode.SCHEMA, ExitCode.RESOURCES))
"""exit codes of what another attempt would not cure: 2 to 6"""


@dataclass(frozen=True)
class Target:
    """Where and from what: `name` of the run and of all objects, `image` with this package, size of the shared `storage` (None:
    emptyDir)."""

    name: str
    image: str
    namespace: str = "default"
    storage: str | None = "10Gi"
    storage_class: str | None = None
    token: str = ""

    @property
    def server_host(self) -> str:
        """Name of the run server's pod in the cluster."""
        return f"{self.name}-server.{self.name}.{self.namespace}.svc"

    def metadata(self, suffix: str = "") -> Manifest:
        """Of an object."""
        return {"name": f"{self.name}{suffix}", "namespace": self.namespace, "labels": self.labels()}

    def labels(self, component: str | None = None) -> dict[str, str]:
        """By which all objects of a run are found, and those of one kind of pod."""
        found = {"app.kubernetes.io/name": "murmuration", "app.kubernetes.io/instance": self.name}
        return found if component is None else {**found, "app.kubernetes.io/component": component}


def manifests(configuration: Configuration, pods: Pods, target: Target) -> dict[str, list[Manifest]]:
    """Objects by the name of their file, in the order in which they are to be applied."""
    run_server = commands.server_script(target.name, pods.hosts)
    found = {"config": [_config_map(target, "-config", {"config.yaml": resolved_yaml(configuration)})]}
    if target.storage is not None:
        found["storage"] = [_claim(target, shared=pods.hosts > 0)]
    if pods.hosts:
        invitations = commands.invitations(configuration, target.name, target.server_host, pods.hosts)
        found["config"].append(_config_map(target, "-invitations", invitations))
        found["secret"] = [_secret(target)]
        found["service"] = [_service(target)]
    found["run-server"] = [_server_job(target, pods, run_server, configuration.supervision.max_restarts)]
    if pods.hosts:
        spread = configuration.launch.placement.policy == "spread"
        found["hosts"] = [_host_job(target, pods, configuration.supervision.max_restarts, spread)]
    return found


def _config_map(target: Target, suffix: str, files: Mapping[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": target.metadata(suffix), "data": dict(files)}


def _secret(target: Target) -> Manifest:
    content = f'{{"token": "{target.token}"}}\n'
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": target.metadata("-token"),
        "type": "Opaque",
        "stringData": {commands.TOKEN: content},
    }


def _claim(target: Target, shared: bool) -> Manifest:
    mode = "ReadWriteMany" if shared else "ReadWriteOnce"
    spec: Manifest = {"accessModes": [mode], "resources": {"requests": {"storage": target.storage}}}
    if target.storage_class is not None:
        spec["storageClassName"] = target.storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": target.metadata("-runs"), "spec": spec}


def _service(target: Target) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": target.metadata(),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": target.labels(),
            "ports": [{"name": "control", "port": commands.CONTROL_PORT}, {"name": "telemetry", "port": commands.TELEMETRY_PORT}],
        },
    }


def _server_job(target: Target, pods: Pods, script: str, attempts: int) -> Manifest:
    gpus = pods.slot.gpus if not pods.hosts else 0
    volumes = [_runs(target), {"name": "config", "configMap": {"name": f"{target.name}-config"}}]
    mounts: list[Manifest] = [
        {"name": "runs", "mountPath": commands.RUNS},
        {"name": "config", "mountPath": commands.CONFIG.rpartition("/")[0], "readOnly": True},
    ]
    # An expectation that failed is a result, and so is a run that was given up.
    final = sorted({*FINAL_CODES, int(ExitCode.EXPECTATION_FAILED), int(ExitCode.ABORTED)})
    pod = {
        # A job's pods have names of chance: this one must be found by one that is known beforehand.
        **({"hostname": f"{target.name}-server", "subdomain": target.name} if pods.hosts else {}),
        **_pod(target, "run-server", script, volumes, mounts, _resources(pods.server_cores, pods.server_memory, gpus), grace=90),
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
            "podFailurePolicy": {"rules": _failures("FailJob", "run-server", final)},
            "template": {"metadata": {"labels": target.labels("run-server")}, "spec": pod},
        },
    }


def _host_job(target: Target, pods: Pods, attempts: int, spread: bool) -> Manifest:
    volumes = [
        _runs(target),
        {"name": "invitations", "configMap": {"name": f"{target.name}-invitations"}},
        # Readable by the group, as files of a volume of this pod always are; the copy in memory is for the owner only.
        {"name": "token", "secret": {"secretName": f"{target.name}-token", "defaultMode": 0o440}},
        {"name": "private", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    mounts: list[Manifest] = [
        {"name": "runs", "mountPath": commands.RUNS},
        {"name": "invitations", "mountPath": commands.INVITATIONS, "readOnly": True},
        {"name": "token", "mountPath": commands.SECRET, "readOnly": True},
        {"name": "private", "mountPath": commands.PRIVATE},
    ]
    resources = _resources(pods.host_cores, pods.host_memory, pods.slot.gpus)
    pod = {"subdomain": target.name, **_pod(target, "host", commands.host_script(), volumes, mounts, resources, grace=30)}
    if spread:
        pod["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": target.labels("host")},
            }
        ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": target.metadata("-host"),
        "spec": {
            "completionMode": "Indexed",
            "completions": pods.hosts,
            "parallelism": pods.hosts,
            "backoffLimitPerIndex": attempts,
            "podFailurePolicy": {"rules": _failures("FailIndex", "host", FINAL_CODES)},
            "template": {"metadata": {"labels": target.labels("host")}, "spec": pod},
        },
    }


def _failures(action: str, container: str, codes: list[int]) -> list[Manifest]:
    """What would fail again is not tried again; a pod that the cluster itself took away doesn't count as failed."""
    return [
        {"action": action, "onExitCodes": {"containerName": container, "operator": "In", "values": codes}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]


def _pod(
    target: Target, container: str, script: str, volumes: list[Manifest], mounts: list[Manifest], resources: Manifest, grace: int
) -> Manifest:
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace,
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
        "containers": [
            {
                "name": container,
                "image": target.image,
                "command": ["/bin/sh", "-c", script],
                "env": [{"name": "HOME", "value": "/tmp"}, {"name": "PYTHONUNBUFFERED", "value": "1"}],
                "resources": resources,
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


def _runs(target: Target) -> Manifest:
    if target.storage is None:
        return {"name": "runs", "emptyDir": {}}
    return {"name": "runs", "persistentVolumeClaim": {"claimName": f"{target.name}-runs"}}


def _resources(cores: float, memory: int, gpus: int) -> Manifest:
    """Cores are asked for and not limited: a limit would stop all threads of a pod for parts of each tenth of a second."""
    size = f"{ceil(memory / _MIB)}Mi"
    devices = {_GPU: str(gpus)} if gpus else {}
    return {"requests": {"cpu": f"{ceil(cores * 1000 - 1e-6)}m", "memory": size, **devices}, "limits": {"memory": size, **devices}}
