"""`orchestrate dataset` as it is called: what is recorded is described, repeats, and is refused when it is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.app import main
from protocols.runtime.errors import ExitCode
from tests.orchestrator.cli.conftest import Orchestrate

CONFIG = "environments/particles_spread"
MAKE = ("dataset", "make", CONFIG, "environment.copies=8")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    told = capsys.readouterr()
    return int(end.value.code or 0), told.out, told.err


def test_make_and_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "data")
    code, out, err = call(capsys, *MAKE, "-o", place, "--mix", "random:1/2,expert=cover@0.05:1/2", "-n", "10", "--seed", "4")
    assert code == 0 and "10 episodes, 750 transitions of all agents" in " ".join(out.split()) and "expert: 5 of 5 episodes" in err
    assert call(capsys, "dataset", "info", place) == (0, out, "")
    code, out, _ = call(capsys, "--json", "dataset", "info", place)
    found: dict[str, Any] = json.loads(out)
    assert code == 0 and found["seed"] == 4 and [one["policy"] for one in found["behaviours"]] == ["random", "cover@0.05"]
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "data").rglob("*.safetensors"))
    assert found["behaviours"][1]["returns"]["mean"] > found["behaviours"][0]["returns"]["mean"]


def test_damage_is_named_with_exit_code_6(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "data"
    assert call(capsys, *MAKE, "-o", str(place), "-n", "3")[0] == 0
    file = place / "agent-2/00000.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    code, out, err = call(capsys, "dataset", "info", str(place))
    assert code == ExitCode.RESOURCES and not out and "agent-2/00000.safetensors: size" in err
    code, _, err = call(capsys, *MAKE, "-o", str(place), "-n", "3")
    assert code == ExitCode.RESOURCES and "never overwritten" in err
    code, _, err = call(capsys, "dataset", "info", str(tmp_path))
    assert code == ExitCode.RESOURCES and "manifest.json" in err


@pytest.mark.parametrize("given", [(), ("-n", "3", "--steps", "3")])
def test_how_much_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, ...]) -> None:
    code, _, err = call(capsys, *MAKE, "-o", str(tmp_path / "data"), *given)
    assert code == ExitCode.USAGE and "--episodes or --steps" in err


def test_two_processes_write_the_same_bytes(tmp_path: Path, orchestrate: Orchestrate) -> None:
    for name in ("one", "two"):
        done = orchestrate(*MAKE, "-o", name, "--mix", "random,cover@0.3", "--steps", "600", "--seed", "9")
        assert done.returncode == 0, done.stderr
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 4 and all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


@pytest.mark.parametrize(("form", "name", "package"), [("minari", "team-v0", "minari"), ("vault", "team.vlt", "tensorstore")])
def test_export_and_import(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, name: str, package: str) -> None:
    pytest.importorskip(package, reason=f"needs the extra {form}: pip install 'murmuration-rl[{form}]'")
    place, other, again = (str(tmp_path / one) for one in ("data", name, "again"))
    assert call(capsys, *MAKE, "-o", place, "-n", "4", "--mix", "random,cover@0.1")[0] == 0
    code, out, err = call(capsys, "dataset", "export", place, "--format", form, "-o", other)
    assert code == 0 and form in out and "export: 4 of 4 episodes" in err
    code, out, _ = call(capsys, "--json", "dataset", "export", place, "--format", form, "-o", str(tmp_path / "second-v0"))
    assert code == 0 and json.loads(out) == {"path": str(tmp_path / "second-v0"), "format": form}
    code, out, _ = call(capsys, "dataset", "import", other, "-o", again)
    assert code == 0 and "4 episodes, 300 transitions of all agents" in " ".join(out.split())
    assert (tmp_path / "data/manifest.json").read_bytes() == (tmp_path / "again/manifest.json").read_bytes()
    code, _, err = call(capsys, "dataset", "import", other, "-o", again)
    assert code == ExitCode.RESOURCES and "never overwritten" in err
    code, _, err = call(capsys, "dataset", "import", other, "agents.count=4", "-o", str(tmp_path / "third"))
    assert code == ExitCode.USAGE and "--environment CONFIG" in err
    code, _, err = call(capsys, "dataset", "import", other, "agents.count=4", "-o", str(tmp_path / "third"), "--environment", CONFIG)
    assert code == ExitCode.RESOURCES and "agents.count: 3" in err


def test_runs_without_episodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "--runs-dir", str(tmp_path), "dataset", "collect", "night", "-o", str(tmp_path / "data"))
    assert code == ExitCode.USAGE and 'there is no run "night"' in err
