"""TensorBoard event files while the run goes on."""

from __future__ import annotations

import sys
from typing import Any

from orchestrator.run_server.metrics.sinks.live_sinks import MetricRow, SinkContext
from orchestrator.run_server.metrics.sinks.settings import TensorBoardSettings


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
