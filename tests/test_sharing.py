"""Tests that look at one run are on one worker, whatever versions of pytest and pytest-xdist do with marks."""

from __future__ import annotations

import pytest

from tests import sharing


def test_files_with_runs_stay_together_and_small_tests_are_anybodys() -> None:
    main = "tests/runs/test_main_configuration.py"
    assert sharing.group(f"{main}::test_bad[a::b]") == sharing.group(f"{main}::test_good") == main
    assert len({sharing.group(f"{file}::test_x") for file in sharing.JUDGED}) == 1
    assert sharing.group("tests/test_imports.py::test_arrows[a]") == "tests/test_imports.py::test_arrows[a]"
    assert sharing.group("no/such/file.py::test_x") == "no/such/file.py::test_x"


@pytest.mark.parametrize("file", sorted(sharing.JUDGED))
def test_what_is_judged_by_seconds_exists_and_starts_runs(file: str) -> None:
    assert sharing._starts_runs(file)


class Item:
    """Of an item only the name counts."""

    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid


def test_runs_come_first_and_small_tests_level_out_the_end() -> None:
    small = [Item(f"tests/test_imports.py::test_{i}") for i in range(4)]
    run = [Item("tests/runs/test_resume.py::test_x"), Item("tests/runs/test_odmar.py::test_x")]
    judged = [Item("tests/faults/test_ring.py::test_x")]
    found = sharing.ordered([small[0], run[0], *small[1:], *judged, run[1]])  # type: ignore[list-item]
    assert found == [*judged, *small[:2], *run, *small[2:]]
