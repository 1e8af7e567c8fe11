"""Studies make runs, and leave those alone that another process makes."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.results.run_files import RunLock

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_a_run_that_is_being_made_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # its scripts find one another there
    study, report = importlib.import_module("study"), importlib.import_module("study_report")
    method = study.Method("each, for itself", "nothing", 10)
    experiment = study.Experiment("small", (method,), (), "return", seeds=(0,))
    made = study.Study("studies", tmp_path, report.Report(tmp_path / "page.md", (), ()), (experiment,), lambda figures: None)
    directory = made.directory_of(tmp_path, experiment, method, 0)
    assert directory.name == "small-each-for-itself-0"
    directory.mkdir()
    lock = RunLock(directory)
    try:
        with pytest.raises(SystemExit, match="small-each-for-itself-0 is being made"):
            made.play(tmp_path, experiment, method, 0)
    finally:
        lock.release()
    assert directory.is_dir()


@pytest.mark.parametrize("name", ["amigo", "dec_imsap", "odmar", "pmic", "standard"])
def test_the_tables_of_a_page_are_those_of_its_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    study = importlib.import_module(name).STUDY
    page, copy = study.report.document, tmp_path / study.report.document.name
    copy.write_text(page.read_text())
    if study.report.file.exists():
        copy.with_suffix(".csv").write_text(study.report.file.read_text())
    replace(study, report=replace(study.report, document=copy), draw=lambda metrics: None).document()
    assert copy.read_text() == page.read_text(), f"python benchmarks/{name}.py --report"
