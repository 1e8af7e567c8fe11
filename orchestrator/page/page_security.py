"""What every request must meet before it is answered: its host, its origin, and on another address than loopback a token.

The `Host` check keeps pages of other sites from reaching the page by a name of theirs that resolves to this machine (DNS rebinding): names
must be known, and addresses, which can't be rebound, are accepted. `Origin` must be the page itself.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "murmuration_page"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def loopback(host: str) -> bool:
    """Whether a host names this machine's loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(netloc: str) -> str:
    """The host of `HOST[:PORT]`, lower case, without brackets; empty where it can't be read."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").lower()
    except ValueError:
        return ""


class PageGuard:
    """Middleware that refuses foreign requests and adds the headers. `token`: required of every request where it is not None."""

    def __init__(self, app: ASGIApp, host: str, token: str | None = None) -> None:
        self._app = app
        self._local = loopback(host)
        self._names = {"localhost"} if self._local else {"localhost", host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope)
        await (self._app if refused is None else refused)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._known(host_of(host)):
            return JSONResponse({"error": "this host name is not that of the page; use the link that was printed"}, 421)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return JSONResponse({"error": "requests from other origins are refused"}, 403)
        return None if self._token is None else self._without_token(scope, headers)

    def _known(self, name: str) -> bool:
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return address.is_loopback if self._local else True

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        assert self._token is not None  # noqa: S101 - the caller has looked
        given = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if (authorization := headers.get("authorization", "")).startswith("Bearer "):
            given = authorization.removeprefix("Bearer ")
        if secrets.compare_digest(given.encode(), self._token.encode()):
            return None
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
        in_url = dict(query).get("token", "")
        if scope["method"] == "GET" and secrets.compare_digest(in_url.encode(), self._token.encode()):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            redirect = RedirectResponse(scope["path"] + (f"?{rest}" if rest else ""), 303)
            redirect.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            return redirect
        return JSONResponse({"error": "the token is missing or wrong; open the link that was printed at the start"}, 401)
