"""The faults of a run as `orchestrate show` prints them: what happened, what became of it, and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.results.run_summary import RunSummary

_FIGURES = (
    "detection_time.max", "recovery_time.max", "unavailable_time.sum", "episodes.substituted", "episodes.discarded", "episodes.lost",
    "consensus.error",
)  # fmt: skip


def print_faults(table: Any, console: Console, summary: RunSummary) -> None:
    """Print the section. `table(title, *headings)` makes a table of the house's look."""
    from rich.text import Text

    made = table("faults", "fault", "kind", "node", "lasted", "noticed after", "recovery", "steps/s before", "during", "after")
    for record in summary.faults.get("faults") or []:
        end, rates = record.get("end"), record.get("steps_per_second") or {}
        lasted = _seconds(None if end is None else end - record["begin"])
        cells = [record["id"], record["kind"], record["node"], lasted, _seconds(record.get("detection"))]
        cells += ["never" if record.get("recovery") is None else _seconds(record["recovery"])]
        cells += [f"{rates[part]:.0f}" if part in rates else "-" for part in ("before", "during", "after")]
        made.add_row(*map(Text, cells))
    console.print(made)
    figures = summary.faults.get("figures") or {}
    words = [f"{name} {'never' if figures[name] is None else format(figures[name], '.3g')}" for name in _FIGURES if name in figures]
    console.print(Text(" " + "   ".join(words)), soft_wrap=True)
    for one in summary.verdict.get("expectations") or []:
        measured = "not measured" if one.get("measured") is None else f"measured {_figure(one['measured'])}"
        result = "passed" if one.get("passed") else "FAILED"
        style = "" if one.get("passed") else "red"
        console.print(Text(f" expected {one.get('metric')} {one.get('op')} {_figure(one.get('value'))}: {measured}, {result}", style))
    if summary.verdict and not summary.verdict.get("passed"):
        console.print(Text(f" to repeat: {summary.verdict.get('repeat')}"), soft_wrap=True)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _figure(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
