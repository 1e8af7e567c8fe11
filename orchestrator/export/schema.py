"""The part of Kubernetes' API that our manifests use, as strict models: a key that is not here is refused.

Keys are those of the API reference, in camel case; types are strict, as the API server's are. `Since("1.29")` marks fields by the first
minor version in which they are there and switched on by default. Only what we write is here: this is no validator for other people's
manifests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel


@dataclass(frozen=True)
class Since:
    """First minor version in which a field is there and on by default."""

    minor: str


class Strict(BaseModel):
    """A part of a manifest: unknown keys and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


QUANTITY = r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY)]
Label = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$", max_length=63)]
"""a name by RFC 1123: of containers, volumes, host names"""
ServiceName = Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
"""by RFC 1035"""
Subdomain = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}(\.{_LABEL})*$", max_length=253)]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]
LabelKey = Annotated[str, StringConstraints(pattern=rf"^({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")]
Labels = dict[LabelKey, LabelValue]
FileName = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
Path = Annotated[str, StringConstraints(pattern=r"^/[^:]*$")]
Count = Annotated[int, Field(ge=0)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Metadata(Strict):
    """Of every object."""

    name: Subdomain
    namespace: Label
    labels: Labels


class PodMetadata(Strict):
    """Of a pod template, which gets its name from its job."""

    labels: Labels


class ConfigMap(Strict):
    """Files that are no secret."""

    api_version: Literal["v1"]
    kind: Literal["ConfigMap"]
    metadata: Metadata
    data: dict[FileName, str]


class Secret(Strict):
    """Files that are one."""

    api_version: Literal["v1"]
    kind: Literal["Secret"]
    metadata: Metadata
    type: Literal["Opaque"]
    string_data: dict[FileName, str]


class Storage(Strict):
    """How much is asked for."""

    storage: Quantity


class ClaimResources(Strict):
    """Of a claim."""

    requests: Storage


class ClaimSpec(Strict):
    """What a volume must offer."""

    access_modes: Annotated[list[Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]], Field(min_length=1)]
    resources: ClaimResources
    storage_class_name: Subdomain | None = None


class PersistentVolumeClaim(Strict):
    """A place for the run directory."""

    api_version: Literal["v1"]
    kind: Literal["PersistentVolumeClaim"]
    metadata: Metadata
    spec: ClaimSpec


class ServicePort(Strict):
    """A named port."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=15)]
    port: Port


class ServiceSpec(Strict):
    """Headless: names of pods, no address of its own."""

    cluster_ip: Annotated[Literal["None"], Field(alias="clusterIP")]
    publish_not_ready_addresses: bool
    selector: Labels
    ports: Annotated[list[ServicePort], Field(min_length=1)]


class ServiceMetadata(Metadata):
    """A service's name is part of a host name."""

    name: ServiceName


class Service(Strict):
    """By which pods find each other."""

    api_version: Literal["v1"]
    kind: Literal["Service"]
    metadata: ServiceMetadata
    spec: ServiceSpec


class EnvironmentVariable(Strict):
    """With a plain value."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: str


class VolumeMount(Strict):
    """Where a volume is in the container."""

    name: Label
    mount_path: Path
    read_only: bool | None = None


class Resources(Strict):
    """Of a container: cpu, memory, and devices by their resource names."""

    requests: dict[str, Quantity]
    limits: dict[str, Quantity]


class Capabilities(Strict):
    """Of the kernel's."""

    drop: list[Literal["ALL"]]


class ContainerSecurity(Strict):
    """No way to more rights."""

    allow_privilege_escalation: bool
    capabilities: Capabilities


class Container(Strict):
    """What runs."""

    name: Label
    image: Annotated[str, StringConstraints(pattern=r"^[^\s]+$")]
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    command: Annotated[list[str], Field(min_length=1)]
    env: list[EnvironmentVariable]
    resources: Resources
    security_context: ContainerSecurity
    volume_mounts: list[VolumeMount]


