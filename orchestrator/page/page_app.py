"""The web application of the page: routes and their answers."""

from __future__ import annotations

import asyncio
import functools
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from math import isinf, isnan, nan
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from orchestrator.page.fault_orders import carry_out
from orchestrator.page.followed_run import FollowedRun
from orchestrator.page.history import message_trace
from orchestrator.page.page_security import PageGuard
from orchestrator.page.prometheus_text import CONTENT_TYPE, exposition
from orchestrator.page.published_state import encoded
from orchestrator.page.renderings import Renderings
from orchestrator.page.run_catalog import RunCatalog
from orchestrator.page.state.run_groups import grouped
from orchestrator.report.html_page import POLICY
from orchestrator.results import run_directories as runs
from orchestrator.results.run_logs import merge, sources
from orchestrator.run_server.waits.run_questions import why
from protocols.runtime.errors import MurmurationError, ResourceError, UsageError

STATIC = Path(__file__).parent / "static"
_POINTS, _MOST_POINTS = 600, 20_000
_MOST_NAMES = 64
_LINES, _MOST_LINES = 200, 5_000
_LARGEST_ORDER = 65_536
"""bytes"""


@dataclass(frozen=True)
class PageOptions:
    """`host`: the address that is served; `token`: required of every request where it is not None; `control`: token of orders, None
    where orders are refused."""

    host: str = "127.0.0.1"
    token: str | None = None
    control: str | None = None


class _Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return encoded(content).encode()


