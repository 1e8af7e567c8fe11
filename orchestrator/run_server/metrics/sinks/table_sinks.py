"""Tables of all metrics, written when the nodes' files are complete: `metrics.csv` and `metrics.parquet`."""

from __future__ import annotations

import csv
from itertools import islice

from orchestrator.results.metric_series import MetricTableRow, metric_rows
from orchestrator.run_server.metrics.sinks.live_sinks import SinkContext
from orchestrator.run_server.metrics.sinks.settings import CsvSettings, ParquetSettings

_ROW_GROUP = 65536


class CsvSink:
    """`metrics.csv`: `t` in seconds with three decimals, `wall_time` in ISO 8601 with milliseconds (empty for virtual times)."""

    def __init__(self, settings: CsvSettings, context: SinkContext) -> None:
        self._context = context

    def export(self) -> None:
        """Write the file."""
        context = self._context
        temporary = context.directory / ".metrics.csv.tmp"
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(MetricTableRow._fields)
            for row in metric_rows(context.directory, context.started, context.virtual):
                wall_time = "" if row.wall_time is None else row.wall_time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
                writer.writerow((f"{row.t:.3f}", wall_time, row.node, row.episode, row.step, row.name, repr(row.value)))
        temporary.replace(context.directory / "metrics.csv")


class ParquetSink:
    """`metrics.parquet`: float64 `t` and `value`, int64 `episode` and `step`, texts as dictionaries, `wall_time` in milliseconds UTC."""

    def __init__(self, settings: ParquetSettings, context: SinkContext) -> None:
        self._settings = settings
        self._context = context

    def export(self) -> None:
        """Write the file, 65536 rows at a time."""
        import pyarrow
        from pyarrow import parquet

        text = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
        count, number, time = pyarrow.int64(), pyarrow.float64(), pyarrow.timestamp("ms", "UTC")
        schema = pyarrow.schema(list(zip(MetricTableRow._fields, (number, time, text, count, count, text, number), strict=True)))
        context = self._context
        rows = metric_rows(context.directory, context.started, context.virtual)
        temporary = context.directory / ".metrics.parquet.tmp"
        with parquet.ParquetWriter(temporary, schema, compression=self._settings.compression) as writer:
            while group := list(islice(rows, _ROW_GROUP)):
                columns = [pyarrow.array(values, field.type) for values, field in zip(zip(*group, strict=True), schema, strict=True)]
                writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
        temporary.replace(context.directory / "metrics.parquet")
