"""Take the pictures of docs/mlflow.md: of a finished study, in MLflow's pages.

    python docs/pictures/mlflow.py studies quickstart

Serves the studies' home with `study ui`, opens its pages in a Chromium of this machine, and writes
docs/pictures/mlflow_*.png.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import Page, sync_playwright

from study.journal import StudyHome
from study.tracking import view_links

PICTURES = Path(__file__).parent
PORT = 5077
PATIENCE = 300.0  # seconds
CHARTS = 10_000  # milliseconds that charts take to be drawn


def main(home: Path, study: str) -> None:
    """Take all pictures of the study ``study`` in ``home``."""
    command = [sys.executable, "-m", "study", "ui", "--home", str(home), "--port", str(PORT)]
    server = subprocess.Popen(command)
    try:
        _wait()
        links = view_links(StudyHome(home, study))
        with sync_playwright() as playwright:
            program = shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 800})
            page.set_default_timeout(PATIENCE * 1000)
            _take(page, {name: link.replace(":5000", f":{PORT}") for name, link in links.items()})
            browser.close()
    finally:
        server.terminate()
        server.wait()


def _wait() -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise SystemExit("the server did not start")


def _take(page: Page, links: dict[str, str]) -> None:
    for name in ("Arms", "Trials", "Confirm runs"):
        _open(page, links[name])
        page.screenshot(path=PICTURES / f"mlflow_{name.lower().replace(' ', '_')}.png")
    _open(page, links["Arms"])
    for row in page.locator(".ag-pinned-left-cols-container .ag-row").all()[:4]:
        row.locator("input[type=checkbox]").first.check()
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Comparing").first.wait_for()
    page.wait_for_timeout(CHARTS)
    page.screenshot(path=PICTURES / "mlflow_compare.png")


def _open(page: Page, link: str) -> None:
    page.goto("about:blank")
    page.goto(link)
    page.locator(".ag-row").first.wait_for()
    close = page.get_by_role("button", name="Close", exact=True)
    if close.count():  # MLflow's assistant, which takes a third of the page
        close.first.click()
    page.wait_for_timeout(CHARTS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
