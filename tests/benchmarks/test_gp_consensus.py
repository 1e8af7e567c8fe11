"""Metrics of the distributed Gaussian process: slopes, rounds, and lines of the document."""

from __future__ import annotations

from math import log
from pathlib import Path

import pytest

from benchmarks import gp_consensus_report as report


def falling(rate: float, start: float = 0.5, floor: float = 1e-16, fast: float = 0.3) -> report.Curve:
    """Two modes, of which one is gone soon, and rounding."""
    return [(k, start * (0.2 * rate**k + 0.8 * fast**k) + floor) for k in range(151)]


def test_what_the_spectrum_says() -> None:
    assert {kind: round(report.slem(kind), 3) for kind in report.COLOURS} == {"ring": 0.539, "star": 0.8, "path": 0.873, "complete": 0.0}
    assert [report.rounds_to(report.slem(kind)) for kind in ("ring", "star", "path", "complete")] == [23, 62, 102, 1]
    assert report.weights_of("star").sum(axis=0) == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [0.539, 0.8, 0.873])
def test_the_slope_is_that_of_the_slowest_mode(rate: float) -> None:
    assert report.slope(falling(rate)) == pytest.approx(log(rate), rel=0.01)


def test_nothing_falls_where_one_round_is_enough() -> None:
    curve = [(0, 0.5), *((k, 1e-16) for k in range(1, 151))]
    assert report.slope(curve) is None and report.reached(curve) == 1
    assert report.reached([(0, 0.5), (1, 0.4)]) is None


def test_figures_are_kept_replaced_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "FIGURES", tmp_path / "figures.csv")
    monkeypatch.setattr(report, "DOCUMENT", tmp_path / "document.md")
    for seed, rate in ((0, 0.7), (1, 0.8), (0, 0.8)):
        prediction = [(k, 10.0**-k) for k in report.PREDICTED]
        report.keep("star", seed, {"disagreement": falling(rate), "nearest": [(1, 1e-16)], "prediction": prediction})
    figures = report.read()
    assert figures.keys() == {("star", 0), ("star", 1)}
    line = [cell.strip() for cell in report.rates_table(figures).splitlines()[2].strip("|").split("|")]
    assert line[:4] == ["star", "2", "0.8000", "-0.2231"]
    assert float(line[4]) == pytest.approx(log(0.8), rel=0.01) and float(line[5]) == pytest.approx(0.8, rel=0.01)
    assert line[6:] == ["62", "55", "1e-16", "0.2"]
    assert "1.0e-08" in report.prediction_table(figures)
    report.DOCUMENT.write_text("before\n<!-- rates -->\nold\n<!-- end of rates -->\nafter\n")
    report.write({"rates": "new"})
    assert report.DOCUMENT.read_text() == "before\n<!-- rates -->\nnew\n<!-- end of rates -->\nafter\n"
    with pytest.raises(ValueError, match="no place for predictions"):
        report.write({"predictions": "new"})