def page_app(catalog: RunCatalog, options: PageOptions) -> Starlette:
    """The application that serves the runs of `catalog`."""
    api = _Api(catalog, options)
    routes: list[BaseRoute] = [
        Route("/", api.index),
        Route("/api/runs", _answered(api.runs)),
        Route("/api/runs/{id}", _answered(api.run)),
        Route("/api/runs/{id}/events", api.events),
        Route("/api/runs/{id}/state", _answered(api.state)),
        Route("/api/runs/{id}/metrics", _answered(api.metrics)),
        Route("/api/runs/{id}/metric-names", _answered(api.metric_names)),
        Route("/api/runs/{id}/log", _answered(api.log)),
        Route("/api/runs/{id}/edge", _answered(api.edge)),
        Route("/api/runs/{id}/messages", _answered(api.messages)),
        Route("/api/runs/{id}/why", _answered(api.why)),
        Route("/api/runs/{id}/faults", api.faults, methods=["POST"]),
        Route("/api/runs/{id}/film", _answered(api.film)),
        Route("/api/runs/{id}/film.gif", _answered(api.film_picture)),
        Route("/api/runs/{id}/report", _answered(api.report)),
        Route("/api/compare", _answered(api.compare)),
        Route("/metrics", api.prometheus),
        Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.to_thread(catalog.close)

    guard = Middleware(PageGuard, host=options.host, token=options.token)
    return Starlette(routes=routes, middleware=[guard], lifespan=lifespan)


def _answered(function: Callable[[Request], Any]) -> Callable[[Request], Awaitable[Response]]:
    """A route whose answer is computed in another thread, so that no file holds up the streams. Errors of the user are 400 or 404."""

    @functools.wraps(function)
    async def route(request: Request) -> Response:
        try:
            answer = await asyncio.to_thread(function, request)
            return answer if isinstance(answer, Response) else _Json(answer)
        except UsageError as error:
            return JSONResponse({"error": str(error)}, 404 if "there is no run" in str(error) else 400)
        except MurmurationError as error:
            return JSONResponse({"error": str(error)}, 409)

    return route


class _Api:
    def __init__(self, catalog: RunCatalog, options: PageOptions) -> None:
        self._catalog = catalog
        self._options = options
        self._renderings = Renderings()

    def _run(self, request: Request) -> FollowedRun:
        return self._catalog.get(request.path_params["id"])

    async def index(self, _: Request) -> Response:
        """The page."""
        page = STATIC / "index.html"
        return FileResponse(page) if page.is_file() else Response("this installation has no page: static/index.html is missing", 404)

    def runs(self, _: Request) -> Any:
        """All runs."""
        return self._catalog.rows()

    def run(self, request: Request) -> Any:
        """What does not change in a run, and how long it is."""
        followed = self._run(request)
        history, now = followed.loaded(), runs.read(followed.directory)
        with followed.lock:
            known = history.metrics.of_node("env-0")
            return {
                "id": followed.id,
                "name": followed.id,
                "mode": "live" if now.alive or now.state == "STARTING" else "replay",
                "clock": history.configuration.get("clock"),
                "agents": history.agents,
                "nodes": [{"name": "env-0", "role": "environment"}]
                + [{"name": name, "role": "agent"} for name in history.agents]
                + [{"name": "run", "role": "run server"}],
                "edges": history.edges,
                "goals": len(history.goals.labels) or None,
                "span": [0.0, round(history.last, 3)],
                "control": self._options.control is not None and now.alive,
                "returns": next((name for name in ("return", "return.normalised") if name in known), "return"),
            }

    def state(self, request: Request) -> Any:
        """The state at a time."""
        at = request.query_params.get("at")
        return self._run(request).state(None if at is None else _number(at, "at"))

    async def events(self, request: Request) -> Response:
        """The stream of states."""
        try:
            followed = await asyncio.to_thread(self._run, request)
        except UsageError as error:
            return JSONResponse({"error": str(error)}, 404)
        followed.watch()
        return StreamingResponse(followed.published.stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    def metrics(self, request: Request) -> Any:
        """Series of one metric, or of several."""
        names = request.query_params.getlist("name")[:_MOST_NAMES]
        if not names:
            raise UsageError("name: missing; write for example ?name=return")
        since = _number(request.query_params.get("since", "-inf"), "since")
        points = int(max(2, min(_MOST_POINTS, _number(request.query_params.get("points", str(_POINTS)), "points"))))
        followed = self._run(request)
        history = followed.loaded()
        with followed.lock:
            found = []
            for name in names:
                series = []
                for node, metric in history.metrics.of_name(name).items():
                    window = metric.window(since, points)
                    t = [round(one, 3) for one in window.t]
                    series.append({"node": node, "t": t, "step": window.step, "v": window.v})
                found.append({"name": name, "series": series})
        return found[0] if len(found) == 1 else found

    def metric_names(self, request: Request) -> Any:
        """Node -> names of its metrics."""
        followed = self._run(request)
        history = followed.loaded()
        with followed.lock:
            return history.metrics.names()

    def log(self, request: Request) -> Any:
        """The end of a node's log, or of all logs."""
        followed = self._run(request)
        lines = int(max(1, min(_MOST_LINES, _number(request.query_params.get("lines", str(_LINES)), "lines"))))
        node = request.query_params.get("node")
        known = sources(followed.directory)
        files = known if not node else {name: path for name, path in known.items() if name == ("server" if node == "run" else node)}
        if node and not files:
            raise UsageError(f'node: "{node}" has no log in this run')
        return {
            "lines": [
                f"{one.time.isoformat(timespec='milliseconds')} {one.source} {one.line.level} {one.line.text}"
                for one in merge(files, lines)
            ]
        }

    def edge(self, request: Request) -> Any:
        """The traffic of one edge in the minute before a time."""
        followed = self._run(request)
        history = followed.loaded()
        a, b = (request.query_params.get(end, "") for end in ("a", "b"))
        at = request.query_params.get("at")
        for name in (a, b):
            if name not in (*history.agents, "env-0"):
                raise UsageError(f'a, b: there is no node "{name[:60]}" in this run')
        with followed.lock:
            return message_trace.edge(history, a, b, None if at is None else _number(at, "at"))

    def messages(self, request: Request) -> Any:
        """Messages in a span of time."""
        followed = self._run(request)
        history = followed.loaded()
        since = _number(request.query_params.get("from", "0"), "from")
        until = _number(request.query_params.get("to", "inf"), "to")
        nodes = [name for text in request.query_params.getlist("nodes") for name in text.split(",") if name]
        return message_trace.messages(history, since, until, nodes)

    def why(self, request: Request) -> Any:
        """What each node waits for, and the chains of waits, the gravest first."""
        report = why(self._run(request).directory, dump=False)
        nodes = {name: [asdict(wait) for wait in waits] for name, waits in report.nodes.items()}
        return {"nodes": nodes, "chains": [{"level": level, "text": text} for level, text in report.chains]}

    async def faults(self, request: Request) -> Response:
        """Order a fault."""
        expected, given = self._options.control, request.headers.get("x-murmuration-token", "")
        if expected is None:
            return JSONResponse({"error": "faults can't be ordered on this page; start it with: orchestrate dash --control"}, 403)
        if not secrets.compare_digest(given.encode(), expected.encode()):
            return JSONResponse({"error": "the token of faults is missing or wrong; it was printed when the page started"}, 403)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST_ORDER:
                return JSONResponse({"error": f"an order has at most {_LARGEST_ORDER} bytes"}, 413)

        def carried_out(request: Request) -> Any:
            return carry_out(json_body(body), self._run(request).loaded(), dry=request.query_params.get("dry") == "1")

        return await _answered(carried_out)(request)

    def film(self, request: Request) -> Any:
        """An episode with an agent, played from the newest checkpoints: what is known of it, and the address of the film; or
        a `problem` with its cause."""
        followed, agent = self._run(request), request.query_params.get("agent", "")
        if agent not in followed.loaded().agents:
            raise UsageError(f'agent: there is no agent "{agent[:60]}" in this run')
        try:
            key, film = self._renderings.film(followed.directory, agent)
        except ResourceError as error:
            return {"problem": str(error)}
        return {**film.facts, "picture": f"/api/runs/{quote(followed.id, safe='')}/film.gif?key={key}"}

    def film_picture(self, request: Request) -> Any:
        """The film itself."""
        film = self._renderings.kept(request.query_params.get("key", ""))
        if film is None:
            raise UsageError("key: this film is not kept any more; ask for it again")
        return Response(film.content, media_type="image/gif")

    def report(self, request: Request) -> Any:
        """The report of a run, or with `?of=experiment` of the experiment that it belongs to."""
        name = self._run(request).id
        directory = self._catalog.directory(name)
        if request.query_params.get("of") == "experiment":
            experiment = self._catalog.experiment(name)
            if experiment is None:
                raise UsageError(f"of: the run {name} belongs to no experiment here")
            directory = experiment[1]
        policy = f"{POLICY}; frame-ancestors 'none'"
        return Response(self._renderings.report(directory), media_type="text/html", headers={"Content-Security-Policy": policy})

    def compare(self, request: Request) -> Any:
        """Several runs beside each other, and where the report of a single run or of their common experiment is."""
        names = list(dict.fromkeys(name for text in request.query_params.getlist("runs") for name in text.split(",") if name))
        if not names:
            raise UsageError("runs: missing; write for example ?runs=night,day&name=return")
        found = grouped([self._catalog.directory(name) for name in names], request.query_params.get("name", "return"))
        experiments = {self._catalog.experiment(name) for name in names}
        address = f"/api/runs/{quote(names[0], safe='')}/report"
        report = None
        if len(experiments) == 1 and (common := experiments.pop()) is not None:
            report = {"url": f"{address}?of=experiment", "text": f"Report of the experiment {common[0]}"}
        elif len(names) == 1:
            report = {"url": address, "text": f"Report of the run {names[0]}"}
        return {**found, "report": report}

    async def prometheus(self, _: Request) -> Response:
        """The newest values of the runs that go on."""

        def text() -> str:
            live = [self._catalog.get(run.name) for run, _ in self._catalog.listed() if run.alive]
            for followed in live:
                followed.watch()
            return exposition(live)

        return Response(await asyncio.to_thread(text), media_type=CONTENT_TYPE)


def _number(text: str, name: str) -> float:
    """A number of the query; infinities only stand for all times."""
    try:
        value = float(text)
    except ValueError:
        value = nan
    if isnan(value) or (isinf(value) and name == "at"):
        raise UsageError(f'{name}: "{text[:40]}" is not a number')
    return value


def json_body(data: bytes) -> Mapping[str, Any]:
    """The JSON object of a request; `UsageError` where it is none."""
    try:
        value = json.loads(data)
    except ValueError:
        raise UsageError("the body is not JSON") from None
    if not isinstance(value, dict):
        raise UsageError("the body is not a JSON object")
    return value
