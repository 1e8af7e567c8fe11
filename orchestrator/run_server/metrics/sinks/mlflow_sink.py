"""MLflow, by default in a file store inside the run directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.run_server.metrics.sinks.live_sinks import MetricRow, SinkContext
from orchestrator.run_server.metrics.sinks.settings import MlflowSettings

_LONGEST = 500
"""characters of a parameter"""
_BATCH = 100
"""parameters that MLflow takes at once"""


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
