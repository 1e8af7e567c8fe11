"""What one side writes, the other has too: over a network that loses and repeats, and across the death of either side."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from protocols.conversations.conversation import Send
from protocols.conversations.file_copy import FileCopy
from protocols.conversations.file_mirror import MOST_RESTARTS, PIECE, FileGone, FileMirror, FilePiece
from protocols.wire.messages import is_file_path


def everything(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class Machines:
    """A host that writes and a run server with the copy; messages are lost and doubled with the probability `loss`."""

    def __init__(self, directory: Path, loss: float = 0.0, seed: int = 0) -> None:
        self.here, self.there = directory / "here", directory / "there"
        self.here.mkdir()
        self.there.mkdir()
        self.random, self.loss, self.now, self.lives = np.random.default_rng(seed), loss, 0.0, 0
        self.sent: list[Send] = []
        self.copy = FileCopy(self.there, lambda src, path: src == "host-1")
        self.mirror = self.begin()

    def begin(self) -> FileMirror:
        self.lives += 1
        self.mirror = FileMirror("run", self.here, self.random, self.lives * 10**6, window=3)
        return self.mirror

    def _carry(self, sends: list[Send]) -> Iterator[Send]:
        for send in sends:
            for _ in range(2 if self.random.random() < self.loss else 1):
                if self.random.random() >= self.loss:
                    yield send

    def turn(self) -> None:
        self.now += 0.05
        self.mirror.tick(self.now)
        out = self.mirror.outgoing()
        self.sent += out
        for send in self._carry(out):
            self.copy.receive("host-1", send.message, send.arrays, self.now)
        for send in self._carry(self.copy.outgoing()):
            self.mirror.receive("run", send.message, send.arrays, self.now)

    def settle(self, turns: int = 4000) -> None:
        self.mirror.look()
        for _ in range(turns):
            self.turn()
            if self.mirror.settled():
                break
        assert self.mirror.settled(), self.mirror.counters
        assert everything(self.there) == everything(self.here)
        assert not self.mirror.counters["bad.E_DECODE"] and not self.copy.counters["bad.E_FRAME"]

    def write(self, path: str, content: bytes, append: bool = False) -> None:
        file = self.here / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab" if append else "wb") as opened:
            opened.write(content)

    def bytes_sent(self) -> int:
        sent, self.sent = self.sent, []
        return sum(len(send.arrays["data"]) for send in sent if isinstance(send.message, FilePiece))


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_the_copy_becomes_equal(tmp_path: Path, loss: float) -> None:
    machines = Machines(tmp_path, loss)
    machines.write("nodes/agent-0/checkpoints/100.safetensors", os.urandom(3 * PIECE + 17))
    machines.write("nodes/agent-0/checkpoints/LATEST", b"100")
    machines.write("nodes/agent-0/metrics.jsonl", b"{}\n" * 100)
    machines.write("nodes/agent-0/empty.log", b"")
    machines.write("nodes/agent-0/empty.json", b"")
    machines.settle()
    machines.write("nodes/agent-0/metrics.jsonl", b'{"more": 1}\n' * 50_000, append=True)
    machines.write("nodes/agent-0/checkpoints/LATEST", b"200")
    (machines.here / "nodes/agent-0/empty.json").unlink()
    machines.settle()


def test_only_what_is_new_of_a_file_that_grows_is_sent(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    machines.write("a.jsonl", b"x" * 10_000)
    machines.settle()
    assert machines.bytes_sent() == 10_000
    machines.write("a.jsonl", b"y" * 10, append=True)
    machines.settle()
    assert machines.bytes_sent() == 10
    machines.begin()  # a new incarnation of the sender has no state, and asks
    machines.settle()
    assert machines.bytes_sent() == 0
    machines.write("a.jsonl", b"z" * 3, append=True)
    machines.settle()
    assert machines.bytes_sent() == 3


def test_what_the_copy_has_already_is_not_sent(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    for root in (machines.here, machines.there):
        root.joinpath("100.safetensors").write_bytes(b"t" * 200_000)
    machines.write("LATEST", b"100")
    machines.settle()
    assert machines.bytes_sent() == 3


def test_a_file_that_was_cut_and_has_grown_otherwise_is_sent_again_when_it_is_doubted(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    machines.write("nodes/a/m.jsonl", b"0123456789")
    machines.settle()
    machines.write("nodes/a/m.jsonl", b"01234-other")
    machines.mirror.recheck("nodes/a/")
    machines.settle()
    machines.write("nodes/a/m.jsonl", b"012")  # shorter: seen without a notification
    machines.settle()


def test_what_is_whole_replaces_at_once_and_in_order(tmp_path: Path) -> None:
    """The file that names a checkpoint is never there before the checkpoint, nor half."""
    machines = Machines(tmp_path, loss=0.2)
    for step in (100, 200, 300):
        machines.write(f"c/{step}.safetensors", os.urandom(5 * PIECE))
        machines.write("c/LATEST", str(step).encode())
        old = machines.here / f"c/{step - 100}.safetensors"
        old.unlink(missing_ok=True)
        os.utime(machines.here / f"c/{step}.safetensors", ns=(step * 10**9, step * 10**9))
        os.utime(machines.here / "c/LATEST", ns=(step * 10**9 + 1, step * 10**9 + 1))
        machines.mirror.look()
        for _ in range(2000):
            machines.turn()
            latest = machines.there / "c/LATEST"
            if latest.exists():
                named = machines.there / f"c/{latest.read_text()}.safetensors"
                assert named.stat().st_size == 5 * PIECE
            if machines.mirror.settled():
                break
        machines.settle()


def test_a_receiver_that_begins_anew_is_sent_what_it_lacks(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    machines.write("big.safetensors", os.urandom(40 * PIECE))
    machines.write("m.jsonl", b"a" * 100_000)
    for _ in range(4):
        machines.turn()
    assert not machines.mirror.settled()
    machines.copy.close()
    machines.copy = FileCopy(machines.there, lambda src, path: True)
    machines.settle()
    assert machines.mirror.counters["restarted"] >= 1
    (machines.there / "m.jsonl").unlink()  # lost on the other side, without a notification
    machines.mirror.recheck()
    machines.settle()


def test_a_sender_that_dies_in_the_middle_does_no_harm(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    machines.write("big.safetensors", b"old")
    machines.settle()
    machines.write("big.safetensors", os.urandom(40 * PIECE))
    machines.mirror.look()
    for _ in range(4):
        machines.turn()
    assert (machines.there / "big.safetensors").read_bytes() == b"old"
    machines.begin()
    machines.settle()


def test_damage_on_the_way_is_found_and_the_file_sent_again(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    machines.write("a.bin", os.urandom(2 * PIECE))
    machines.turn()
    first, second = machines.mirror.outgoing()
    machines.copy.receive("host-1", first.message, {"data": np.zeros(PIECE, np.uint8)}, 0.0)
    machines.copy.receive("host-1", second.message, second.arrays, 0.0)
    assert not (machines.there / "a.bin").exists() and machines.copy.counters["damaged"] == 1
    for send in machines.copy.outgoing():
        machines.mirror.receive("run", send.message, send.arrays, 0.0)
    machines.settle()


def test_a_file_that_never_arrives_rests_until_it_changes(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    machines.write("a.bin", b"something")
    for _ in range(400):
        machines.now += 0.05
        machines.mirror.tick(machines.now)
        for send in machines.mirror.outgoing():
            machines.copy.receive("host-1", send.message, {"data": np.zeros(9, np.uint8)}, machines.now)
        for send in machines.copy.outgoing():
            machines.mirror.receive("run", send.message, send.arrays, machines.now)
    assert machines.mirror.counters["restarted"] == MOST_RESTARTS and machines.mirror.settled()
    machines.write("a.bin", b"something else")
    machines.settle()


def test_nobody_writes_what_is_not_his(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    outside = FilePiece(path="a.bin", transfer=1, start=0, offset=0, last=True)
    machines.copy.receive("host-2", outside, {"data": np.zeros(3, np.uint8)}, 0.0)
    machines.copy.receive("host-2", FileGone(path="a.bin", transfer=1), {}, 0.0)
    assert machines.copy.counters["bad.E_UNKNOWN_NODE"] == 2 and not everything(machines.there)
    assert not machines.copy.outgoing()


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", ".hidden", "a/.b", "", "a//b", "a b", "a/", "x" * 300, "a\n"])
def test_no_message_names_a_place_outside(path: str) -> None:
    assert not is_file_path(path)


def test_a_full_disk_loses_nothing_that_was_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from protocols.faults.node_faults.disk import disk

    machines = Machines(tmp_path)
    machines.write("a.bin", b"old")
    machines.settle()
    monkeypatch.setattr(disk, "full", True)
    machines.here.joinpath("a.bin").write_bytes(b"new and longer")
    machines.mirror.look()
    for _ in range(200):
        machines.turn()
    assert (machines.there / "a.bin").read_bytes() == b"old" and machines.copy.counters["disk.28"]
    monkeypatch.setattr(disk, "full", False)
    machines.settle()
