"""Every mistake in one go, each with its line, column, path and suggestion."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.checks.machine_resources import MachineResources
from orchestrator.config.loader import load
from orchestrator.config.parsing.problems import Problems
from protocols.runtime.errors import ExitCode, SchemaError
from tests.orchestrator.config.broken import CASES, Broken

LARGE = MachineResources(cores=1e6, memory=2**60)


def marked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without marks, and line and column (from 1) of each."""
    places, lines = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        while "«" in line:
            places.append((number, line.index("«") + 1))
            line = line.replace("«", "", 1)
        lines.append(line)
    return "\n".join(lines), places


def test_thirty() -> None:
    assert len(CASES) >= 30
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_all_mistakes_at_once(case: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, places = marked(case.text)
    Path("broken.yaml").write_text(text, encoding="utf-8")
    for name, content in case.files.items():
        Path(name).write_text(content, encoding="utf-8")
    with pytest.raises(Problems) as caught:
        load(Path("broken.yaml"), case.overrides, machine=LARGE)
    problems = {(problem.place, problem.path): problem for problem in caught.value.problems}
    marks = iter(places)
    for mistake in case.expected:
        if mistake.argument:
            place = f"argument {mistake.argument}"
        elif mistake.file:
            place = mistake.file
        else:
            line, column = next(marks)
            place = f"broken.yaml:{line}:{column}"
        assert (place, mistake.path) in problems, f"{place} {mistake.path} is not in:\n{caught.value}"
        problem = problems.pop((place, mistake.path))
        assert mistake.says in problem.text
        assert problem.suggestion == mistake.suggestion
    assert not problems, f"not expected:\n{caught.value}"
    assert caught.value.exit_code == ExitCode.CONFIG == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["broken.yaml", *case.files])


def test_the_text_is_as_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text("version: 2\nuntil: {episodes: 3}\nenvironment: {id: landmarks}\n")
    with pytest.raises(Problems) as caught:
        load(Path("x.yaml"), ["agents.cuont=8", "network.topology.kind=rign"], machine=LARGE)
    assert str(caught.value) == (
        "x.yaml + 2 arguments: 2 errors, nothing was started\n"
        '  argument 1  agents.cuont: unknown key; did you mean "count"?\n'
        '  argument 2  network.topology.kind: "rign" is not one of complete, edges, erdos_renyi, exponential, grid, matchings, '
        'one_peer_exponential, path, random_regular, ring, small_world, star, torus, tree; did you mean "ring"?'
    )


def test_a_newer_version_ends_with_its_own_code(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("version: 3\nwhatever: 3\n")
    with pytest.raises(SchemaError, match=r"x\.yaml:1:10  version: 3 is newer"):
        load(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("- 1\n- 2\n", "is not a map of keys"),
        ("a: " + "[" * 100_000, "nested deeper than 32 levels"),
        ("a: " + "x" * 2**20, "larger than 1 MiB"),
        (
            "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)),
            "after aliases are expanded",
        ),
        ("a: &a 1\n" + "b: [" + "*a, " * 200 + "]\n", "at most 100 are read"),
        ("a: &a [*a]\n", "does not stand before it"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("%YAML 1.1\n---\na: no\n", "YAML 1.2"),
        ("1: 2\n", "is not a text"),
        ("? [1]\n: 2\n", "keys are texts"),
        ('a: "\\ud800"\n', "surrogate"),
        ("a: \x00\n", "is not YAML"),
    ],
    ids=lambda value: value if len(value) < 40 and "\n" not in value else "text",
)
def test_hostile_files(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(Problems, match=says):
        load(file, machine=LARGE)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(Problems, match="there is no such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(Problems, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"version: 2\nname: \xff\n")
    with pytest.raises(Problems, match=r"x\.yaml:2:7  is not UTF-8"):
        load(tmp_path / "x.yaml")
