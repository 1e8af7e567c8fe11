"""Which cells of the store an experiment consists of now: those of the present code, and of other code where that is accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.experiments.design.experiment_cell import Cell
from orchestrator.experiments.design.experiment_reader import ExperimentFile
from orchestrator.experiments.running.cell_runners import SUMMARY
from orchestrator.experiments.running.experiment_runner import CellStatus
from orchestrator.experiments.running.experiment_store import FILE, CellRecord, PlannedCell, Store
from protocols.runtime.errors import UsageError

ORIGIN = "experiment.origin.yaml"
"""the file as given, in the experiment's directory"""


def known(directory: Path) -> dict[str, CellRecord]:
    """What would be known of all cells if the experiment were started now: finished ones whose directories are gone wait again. Nothing
    where there is no store yet; nothing is written."""
    if not (directory / FILE).is_file():
        return {}
    with Store(directory) as store:
        gone = set(_gone(store))
        return {
            identity: replace(record, state="WAITING", directory=None) if identity in gone else record
            for identity, record in store.records().items()
        }


def _gone(store: Store) -> list[str]:
    """Finished cells of which nothing is left to measure."""
    return [
        identity
        for identity, record in store.records().items()
        if record.state == "DONE" and (record.directory is None or not (store.directory / record.directory / SUMMARY).is_file())
    ]


def chosen(
    cells: Sequence[Cell], records: Mapping[str, CellRecord], code: str, accepted: Sequence[str] = (), retry_failed: bool = False
) -> list[CellStatus]:
    """Each cell with its record: of this code, or, where it is done with code that is accepted, of that. With `retry_failed` those that
    have failed wait again."""
    codes = {record.code for record in records.values()}
    if wrong := [one for one in accepted if one not in codes]:
        raise UsageError(
            f'--accept-code: no cell was made with "{wrong[0]}"; there are cells of {", ".join(sorted(codes)) or "no code yet"}'
        )
    found = []
    for cell in cells:
        identities = [(cell.identity(one), one) for one in (code, *accepted)]
        done = [pair for pair in identities if pair[0] in records and records[pair[0]].state == "DONE"]
        identity, made_with = (done or identities)[0]
        record = records.get(identity) or CellRecord(identity, made_with)
        if retry_failed and record.state == "FAILED":
            record = replace(record, state="WAITING", failures=0, directory=None)
        found.append(CellStatus(cell, identity, made_with, record))
    return found


def other_codes(cells: Sequence[Cell], records: Mapping[str, CellRecord], playing: Sequence[CellStatus]) -> dict[str, int]:
    """Version of other code -> how many of these cells are done with it, and not done here."""
    codes = {record.code for record in records.values() if record.state == "DONE"}
    missing = [one for one in playing if one.record.state != "DONE"]
    pairs = [(code, records.get(one.cell.identity(code))) for code in codes for one in missing]
    counts = Counter(code for code, record in pairs if record is not None and record.state == "DONE")
    return dict(sorted(counts.items()))


def enter(
    store: Store, read: ExperimentFile, cells: Sequence[Cell], code: str, accepted: Sequence[str], retry_failed: bool
) -> list[CellStatus]:
    """Write the plan into the store; the cells with their records. Finished cells whose directories are gone wait again, and with
    `retry_failed` those that have failed."""
    for identity in _gone(store):
        store.forget_done(identity)
    # What was reset may have been made with code that is accepted: such a cell is one of the present code now.
    playing = chosen(cells, store.records(), code, accepted)
    if retry_failed:
        store.forget_failures(one.identity for one in playing)
    plan = [(PlannedCell(one.identity, one.cell.factors, one.cell.seed, one.cell.command), one.code) for one in playing]
    design = read.design.model_dump(mode="json")
    store.set_plan(plan, design=design, code=code, accepted=list(accepted), small=read.small, file=str(read.path.resolve()))
    (store.directory / ORIGIN).write_text(read.source, encoding="utf-8")
    return chosen(cells, store.records(), code, accepted)
