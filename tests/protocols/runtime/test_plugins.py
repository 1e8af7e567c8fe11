"""Plugins: what importing a module adds to the registries, and how a module that breaks a rule is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from protocols.runtime.component_registry import kinds, load_plugins, register, rooms
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.settings_types import Settings
from protocols.topology.settings import TopologySettings
from protocols.wire.message_registry import register_conversation, route, schema_hash
from protocols.wire.messages import Count, Message

REPOSITORY = Path(__file__).resolve().parents[3]
GOOD = """
from typing import Literal
from protocols.topology.settings import TopologySettings
from protocols.runtime.component_registry import register
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Message

class Pulse(Message):
    beat: Count

class LineSettings(TopologySettings):
    kind: Literal["line"] = "line"
    step: int = 1

register("topology", "line", LineSettings, "my_plugin:line")
register("static topology", "line", LineSettings, "my_plugin:line")
register_conversation("pulse", route("peer", "agent", "agent", Pulse), newest_only=(Pulse,))
"""
USE = """
from typing import get_args

import numpy as np
from orchestrator.config.configuration import Configuration, NetworkSettings
from protocols.faults.fault_checks import message_kinds
from protocols.runtime.component_registry import load_plugins
from protocols.wire.codec import decode, encode
from protocols.wire.message_registry import accepted, newest_only, schema_hash

before = schema_hash(), schema_hash("host")
decode(encode(__import__("protocols.conversations.stepping.stepping_messages", fromlist=["Join"]).Join()))
load_plugins(["my_plugin"])
load_plugins(["my_plugin"])
from my_plugin import LineSettings, Pulse

assert schema_hash() != before[0] and schema_hash("host") == before[1]
message, arrays = decode([bytes(part) for part in encode(Pulse(beat=3), {"x": np.ones(3)})])
assert message == Pulse(beat=3, frames=message.frames) and type(message) is Pulse and arrays["x"].sum() == 3
assert accepted("agent", "peer")[Pulse] == {"agent"} and Pulse not in accepted("env", "env")
assert Pulse in newest_only() and "pulse" in message_kinds()
assert NetworkSettings.model_validate({"topology": {"kind": "line", "step": 2}}).topology == LineSettings(step=2)
version = get_args(Configuration.model_fields["version"].annotation)[0]
whole = {"version": version, "until": {"episodes": 1}, "environment": {"id": "landmarks"}}
given = {**whole, "network": {"topology": {"kind": "matchings", "base": {"kind": "line"}}}}
assert Configuration.model_validate(given).network.topology.base == LineSettings()
assert '"line"' in __import__("json").dumps(Configuration.model_json_schema())
print("all right")
"""


def test_a_plugin_adds_components_and_messages_to_everything_derived(tmp_path: Path) -> None:
    (tmp_path / "my_plugin.py").write_text(GOOD)
    done = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "all right\n", done.stderr


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import nowhere_to_be_found", "plugin broken_0: ModuleNotFoundError: No module named 'nowhere_to_be_found'.*install this package"),
        ("x = 1 / 0", "plugin broken_1: importing it failed: ZeroDivisionError: division by zero .*broken_1.py:1"),
        ("def f(:", "plugin broken_2: importing it failed: SyntaxError"),
        ("raise SystemError('no')", "plugin broken_3: importing it failed: SystemError: no"),
        (
            "from protocols.runtime.component_registry import register\n"
            "from protocols.runtime.settings_types import Settings\n"
            "register('topology', 'mine', Settings, 'm:a')",
            'plugin broken_4: topology .mine. .m:a.: Settings has no field kind; add kind: Literal."mine". = "mine"',
        ),
    ],
)
def test_a_plugin_that_can_not_be_imported_is_refused_with_its_name_and_the_cure(
    tmp_path: Path, source: str, text: str, request: pytest.FixtureRequest
) -> None:
    name = text.split()[1].rstrip(":")
    (tmp_path / f"{name}.py").write_text(source)
    with pytest.raises(ConfigurationError, match=text):
        load_plugins([name], tmp_path)


def test_a_missing_plugin_is_refused_with_the_places_that_were_searched(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"plugin a.b: there is no module a.b on the import path or in {tmp_path}"):
        load_plugins(["a.b"], tmp_path)


class Mine(TopologySettings):
    kind: Literal["mine"] = "mine"


def test_what_can_not_be_registered() -> None:
    for settings, place, text in [
        (Mine, "module", "not written as module:attribute"),
        (Mine, "a:b:c", "not written as module:attribute"),
        (int, "a:b", "not a settings class"),
        (Settings, "a:b", "has no field kind"),
    ]:
        with pytest.raises(ConfigurationError, match=text):
            register("topology", "mine", settings, place)
    with pytest.raises(ConfigurationError, match="has no field kind; add kind"):
        register("topology", "other", Mine, "a:b")
    assert "mine" not in kinds("topology") and "ring" in rooms()["topology"]


class Unbounded(Message):
    count: int


class Heartbeat(Message):
    beat: Count


class Fine(Message):
    beat: Count


def test_conversations_that_break_a_rule_are_refused() -> None:
    before = schema_hash()
    for kind, channel, text in [
        (Unbounded, "peer", r"Unbounded: the field count has no bounds; annotate it"),
        (Heartbeat, "peer", r"has the same tag as protocols.*Heartbeat; rename the class"),
        (Fine, "ctl", r"route on the channel ctl, which is reserved; use peer, env or tele"),
        (int, "peer", r"int is not a subclass of protocols.wire.messages.Message"),
    ]:
        with pytest.raises(ConfigurationError, match=text):
            register_conversation("mine", route(channel, "agent", "agent", kind))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="unknown role 'agents'"):
        route("peer", "agents", "agent", Fine)
    with pytest.raises(ConfigurationError, match="'plans' is registered already"):
        register_conversation("plans", route("peer", "agent", "agent", Fine))
    assert schema_hash() == before
