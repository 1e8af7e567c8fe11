"""Services that follow a run while it goes on: TensorBoard, Weights & Biases (offline), MLflow."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.run_server.metrics.sinks.live_sinks import MetricRow, SinkContext
from orchestrator.run_server.metrics.sinks.settings import MlflowSettings, TensorBoardSettings, WandbSettings

_LONGEST = 500
"""characters of a parameter of MLflow"""
_BATCH = 100
"""parameters that MLflow takes at once"""


class TensorBoardSink:
    """`tensorboard/NODE/`, one writer per node; tag = name of the metric, step and wall time as the node reported them."""

    def __init__(self, settings: TensorBoardSettings, context: SinkContext) -> None:
        self._settings = settings
        self._directory = context.directory / "tensorboard"
        self._make_writer = _summary_writer()
        self._writers: dict[str, Any] = {}

    def write(self, row: MetricRow) -> None:
        """Add one scalar per metric."""
        writer = self._writers.get(row.node)
        if writer is None:
            directory = str(self._directory / row.node)
            writer = self._writers[row.node] = self._make_writer(directory, flush_secs=self._settings.flush_interval)
        for name, value in row.values.items():
            writer.add_scalar(name, value, row.step, row.t)

    def close(self) -> None:
        """Flush and close all files."""
        for writer in self._writers.values():
            writer.close()


def _summary_writer() -> Any:
    """The writer class of tensorboardX, imported as if torch were absent: tensorboardX would load torch (two seconds, 200 MB) for
    pictures that are not written here."""
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hidden:
            del sys.modules["torch"]
    return SummaryWriter


class WandbSink:
    """`wandb/offline-run-*`: metrics are called NODE/NAME, and those of each node are plotted over NODE/step."""

    def __init__(self, settings: WandbSettings, context: SinkContext) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # an offline run sends nothing anywhere
        import wandb

        self._nodes: set[str] = set()
        self._run: Any = wandb.init(
            mode="offline",
            project=settings.project,
            group=settings.group,
            tags=settings.tags,
            name=context.directory.name,
            dir=str(context.directory),
            config=dict(context.configuration),
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )

    def write(self, row: MetricRow) -> None:
        """Log all metrics of the row at once."""
        if row.node not in self._nodes:
            self._nodes.add(row.node)
            self._run.define_metric(f"{row.node}/*", step_metric=f"{row.node}/step")
        values = {f"{row.node}/{name}": value for name, value in row.values.items()}
        self._run.log({**values, f"{row.node}/step": row.step})

    def close(self) -> None:
        """End the run and the service process of wandb."""
        import wandb

        self._run.finish()
        wandb.teardown()


class MlflowSink:
    """One run of MLflow: metrics are called NODE/NAME, parameters are the keys of the configuration."""

    def __init__(self, settings: MlflowSettings, context: SinkContext) -> None:
        if settings.tracking_uri is None:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # file stores are refused by MLflow 3 otherwise
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric = Metric
        self._client: Any = MlflowClient(tracking_uri=settings.tracking_uri or (context.directory / "mlruns").resolve().as_uri())
        known = self._client.get_experiment_by_name(settings.experiment)
        experiment = self._client.create_experiment(settings.experiment) if known is None else known.experiment_id
        self._run_id: str = self._client.create_run(experiment, run_name=context.directory.name).info.run_id
        params = [Param(key, str(value)[:_LONGEST]) for key, value in _keys(context.configuration)]
        for first in range(0, len(params), _BATCH):
            self._client.log_batch(self._run_id, params=params[first : first + _BATCH])

    def write(self, row: MetricRow) -> None:
        """Log all metrics of the row at once, with its step and time."""
        stamp = int(1000 * row.t)
        self._client.log_batch(
            self._run_id, metrics=[self._metric(f"{row.node}/{name}", value, stamp, row.step) for name, value in row.values.items()]
        )

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run_id)


def _keys(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths of all values that are not maps."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
