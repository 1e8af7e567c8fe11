"""Fault traces: the CSV files of `faults.traces`, expanded into `faults.events` and `faults.links`.

The header of a file states what it holds. Times are seconds since training began, or durations with a unit; empty ones and lines that begin
with `#` are skipped.

    time,node,state                  a node is `down` from then on, or `up` again
    time,from,to,delay,loss,rate     a link has these effects from then on, until the next row of the same `from` and `to`

Expanded events and rules are placed at the lines that they come from, so that every later check of the configuration names those.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from orchestrator.config.parsing.problems import Problem
from orchestrator.config.parsing.yaml_tree import List, Location, Node, Scalar, changed, find, planted
from protocols.runtime.settings_types import format_duration, parse_duration

NODE_COLUMNS = ("time", "node", "state")
LINK_COLUMNS = ("time", "from", "to", "delay", "loss", "rate")
MOST_ROWS = 10_000
"""rows of a trace"""

Row = tuple[int, list[str]]
"""line number and cells"""


class TraceMistake(Exception):
    """What is wrong in a line of a trace, and what to write instead."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def expand_traces(tree: Node) -> tuple[Node, list[Problem]]:
    """The tree without `faults.traces`, their rows appended to `faults.events` and `faults.links`; and a problem for each file that cannot
    be expanded. File names are relative to the file that names them, or to the working directory where an argument does."""
    traces = find(tree, ("faults", "traces"))
    if not isinstance(traces, List) or not all(isinstance(item, Scalar) and isinstance(item.value, str) for item in traces.items):
        return tree, []
    problems: list[Problem] = []
    for number, item in enumerate(traces.items, start=1):
        where = item.location
        path = (Path(where.source).parent if where.line else Path()) / str(getattr(item, "value", ""))
        try:
            key, entries = _expanded(path, number)
        except TraceMistake as mistake:
            place = str(Location(str(path), mistake.line, 1) if mistake.line else where)
            problems.append(Problem(place, f"faults.traces[{number - 1}]", str(mistake)))
            continue
        if entries:
            planted_entries = tuple(planted(entry, Location(str(path), line, 1)) for line, entry in entries)
            tree = changed(tree, ("faults", key), where, _appended(planted_entries, where))
    return changed(tree, ("faults", "traces"), traces.location, lambda _: None), problems


def _appended(entries: tuple[Node, ...], where: Location) -> Callable[[Node | None], Node | None]:
    def append(known: Node | None) -> Node | None:
        if known is not None and not isinstance(known, List):  # a mistake of its own, which the validation reports
            return known
        return List(known.location if known else where, (*(known.items if known else ()), *entries))

    return append


def _expanded(path: Path, number: int) -> tuple[str, list[tuple[int, dict[str, Any]]]]:
    """`events` or `links`, and the entries with their lines."""
    (line, cells), *rows = _rows(path)
    header = tuple(cells)
    if header == NODE_COLUMNS:
        return "events", list(_node_events(rows, number))
    if header == LINK_COLUMNS:
        return "links", list(_link_rules(rows, number))
    text = f'"{",".join(header)}" is no header of a trace; write {",".join(NODE_COLUMNS)} or {",".join(LINK_COLUMNS)}'
    raise TraceMistake(line, text)


def _rows(path: Path) -> list[Row]:
    """The header and the rows, each with as many cells as the header."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TraceMistake(0, f"{path} cannot be read: {error}; name a CSV file, relative to the file of this line") from None
    filled = [(number, line) for number, line in enumerate(lines, start=1) if line.strip() and not line.lstrip().startswith("#")]
    rows = [(number, [cell.strip() for cell in next(csv.reader([line]))]) for number, line in filled]
    if len(rows) < 2:
        raise TraceMistake(0, f"{path} holds no rows; write the header {','.join(NODE_COLUMNS)} and a row such as 12s,agent-1,down")
    if len(rows) > MOST_ROWS + 1:
        raise TraceMistake(rows[MOST_ROWS + 1][0], f"a trace holds at most {MOST_ROWS} rows; cut it, or divide it among files")
    header = rows[0][1]
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise TraceMistake(line, f"has {len(row)} cells in place of {len(header)}; write {','.join(header)}")
    return rows


def _node_events(rows: Sequence[Row], number: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """A kill for every `down`, with a return at the `up` that follows; without one the node is terminated and stays away."""
    down: dict[str, tuple[int, float]] = {}
    newest: dict[str, float] = {}
    events: dict[int, dict[str, Any]] = {}
    for line, (time, node, state) in rows:
        moment = _seconds(line, "time", time)
        _rises(line, node, moment, newest)
        if state == "down":
            if node in down:
                raise TraceMistake(line, f"{node} is down since line {down[node][0]}; remove this row, or write an up row before it")
            down[node] = line, moment
            process = {"target": node, "action": "term"}
            events[line] = {"id": f"trace{number}-line{line}", "at": {"time": format_duration(moment)}, "process": process}
        elif state == "up":
            if node in down:
                began, since = down.pop(node)
                events[began]["process"] |= {"action": "kill", "restart_after": format_duration(round(moment - since, 9))}
            elif moment > 0.0:
                raise TraceMistake(line, f"{node} is up already; remove this row, or write a down row before it")
        else:
            raise TraceMistake(line, f'state "{state}" is unknown; write up or down')
    yield from events.items()


def _link_rules(rows: Sequence[Row], number: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """A rule for every row with an effect, until the next row of the same link."""
    following: dict[tuple[str, str], dict[str, Any]] = {}
    newest: dict[str, float] = {}
    for line, (time, source, to, delay, loss, rate) in rows:
        moment = _seconds(line, "time", time)
        _rises(line, f"the link {source} to {to}", moment, newest)
        at = {"time": format_duration(moment)}
        if (former := following.pop((source, to), None)) is not None:
            former["during"]["stop"] = at
        effects: dict[str, Any] = {}
        if delay and (seconds := _seconds(line, "delay", delay)):
            effects["delay"] = format_duration(seconds)
        if loss and (share := _number(line, "loss", loss, "a share from 0 to 1, for example 0.05")):
            effects["loss"] = share
        if rate:
            effects["bandwidth"] = {"rate": rate}
        if effects:
            rule = {"id": f"trace{number}-line{line}", "from": source, "to": to, "during": {"start": at}, **effects}
            following[source, to] = rule
            yield line, rule


def _rises(line: int, subject: str, moment: float, newest: dict[str, float]) -> None:
    """Times of one node or link rise."""
    if moment <= newest.get(subject, -1.0):
        raise TraceMistake(line, f"{moment:g} s is not after the row before of {subject} ({newest[subject]:g} s); sort the rows by time")
    newest[subject] = moment


def _seconds(line: int, column: str, text: str) -> float:
    """A number of seconds, or a duration with its unit."""
    try:
        return _number(line, column, text, "")
    except TraceMistake:
        pass
    try:
        return parse_duration(text)
    except ValueError as error:
        raise TraceMistake(line, f"{column}: {error}; a number alone is seconds") from None


def _number(line: int, column: str, text: str, example: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not isfinite(value) or value < 0.0:
        raise TraceMistake(line, f'{column}: "{text}" is wrong; write {example}')
    return value
