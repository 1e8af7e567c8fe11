"""The leak check of tests/conftest.py sees what a test leaves behind, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

LEAKS = """
import multiprocessing, socket, subprocess, sys, threading

kept = []

def test_nothing(): pass
def test_closed(tmp_path):
    with (tmp_path / "f").open("w"), socket.create_server(("127.0.0.1", 0)):
        pass
    child = subprocess.Popen([sys.executable, "-c", ""])
    thread = threading.Thread(target=child.wait)
    thread.start()
    thread.join()
def test_ends_soon():
    kept.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"]))
def test_multiprocessing():
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=len, args=("",))
    process.start()
    process.join()
    process.close()
def test_child():
    kept.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
def test_thread():
    thread = threading.Thread(target=threading.Event().wait, args=(60,), name="forgotten", daemon=True)
    thread.start()
def test_socket():
    kept.append(socket.create_server(("127.0.0.1", 0)))
def test_file(tmp_path):
    kept.append((tmp_path / "forgotten.txt").open("w"))
def test_end():
    kept[1].kill()
    kept[1].wait()
"""


def test_leaks_are_found_and_named(tmp_path: Path) -> None:
    conftest = (ROOT / "tests" / "conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(conftest.replace("GRACE = 5.0", "GRACE = 2.0"))
    (tmp_path / "test_leaks.py").write_text(LEAKS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rE", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = {line.split("::")[1].split(" ")[0] for line in done.stdout.splitlines() if line.startswith("ERROR ")}
    assert found == {"test_child", "test_thread", "test_socket", "test_file"}, done.stdout
    for what in ("time.sleep(60)", "threads: forgotten", "listening sockets: 127.0.0.1:", "forgotten.txt"):
        assert what in done.stdout
