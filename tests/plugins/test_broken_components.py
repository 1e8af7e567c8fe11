"""A component that breaks a rule of its contract is refused with this rule and the cure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_first_broken_rule_of_each_is_named() -> None:
    """In a process of its own, since the broken components are registered under kinds that other tests must not see."""
    code = "from tests.plugins.broken_components import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert len(results) >= 45
    wrong = {name: result for name, result in results.items() if result["expected"] not in result["text"]}
    assert not wrong and all(result["rule"] and result["cure"] for result in results.values())
