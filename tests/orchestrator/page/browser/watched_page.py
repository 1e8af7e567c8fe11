"""A page of the browser that notes what must not happen: errors in the console, and requests to other hosts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, Page, expect

AXE = Path(__file__).parent / "axe" / "axe.min.js"
DEADLINE = 60_000.0
"""milliseconds: the browser and the run share few cores with other tests"""
SCHEMES = ("light", "dark")

expect.set_options(timeout=DEADLINE)


class WatchedPage:
    """`page` is that of playwright; `errors` are the console's, `foreign` the addresses of other hosts."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.errors: list[str] = []
        self.foreign: list[str] = []
        page.set_default_timeout(DEADLINE)
        page.on("console", lambda message: self.errors.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: self.errors.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: None if request.url.startswith(base) else self.foreign.append(request.url))

    def open(self, *parts: str, **query: str) -> None:
        """Go to `#/PARTS?QUERY`."""
        path = "/".join(quote(part, safe="") for part in parts)
        search = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        self.page.goto(f"{self.base}/#/{path}{f'?{search}' if search else ''}")

    def violations(self) -> list[str]:
        """What axe-core finds on the page, in both colour schemes: rule, and the first elements."""
        found = []
        for scheme in SCHEMES:
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            self.page.evaluate(AXE.read_text())
            result: dict[str, Any] = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            for one in result["violations"]:
                places = "; ".join(f"{node['target']} {node['failureSummary']}" for node in one["nodes"][:3])
                found.append(f"{scheme}, {self.page.url}: {one['id']}: {places}")
        return found

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def assert_clean(self) -> None:
        """No error in the console, no request to another host."""
        assert not self.errors and not self.foreign, (self.errors, self.foreign)


@contextmanager
def watched(browser: Browser, url: str, width: int = 1440, height: int = 900) -> Iterator[WatchedPage]:
    """A new page of its own context for the server at `url`."""
    context = browser.new_context(viewport={"width": width, "height": height})
    try:
        yield WatchedPage(context.new_page(), url.split("/?")[0].rstrip("/"))
    finally:
        context.close()
