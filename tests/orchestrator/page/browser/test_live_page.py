"""The page beside a real run in a real browser: a restart, a cut, a reload, a restart of the page's server."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Browser, expect

from tests.orchestrator.page.browser.watched_page import WatchedPage, watched
from tests.orchestrator.page.page_client import page as serving
from tests.orchestrator.run_server.cluster import Cluster, starting

pytestmark = [pytest.mark.cluster, pytest.mark.runs, pytest.mark.timeout(300)]


def _ordered(tab: WatchedPage, action: str, target: str) -> None:
    """Order a fault in the form of the page."""
    tab.page.get_by_text(action, exact=True).click()
    tab.page.locator(".fault-form select:visible").select_option(label=target)
    expect(tab.page.locator(".yaml")).to_contain_text("faults:")
    tab.page.get_by_role("button", name="Break it").click()


def _delay(cluster: Cluster, chosen: Callable[[dict[str, str]], bool]) -> float:
    """Seconds from the newest such event of the run server to now."""
    event = next(one for one in reversed(cluster.events()) if chosen(one))
    return time.time() - datetime.fromisoformat(event["t"]).timestamp()


def test_faults_of_a_live_run(browser: Browser, tmp_path: Path) -> None:
    with starting(tmp_path) as start:
        cluster = start(agents=4, until={"time": "240s"}, network={"topology": {"kind": "ring"}})
        cluster.running(60.0)
        with serving(tmp_path, "--control") as (site, server), watched(browser, site.url) as tab:
            page, port = tab.page, str(site.port)
            tab.open(run="run-0", control=str(site.control))
            assert "control" not in page.url, "the token does not stay in the address"
            nodes = page.locator("svg.topology .node")
            expect(page.locator("svg.topology .node.state-up")).to_have_count(4)
            expect(page.locator(".connection")).to_have_text("live")

            _ordered(tab, "Kill", "agent-1")
            expect(page.get_by_role("row", name=re.compile("^agent-1 ")).locator("td").nth(5)).to_have_text("1")
            seen = _delay(cluster, lambda one: (one["node"] == "agent-1" and one.get("incarnation") == 2) or one["code"] == "node.dead")
            expect(page.locator("svg.topology .node.state-up")).to_have_count(4)

            _ordered(tab, "Cut", "agent-0 – agent-1")
            expect(page.locator("svg.topology a.edge.is-cut")).to_have_count(1)
            cut = _delay(cluster, lambda one: one["code"] == "fault.begin")
            print(f"\nseconds from the event of the run server to the page: restart {seen:.2f} s, cut {cut:.2f} s")
            expect(page.get_by_label("Edge agent-0 – agent-1: cut")).to_have_count(1)
            expect(page.locator(".events li[data-kind='fault.begin']")).not_to_have_count(0)

            page.reload()
            expect(page.locator("svg.topology a.edge.is-cut")).to_have_count(1)
            page.get_by_label("Edge agent-0 – agent-1: cut").focus()
            page.keyboard.press("Enter")
            expect(page.locator(".view-head .pill")).to_have_text("cut")
            page.get_by_text("Heal", exact=True).click()
            page.get_by_role("button", name="Mend it").click()
            expect(page.locator(".view-head .pill")).to_have_text("connected")
            page.get_by_role("link", name="Overview").click()
            expect(nodes).to_have_count(4)
            found = tab.violations()
            assert not found, "\n".join(found)
            tab.assert_clean()

            # The server of the page goes and comes back at the same port: the page shows that, and connects again.
            page.evaluate("window.sameDocument = true")
            server.terminate()
            expect(page.locator(".connection")).to_have_text("reconnecting …")
            server.wait(20)
            with serving(tmp_path, "--port", port):
                expect(page.locator(".connection")).to_have_text("live")
                cluster.client().restart(["agent-2"])
                expect(page.get_by_role("row", name=re.compile("^agent-2 ")).locator("td").nth(5)).to_have_text("1")
                assert page.evaluate("window.sameDocument"), "the page was not loaded again"
                assert not tab.foreign
                assert all("ERR_" in error or "Failed to load" in error for error in tab.errors), tab.errors
