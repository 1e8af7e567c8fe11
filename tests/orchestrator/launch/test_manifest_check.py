"""Names and sizes that a cluster would refuse, references between manifests, manifests as YAML, and the sizes of pods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orchestrator.config import loader as configuration_loader
from orchestrator.config.checks import machine_resources
from orchestrator.launch.kubernetes_export import HOST_MEMORY, SERVER_MEMORY, Target, check_minor, check_target, dumped, manifests, pod_for
from orchestrator.launch.launch_settings import PlacementSettings
from orchestrator.launch.placement import PlacementError, node_requests
from protocols.runtime.errors import ConfigurationError, UsageError

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "4agents_ring.yaml"
IMAGE = "registry.example/murmuration:1"


@pytest.fixture(scope="module")
def loaded() -> configuration_loader.Loaded:
    return configuration_loader.load(
        CONFIG, ["launch.placement.policy=spread"], {}, machine=machine_resources.MachineResources(64.0, 2**40)
    )


def exported(loaded: configuration_loader.Loaded) -> list[Any]:
    target = Target("night", IMAGE, "learning", storage_class="fast")
    return list(manifests(loaded.configuration, pod_for(loaded.configuration), target).values())


@pytest.mark.parametrize(
    ("option", "right", "wrong"),
    [
        ("image", "localhost:5000/a/b@sha256:0", ["", "two words", "a\n"]),
        ("namespace", "n" * 63, ["", "My Lab", "-lab", "lab-", "a.b", "n" * 64, "lab\n"]),
        ("storage", "1.5Gi", ["", "10 GB", "10GB", "Gi", "-1Gi", "1Gi\n"]),
        ("storage_class", "fast.example", ["", "Fast", "fast.", "a..b", "a" * 254, "fast\n"]),
    ],
)
def test_names_and_sizes(option: str, right: str, wrong: list[str]) -> None:
    check_target(Target(**{"name": "night", "image": IMAGE, option: right}))
    for value in wrong:
        with pytest.raises(ConfigurationError) as error:
            check_target(Target(**{"name": "night", "image": IMAGE, option: value}))
        assert f'--{option.replace("_", "-")}: "{value}" is not valid' in str(error.value)


def test_all_wrong_names_are_reported_at_once() -> None:
    with pytest.raises(ConfigurationError) as error:
        check_target(Target("night", "two words", "My Lab", "10 GB", "Fast"))
    assert [line.split(":")[0].strip() for line in str(error.value).splitlines()[1:]] == [
        "--image",
        "--namespace",
        "--storage",
        "--storage-class",
    ]
    check_target(Target("night", IMAGE, storage=None))


def test_versions_of_kubernetes() -> None:
    assert check_minor("1.29") == check_minor("1.37") == []
    assert "newer than" in check_minor("1.100")[0]
    for minor, text in [("1.28", "need 1.29 or later"), ("1.3", "need 1.29 or later"), ("new", "no minor version"), ("1.30\n", "no minor")]:
        with pytest.raises(UsageError, match=text):
            check_minor(minor)


def test_everything_that_a_manifest_refers_to_exists(loaded: configuration_loader.Loaded) -> None:
    objects = exported(loaded)
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(set(names)) == len(names)
    assert {one["metadata"]["namespace"] for one in objects} == {"learning"}
    jobs = [one for one in objects if one["kind"] == "Job"]
    for job in jobs:
        pod = job["spec"]["template"]["spec"]
        for volume in pod["volumes"]:
            sources = [key for key in volume if key != "name"]
            assert len(sources) == 1, volume
            wanted = {
                "configMap": ("ConfigMap", volume.get("configMap", {}).get("name")),
                "persistentVolumeClaim": ("PersistentVolumeClaim", volume.get("persistentVolumeClaim", {}).get("claimName")),
            }
            assert sources[0] == "emptyDir" or wanted[sources[0]] in names
        (container,) = pod["containers"]
        mounts = container["volumeMounts"]
        assert {mount["name"] for mount in mounts} == {volume["name"] for volume in pod["volumes"]}
        assert len({mount["mountPath"] for mount in mounts}) == len(mounts)
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        # Exit codes of a failure policy are judged by the Job: ascending, without 0, and never with restarts within the pod.
        codes = job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]
        assert codes["containerName"] == container["name"] and pod["restartPolicy"] == "Never"
        assert codes["values"] == sorted(set(codes["values"])) and 0 not in codes["values"]


def read_as_kubectl(text: str) -> Any:
    """One object, read as YAML 1.1."""
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)
    return reader.load(text)


def test_files_say_what_the_objects_say_to_readers_of_yaml_1_1_too(loaded: configuration_loader.Loaded) -> None:
    for found in exported(loaded):
        assert read_as_kubectl(dumped(found)) == found
    words = ["no", "1e3", "08", "12:30:45", "~", "", "null", "0x1f", "a: b", "# c", "1_000", "-"]
    assert read_as_kubectl(dumped({"words": words, "on": "no", "yes": "1e3"})) == {"words": words, "on": "no", "yes": "1e3"}


def test_the_pod_has_room_for_all_nodes(loaded: configuration_loader.Loaded) -> None:
    nodes = node_requests(loaded.configuration)
    pod = pod_for(loaded.configuration)
    assert pod.memory == sum(node.memory for node in nodes) + HOST_MEMORY + SERVER_MEMORY
    assert pod.nodes == {node.name: "local" for node in nodes}


def test_pins_to_nowhere_are_refused(loaded: configuration_loader.Loaded) -> None:
    launch = loaded.configuration.launch
    placement = PlacementSettings(policy="spread", pins={"agent-0": "west"})
    pinned = loaded.configuration.model_copy(update={"launch": launch.model_copy(update={"placement": placement})})
    with pytest.raises(PlacementError, match="pinned to west, but the slots are local"):
        pod_for(pinned)
