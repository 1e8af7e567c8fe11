"""Every message type: round trip, an independent decoder, unique tags, and a schema that does not change unnoticed."""

from __future__ import annotations

from pathlib import Path

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.runtime.errors import BadMessage
from protocols.wire import messages as module
from protocols.wire.codec import decode, encode
from protocols.wire.message_registry import schema_hash
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
    assert header == msgspec.to_builtins(message), "a decoder that knows no types reads the same header"
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


def test_the_union_holds_every_message() -> None:
    defined = {value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Message) and value is not Message}
    assert defined == set(TYPES)


def test_every_text_list_and_number_is_bounded() -> None:
    def check(kind: msgspec.inspect.Type, place: str) -> None:
        match kind:
            case msgspec.inspect.StrType():
                assert kind.max_length is not None, place
            case msgspec.inspect.ListType():
                assert kind.max_length is not None, place
                check(kind.item_type, place + "[]")
            case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
                assert kind.le is not None and (kind.ge is not None or kind.gt is not None), place
            case msgspec.inspect.StructType():
                assert kind.forbid_unknown_fields, place
                for field in kind.fields:
                    check(field.type, f"{place}.{field.name}")
            case msgspec.inspect.UnionType():
                for one in kind.types:
                    check(one, place)
            case msgspec.inspect.LiteralType() | msgspec.inspect.BoolType() | msgspec.inspect.NoneType():
                pass
            case _:
                pytest.fail(f"{place} is a {type(kind).__name__}: untyped or unbounded")

    for cls in TYPES:
        check(msgspec.inspect.type_info(cls), cls.__name__)


@pytest.mark.parametrize("name", ["agent-0\n", "Agent", "a/b", "a b", "x" * 65, "é"])
def test_names_are_plain(name: str) -> None:
    assert decode([msgspec.msgpack.encode({"t": "join", "src": "agent-0_.x"})])[0].src == "agent-0_.x"
    with pytest.raises(BadMessage, match="E_DECODE"):
        decode([msgspec.msgpack.encode({"t": "join", "src": name})])


def test_the_schema_changes_only_on_purpose() -> None:
    command = "python -c 'from protocols.wire.messages import schema_hash; print(schema_hash())' > tests/protocols/wire/schema_hash.txt"
    assert schema_hash() == FROZEN.read_text().strip(), (
        f"the wire format has changed: nodes of this version will refuse those of older ones. If that is meant: {command}"
    )
