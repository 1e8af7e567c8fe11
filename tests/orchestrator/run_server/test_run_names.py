"""Names of runs and the directories that take them."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.run_server.run_start import ADJECTIVES, ANIMALS, check_name, create_run_directory, next_number
from protocols.runtime.errors import ConfigurationError


def test_a_drawn_name(tmp_path: Path) -> None:
    runs = tmp_path / "deep" / "runs"
    first = create_run_directory(runs, "ring")
    assert first.parent == runs
    assert first.is_dir()
    match = re.fullmatch(r"ring-([a-z]+)-([a-z]+)-0001", first.name)
    assert match is not None
    assert match[1] in ADJECTIVES
    assert match[2] in ANIMALS
    assert create_run_directory(runs, "star").name.endswith("-0002")
    (runs / "mine-0041").mkdir()
    (runs / "2024-01").mkdir()
    assert next_number(runs) == 42


def test_words_are_plain() -> None:
    for words in (ADJECTIVES, ANIMALS):
        assert len(words) == len(set(words)) >= 80
        assert all(re.fullmatch(r"[a-z]{3,9}", word) for word in words)


def test_one_of_twenty_gets_the_name(tmp_path: Path) -> None:
    def attempt(_: int) -> str:
        try:
            return str(create_run_directory(tmp_path / "runs", "ring", "night"))
        except ConfigurationError as error:
            return f"refused: {error}"

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(attempt, range(20)))
    refused = [result for result in results if result.startswith("refused")]
    assert len(refused) == 19
    assert all("run night exists already" in text and "choose another name or remove the directory" in text for text in refused)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["night"]


def test_drawn_names_never_collide(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: create_run_directory(tmp_path, "ring"), range(40)))
    assert len(set(paths)) == 40


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", ".hidden", "a b", "x" * 81, "a\n"])
def test_names_that_are_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no name for a run"):
        create_run_directory(tmp_path, "ring", name)
    with pytest.raises(ConfigurationError, match="is no name for a run"):
        check_name(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_capital_letters_have_the_name_in_small_ones_as_their_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"; write wrongstepsig$"):
        check_name(tmp_path, "WrongStepSig")


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConfigurationError, match="is a file, and runs need a directory"):
        create_run_directory(tmp_path / "runs", "ring")
