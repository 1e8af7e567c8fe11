from pathlib import Path

import pytest

from orchestrator.page.run_catalog import RunCatalog
from protocols.runtime.errors import UsageError
from tests.orchestrator.page.played_run import PlayedRun


def test_runs_of_folders_and_experiments(tmp_path: Path) -> None:
    PlayedRun(tmp_path / "runs" / "night").record("DONE", started="2026-01-02T00:00:00Z")
    PlayedRun(tmp_path / "sweep" / "runs" / "cell-1").record("DONE", started="2026-01-03T00:00:00Z")
    PlayedRun(tmp_path / "elsewhere" / "day").record("FAILED", started="2026-01-01T00:00:00Z")
    catalog = RunCatalog([(tmp_path / "runs", None), (tmp_path / "sweep" / "runs", "sweep")], [tmp_path / "elsewhere" / "day"])
    assert [(row["id"], row["state"], row["experiment"], row["live"]) for row in catalog.rows()] == [
        ("cell-1", "DONE", "sweep", False),
        ("night", "DONE", None, False),
        ("day", "FAILED", None, False),
    ]
    assert catalog.get("day") is catalog.get("day") and catalog.get("cell-1").directory == tmp_path / "sweep" / "runs" / "cell-1"
    assert catalog.experiment("cell-1") == ("sweep", tmp_path / "sweep") and catalog.experiment("night") is None
    for name in ("none", "", "..", "../elsewhere/day", "."):
        with pytest.raises(UsageError):
            catalog.get(name)
    catalog.close()


def test_the_number_of_open_runs_is_bounded(tmp_path: Path) -> None:
    for number in range(20):
        PlayedRun(tmp_path / f"run-{number}").record("DONE")
    catalog = RunCatalog([(tmp_path, None)], [])
    first = catalog.get("run-0")
    for number in range(1, 20):
        catalog.get(f"run-{number}")
    assert len(catalog.opened()) == 16 and catalog.get("run-0") is not first
    catalog.close()
