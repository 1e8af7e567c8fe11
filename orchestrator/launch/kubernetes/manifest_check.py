"""Checks of what the command line puts into manifests: names and sizes, and the Kubernetes version they are meant for.

The manifests themselves have one shape, which the tests validate against the published schemas of every version in `MINORS`.
"""

from __future__ import annotations

import re

from orchestrator.launch.kubernetes.manifests import Target
from protocols.runtime.errors import ConfigurationError, UsageError

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
