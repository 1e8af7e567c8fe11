"""Reports read by others' eyes: numbers of the Markdown, links and drawings of the page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal, getcontext
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
_UNITS = {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "%": 0.01, "min": 60.0}
_HALVES = (ROUND_HALF_UP, ROUND_HALF_DOWN)


def numbers_in(text: str) -> Iterator[tuple[str, str]]:
    """Numbers of a text as they are written, each with the word behind it. Listings (commands, logs, configurations) are quotations."""
    prose = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"\]\([^)]*\)", "]", prose)
    prose = re.sub(r"(\d+) min (\d\d) s", lambda time: f"{60 * int(time[1]) + int(time[2])} s", prose)
    prose = re.sub(r"([\d,]+) h (\d\d) min", lambda time: f"{60 * int(time[1].replace(',', '')) + int(time[2])} min", prose)
    for match in _NUMBER.finditer(prose):
        yield match[0].rstrip(","), (re.match(r" ?([A-Za-z%]*)", prose[match.end() :]) or [""])[0].strip()


def _values(data: Any) -> Iterator[float]:
    if isinstance(data, bool) or data is None:
        return
    if isinstance(data, (int, float)):
        yield float(data)
    elif isinstance(data, str):
        for word, _ in numbers_in(data):
            yield float(word.replace(",", ""))
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _values(key)
            yield from _values(value)
    else:
        for value in data:
            yield from _values(value)


def _strings(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from (str(key), *_strings(value))
    elif isinstance(data, list):
        for value in data:
            yield from _strings(value)


def unfounded(text: str, data: Any) -> list[str]:
    """Numbers of a text that are no rounding of any number of the data, and stand in none of its names."""
    values, names = sorted(set(_values(data))), "\n".join(_strings(data))
    rounded: dict[tuple[int, float], set[Decimal]] = {}
    wrong: list[str] = []
    getcontext().prec = 400  # of exact values of floats
    for word, unit in numbers_in(text):
        number = Decimal(word.replace(",", ""))
        scale = _UNITS.get(unit, 1.0)
        key = (int(number.as_tuple().exponent), scale)
        if key not in rounded:
            step = Decimal(1).scaleb(key[0])
            rounded[key] = {Decimal(value / scale).quantize(step, how) for value in values if abs(value) < 1e15 for how in _HALVES}
        # Within a name or version: 0ms, 3.11.7, 2026-11-21T05:00.
        quoted = re.search(rf"(?<![\d.]){re.escape(word)}(?!\d)", names)
        if number not in rounded[key] and not quoted and word not in wrong:
            wrong.append(word)
    return wrong


class Page(HTMLParser):
    """What a page refers to, and whether its tags are closed."""

    _VOID = frozenset({"meta", "link", "br", "hr", "img", "input"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.problems: list[str] = []
        self.foreign: list[str] = []
        self.scripts: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.policy = ""
        self.drawings = self.described = 0
        self.styles = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in self._VOID:
            self.open.append(tag)
        self._look(tag, given)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, {name: value or "" for name, value in attrs})

    def _look(self, tag: str, given: dict[str, str]) -> None:
        if tag == "script":
            self.scripts.append(given.get("type", "text/javascript"))
        if tag in ("link", "img", "iframe", "object", "embed"):
            self.foreign.append(tag)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            if name in given:
                (self.references if given[name].startswith("#") else self.foreign).append(given[name].removeprefix("#"))
        for value in given.values():
            self.references += re.findall(r"url\(#([^)]+)\)", value)
            self.foreign += re.findall(r"url\((?!#)[^)]*\)", value)
        self.references += given.get("aria-labelledby", "").split()
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "svg":
            self.drawings += 1
            self.described += given.get("role") == "img" and bool(given.get("aria-labelledby"))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self.open[-1:] or 'nothing'}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles += data
            self.foreign += re.findall(r"@import|url\(", data)

    def unresolved(self) -> list[str]:
        """References to nothing in the page."""
        return sorted(set(self.references) - set(self.ids))


def page_of(path: Path) -> Page:
    """A page, read."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    page.problems += [f"<{tag}> is never closed" for tag in page.open]
    return page


def data_of(path: Path) -> Any:
    """The data in a page."""
    match = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)
    assert match is not None
    return json.loads(match[1])
