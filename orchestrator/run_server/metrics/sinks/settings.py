"""Settings of the sinks, by the kind that `metrics.sinks` names. Free of the packages that the sinks themselves need."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Duration, Settings

ROOM = "sink"
"""room of the registry"""


class SinkSettings(Settings):
    """What all sinks have in common. `capabilities` is ("live",) for a sink that takes rows while the run goes on (`LiveSink`) and
    ("table",) for one that is written once, after the end (`TableSink`)."""

    capabilities: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()
    """modules that the sink imports and that do not come with the system"""
    install: ClassVar[str] = ""
    """what to install where one of them is missing, as pip takes it"""

    kind: str

    def missing(self) -> list[str]:
        """Those of `packages` that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]


class CsvSettings(SinkSettings):
    """`metrics.csv` at the end of the run: t, wall_time, node, episode, step, name, value; one row per value, in order of time."""

    capabilities = ("table",)
    kind: Literal["csv"] = "csv"


class ParquetSettings(SinkSettings):
    """`metrics.parquet` at the end of the run, with the columns of `metrics.csv` (wall_time as a timestamp in UTC)."""

    capabilities = ("table",)
    packages = ("pyarrow",)
    install = "murmuration-rl[parquet]"
    kind: Literal["parquet"] = "parquet"
    compression: Literal["zstd", "snappy", "none"] = "zstd"
    """of its columns"""


class TensorBoardSettings(SinkSettings):
    """Event files `tensorboard/NODE/`, one writer per node; the tag is the name of the metric."""

    capabilities = ("live",)
    kind: Literal["tensorboard"] = "tensorboard"
    flush_interval: Annotated[Duration, Field(gt=0)] = 5.0
    """longest time until a value is on disk"""


class WandbSettings(SinkSettings):
    """An offline run of Weights & Biases in `wandb/`, which `wandb sync` uploads; metrics are called NODE/NAME."""

    capabilities = ("live",)
    packages = ("wandb",)
    install = "murmuration-rl[wandb]"
    kind: Literal["wandb"] = "wandb"
    project: Annotated[str, Field(min_length=1)] = "murmuration"
    """project that the run is uploaded to"""
    group: str | None = None
    """group of runs inside the project"""
    tags: list[str] = []
    """tags of the run"""


class MlflowSettings(SinkSettings):
    """A run of MLflow, by default in the file store `mlruns/` of the run directory; metrics are called NODE/NAME."""

    capabilities = ("live",)
    packages = ("mlflow",)
    install = "murmuration-rl[mlflow]"
    kind: Literal["mlflow"] = "mlflow"
    experiment: Annotated[str, Field(min_length=1)] = "murmuration"
    """experiment of MLflow that the run belongs to; made where it is absent"""
    tracking_uri: str | None = None
    """where runs are kept; null: the file store mlruns in the run directory"""


for _settings, _implementation in (
    (CsvSettings, "table_sinks:CsvSink"),
    (ParquetSettings, "table_sinks:ParquetSink"),
    (TensorBoardSettings, "service_sinks:TensorBoardSink"),
    (WandbSettings, "service_sinks:WandbSink"),
    (MlflowSettings, "service_sinks:MlflowSink"),
):
    _kind = _settings.model_fields["kind"].default
    register(ROOM, _kind, _settings, f"orchestrator.run_server.metrics.sinks.{_implementation}")
