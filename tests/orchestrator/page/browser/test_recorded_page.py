"""The page of finished runs in a real browser: replay, all views, both colour schemes, three widths, keyboard, markup in names."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser, expect

from tests.orchestrator.page.browser.recorded_run import CUT, DEATH, LENGTH, MARKUP, record_run
from tests.orchestrator.page.browser.watched_page import WatchedPage, watched
from tests.orchestrator.page.page_client import Page as Server
from tests.orchestrator.page.page_client import page as serving

pytestmark = [pytest.mark.runs, pytest.mark.timeout(400)]

SMALL, LARGE, STRANGE = "four", "sixty-four", f"name {MARKUP}"
WIDTHS = (400, 900, 1440)
EDGE_FACTS = ("Delay, last minute", "Loss, last minute", "Injected delay")
VIEWS = ((), ("agent", "agent-2"), ("edge", "agent-0", "agent-1"), ("messages",), ("compare",), ("runs",))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    runs = tmp_path_factory.mktemp("runs")
    for name, agents, topology in ((SMALL, 4, "ring"), (LARGE, 64, "torus"), (STRANGE, 4, "ring")):
        record_run(runs / name, agents, topology)
    with serving(runs) as (site, _):
        yield site


@pytest.fixture
def tab(browser: Browser, server: Server) -> Iterator[WatchedPage]:
    with watched(browser, server.url) as tab:
        yield tab
        tab.assert_clean()


def _seek(tab: WatchedPage, t: float) -> None:
    """Move the slider of the replay to `t` seconds."""
    slider = tab.page.get_by_role("slider", name="Time of the run")
    slider.evaluate("(slider, share) => { slider.value = share * 1000; slider.dispatchEvent(new Event('input')); }", t / LENGTH)


def test_replay(tab: WatchedPage) -> None:
    page = tab.page
    tab.open(run=SMALL)
    expect(page.get_by_role("heading", name=SMALL, level=1)).to_be_visible()
    expect(page.locator(".connection")).to_have_text("recorded")
    expect(page.locator(".answer")).to_have_count(3)
    expect(page.locator("svg.topology .node.state-done")).to_have_count(4)
    expect(page.locator(".return-card canvas")).to_be_visible()
    expect(page.locator(".disagreement-card canvas")).to_be_visible()
    goals = page.locator(".goals-card")
    expect(goals.get_by_role("list", name="Goals").get_by_role("listitem")).to_have_text(["0", "1", "2", "0-1", "0-2", "1-2"])
    goals.locator("canvas").hover(position={"x": 620, "y": 10})
    expect(goals.locator(".readout")).to_contain_text(re.compile("agent-0, episode .*: goal .*; agent-[13]: goal"))
    goals.locator("summary").click()
    expect(goals.get_by_role("row", name=re.compile("^agent-2 .*(\\d+).*%.*%"))).to_have_count(1)

    _seek(tab, 1.0)
    expect(goals).to_be_hidden()  # no episode has ended
    _seek(tab, sum(CUT) / 2)
    expect(goals).to_be_visible()
    cut = page.locator("svg.topology a.edge.is-cut")
    expect(cut.and_(page.get_by_label("Edge agent-0 – agent-1: cut"))).to_have_count(1)
    expect(page.locator("svg.topology .node.state-up")).to_have_count(4)
    _seek(tab, sum(DEATH) / 2)
    expect(page.locator("svg.topology .node.state-dead a")).to_have_attribute("aria-label", re.compile("^agent-2: dead"))
    expect(page.get_by_role("row", name=re.compile("^agent-2 dead"))).to_be_visible()
    expect(cut).to_have_count(0)
    _seek(tab, DEATH[1] + 2)
    expect(page.get_by_role("row", name=re.compile("^agent-2 up"))).to_be_visible()

    page.get_by_label("Speed").select_option("64")
    page.get_by_role("button", name="Play").click()
    expect(page.locator("svg.topology .node.state-done")).to_have_count(4)  # the replay has reached the end and stopped
    expect(page.get_by_role("button", name="Play")).to_be_visible()

    page.get_by_role("button", name="Return", exact=True).click()
    expect(page.get_by_role("columnheader", name="Return")).to_have_attribute("aria-sort", "descending")
    returns = [float(text) for text in page.locator("table.nodes tbody td:nth-child(3)").all_inner_texts() if text != "–"]
    assert returns == sorted(returns, reverse=True) and len(returns) == 5
    page.locator(".return-card summary").click()
    expect(page.locator(".return-card .as-table").get_by_role("row")).to_have_count(5)


def test_other_views(tab: WatchedPage) -> None:
    page = tab.page
    tab.open("agent", "agent-2", run=SMALL)
    page.get_by_label("Group").select_option(label="World model (1)")
    expect(page.get_by_role("heading", name="world_model.error")).to_be_visible()
    expect(page.locator(".small-chart canvas")).to_be_visible()
    expect(page.locator(".log")).to_contain_text(f"line {LENGTH - 1} of agent-2")
    page.get_by_role("button", name="Play an episode").click()
    expect(page.locator(".film-card")).to_contain_text("agent-0 of four has no checkpoint", timeout=200_000)
    page.locator(".neighbours-card").get_by_role("link", name="agent-1").click()

    expect(page.get_by_role("heading", name="agent-2 – agent-1")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^average"))).to_be_visible()
    expect(page.locator(".rounds-card tbody tr")).not_to_have_count(0)
    facts = {name: page.locator("dl.facts > div").filter(has=page.get_by_text(name, exact=True)).locator("dd") for name in EDGE_FACTS}
    expect(facts["Delay, last minute"]).to_have_text("36 ms")
    expect(facts["Injected delay"]).to_have_text("36 ms, 95 %: 36 ms")
    expect(facts["Loss, last minute"]).to_have_text("10\u202f%")
    page.get_by_role("link", name="Message diagram").click()

    page.get_by_label("From, s").fill("9")
    page.keyboard.press("Enter")
    page.get_by_label("Length").select_option(label="5 s")
    expect(page.locator("svg.messages .arrow.lost")).not_to_have_count(0)
    arrows = page.locator("svg.messages .arrow")
    expect(arrows).to_have_count(40)  # two agents, four messages a second each, five seconds
    page.get_by_role("button", name=re.compile("^average")).click()
    expect(arrows).not_to_have_count(40)

    tab.open("compare", run=SMALL, runs=SMALL)
    expect(page.get_by_role("link", name=f"Report of the run {SMALL}")).to_have_attribute("href", f"/api/runs/{SMALL}/report")
    tab.open("compare", run=SMALL, runs=f"{SMALL},{LARGE}")
    expect(page.locator(".values-card tbody tr")).to_have_count(2)
    expect(page.locator(".curves-card canvas")).to_be_visible()


def test_markup_stays_text(tab: WatchedPage) -> None:
    page = tab.page
    for view in VIEWS:
        tab.open(*view, run=STRANGE)
        expect(page.get_by_role("heading", name=STRANGE, level=1)).to_be_visible()
        expect(page.locator("main h2")).not_to_have_count(0)
    expect(page.get_by_role("link", name=STRANGE)).to_be_visible()
    tab.open(run=STRANGE)
    expect(page.locator(".events").get_by_text(MARKUP)).to_be_visible()
    assert page.locator("img").count() == 0
    tab.open("agent", MARKUP, run=STRANGE)
    expect(page.get_by_text(f"This run has no node {MARKUP}.")).to_be_visible()


def test_accessibility(tab: WatchedPage) -> None:
    page = tab.page
    found = []
    for view in VIEWS:
        tab.open(*view, run=SMALL)
        expect(page.locator("main h2")).not_to_have_count(0)
        page.wait_for_load_state("networkidle")
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        found += tab.violations()
    tab.open(run=LARGE)
    expect(page.locator("svg.topology .node")).to_have_count(64)
    found += tab.violations()
    assert not found, "\n".join(found)


def test_keyboard(tab: WatchedPage) -> None:
    page = tab.page
    tab.open(run=SMALL)
    expect(page.locator("svg.topology .node.state-done")).to_have_count(4)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    reached = []
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"))
        if reached[-1] == "Play":
            break
    for wanted in ("Matrix", "agent-0: done", "State", "Nodes, table", "Play"):
        assert any(text.startswith(wanted) for text in reached), (wanted, reached)
    page.locator("svg.topology .node a").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="agent-0", level=2)).to_be_visible()


def test_sixty_four_agents_at_three_widths(browser: Browser, server: Server) -> None:
    for width in WIDTHS:
        with watched(browser, server.url, width) as tab:
            tab.open(run=LARGE)
            expect(tab.page.locator("svg.topology .node")).to_have_count(64)
            expect(tab.page.locator("table.nodes tbody tr")).to_have_count(66)
            assert tab.overflow() == 0
            _seek(tab, sum(CUT) / 2)
            expect(tab.page.locator("svg.topology a.edge.is-cut")).not_to_have_count(0)
            tab.page.get_by_role("button", name="Matrix").click()
            expect(tab.page.locator(".matrix canvas")).to_be_visible()
            for view in VIEWS[1:]:
                tab.open(*view, run=SMALL)
                expect(tab.page.locator("main h2")).not_to_have_count(0)
                assert tab.overflow() == 0, (width, view)
            tab.assert_clean()


def test_computations(tab: WatchedPage) -> None:
    """What the page computes itself, against numpy."""
    tab.open(run=SMALL)
    expect(tab.page.locator(".answer")).to_have_count(3)
    columns = np.random.default_rng(0).normal(size=(7, 5))
    found = tab.page.evaluate(
        """async (columns) => {
          const { movingMean, quartiles, resample, rising, stepAt } = await import("/static/core/series.js");
          const { withDelta } = await import("/static/core/run_state.js");
          const { layout } = await import("/static/parts/graph_layout.js");
          const names = ["d", "b", "c", "a", "e"];
          const ring = [["a", "b"], ["b", "c"], ["c", "d"], ["d", "e"], ["e", "a"]];
          const path = [["d", "b"], ["b", "c"], ["c", "a"], ["a", "e"]];
          return {
            quartiles: quartiles(columns),
            resampled: resample([0, 1, 2, 3, 40, 41], [0, 10, 20, 30, 400, 410], [0, 0.5, 3, 20, 40.5, 60]),
            mean: movingMean([null, 1, 2, 6, null], 1),
            rising: rising([10, 20, 30, 20, 40], [1, 2, 3, 4, 5]),
            step: stepAt([{ t: [0, 10, 20], step: [0, 100, 300] }], 15),
            delta: withDelta(
              { nodes: { a: { state: "up" }, b: {} }, edges: { "a|b": {} }, t: 1 },
              { nodes: { a: { state: "dead" }, b: null }, t: 2 }),
            ring: [...layout(names, ring)],
            path: [...layout(names, path)],
            again: [...layout(names, path)],
          };
        }""",
        columns.tolist(),
    )
    for name, share in (("low", 0.25), ("median", 0.5), ("high", 0.75)):
        assert found["quartiles"][name] == pytest.approx(np.quantile(columns, share, axis=0))
    assert found["resampled"] == [0, 5, 30, None, 405, None], "no value is made up in a gap or after the end"
    assert found["mean"] == [None, 1.5, 3, 4, None]
    assert found["step"] == 200
    assert found["rising"] == [[10, 20, 40], [1, 4, 5]], "what a node had done after the checkpoint that it went on from is left out"
    assert found["delta"] == {"nodes": {"a": {"state": "dead"}}, "edges": {"a|b": {}}, "t": 2}
    ring = dict(found["ring"])
    sides = [np.hypot(*np.subtract(ring[a], ring[b])) for a, b in ("ab", "bc", "cd", "de", "ea")]
    assert max(sides) < 1.2 * min(sides), "neighbours of a ring stand beside each other, whatever the order of the names"
    line = [dict(found["path"])[name][0] for name in "dbcae"]
    assert line in (sorted(line), sorted(line, reverse=True)), "a path is drawn along the width"
    assert found["path"] == found["again"]
