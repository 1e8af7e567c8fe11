"""Functions and classes of users by module or by file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols.runtime.errors import ConfigurationError
from protocols.runtime.user_code import names_file, user_function

CODE = """
from beside_it import NUMBER


class Room:
    number = NUMBER


def opened():
    return Room()


limit = 3
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    modules, path = dict(sys.modules), list(sys.path)
    (tmp_path / "rooms_of_a_user.py").write_text(CODE)
    (tmp_path / "beside_it.py").write_text("NUMBER = 7\n")
    yield tmp_path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.path[:] = path


def test_names_of_files_and_of_modules() -> None:
    assert [names_file(path) for path in ("./a.py:B", "/x/a.py", "a.py:B", "a:B", "a.b", "gymnasium:CartPole-v1")] == [True] * 3 + [
        False
    ] * 3


def test_a_file_is_imported_once_by_each_of_its_paths(directory: Path) -> None:
    found = user_function("./rooms_of_a_user.py:Room")
    assert found.number == 7
    assert user_function(f"{directory}/rooms_of_a_user.py:Room") is found
    assert user_function("rooms_of_a_user:Room") is found
    assert isinstance(user_function("rooms_of_a_user.py:opened")(), found)


def test_files_of_the_same_name_are_different_modules(directory: Path) -> None:
    other = directory / "other"
    other.mkdir()
    (other / "rooms_of_a_user.py").write_text("class Room:\n    number = 1\n")
    (other / "json.py").write_text("def dumps():\n    return 'mine'\n")
    assert user_function("./rooms_of_a_user.py:Room").number == 7
    assert user_function("./other/rooms_of_a_user.py:Room").number == 1
    assert user_function("other/json.py:dumps")() == "mine" and user_function("json:dumps")(1) == "1"


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("./rooms_of_a_usr.py:Room", ["there is no file", 'did you mean "rooms_of_a_user.py"', "relative to the working directory"]),
        ("./nowhere/rooms.py:Room", ["there is no file", "correct the path"]),
        ("./rooms_of_a_user.py", ["add the name", "./rooms_of_a_user.py:Room, ./rooms_of_a_user.py:opened"]),
        ("./rooms_of_a_user.py:Roon", ['has no Roon; did you mean "Room"', "correct the name behind the colon"]),
        ("./rooms_of_a_user.py:xyz", ["has no xyz; it has Room, opened"]),
        ("./rooms_of_a_user.py:limit", ["is a int, not a function or class"]),
        ("./broken.py:Room", ["importing", "failed: SyntaxError", "broken.py, line 1", "correct the file"]),
        ("./raising.py:Room", ["failed: ZeroDivisionError", "raising.py:1"]),
        ("./lacking.py:Room", ["needs the package no_such_package, which is missing"]),
        ("rooms_of_a_user", ["write package.module:function or ./file.py:function"]),
        ("no_such_rooms:Room", ["there is no module no_such_rooms"]),
        ("raising:Room", ["importing raising:Room failed: ZeroDivisionError"]),
    ],
)
def test_what_cannot_be_found_is_named_with_its_cure(directory: Path, path: str, texts: list[str]) -> None:
    (directory / "broken.py").write_text("class Room(:\n")
    (directory / "raising.py").write_text("1 / 0\n")
    (directory / "lacking.py").write_text("import no_such_package\n")
    with pytest.raises(ConfigurationError) as refused:
        user_function(path)
    assert all(text in str(refused.value) for text in texts), refused.value
