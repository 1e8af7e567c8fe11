"""Base of all messages: the common header, and types with bounds for the fields of messages.

A message on the wire is `[header][frame]*`. The header is a subclass of `Message` as a MessagePack map, tagged by its key `t`; arrays are
sent as raw frames only, described in `frames`. Every text, list and number has bounds; `Any` and untyped containers are not used. The
docstring of a message names its sender and receiver and its delivery: AM1 at most once, EO effectively once (retried, idempotent), LW
latest wins, BE best effort. Arrays are written `name[shape] dtype`; `n` is the number of rows of the message, `K` that of environment
copies.

Each conversation defines its messages in its own folder and registers them (`protocols.wire.message_registry`).
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

FILE_PATH = r"^[A-Za-z0-9_+-][A-Za-z0-9_.+-]*(/[A-Za-z0-9_+-][A-Za-z0-9_.+-]*)*\Z"
"""path of a file below the run directory: no component begins with a dot, which excludes parent directories and unfinished files"""
Name = Annotated[str, Meta(max_length=64, pattern=r"^[a-z0-9_.-]*\Z")]
Text = Annotated[str, Meta(max_length=1024)]
Address = Annotated[str, Meta(max_length=256)]
FilePath = Annotated[str, Meta(max_length=256, pattern=FILE_PATH)]
Digest = Annotated[str, Meta(max_length=64)]
Key = Annotated[str, Meta(max_length=40)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
CountOrMinusOne = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=-1e12, le=1e12)]
Names = Annotated[list[Name], Meta(max_length=1024)]
Origins = Annotated[list[Name], Meta(max_length=128)]
Channel = Literal["ctl", "tele", "env", "peer"]
Role = Literal["agent", "env", "host", "client", "run"]


class ArrayInfo(msgspec.Struct, forbid_unknown_fields=True, array_like=False):
    """Description of one raw frame: little endian, C order."""

    n: Annotated[str, Meta(max_length=64)]
    d: Literal["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"]
    s: Annotated[list[Annotated[int, Meta(ge=0, le=2**40)]], Meta(max_length=8)]


class Message(msgspec.Struct, tag_field="t", tag=str.lower, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Fields of every header. The transport sets them; a sender sets only the body, in requests `rid`, and under the logical clock `sent`
    and `at`, the ticks at which the message is sent and delivered. `crc` is the CRC-32 of the frames (0: not computed)."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    run: Name = ""
    src: Name = ""
    dst: Name = ""
    inc: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    seq: Count = 0
    rid: Digest = ""
    ts: Seconds = 0.0
    sent: Count = 0
    at: Count = 0
    crc: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    frames: Annotated[list[ArrayInfo], Meta(max_length=64)] = []


def is_file_path(path: str) -> bool:
    """Whether a message may contain this path of a file below the run directory."""
    return len(path) <= 256 and re.match(FILE_PATH, path) is not None


def schema_digest(messages: Any) -> str:
    """SHA-256 of the JSON schema of a type or union of types, without docstrings."""

    def bare(schema: Any) -> Any:
        if isinstance(schema, dict):
            return {key: bare(value) for key, value in schema.items() if not (key == "description" and isinstance(value, str))}
        return [bare(value) for value in schema] if isinstance(schema, list) else schema

    return sha256(msgspec.json.encode(bare(msgspec.json.schema(messages)), order="sorted")).hexdigest()
