"""Films of episodes and reports, as the page makes them on request."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.page.episode_film import LONGEST_SIDE, MOST_PICTURES, _Pictures
from tests.orchestrator.cli.conftest import CONFIG
from tests.orchestrator.cli.test_play_policies import make_run
from tests.orchestrator.page.page_client import Page, page
from tests.orchestrator.page.played_run import PlayedRun

LONG = 400.0
"""seconds that a film or a report may take on a busy machine"""


def test_pictures_are_bounded_in_number_and_size() -> None:
    pictures = _Pictures()
    for _ in range(5 * MOST_PICTURES):
        pictures.add(np.zeros((480, 640, 3), np.uint8))
    assert MOST_PICTURES / 2 <= len(pictures.kept) <= MOST_PICTURES and pictures.every == 8
    assert pictures.kept[0].size == (LONGEST_SIDE, 3 * LONGEST_SIDE // 4)


def _asked(site: Page, path: str) -> tuple[int, dict[str, str], bytes]:
    return site.ask(path, timeout=LONG)


@pytest.mark.runs
@pytest.mark.timeout(900)
def test_films_and_reports_through_the_page(tmp_path: Path) -> None:
    ring = make_run(tmp_path / "runs" / "ring", CONFIG, "environment.options.horizon=6")
    PlayedRun(tmp_path / "runs" / "silent").record("DONE")
    before = {path: path.stat().st_mtime_ns for path in ring.rglob("*")}
    with page(tmp_path, str(tmp_path / "runs")) as (site, _):
        status, _, body = _asked(site, "/api/runs/ring/film?agent=agent-1")
        assert status == 200, body
        film = json.loads(body)
        assert film["checkpoint"] == 7 and "agent-1" in film["members"] and film["goal"] and film["every"] == 1
        status, headers, content = site.ask(film["picture"])
        assert status == 200 and headers["content-type"] == "image/gif"
        picture = Image.open(io.BytesIO(content))
        assert picture.n_frames == film["pictures"] == film["length"] + 1 and max(picture.size) <= LONGEST_SIDE
        assert json.loads(_asked(site, "/api/runs/ring/film?agent=agent-1")[2]) == film, "it is kept"
        status, _, body = _asked(site, "/api/runs/silent/film?agent=agent-1")
        assert status == 200 and "has no checkpoint" in json.loads(body)["problem"]
        assert site.ask("/api/runs/ring/film?agent=env-0")[0] == site.ask("/api/runs/ring/film.gif?key=x")[0] == 400

        status, headers, body = _asked(site, "/api/runs/ring/report")
        assert status == 200 and body.lstrip().startswith(b"<!DOCTYPE html>"), body[:300]
        assert headers["content-security-policy"].startswith("default-src 'none'") and "script" not in headers["content-security-policy"]
        assert site.ask("/api/runs/ring/report?of=experiment")[0] == 400
    assert {path: path.stat().st_mtime_ns for path in ring.rglob("*")} == before, "nothing is written into the run"
