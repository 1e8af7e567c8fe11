"""The offline check of manifests: what a cluster would refuse is refused, wherever it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import configuration
from orchestrator.export import files
from orchestrator.export.check import MINORS, amount_of, check
from orchestrator.export.manifests import Target, manifests
from orchestrator.export.pods import HOST_MEMORY, SERVER_MEMORY, pods_for
from orchestrator.export.schema import KINDS
from orchestrator.launch.placement import PlacementError, node_requests
from orchestrator.launch.settings import PlacementSettings

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "4agents_ring.yaml"
FREE = ("data", "stringData", "labels", "selector", "matchLabels", "requests", "limits")
"""maps whose keys are the user's"""
Keys = tuple[str | int, ...]


@pytest.fixture(scope="module")
def loaded() -> configuration.Loaded:
    return configuration.load(CONFIG, ["launch.placement.policy=spread"], {}, machine=configuration.Machine(64.0, 2**40))


@pytest.fixture(scope="module")
def objects(loaded: configuration.Loaded) -> list[Any]:
    target = Target("night", "registry.example/murmuration:1", "learning", token="0" * 64, storage_class="fast")
    found = manifests(loaded.configuration, pods_for(loaded.configuration, 3), target)
    return [manifest for group in found.values() for manifest in group]


def places(value: Any, path: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """All places in an object, with what is there."""
    yield path, value
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(part, (*path, key))


def at(value: Any, path: Keys) -> Any:
    for key in path:
        value = value[key]
    return value


def test_what_is_exported_is_right_for_three_minors(objects: list[Any]) -> None:
    assert len(MINORS) == 3
    assert check(objects) == []
    assert {found["kind"] for found in objects} == set(KINDS)


def test_every_misspelt_key_is_found(objects: list[Any]) -> None:
    tried = 0
    for number, given in enumerate(objects):
        for path, value in places(given):
            if not isinstance(value, dict) or (path and path[-1] in FREE):
                continue
            for key in value:
                broken = copy.deepcopy(objects)
                inner = at(broken[number], path)
                inner[f"{key[:-1]}x{key[-1]}"] = inner.pop(key)
                faults = [str(fault) for fault in check(broken)]
                assert faults, f"{'.'.join(map(str, (*path, key)))} of {given['kind']} may be misspelt"
                if key != "kind":
                    assert any("unknown key" in fault and f'did you mean "{key}"' in fault for fault in faults), faults
                tried += 1
    assert tried > 150


def test_every_value_of_another_type_is_found(objects: list[Any]) -> None:
    for number, given in enumerate(objects):
        for path, value in places(given):
            if not path or isinstance(value, dict | list):
                continue
            broken = copy.deepcopy(objects)
            at(broken[number], path[:-1])[path[-1]] = [value] if isinstance(value, str) else str(value)
            assert check(broken), f"{path} of {given['kind']} may be of another type"


def changed(objects: list[Any], kind: str, name: str, path: str, value: Any) -> list[str]:
    broken = copy.deepcopy(objects)
    found = next(one for one in broken if one["kind"] == kind and one["metadata"]["name"] == name)
    keys: list[Any] = [int(key) if key.isdecimal() else key for key in path.split(".")]
    inner = at(found, tuple(keys[:-1]))
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return [str(fault) for fault in check(broken)]


@pytest.mark.parametrize(
    ("name", "path", "value", "rule"),
    [
        ("night-host", "spec.completionMode", "NonIndexed", "backoffLimitPerIndex: needs completionMode: Indexed"),
        ("night-host", "spec.template.spec.restartPolicy", "OnFailure", "restartPolicy: must be Never"),
        ("night-host", "spec.backoffLimitPerIndex", None, "FailIndex needs backoffLimitPerIndex"),
        ("night-host", "spec.podFailurePolicy.rules.0.onExitCodes.containerName", "hots", 'there is no container "hots"'),
        ("night-host", "spec.podFailurePolicy.rules.0.onExitCodes.values", [3, 2], "must be ascending"),
        ("night-host", "spec.podFailurePolicy.rules.0.onExitCodes.values", [0, 2], "0 is no failure"),
        ("night-host", "spec.podFailurePolicy.rules.0.onExitCodes", None, "either onExitCodes or onPodConditions"),
        ("night-host", "spec.podFailurePolicy.rules.0.action", "FailIndx", "'FailIndex', 'FailJob', 'Ignore' or 'Count'"),
        ("night-host", "spec.template.spec.containers.0.volumeMounts.0.name", "rnus", 'there is no volume "rnus"'),
        ("night-host", "spec.template.spec.containers.0.volumeMounts.0.mountPath", "/run/murmuration", "two are at one place"),
        ("night-host", "spec.template.spec.containers.0.resources.limits.memory", "1Mi", "limit of memory is less"),
        ("night-host", "spec.template.spec.containers.0.resources.limits.memory", "1 GB", "should match pattern"),
        ("night-host", "spec.template.spec.volumes.1.emptyDir", {}, '"invitations" needs exactly one source and has 2'),
        ("night-host", "spec.template.spec.volumes.1.configMap.name", "others", "wants the ConfigMap others"),
        ("night-host", "spec.template.spec.subdomain", "day", "there is no service day"),
        ("night-host", "metadata.namespace", "teaching", "must be in one namespace"),
        ("night-host", "metadata.name", "n" * 60, "at most 53 characters"),
        ("night-host", "metadata.name", "Night", "should match pattern"),
        ("night-host", "metadata.name", "night-server", "there are two of them"),
        ("night-server", "spec.completions", None, "spec.completions: is missing"),
    ],
)
def test_rules_between_fields(objects: list[Any], name: str, path: str, value: Any, rule: str) -> None:
    faults = changed(objects, "Job", name, path, value)
    assert any(rule in fault for fault in faults), faults


def test_services_must_lead_somewhere(objects: list[Any]) -> None:
    assert "Service night: spec.selector: matches no pod" in changed(objects, "Service", "night", "spec.selector", {"app": "x"})
    assert any("clusterIP" in fault for fault in changed(objects, "Service", "night", "spec.clusterIP", "10.0.0.1"))
    assert check([{"kind": "Deployment"}])[0].text.startswith("is none that is exported")
    assert check([{}])


def test_fields_that_a_minor_does_not_have_are_named(objects: list[Any]) -> None:
    assert check(objects, ["1.29"]) == []
    assert [str(fault) for fault in check(objects, ["1.28"])] == [
        "Job night-host: spec.backoffLimitPerIndex: Kubernetes 1.28 doesn't have it, or not switched on: it is there from 1.29 on"
    ]
    assert {fault.place for fault in check(objects, ["1.25"])} == {"spec.backoffLimitPerIndex", "spec.podFailurePolicy"}


def test_files_say_what_the_objects_say_to_readers_of_yaml_1_1_too(objects: list[Any]) -> None:
    assert files.objects_of({str(number): files.dumped(found) for number, found in enumerate(objects)}) == objects
    words = {"yes": "no", "on": "1e3", "list": ["08", "12:30:45", "~", "", "null", "0x1f", "a: b", "# c", "1_000", "-"]}
    assert files.objects_of({"0": files.dumped({"words": words["list"], "on": words["yes"], "exponent": words["on"]})}) == [
        {"words": words["list"], "on": "no", "exponent": "1e3"}
    ]


@pytest.mark.parametrize(("quantity", "amount"), [("500m", 0.5), ("2", 2.0), ("1.5Gi", 1.5 * 2**30), ("3k", 3000.0)])
def test_quantities(quantity: str, amount: float) -> None:
    assert amount_of(quantity) == amount


def test_hosts_are_all_as_large_as_the_fullest(loaded: configuration.Loaded) -> None:
    nodes = node_requests(loaded.configuration)
    memory = sum(node.memory for node in nodes)
    pods = pods_for(loaded.configuration, 5)
    assert pods.slot.memory == max(node.memory for node in nodes), "five nodes on five hosts"
    assert sorted(pods.nodes.values()) == [f"host-{number}" for number in range(5)]
    assert pods_for(loaded.configuration, 1).host_memory == memory + HOST_MEMORY
    alone = pods_for(loaded.configuration, 0)
    assert alone.server_memory == memory + HOST_MEMORY + SERVER_MEMORY and set(alone.nodes.values()) == {"local"}


def test_pins_are_kept_and_those_to_nowhere_refused(loaded: configuration.Loaded) -> None:
    launch = loaded.configuration.launch

    def pinned(pins: dict[str, str]) -> Any:
        placement = PlacementSettings(policy="spread", pins=pins)
        return loaded.configuration.model_copy(update={"launch": launch.model_copy(update={"placement": placement})})

    pods = pods_for(pinned({"agent-*": "host-1"}), 2)
    assert {name for name, host in pods.nodes.items() if host == "host-1"} == {f"agent-{number}" for number in range(4)}
    assert pods.slot.memory == 4 * node_requests(loaded.configuration)[1].memory
    with pytest.raises(PlacementError, match="pinned to west, but the slots are host-0, host-1"):
        pods_for(pinned({"agent-0": "west"}), 2)
