"""Sinks of metrics: tables at the end of a run, rows while it goes on, failures that end a sink and nothing else."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from orchestrator.config.loader import load
from orchestrator.config.parsing.problems import Problems
from orchestrator.run_server.metrics.metrics_collector import MetricsCollector
from orchestrator.run_server.metrics.sinks import settings as sink_settings
from orchestrator.run_server.metrics.sinks.live_sinks import MetricRow, SinkContext, SinkThread, export_tables, live_sinks
from orchestrator.run_server.metrics.sinks.settings import (
    CsvSettings,
    MlflowSettings,
    ParquetSettings,
    SinkSettings,
    TensorBoardSettings,
    WandbSettings,
)
from protocols.conversations.control.control_messages import Metrics

ROWS = 40


def context(directory: Path, started: float = 0.0, **configuration: Any) -> SinkContext:
    return SinkContext(directory, configuration, started)


def feed(directory: Path, *sinks: SinkSettings, configuration: Mapping[str, Any] = {}) -> list[str]:
    """Send metrics of one agent through a collector with these sinks to the end; its warnings."""
    warnings: list[str] = []
    collector = MetricsCollector(directory, live_sinks(sinks, SinkContext(directory, configuration, 0.0)), warnings.append)
    for step in range(ROWS):
        message = Metrics(step=step, episode=step // 2, names=["return", "learner.loss"], stamp=step / 100)
        message.ts = 1000.0 + step
        collector.receive("agent-0", message, {"values": np.array([step / 2, 1.0])}, ["agent-0"])
    collector.close()
    collector.close()
    collector.check()
    assert collector.newest["agent-0"]["return"] == (ROWS - 1) / 2, "whatever becomes of the sinks"
    return warnings


def write_rows(directory: Path, node: str, rows: list[tuple[float, str, float]], torn: str = "", name: str = "metrics") -> None:
    folder = directory / "nodes" / node
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"t": t, "step": 10, "episode": 2, "name": metric, "value": value}) for t, metric, value in rows]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n" + torn)


def test_event_files_hold_every_value_with_its_step_and_time(tmp_path: Path) -> None:
    assert feed(tmp_path, TensorBoardSettings()) == []
    reader = EventAccumulator(str(tmp_path / "tensorboard" / "agent-0"))
    reader.Reload()
    assert [(s.step, s.value, s.wall_time) for s in reader.Scalars("return")] == [(k, k / 2, 1000.0 + k) for k in range(ROWS)]


def test_a_sink_that_fails_is_switched_off_with_one_warning(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file in the place of the folder")
    (warning,) = feed(tmp_path, TensorBoardSettings())
    assert "tensorboard is switched off" in warning


def test_a_slow_sink_drops_rows_and_never_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.run_server.metrics.sinks.live_sinks._QUEUE", 8)
    monkeypatch.setattr(SinkThread, "_run", lambda self: None)  # a thread that takes nothing
    sink = SinkThread(TensorBoardSettings(), context(tmp_path))
    for step in range(20):
        sink.write(MetricRow("a", 0.0, step, {"x": 1.0}))
    assert sink.dropped == 12


def test_the_tensorboard_sink_does_not_load_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from orchestrator.run_server.metrics.sinks.live_sinks import MetricRow, SinkContext, SinkThread\n"
        "from orchestrator.run_server.metrics.sinks.settings import TensorBoardSettings\n"
        "sink = SinkThread(TensorBoardSettings(), SinkContext(Path(sys.argv[1]), {}, 0.0))\n"
        "sink.write(MetricRow('a', 1.0, 1, {'x': 1.0})); sink.close()\n"
        "assert sink.failure is None, sink.failure\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
    assert list((tmp_path / "tensorboard" / "a").iterdir())


def test_csv_is_in_order_of_time_and_cuts_torn_lines(tmp_path: Path) -> None:
    write_rows(tmp_path, "agent-0", [(100.5, "return", 0.1), (102.0, "return", 0.3)], torn='{"t": 103.0, "step": 1')
    write_rows(tmp_path, "env-0", [(101.0, "steps", 5.0)], torn="not json\n[1]\n")
    assert export_tables([CsvSettings(), TensorBoardSettings()], context(tmp_path, 100.0)) == {}
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["t"], r["node"], r["name"], float(r["value"])) for r in rows] == [
        ("0.500", "agent-0", "return", 0.1),
        ("1.000", "env-0", "steps", 5.0),
        ("2.000", "agent-0", "return", 0.3),
    ]
    assert rows[0]["wall_time"] == "1970-01-01T00:01:40.500Z" and rows[0]["episode"] == "2"


def test_a_csv_of_the_logical_clock_has_virtual_times(tmp_path: Path) -> None:
    write_rows(tmp_path, "agent-0", [(0.01, "return", 0.1), (0.03, "return", 0.3)])
    write_rows(tmp_path, "run", [(0.02, "consensus.disagreement", 5.0)])
    write_rows(tmp_path, "agent-0", [(1.7e9 + 5, "steps_per_second", 9.0)], name="usage")
    assert export_tables([CsvSettings()], context(tmp_path, 1.7e9, clock="logical")) == {}
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["t"], row["node"], row["wall_time"]) for row in rows[:3]] == [
        ("0.010", "agent-0", ""), ("0.020", "run", ""), ("0.030", "agent-0", ""),
    ]  # fmt: skip
    assert (rows[3]["t"], rows[3]["name"], rows[3]["wall_time"]) == ("5.000", "steps_per_second", "2023-11-14T22:13:25.000Z")


def test_a_table_that_cannot_be_written_does_not_keep_the_others_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path, "agent-0", [(100.5, "return", 0.1)])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    failures = export_tables([ParquetSettings(), CsvSettings()], context(tmp_path))
    assert list(failures) == ["parquet"] and (tmp_path / "metrics.csv").is_file()


def test_a_missing_package_is_named_with_its_cure_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_settings, "find_spec", lambda name: None)
    with pytest.raises(Problems) as refused:
        load({"extends": "4agents_ring", "metrics": {"sinks": ["csv", {"kind": "wandb", "group": "night"}, "mlflow", "csv"]}})
    assert [problem.message for problem in refused.value.problems if problem.severity == "error"] == [
        "metrics.sinks[1]: wandb needs the package wandb, which is not installed: pip install 'murmuration-rl[wandb]'",
        "metrics.sinks[2]: mlflow needs the package mlflow, which is not installed: pip install 'murmuration-rl[mlflow]'",
        "metrics.sinks[3]: csv is listed twice",
    ]


@pytest.mark.parametrize("form", ["tensorboard", {"kind": "tensorboard"}])
def test_a_name_stands_for_the_sink_with_its_defaults(form: Any) -> None:
    loaded = load({"extends": "4agents_ring", "metrics": {"sinks": [form]}})
    assert loaded.configuration.metrics.sinks == [TensorBoardSettings()]


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'murmuration-rl[parquet]'")
    write_rows(tmp_path, "agent-0", [(100.5, "return", 0.1), (102.0, "return", 0.3)])
    assert export_tables([ParquetSettings()], context(tmp_path, 100.0)) == {}
    table = parquet.read_table(tmp_path / "metrics.parquet").to_pydict()
    assert (table["t"], table["name"], table["value"]) == ([0.5, 2.0], ["return", "return"], [0.1, 0.3])
    assert table["wall_time"][0].isoformat() == "1970-01-01T00:01:40.500000+00:00"


def test_mlflow(tmp_path: Path) -> None:
    tracking = pytest.importorskip("mlflow.tracking", reason="mlflow is not installed: pip install 'murmuration-rl[mlflow]'")
    assert feed(tmp_path, MlflowSettings(), configuration={"seed": 3, "agents": {"learner": {"kind": "sac"}}}) == []
    client = tracking.MlflowClient(tracking_uri=(tmp_path / "mlruns").resolve().as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("murmuration").experiment_id])
    history = client.get_metric_history(run.info.run_id, "agent-0/return")
    assert [(m.step, m.value, m.timestamp) for m in history] == [(k, k / 2, 1000 * (1000 + k)) for k in range(ROWS)]
    assert run.data.params == {"seed": "3", "agents.learner.kind": "sac"} and run.info.status == "FINISHED"


def records_of_wandb(path: Path) -> Iterator[bytes]:
    """Records of a file of W&B: the log format of LevelDB, blocks of 32 KiB, after a header of 7 bytes."""
    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (left := -at % 2**15) and left < 7:  # the rest of a block that is too short for a header
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def test_wandb_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'murmuration-rl[wandb]'")
    from wandb.proto.wandb_internal_pb2 import Record

    assert feed(tmp_path, WandbSettings(), configuration={"seed": 3}) == []
    (path,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    returns = []
    for data in records_of_wandb(path):
        record = Record()
        record.ParseFromString(data)
        items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        returns += [float(items["agent-0/return"])] if "agent-0/return" in items else []
    assert returns == [k / 2 for k in range(ROWS)]
