"""The same manifests against the published schemas of Kubernetes, where `kubernetes-validate`, which carries them, is installed (it is no
dependency); and our own strict models against them, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from orchestrator import configuration
from orchestrator.export.check import MINORS, OLDEST
from orchestrator.export.manifests import Target, manifests
from orchestrator.export.pods import pods_for
from orchestrator.export.schema import KINDS

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="the published schemas come with the package kubernetes-validate")
CONFIG = Path(__file__).resolve().parents[2] / "configs" / "4agents_ring.yaml"


@pytest.mark.parametrize("minor", [OLDEST, *MINORS])
@pytest.mark.parametrize("hosts", [0, 3])
def test_manifests(minor: str, hosts: int) -> None:
    loaded = configuration.load(CONFIG, ["launch.placement.policy=spread"], {}, machine=configuration.Machine(64.0, 2**40))
    target = Target("night", "registry.example/murmuration:1", "learning", token="0" * 64, storage_class="fast")
    for group in manifests(loaded.configuration, pods_for(loaded.configuration, hosts), target).values():
        for manifest in group:
            assert kubernetes_validate.validate(manifest, f"{minor}.0", strict=True) == minor


def fields(model: type[BaseModel], schema: dict[str, Any], whole: dict[str, Any], path: str = "") -> Iterator[tuple[str, bool]]:
    """Every field of our models, and whether the published schema has it."""
    while "$ref" in schema:
        schema = whole[schema["$ref"].rpartition("/")[2]]
    for name, field in model.model_fields.items():
        key = field.alias or name
        # Where users choose keys, as those of resources, every key is known.
        inner = schema.get("properties", {}).get(key) or schema.get("additionalProperties") or None
        yield f"{path}.{key}", inner is not None
        if inner is not None:
            for part in models(field.annotation):
                yield from fields(part, inner.get("items", inner), whole, f"{path}.{key}")


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models(inner)


@pytest.mark.parametrize("minor", [OLDEST, *MINORS])
def test_our_models_have_no_key_that_kubernetes_does_not_have(minor: str) -> None:
    folder = resources("kubernetes_validate").joinpath("kubernetes-json-schema", f"v{minor}.0-local-strict")
    whole = json.loads(folder.joinpath("_definitions.json").read_text())["$defs"]
    prefix = {"Job": "io.k8s.api.batch.v1"}
    count = 0
    for kind, model in KINDS.items():
        for place, known in fields(model, whole[f"{prefix.get(kind, 'io.k8s.api.core.v1')}.{kind}"], whole, kind):
            assert known, f"{place} is unknown to Kubernetes {minor}"
            count += 1
    assert count > 100
