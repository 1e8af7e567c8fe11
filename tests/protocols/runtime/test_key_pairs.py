"""Key pairs and the files they lie in."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from protocols.runtime.errors import AuthenticationError, ExitCode
from protocols.runtime.key_pairs import KeyPair, check_private, read_pair, remove_keys, write_pair


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / ".keys" / "client.json"
    write_pair(path, KeyPair.make())
    return path


def test_a_pair_is_written_and_read(file: Path) -> None:
    pair = KeyPair.make()
    write_pair(file, pair)
    assert read_pair(file) == pair
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    remove_keys(file.parent)
    assert not file.parent.exists()
    remove_keys(file.parent)


def test_the_secret_is_in_no_representation_and_survives_the_way_to_a_child() -> None:
    pair = KeyPair.make()
    assert pair.secret not in repr(pair)
    assert pair.secret not in str(pair)
    assert pair.secret not in f"{pair}"
    assert pickle.loads(pickle.dumps(pair)) == pair
    assert KeyPair.make() != pair


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_open_is_refused(file: Path, mode: int) -> None:
    secret = read_pair(file).secret
    file.chmod(mode)
    with pytest.raises(AuthenticationError, match=f"chmod 600 {file}") as caught:
        read_pair(file)
    assert caught.value.exit_code == ExitCode.AUTHENTICATION == 4
    assert secret not in str(caught.value)


def test_a_directory_that_others_may_open_is_refused(file: Path) -> None:
    file.parent.chmod(0o755)
    with pytest.raises(AuthenticationError, match=f"chmod 700 {file.parent}"):
        read_pair(file)
    with pytest.raises(AuthenticationError, match=f"chmod 700 {file.parent}"):
        write_pair(file, KeyPair.make())


def test_a_missing_file_is_named(file: Path) -> None:
    file.unlink()
    with pytest.raises(AuthenticationError, match=str(file)):
        read_pair(file)


def test_a_link_is_not_followed(file: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    with pytest.raises(AuthenticationError, match="no plain file"):
        read_pair(file)
    before = elsewhere.read_text()
    write_pair(file, KeyPair.make())
    assert elsewhere.read_text() == before
    assert not file.is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(file: Path) -> None:
    os.chown(file, 12345, -1)
    with pytest.raises(AuthenticationError, match="belongs to another user"):
        check_private(file)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"public": "x", "secret": "y"}', "secret-looking-text"])
def test_a_damaged_file_says_nothing_of_its_content(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(AuthenticationError, match="no key pair") as caught:
        read_pair(file)
    assert "looking" not in str(caught.value)
