"""Rules of the page's own files that need no browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import orchestrator.page

STATIC = Path(orchestrator.page.__file__).parent / "static"
OWN = sorted(path for path in STATIC.rglob("*") if path.is_file() and path.parent.name != "vendor")
SCRIPTS = [path for path in OWN if path.suffix == ".js"]
FORBIDDEN = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|[\"'\s]style[\"']?[:=]\s*[\"'`{]")
"""what would make markup of names, or styles that the content security policy refuses"""
SVG = "http://www.w3.org/2000/svg"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_make_no_markup_from_text(path: Path) -> None:
    assert not FORBIDDEN.findall(path.read_text())


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_nothing_comes_from_another_host(path: Path) -> None:
    assert not re.findall(r"https?://[^\s\"'<)]+|[\"'(]//", path.read_text().replace(SVG, ""))


def test_what_is_imported_is_there() -> None:
    for path in SCRIPTS:
        for name in re.findall(r'from "([^"]+)"', path.read_text()):
            assert (path.parent / name).resolve().is_file(), f"{path.name} imports {name}"
    for name in re.findall(r'(?:href|src)="/static/([^"]+)"', (STATIC / "index.html").read_text()):
        assert (STATIC / name).is_file(), name
    assert (STATIC / "vendor" / "uPlot.LICENSE.txt").is_file()


def test_the_page_has_no_inline_script_or_style() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
