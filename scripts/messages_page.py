"""Write `docs/reference/messages.md` from the code: every message with its routes, fields and limits, and the codes of refused messages.

    python scripts/messages_page.py          write the page
    python scripts/messages_page.py --check  check that it is current (exit 1 if not)

The docstring of a message describes it; the registration of its conversation defines its routes. `MEANING` describes fields whose
name is not enough.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec
from msgspec import inspect as mi

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from protocols.runtime.errors import CODES  # noqa: E402
from protocols.wire.codec import SMALL, MessageLimits  # noqa: E402
from protocols.wire.guard_sources import GuardOptions  # noqa: E402
from protocols.wire.message_registry import message_types, routes  # noqa: E402
from protocols.wire.messages import Message  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "messages.md"
CHANNELS = {
    "ctl": "Control: run server with nodes, hosts and command lines",
    "tele": "Telemetry: nodes to the run server",
    "env": "Environment: environment server with agents",
    "peer": "Peers: agents among themselves",
}
ROLES = {"agent": "agent", "env": "environment server", "host": "host", "client": "command line", "run": "run server"}
MEANING = {
    "v": "major version of the protocol; others are refused",
    "run": "id of the run; messages of others are dropped",
    "src": "name of the sender",
    "dst": "name of the receiver",
    "inc": "incarnation of the sender: one more at every start of its process",
    "seq": "counts the messages from src to dst on this channel, from 1; each counts once",
    "rid": "id of a request, equal in its repetitions and in its answer",
    "ts": "clock of the sender, seconds since 1970; for reading only",
    "at": "logical clock: the tick of delivery",
    "frames": "the arrays that follow: name `n`, dtype `d`, shape `s`",
    "token": "the secret of the run, which proves that the sender belongs to it",
    "schema": "digest of all messages; a process with another one is refused",
    "endpoint": "address on which the node listens",
    "features": "optional abilities",
    "digest": "of the configuration",
    "directory": "of the run",
    "version": "a higher one replaces a lower one",
    "phase": "current activity",
    "idle": "seconds since it made progress",
    "depth": "messages in its inbox",
    "memory": "resident bytes",
    "tick": "lock-step exchanges of this agent with this server so far",
    "after": "number of the newest event that the client has",
    "leash": "end the run when this command line is gone",
    "round": "of averaging",
    "layout": "digest of the names, shapes and order of what is averaged",
    "members": "names; the frames of an `Offer` contain indices of this list",
    "copies": "K, environment copies in one message",
    "threads": "computing threads of the process",
    "steps": "training steps of all copies so far",
    "episodes": "finished training episodes so far",
    "Joined.layout": "observations and actions",
    "RewardMapInfo.radius": "distance below which a site pays",
    "RewardMapInfo.low": "least coordinates of the plane",
    "RewardMapInfo.high": "greatest coordinates of the plane",
    "RewardMapInfo.action_cost": "cost of one unit of abs(action)",
    "RewardMapInfo.exclusive": "agents on one site share its value",
    "GridInfo.longest": "steps after which an episode is cut off, at the latest",
    "GridInfo.width": "columns of the whole grid",
    "GridInfo.height": "rows of the whole grid",
    "GridInfo.partial": "side of the egocentric grid, in cells",
    "GridInfo.crowd": "whether the whole grid with all agents in it comes first",
    "Segment.layout": "digest of the observations and actions of the sender",
    "Plan.layout": "digest of observations and actions of the sender",
    "Plan.number": "counts the plans of this incarnation of the sender, from 1",
    "Trace.version": "of the sender's table",
    "Propose.version": "of the proposer's table",
    "basis": "identity of the basis of the statistics; only equal ones are added",
    "epoch": "number of the epoch of that basis",
    "origins": "agents that published the statistics",
    "origin": "agents that published the statistics",
    "LedgerEntry.incarnation": "incarnation of the origin",
    "LedgerEntry.count": "number of publications of the origin",
    "LedgerEntry.seal": "hash of origin, version, basis, epoch and payload: BLAKE2b of 64 bits, without the lowest",
    "LedgerPull.request": "number of the request",
}
_INTEGERS = {2**63 - 1: "2⁶³−1", 2**64 - 1: "2⁶⁴−1", 2**32 - 1: "2³²−1", 2**40: "2⁴⁰", 2**20: "2²⁰"}


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return _INTEGERS.get(value, str(value))
    return f"{value:g}"


def describe(kind: mi.Type) -> str:
    """A type and its limits in a few words."""
    match kind:
        case mi.IntType(ge=ge, gt=gt, le=le):
            return f"integer {_number(ge) or '>' + _number(gt)} … {_number(le)}"
        case mi.FloatType(ge=ge, gt=gt, le=le):
            return f"number {_number(ge) if gt is None else '> ' + _number(gt)} … {_number(le)}"
        case mi.BoolType():
            return "yes or no"
        case mi.NoneType():
            return "nothing"
        case mi.StrType(max_length=most, pattern=None):
            return f"text ≤ {most}"
        case mi.StrType(max_length=most):
            return f"name ≤ {most}, `[a-z0-9_.-]`"
        case mi.LiteralType(values=choices):
            return ", ".join(f"`{choice}`" if choice != "" else '`""`' for choice in choices)
        case mi.ListType(item_type=item, max_length=most):
            return f"≤ {most} × ({describe(item)})"
        case mi.UnionType(types=types):
            return " or ".join(map(describe, types))
        case mi.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
    raise TypeError(f"no words for {kind}")


def _text(docstring: str | None) -> str:
    paragraphs = re.split(r"\n\s*\n", (docstring or "").strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _fields(cls: type[msgspec.Struct], own_only: bool) -> list[str]:
    info = mi.type_info(cls)
    assert isinstance(info, mi.StructType)  # noqa: S101  msgspec's own promise
    inherited = set(Message.__struct_fields__) if own_only else set()
    rows = []
    for field in info.fields:
        if field.name in inherited:
            continue
        default = "required"
        if field.default is not msgspec.NODEFAULT:
            default = f"`{field.default!r}`" if field.default != "" else '`""`'
        elif field.default_factory is not msgspec.NODEFAULT:
            default = f"`{field.default_factory()!r}`"
        meaning = MEANING.get(f"{cls.__name__}.{field.name}", MEANING.get(field.name, ""))
        rows.append(f"| `{field.name}` | {describe(field.type)} | {default} | {meaning} |")
    return ["| field | type and limits | default | |", "|---|---|---|---|", *rows, ""] if rows else []


def _nested(cls: type[msgspec.Struct], found: dict[str, type[msgspec.Struct]]) -> None:
    def look(kind: mi.Type) -> None:
        match kind:
            case mi.StructType(cls=inner) if inner.__name__ not in found:
                found[inner.__name__] = inner
                _nested(inner, found)
            case mi.ListType(item_type=item):
                look(item)
            case mi.UnionType(types=types):
                for one in types:
                    look(one)

    info = mi.type_info(cls)
    for field in info.fields if isinstance(info, mi.StructType) else ():
        look(field.type)


def _roles(roles: frozenset[str]) -> str:
    return ", ".join(ROLES[role] for role in ROLES if role in roles)


def _intro() -> list[str]:
    limits, guard = MessageLimits(), GuardOptions()
    return [
        "# Messages",
        "",
        "Every message of the system, as it is on the wire. Written by `scripts/messages_page.py` from the conversations that register in",
        "`protocols/wire/message_registry.py`: change a conversation, then `make docs`.",
        "",
        "A message is a header and frames. The header is one MessagePack map, whose key `t` names the type (the message's name in small",
        "letters); unknown types, unknown fields and repeated keys are refused. Arrays are sent as raw frames, little endian, C order:",
        f"those below {SMALL // 1024} KiB together in the first frame, each at a multiple of 8 bytes; each larger one in its own frame.",
        "",
        f"Limits: {limits.frames} arrays, header {limits.header // 1024} KiB, frame {limits.frame // 2**20} MiB, message "
        f"{limits.total // 2**20} MiB, rank 8; all floats finite. From one source {guard.messages:,.0f} messages and "
        f"{guard.bytes / 2**30:g} GiB a second;",
        f"{guard.bad} bad messages within {guard.window:g} s, a tenth of all or more: ignored for {guard.quarantine:g} s, doubled each "
        f"time up to {guard.longest / 60:g} min.",
        "",
        "Delivery: **AM1** at most once · **EO** effectively once (repeated until answered, and its effect does not repeat) · **LW**",
        "latest wins · **BE** best effort.",
        "",
        "A plugin adds messages by the same registration; this page lists those of the package itself.",
        "",
    ]


def page() -> str:
    """The whole page."""
    lines = _intro()
    lines += [
        "## In every header",
        "",
        "The transport sets these. A field that is left out has its default.",
        "",
        *_fields(Message, own_only=False),
    ]
    nested: dict[str, type[msgspec.Struct]] = {}
    _nested(Message, nested)
    shown: set[type[Message]] = set()
    for channel, title in CHANNELS.items():
        lines += [f"## {title}", "", f"Channel `{channel}`.", ""]
        for kind in message_types():
            found = [one for one in routes() if one.channel == channel and kind in one.types]
            if not found:
                continue
            lines.append(f"### {kind.__name__}")
            lines.append("")
            lines += [f"*{_roles(one.senders)} → {_roles(one.receivers)}*" for one in found] + [""]
            if kind in shown:
                lines += [f"As [above](#{kind.__name__.lower()}).", ""]
                continue
            shown.add(kind)
            lines += [_text(kind.__doc__), "", *_fields(kind, own_only=True)]
            _nested(kind, nested)
    lines += ["## Parts of messages", ""]
    for name, cls in nested.items():
        lines += [f"### {name}", "", _text(cls.__doc__), "", *_fields(cls, own_only=False)]
    lines += ["## Why a message is refused", "", "Counted as `rx.bad.CODE`; nothing else changes.", "", "| code | meaning |", "|---|---|"]
    lines += [f"| `{code}` | {meaning} |" for code, meaning in CODES.items()]
    lines += [
        "",
        "`rx.dup` counts messages whose number was received before, `rx.quarantined` those that were not read, `rx.quarantines` how often",
        "a source was put into quarantine.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or check it."""
    text = page()
    if "--check" in sys.argv[1:]:
        current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        print(f"docs/reference/messages.md is {'current' if current else 'out of date: python scripts/messages_page.py'}")
        return 0 if current else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
