"""Weights & Biases in offline mode: a directory that `wandb sync` uploads."""

from __future__ import annotations

import os
from typing import Any

from orchestrator.run_server.metrics.sinks.live_sinks import MetricRow, SinkContext
from orchestrator.run_server.metrics.sinks.settings import WandbSettings


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
