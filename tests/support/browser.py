"""Drives the dashboard in headless Chromium, and records what the pages must not do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import axe_playwright_python  # type: ignore[import-untyped]  # only its file axe.min.js is used
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

SCREENSHOTS = Path(__file__).resolve().parents[2] / "var" / "screenshots"
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
RUN_AXE = "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# As root and without internet; the other options keep Chromium from requests of its own.
OPTIONS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
WIDE, NARROW = (1280, 860), (360, 740)
Theme = Literal["light", "dark"]
WINDOWS: list[tuple[Theme, tuple[int, int]]] = [("light", WIDE), ("dark", NARROW)]
"""Each theme and each size once. A theme changes colors and no size: `tests/unit/app/web/test_pages.py`."""
SETTLE_MS = 400  # for images and charts, so that screenshots and the rules of accessibility include them
expect.set_options(timeout=60_000)


def find_chromium() -> str:
    """Return the path of Chromium. Without it, skip the test, or fail it if REQUIRE_BROWSER=1."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        reason = "Chromium is not installed: apt-get install chromium"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@contextmanager
def start_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """A window of the browser that opens views of the dashboard.

    Attributes:
        faults: errors of scripts, violations of the content security policy, and requests to other origins.
    """

    def __init__(self, browser: Browser, url: str, *, theme: Theme = "light", size: tuple[int, int] = WIDE) -> None:
        self.url = url.rstrip("/")
        self.faults: list[str] = []
        self.theme, self.size = theme, size
        self.context: BrowserContext = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=theme, reduced_motion="reduce"
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._check_message)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("request", self._check_request)

    def open(self, view: str) -> Page:
        """Open a view such as `#/jobs` and wait until its responses have arrived."""
        self.page.goto(f"{self.url}/{view}")
        self.page.wait_for_selector("main h1, main h2")
        self.wait_for_responses()
        return self.page

    def wait_for_responses(self) -> None:
        expect(self.page.locator(".skeleton")).to_have_count(0, timeout=60_000)
        self.page.wait_for_timeout(SETTLE_MS)

    def take_screenshot(self, name: str, *, full_page: bool = False) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}-{self.theme}-{self.size[0]}.png", full_page=full_page)

    def find_violations(self) -> list[str]:
        """Return violations of WCAG 2.2, levels A and AA, that axe-core finds."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE)
        result: dict[str, Any] = self.page.evaluate(RUN_AXE, RULES)
        return [
            f"{violation['id']}: {node['html'][:120]}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]

    def measure_overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def close(self) -> None:
        self.context.close()

    def _check_message(self, message: ConsoleMessage) -> None:
        # A response 4xx is written to the console too; pages show it as a problem.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(f"console: {message.text}")

    def _check_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("blob", "data") and f"{address.scheme}://{address.netloc}" != self.url:
            self.faults.append(f"request: {request.url}")


class RequestCounter:
    """Counts how many requests for curves are on their way at once: a browser sends six to a host, for all tabs."""

    def __init__(self, page: Page) -> None:
        self.highest = 0
        self._pending: set[Request] = set()
        page.on("request", self._add)
        page.on("requestfinished", lambda request: self._pending.discard(request))
        page.on("requestfailed", lambda request: self._pending.discard(request))

    def _add(self, request: Request) -> None:
        if "/v1/metrics?" in request.url:
            self._pending.add(request)
            self.highest = max(self.highest, len(self._pending))
