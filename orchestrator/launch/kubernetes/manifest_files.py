"""Manifests as YAML files, each with a heading on how it is used; and the checks before any is written."""

from __future__ import annotations

import io
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from orchestrator.launch.kubernetes.manifests import Manifest, Target
from protocols.runtime.errors import ConfigurationError, ResourceError, UsageError

_WIDTH = 130
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9/._-]*")
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"})
"""words that are no text to readers of YAML 1.1, as kubectl is one"""

_HEADS = {
    "config": "The resolved configuration of the run, and for each host its invitation: whom it belongs to and where the run server is.",
    "storage": "The volume of the run directory, which outlives the run. With host pods all pods share it: the storage class must offer "
    "ReadWriteMany then.",
    "secret": "The token by which hosts and run server authenticate each other. Any process that reads it can join the run: keep this file "
    "out of version control, and delete it with the run.",
    "service": "Headless: no address of its own, it only gives names to pods, from their start on.",
    "run-server": "Leads the run. A pod that follows another one goes on from the checkpoints of the run, if the run directory is still "
    "there. Exit codes 1 to 6 and 20 are final; after any other a new pod is made.",
    "hosts": "One pod for each host; its index is the number of the host. Exit codes 2 to 6 (usage, configuration, authentication, schema, "
    "resources) end an index permanently, after any other its pod is made again, alone; the run server decides what runs on it.",
}


def texts(found: Mapping[str, Sequence[Manifest]], target: Target, notes: Sequence[str], command: str) -> dict[str, str]:
    """File name to content, numbered in the order of application."""
    result = {}
    for number, (name, objects) in enumerate(found.items()):
        documents = "---\n".join(dumped(manifest) for manifest in objects)
        result[f"{number}-{name}.yaml"] = f"{_head(name, target, notes, command)}\n{documents}"
    return result


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
        f"remove: kubectl delete job,service,configmap,secret,persistentvolumeclaim {label}    (results too)",
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
    """Write all files, the secret one for its owner only. `UsageError` where there are manifests already, unless `force`."""
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
            mode = 0o600 if "secret" in name else 0o644
            descriptor = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise ResourceError(f"{directory} can't be written: {error.strerror}; choose another folder with -o") from None
    return [directory / name for name in files]


MINORS = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
"""minor versions of Kubernetes whose schemas the tests use; the first one is the oldest with a failure limit per index of a Job"""
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_IMAGE = re.compile(r"\S+")


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
