import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.page import published_state
from orchestrator.page.published_state import PublishedState, changes

ENTRIES = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3))
STATES = st.fixed_dictionaries({"t": st.integers(0, 5), "events": st.lists(st.integers(0, 2)), "nodes": ENTRIES, "edges": ENTRIES})


def applied(state: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    made = {**state, **delta}
    for part in ("nodes", "edges"):
        if part in delta:
            made[part] = {name: entry for name, entry in {**state[part], **delta[part]}.items() if entry is not None}
    return made


@given(STATES, STATES)
def test_changes_lead_from_one_state_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    delta = changes(before, after)
    assert applied(before, delta) == after
    assert changes(after, after) == {}


def test_a_slow_reader_gets_the_newest_state(monkeypatch: Any) -> None:
    monkeypatch.setattr(published_state, "SHORTEST", 0.0)

    async def read() -> list[tuple[str, dict[str, Any]]]:
        published = PublishedState()
        stream = published.stream()
        assert await anext(stream) == "retry: 1000\n\n"
        assert published.readers == 1
        published.publish({"t": 0, "nodes": {"a": 1, "b": 2}})
        got = [await anext(stream)]
        for t in range(1, 1001):  # while the reader does not read
            published.publish({"t": t, "nodes": {"a": t}})
        got.append(await anext(stream))
        await stream.aclose()
        assert published.readers == 0
        lines = [message.splitlines() for message in got]
        return [(event.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for _, event, data, *_ in lines]

    first, second = asyncio.run(asyncio.wait_for(read(), 20))
    assert first == ("snapshot", {"t": 0, "nodes": {"a": 1, "b": 2}})
    assert second == ("delta", {"t": 1000, "nodes": {"a": 1000, "b": None}})
