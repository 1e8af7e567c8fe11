import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from orchestrator.page.page_security import COOKIE, PageGuard, loopback


def asked(guard: PageGuard, path: str = "/", method: str = "GET", query: str = "", **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer to one request."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": encoded}
    asyncio.run(guard(scope, receive, send))  # type: ignore[arg-type]
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


LOCAL = PageGuard(PlainTextResponse("page"), "127.0.0.1")
ELSEWHERE = PageGuard(PlainTextResponse("page"), "0.0.0.0", "secret")


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "localhost:1", "[::1]:8000", "127.0.0.2"])
def test_hosts_of_this_machine(host: str) -> None:
    status, headers = asked(LOCAL, host=host)
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'self'") and headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["example.org", "example.org:8000", "10.0.0.1", "localhost.example.org", "", "[", "127.0.0.1.example.org"])
def test_foreign_hosts_are_refused(host: str) -> None:
    assert asked(LOCAL, host=host)[0] == 421


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 200),
        ("http://localhost:9000", 403),
        ("http://example.org", 403),
        ("null", 403),
        ("http://localhost:8000.example.org", 403),
    ],
)
def test_other_origins_are_refused(origin: str, status: int) -> None:
    assert asked(LOCAL, method="POST", host="localhost:8000", origin=origin)[0] == status


def test_the_token_of_other_addresses() -> None:
    host = "10.0.0.1:8000"
    assert asked(ELSEWHERE, "/api/runs", host=host)[0] == 401
    assert asked(ELSEWHERE, "/", query="token=wrong", host=host)[0] == 401
    assert asked(ELSEWHERE, "/", "POST", query="token=secret", host=host)[0] == 401, "only a link of a page has the token in its address"
    status, headers = asked(ELSEWHERE, "/", query="token=secret&run=night", host=host)
    assert status == 303 and headers["location"] == "/?run=night", "the token does not stay in the address"
    assert headers["set-cookie"].startswith(f"{COOKIE}=secret;") and "HttpOnly" in headers["set-cookie"]
    assert "SameSite=strict" in headers["set-cookie"] and headers["cache-control"] == "no-store"
    assert asked(ELSEWHERE, "/api/runs", host=host, cookie=f"{COOKIE}=secret")[0] == 200
    assert asked(ELSEWHERE, "/metrics", host=host, authorization="Bearer secret")[0] == 200
    assert asked(ELSEWHERE, "/api/runs", host="example.org", cookie=f"{COOKIE}=secret")[0] == 421


def test_loopback() -> None:
    assert [host for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "example.org") if loopback(host)] == [
        "127.0.0.1",
        "::1",
        "localhost",
    ]
