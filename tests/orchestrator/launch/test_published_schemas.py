"""Exported manifests of shipped configurations against the published schemas of Kubernetes, which `kubernetes-validate` carries."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from orchestrator.config import loader as configuration_loader
from orchestrator.config.checks import machine_resources
from orchestrator.launch.kubernetes_export import MINORS, Target, manifests, pod_for

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SHIPPED = (
    "4agents_ring.yaml",
    "faults_4agents_ring.yaml",
    "logical_4agents_ring.yaml",
    "amigo/default.yaml",
    "dec_imsap/published.yaml",
    "environments/cartpole.yaml",
    "odmar/far.yaml",
)


def exported(config: str, *overrides: str, **target: Any) -> list[dict[str, Any]]:
    machine = machine_resources.MachineResources(64.0, 2**40)
    settings = configuration_loader.load(CONFIGS / config, overrides, {}, machine=machine).configuration
    to = Target("night", "registry.example/murmuration:1", "learning", **target)
    return list(manifests(settings, pod_for(settings), to).values())


@pytest.mark.parametrize("config", SHIPPED)
def test_manifests_of_shipped_configurations_are_valid(config: str) -> None:
    objects = exported(config, storage_class="fast")
    assert {manifest["kind"] for manifest in objects} == {"ConfigMap", "PersistentVolumeClaim", "Job"}
    for manifest in objects:
        assert kubernetes_validate.validate(manifest, MINORS[-1], strict=True) == MINORS[-1]


@pytest.mark.parametrize("minor", MINORS)
def test_manifests_are_valid_in_every_supported_version(minor: str) -> None:
    objects = exported("4agents_ring.yaml", storage_class="fast")
    objects += exported("4agents_ring.yaml", "launch.resources.agent.gpus=1", storage=None)
    for manifest in objects:
        assert kubernetes_validate.validate(manifest, minor, strict=True) == minor


@pytest.mark.parametrize(
    ("kind", "path", "value", "text"),
    [
        ("Job", "spec.paralelism", 3, "paralelism"),
        ("Job", "spec.completions", "3", "'3' is not of type 'integer'"),
        ("Job", "spec.template", None, "'template' is a required property"),
        ("Job", "spec.template.spec.containers.0.name", None, "'name' is a required property"),
        ("Job", "spec.template.spec.volumes.1.configMap.name", [7400], "is not of type"),
        ("PersistentVolumeClaim", "spec.accessMode", "ReadWriteMany", "accessMode"),
    ],
)
def test_a_broken_manifest_is_refused(kind: str, path: str, value: Any, text: str) -> None:
    broken = copy.deepcopy(next(one for one in exported("4agents_ring.yaml") if one["kind"] == kind))
    *keys, last = path.split(".")
    inner: Any = broken
    for key in keys:
        inner = inner[int(key)] if key.isdecimal() else inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    with pytest.raises(kubernetes_validate.ValidationError) as error:
        kubernetes_validate.validate(broken, MINORS[-1], strict=True)
    assert text in error.value.message
