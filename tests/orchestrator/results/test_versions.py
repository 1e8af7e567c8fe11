"""The version of the code: every change of code is another version, and nothing else is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orchestrator.results import software_versions as versions


def git(root: Path, *arguments: str) -> None:
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(root), *own, *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one file of code, committed."""
    for folder in ("orchestrator", "protocols"):
        (tmp_path / folder).mkdir()
    (tmp_path / "orchestrator" / "a.py").write_text("1\n")
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "a")
    monkeypatch.setattr(versions, "_ROOT", tmp_path)
    return tmp_path


def test_every_change_of_code_is_another_version(checkout: Path) -> None:
    seen = [versions.code_version()]
    assert "dirty" not in seen[0]
    for name, text in (("a.py", "2\n"), ("new.py", "1\n"), ("new.py", "2\n"), ("new.yaml", "a: 1\n"), ("other.py", "2\n")):
        (checkout / "orchestrator" / name).write_text(text)
        seen.append(versions.code_version())
        assert seen[-1] == versions.code_version() and "+dirty." in seen[-1]
    assert len(set(seen)) == len(seen)


def test_what_is_no_code_is_no_change(checkout: Path) -> None:
    clean = versions.code_version()
    for name in ("experiments/x/copy.py", "runs/y/config.yaml", "orchestrator/ignored.py", "orchestrator/notes.txt"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("1\n")
    assert versions.code_version() == clean


@pytest.mark.parametrize("failing", ["rev-parse", "diff", "ls-files"])
def test_a_failing_git_is_never_clean(checkout: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    clean, real = versions.code_version(), versions._git
    monkeypatch.setattr(versions, "_git", lambda *arguments: None if arguments[0] == failing else real(*arguments))
    unknown = versions.code_version()
    assert unknown == versions.code_version() != clean and "unknown" in unknown
    (checkout / "orchestrator" / "a.py").write_text("2\n")
    assert versions.code_version() not in (unknown, clean)
