from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from agent_node.session import checkpoints
from protocols.runtime.errors import ResourceError


def write(directory: Path, step: int, keep: int = 2) -> Path:
    return checkpoints.write(directory, step, {"w": torch.full((5,), float(step)), "n": torch.tensor([step])}, {"updates": step}, keep)


def test_the_newest_comes_back_and_old_ones_leave(tmp_path: Path) -> None:
    assert checkpoints.read_newest(tmp_path / "none") is None
    for step in (1, 20, 300):
        write(tmp_path, step)
    found = checkpoints.read_newest(tmp_path)
    assert found is not None and found.manifest["updates"] == 300 and found.tensors["w"].tolist() == [300.0] * 5
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000000000020.json", "000000000020.safetensors", "000000000300.json", "000000000300.safetensors", "LATEST",
    ]  # fmt: skip
    assert (tmp_path / "LATEST").read_text() == "000000000300"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "manifest", "no arrays", "format"])
def test_a_damaged_one_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    write(tmp_path, 1)
    manifest = write(tmp_path, 2)
    arrays = manifest.with_suffix(".safetensors")
    content = arrays.read_bytes()
    if damage == "truncated":
        arrays.write_bytes(content[:-3])
    elif damage == "flipped":
        arrays.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-5])
    elif damage == "no arrays":
        arrays.unlink()
    else:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    found = checkpoints.read_newest(tmp_path)
    assert found is not None and found.manifest["updates"] == 1
    (tmp_path / "000000000001.safetensors").write_bytes(b"")
    with pytest.raises(ResourceError, match=r"no checkpoint in .* can be read .* remove the directory to begin anew"):
        checkpoints.read_newest(tmp_path)


def test_the_same_step_again_never_endangers_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 5)
    original = checkpoints.write_whole

    def killed(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        original(path, content)

    monkeypatch.setattr(checkpoints, "write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.write(tmp_path, 5, {"w": torch.zeros(5)}, {"updates": 5}, 2)
    found = checkpoints.read_newest(tmp_path)
    assert found is not None and found.tensors["w"].tolist() == [5.0] * 5


def test_new_ones_outlive_a_damaged_one_of_a_later_step(tmp_path: Path) -> None:
    write(tmp_path, 9).with_suffix(".safetensors").write_bytes(b"")
    write(tmp_path, 7, keep=1)
    found = checkpoints.read_newest(tmp_path)
    assert found is not None and found.manifest["step"] == 7


def test_what_has_diverged_is_not_kept(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with pytest.raises(FloatingPointError, match="learner/w"):
        checkpoints.write(tmp_path, 2, {"learner/w": torch.tensor([1.0, float("nan")])}, {"updates": 2}, 2)
    found = checkpoints.read_newest(tmp_path)
    assert found is not None and found.manifest["updates"] == 1


WRITER = """
import sys, torch
from pathlib import Path
from agent_node.session import checkpoints
step = 0
while True:
    step += 1
    checkpoints.write(Path(sys.argv[1]), step, {"w": torch.full((20000,), float(step))}, {"updates": step}, 2)
    print(step, flush=True)
"""


def test_killed_while_writing_leaves_a_whole_one(tmp_path: Path) -> None:
    for round_ in range(4):
        directory = tmp_path / str(round_)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        last = 0
        for _ in range(2 + 3 * round_):
            last = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()  # `communicate` would drop lines that came together with those above
        writer.stdout.close()
        writer.wait(20)
        last = int(rest[-1]) if rest else last
        found = checkpoints.read_newest(directory)
        assert found is not None and found.manifest["updates"] in (last, last + 1)
        assert (found.tensors["w"] == found.manifest["updates"]).all()
        assert not list(directory.glob(".*.tmp"))
