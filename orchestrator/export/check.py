"""Would a cluster take these manifests? Checked without one: keys and types by the strict models, minor versions by when fields came, and
rules between fields and between objects that the API server, or a pod's start, would stumble over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from orchestrator.export.schema import KINDS, Job, PodSpec, Service, Since, Strict

MINORS = ("1.35", "1.36", "1.37")
"""minor versions of Kubernetes that every export is checked against"""
OLDEST = "1.29"
"""first one with a limit of failures for each index of a job"""
_INDEX = 10
"""characters that a pod's number may add to its host name"""


@dataclass(frozen=True)
class Fault:
    """What is wrong, and where."""

    object: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.object}: {self.place}: {self.text}" if self.place else f"{self.object}: {self.text}"


def check(objects: Sequence[Mapping[str, Any]], minors: Sequence[str] = MINORS) -> list[Fault]:
    """All faults of a set of manifests that belong together; none: a cluster of each of these minor versions would take them, as far as is
    known offline (it can still lack room, rights, the image, or a storage class)."""
    faults: list[Fault] = []
    known: list[Strict] = []
    for number, given in enumerate(objects):
        kind = given.get("kind")
        name = f"{kind} {_named(given)}" if isinstance(kind, str) else f"object {number + 1}"
        model = KINDS.get(kind) if isinstance(kind, str) else None
        if model is None:
            faults.append(Fault(name, "kind", f"is none that is exported: {', '.join(KINDS)}"))
            continue
        try:
            found = model.model_validate(given)
        except ValidationError as error:
            faults += [Fault(name, *_told(model, problem)) for problem in error.errors()]
            continue
        known.append(found)
        for minor in minors:
            faults += [Fault(name, *late) for late in _too_new(found, minor, "")]
        if isinstance(found, Job):
            faults += [Fault(name, *broken) for broken in _job(found)]
    # What objects say of each other can be judged only when all could be read.
    return faults or [Fault(*broken) for broken in _together(known)]


def _named(given: Mapping[str, Any]) -> str:
    metadata = given.get("metadata")
    return str(metadata.get("name", "?")) if isinstance(metadata, Mapping) else "?"


def _told(model: type[Strict], problem: Any) -> tuple[str, str]:
    """Place and text of what pydantic found; an unknown key with the nearest right one."""
    path = [part for part in problem["loc"] if part != "[key]"]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(str(path[-1]), _keys(model, path[:-1]), 1, 0.6)
        return place, "unknown key" + (f'; did you mean "{near[0]}"?' if near else "")
    if problem["type"] == "missing":
        return place, "is missing"
    return place, f"{problem['msg']} (it is {problem['input']!r})"


