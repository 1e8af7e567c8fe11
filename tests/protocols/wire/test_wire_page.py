"""`docs/reference/messages.md` matches the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from protocols.runtime.errors import CODES
from tests.protocols.wire.bodies import TYPES

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_is_current() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "messages_page.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_has_every_message_and_every_code_that_the_code_raises() -> None:
    page = (ROOT / "docs" / "reference" / "messages.md").read_text()
    assert all(f"### {kind.__name__}\n" in page for kind in TYPES)
    raised = {
        code
        for folder in ("protocols", "agent_node", "env_server", "orchestrator")
        for path in (ROOT / folder).rglob("*.py")
        for code in re.findall(r'"(E_[A-Z_]+)"', path.read_text())
    }
    assert raised <= CODES.keys(), "protocols/runtime/errors.py describes each code"
    assert all(f"| `{code}` |" in page for code in CODES)
