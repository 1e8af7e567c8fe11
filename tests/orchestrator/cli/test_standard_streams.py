"""Commands whose standard streams are closed, or lead to a full device."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.runtime.errors import ExitCode
from tests.orchestrator.cli.conftest import REPOSITORY, environment

CARTPOLE = REPOSITORY / "configs" / "standard" / "cartpole.yaml"


def validated(redirection: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    command = f"{shlex.join([sys.executable, '-m', 'orchestrator', 'validate', str(CARTPOLE)])} {redirection}"
    return subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_change_nothing(redirection: str, tmp_path: Path) -> None:
    done = validated(redirection, tmp_path)
    assert done.returncode == ExitCode.OK and "Traceback" not in done.stderr
    assert (f"{CARTPOLE} is right" in done.stdout) == (">&-" not in redirection.split())


def test_a_full_device_is_named(tmp_path: Path) -> None:
    done = validated("> /dev/full", tmp_path)
    assert done.returncode == ExitCode.RESOURCES and "Traceback" not in done.stderr
    assert "cannot write standard output or a file: No space left on device; make room" in done.stderr