class ConfigMapSource(Strict):
    """Files of a ConfigMap."""

    name: Subdomain


class SecretSource(Strict):
    """Files of a Secret."""

    secret_name: Subdomain
    default_mode: Annotated[int, Field(ge=0, le=0o777)]


class EmptyDirectory(Strict):
    """As old as the pod."""

    medium: Literal["", "Memory"] | None = None
    size_limit: Quantity | None = None


class ClaimSource(Strict):
    """A claim of this namespace."""

    claim_name: Subdomain


class Volume(Strict):
    """Exactly one source."""

    name: Label
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None
    empty_dir: EmptyDirectory | None = None
    persistent_volume_claim: ClaimSource | None = None


class Seccomp(Strict):
    """System calls that are allowed."""

    type: Literal["RuntimeDefault"]


class PodSecurity(Strict):
    """Who runs it."""

    run_as_non_root: bool
    run_as_user: Count
    run_as_group: Count
    fs_group: Count
    fs_group_change_policy: Literal["OnRootMismatch", "Always"]
    seccomp_profile: Seccomp


class LabelSelector(Strict):
    """Pods by their labels."""

    match_labels: Labels


class Spread(Strict):
    """Pods on different machines."""

    max_skew: Annotated[int, Field(ge=1)]
    topology_key: LabelKey
    when_unsatisfiable: Literal["ScheduleAnyway", "DoNotSchedule"]
    label_selector: LabelSelector


class PodSpec(Strict):
    """A pod."""

    restart_policy: Literal["Never", "OnFailure"]
    hostname: Label | None = None
    subdomain: Label | None = None
    termination_grace_period_seconds: Count
    automount_service_account_token: bool
    enable_service_links: bool
    share_process_namespace: bool
    security_context: PodSecurity
    topology_spread_constraints: list[Spread] | None = None
    containers: Annotated[list[Container], Field(min_length=1)]
    volumes: list[Volume]


class PodTemplate(Strict):
    """What a job makes pods of."""

    metadata: PodMetadata
    spec: PodSpec


class ExitCodes(Strict):
    """Of a container."""

    container_name: Label
    operator: Literal["In", "NotIn"]
    values: Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=1, max_length=255)]


class PodCondition(Strict):
    """Of a pod that failed."""

    type: Literal["DisruptionTarget"]
    status: Literal["True", "False", "Unknown"]


class FailureRule(Strict):
    """The first rule that matches decides."""

    action: Literal["FailIndex", "FailJob", "Ignore", "Count"]
    on_exit_codes: ExitCodes | None = None
    on_pod_conditions: list[PodCondition] | None = None


class FailurePolicy(Strict):
    """What a pod's failure means."""

    rules: Annotated[list[FailureRule], Field(min_length=1, max_length=20)]


class JobSpec(Strict):
    """Pods to their end."""

    completion_mode: Literal["Indexed", "NonIndexed"]
    completions: Annotated[int, Field(ge=1)]
    parallelism: Annotated[int, Field(ge=1)]
    backoff_limit: Count | None = None
    backoff_limit_per_index: Annotated[Count | None, Since("1.29")] = None
    pod_failure_policy: Annotated[FailurePolicy | None, Since("1.26")] = None
    template: PodTemplate


class JobMetadata(Metadata):
    """A job's name is part of its pods' host names."""

    name: Label


class Job(Strict):
    """A job."""

    api_version: Literal["batch/v1"]
    kind: Literal["Job"]
    metadata: JobMetadata
    spec: JobSpec


KINDS: dict[str, type[ConfigMap | Secret | PersistentVolumeClaim | Service | Job]] = {
    "ConfigMap": ConfigMap,
    "Secret": Secret,
    "PersistentVolumeClaim": PersistentVolumeClaim,
    "Service": Service,
    "Job": Job,
}