def _keys(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Keys that are allowed at a place."""
    here: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or here is None:
            continue
        field = next((field for field in here.model_fields.values() if field.alias == part), None)
        here = next(iter(_models(field.annotation)), None) if field is not None else None
    return [field.alias or name for name, field in here.model_fields.items()] if here is not None else []


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _too_new(found: BaseModel, minor: str, place: str) -> Iterator[tuple[str, str]]:
    for name, field in type(found).model_fields.items():
        value = getattr(found, name)
        where = f"{place}.{field.alias or name}".lstrip(".")
        for mark in field.metadata:
            if isinstance(mark, Since) and value is not None and version(minor) < version(mark.minor):
                yield where, f"Kubernetes {minor} doesn't have it, or not switched on: it is there from {mark.minor} on"
        for number, part in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(part, BaseModel):
                yield from _too_new(part, minor, f"{where}[{number}]" if isinstance(value, list) else where)


def version(minor: str) -> tuple[int, ...]:
    """`1.29` as numbers; `ValueError` for what is no such version."""
    if re.fullmatch(r"\d+\.\d+", minor) is None:
        raise ValueError(f'"{minor}" is no minor version of Kubernetes; write for example {MINORS[-1]}')
    return tuple(int(part) for part in minor.split("."))


def _job(job: Job) -> Iterator[tuple[str, str]]:
    """Rules within a job (API reference of batch/v1 Job, and its validation)."""
    spec, pod = job.spec, job.spec.template.spec
    indexed = spec.completion_mode == "Indexed"
    if spec.backoff_limit_per_index is not None and not indexed:
        yield "spec.backoffLimitPerIndex", "needs completionMode: Indexed"
    if (spec.backoff_limit_per_index is not None or spec.pod_failure_policy is not None) and pod.restart_policy != "Never":
        yield "spec.template.spec.restartPolicy", "must be Never: failures are judged by the job, not restarted within a pod"
    if indexed and spec.parallelism > 100_000:
        yield "spec.parallelism", "an Indexed Job has at most 100,000 pods at once"
    if indexed and len(job.metadata.name) + _INDEX > 63:
        yield "metadata.name", f"must leave room for pods' numbers in their host names: at most {63 - _INDEX} characters"
    containers = {container.name for container in pod.containers}
    for number, rule in enumerate(spec.pod_failure_policy.rules if spec.pod_failure_policy else []):
        where = f"spec.podFailurePolicy.rules[{number}]"
        if (rule.on_exit_codes is None) == (rule.on_pod_conditions is None):
            yield where, "needs either onExitCodes or onPodConditions"
        if rule.action == "FailIndex" and spec.backoff_limit_per_index is None:
            yield f"{where}.action", "FailIndex needs backoffLimitPerIndex"
        if rule.on_exit_codes is not None:
            codes = rule.on_exit_codes
            if codes.container_name not in containers:
                yield f"{where}.onExitCodes.containerName", f'there is no container "{codes.container_name}"'
            if codes.values != sorted(set(codes.values)):
                yield f"{where}.onExitCodes.values", "must be ascending, each once"
            if codes.operator == "In" and 0 in codes.values:
                yield f"{where}.onExitCodes.values", "0 is no failure"
    yield from _pod(pod)


def _pod(pod: PodSpec) -> Iterator[tuple[str, str]]:
    """Rules within a pod."""
    where = "spec.template.spec"
    volumes = [volume.name for volume in pod.volumes]
    for volume in pod.volumes:
        sources = [name for name in type(volume).model_fields if name != "name" and getattr(volume, name) is not None]
        if len(sources) != 1:
            yield f"{where}.volumes", f'"{volume.name}" needs exactly one source and has {len(sources)}'
    if len(set(volumes)) < len(volumes):
        yield f"{where}.volumes", "two have one name"
    for number, container in enumerate(pod.containers):
        paths = [mount.mount_path for mount in container.volume_mounts]
        if len(set(paths)) < len(paths):
            yield f"{where}.containers[{number}].volumeMounts", "two are at one place"
        for mount in container.volume_mounts:
            if mount.name not in volumes:
                yield f"{where}.containers[{number}].volumeMounts", f'there is no volume "{mount.name}"'
        for name, amount in container.resources.requests.items():
            limit = container.resources.limits.get(name)
            if limit is not None and amount_of(limit) < amount_of(amount):
                yield f"{where}.containers[{number}].resources", f"the limit of {name} is less than what is asked for"


_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def amount_of(quantity: str) -> float:
    """`500m` is 0.5, `1Gi` is 2^30."""
    number = quantity.rstrip("".join(_UNITS))
    return float(number) * _UNITS[quantity[len(number) :]]


def _together(objects: Sequence[Strict]) -> Iterator[tuple[str, str, str]]:
    """Rules between objects: one namespace, names once, everything that is named exists."""
    names: dict[str, set[str]] = {kind: set() for kind in KINDS}
    spaces = {found.metadata.namespace for found in objects}  # type: ignore[attr-defined]
    if len(spaces) > 1:
        yield "all", "metadata.namespace", f"they belong together and must be in one namespace, not in {', '.join(sorted(spaces))}"
    for found in objects:
        kind, name = type(found).__name__, found.metadata.name  # type: ignore[attr-defined]
        if name in names[kind]:
            yield f"{kind} {name}", "metadata.name", "there are two of them"
        names[kind].add(name)
    pods = {f"Job {job.metadata.name}": job.spec.template for job in objects if isinstance(job, Job)}
    for label, template in pods.items():
        where = "spec.template.spec"
        for volume in template.spec.volumes:
            for kind, wanted in (
                ("ConfigMap", volume.config_map and volume.config_map.name),
                ("Secret", volume.secret and volume.secret.secret_name),
                ("PersistentVolumeClaim", volume.persistent_volume_claim and volume.persistent_volume_claim.claim_name),
            ):
                if wanted and wanted not in names[kind]:
                    yield label, f"{where}.volumes", f'"{volume.name}" wants the {kind} {wanted}, which is not among them'
        if template.spec.subdomain is not None and template.spec.subdomain not in names["Service"]:
            yield label, f"{where}.subdomain", f"there is no service {template.spec.subdomain}, so nobody would find the pod by its name"
    for service in objects:
        if isinstance(service, Service) and not any(
            service.spec.selector.items() <= template.metadata.labels.items() for template in pods.values()
        ):
            yield f"Service {service.metadata.name}", "spec.selector", "matches no pod"
