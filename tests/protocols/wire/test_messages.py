"""Every message type: round trip, an independent decoder, unique tags, and a schema that does not change unnoticed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.runtime.errors import BadMessage
from protocols.wire.codec import decode, encode
from protocols.wire.message_registry import first_unbounded, schema_hash
from protocols.wire.messages import Message
from tests.protocols.wire.bodies import FRAMES, TYPES, messages

FROZEN = Path(__file__).with_name("schema_hash.txt")


def round_trip(message: Message, frames: dict[str, np.ndarray]) -> None:
    parts = [bytes(part) for part in encode(message, frames)]
    decoded, arrays = decode(parts)
    assert decoded == message and type(decoded) is type(message)
    assert list(arrays) == list(frames)
    for name, array in frames.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        assert np.array_equal(arrays[name], array) and not arrays[name].flags.writeable
    header = msgpack.unpackb(parts[0], strict_map_key=True)
    assert header == msgspec.to_builtins(message), "a decoder without types reads the same header"
    assert header["t"] == type(message).__name__.lower()


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.__name__)
@given(data=st.data())
@settings(max_examples=25)
def test_round_trip(cls: type[Message], data: st.DataObject) -> None:
    round_trip(data.draw(messages(cls)), data.draw(FRAMES))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.__name__)
@given(data=st.data())
@settings(max_examples=10_000, deadline=None)
def test_round_trip_of_ten_thousand(cls: type[Message], data: st.DataObject) -> None:
    round_trip(data.draw(messages(cls)), data.draw(FRAMES))


def test_every_message_class_is_registered() -> None:
    defined = {kind for kind in Message.__subclasses__() if kind.__module__.startswith("protocols.")}
    assert defined == set(TYPES)


def test_every_text_list_and_number_is_bounded() -> None:
    assert [cls for cls in TYPES if first_unbounded(cls) is not None] == []


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class Loose(msgspec.Struct):
    flag: bool


Bounded = Annotated[int, msgspec.Meta(ge=0, le=9)]


@pytest.mark.parametrize(
    ("field", "place"),
    [
        (str, "it"),
        (int, "it"),
        (Annotated[int, msgspec.Meta(ge=0)], "it"),
        (float, "it"),
        (list[Bounded], "it"),
        (Annotated[list[str], msgspec.Meta(max_length=3)], "it[]"),
        (Annotated[list[Inner], msgspec.Meta(max_length=3)], "it[].text"),
        (Inner | None, "it.text"),
        (Loose, "it"),
        (dict[str, bool], "it"),
        (Any, "it"),
        (bytes, "it"),
        (Annotated[list[Bounded], msgspec.Meta(max_length=3)], None),
        (Bounded | None, None),
    ],
)
def test_a_field_without_bounds_is_named(field: Any, place: str | None) -> None:
    assert first_unbounded(msgspec.defstruct("Checked", [("it", field)], bases=(Message,), kw_only=True)) == place


@pytest.mark.parametrize("name", ["agent-0\n", "Agent", "a/b", "a b", "x" * 65, "é"])
def test_names_are_plain(name: str) -> None:
    assert decode([msgspec.msgpack.encode({"t": "join", "src": "agent-0_.x"})])[0].src == "agent-0_.x"
    with pytest.raises(BadMessage, match="E_DECODE"):
        decode([msgspec.msgpack.encode({"t": "join", "src": name})])


def test_the_schema_changes_only_on_purpose() -> None:
    command = f"python -c 'from {schema_hash.__module__} import schema_hash; print(schema_hash())' > tests/protocols/wire/schema_hash.txt"
    assert schema_hash() == FROZEN.read_text().strip(), (
        f"the wire format has changed: nodes of this version will refuse those of older ones. If that is meant: {command}"
    )
