"""Dagster's UI on the instance a run wrote: the lineage page shows assets and groups in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain import ROOT, Run, environment

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PATIENCE_SECONDS = 180
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]


def browser_path() -> str:
    """Debian's Chromium, or any other on the path."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine; on Debian: apt-get install chromium")
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until_served(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"not served in {PATIENCE_SECONDS} s: {log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def ui(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the web server on a copy of the finished run's folder."""
    browser_path()
    folder = tmp_path_factory.mktemp("ui") / "data"
    shutil.copytree(tiny_run.folder, folder)
    home = folder / "dagster_home"
    log = folder / "webserver.log"
    port = free_port()
    with log.open("wb") as out:
        server = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "dagster-webserver"),
                *("-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)),
            ],
            cwd=ROOT,
            env={
                **environment(folder),
                "DAGSTER_HOME": str(home),
                "BCRS_DAGSTER_EVENTS": str(home / "events"),
            },
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_served(url, server, log)
        yield url
    finally:
        # the code server is a child of its own
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def test_lineage_shows_groups_and_assets(ui: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1800, "height": 1100})
            page.set_default_timeout(PATIENCE_SECONDS * 1000 / 2)
            page.goto(f"{ui}/asset-groups", wait_until="domcontentloaded")
            for group in ("features", "intermediate", "marts", "models", "scores", "staging", "tier1", "tier2"):
                page.get_by_text(group, exact=True).first.wait_for()
            page.screenshot(path=tmp_path / "lineage.png")
            page.goto(f"{ui}/locations/bcrs/asset-groups/tier1/lineage", wait_until="domcontentloaded")
            # nodes outside the window are not drawn: the group opens on one of its assets
            for text in (re.compile(r"tier1_p\d_"), "100% filled", "1 / 1 Passed"):
                page.get_by_text(text).first.wait_for()
            page.screenshot(path=tmp_path / "tier1.png")
            page.goto(f"{ui}/assets/features/feat_p1_volume_velocity?view=checks", wait_until="domcontentloaded")
            for text in ("contract_holds", "This is a blocking asset check."):
                page.get_by_text(text).first.wait_for()
            page.screenshot(path=tmp_path / "checks.png")
        finally:
            browser.close()
    pictures = [tmp_path / name for name in ("lineage.png", "tier1.png", "checks.png")]
    assert all(picture.stat().st_size > 10_000 for picture in pictures)
