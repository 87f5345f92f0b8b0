"""`/docs`, `/redoc` and the pages of problems in a real browser, without internet access and inline scripts."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from app.main import create_app
from tests.support.browser import SCREENSHOTS
from tests.support.http_service import service_state
from tests.support.oip import serve_app

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MAX_ERRORS_PX = 600
"""Of the errors of an operation together: about ten lines."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    with service_state(home, sqlite_template, allowed_hosts=()) as state, serve_app(create_app(state=state)) as address:
        yield f"http://{address}"


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """A page that records requests to other hosts, violations of the policy and errors of scripts."""
    faults: list[str] = []

    def check_request(request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and not request.url.startswith(url):
            faults.append(f"request: {request.url}")

    def check_message(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or message.type == "error":
            faults.append(f"console: {message.text}")

    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(120_000)
    opened.on("request", check_request)
    opened.on("console", check_message)
    opened.on("pageerror", lambda error: faults.append(f"script: {error}"))
    yield opened
    opened.close()
    assert faults == []


def take_screenshot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def open_operation(page: Page, url: str, operation_id: str) -> None:
    page.goto(f"{url}/docs")
    page.wait_for_selector(".opblock-tag-section")
    block = page.locator(f'[id$="-{operation_id}"]').first
    block.locator(".opblock-summary-control").first.click()
    page.wait_for_selector(f'[id$="-{operation_id}"] tr.response')


@pytest.mark.parametrize("operation_id", ["show_job", "predict", "upload_dataset", "infer"])
def test_the_errors_of_an_operation_take_one_line_each(page: Page, url: str, operation_id: str) -> None:
    open_operation(page, url, operation_id)
    rows = page.locator('tr.response[data-code^="4"], tr.response[data-code^="5"]')
    count = rows.count()
    assert count >= 5
    heights = [rows.nth(index).bounding_box() for index in range(count)]
    assert sum(box["height"] for box in heights if box) < MAX_ERRORS_PX
    rows.last.scroll_into_view_if_needed()
    take_screenshot(page, f"docs-{operation_id}")


def test_a_click_on_the_status_shows_the_body_of_an_error(page: Page, url: str) -> None:
    open_operation(page, url, "show_job")
    row = page.locator('tr.response[data-code="404"]')
    assert not row.locator(".model-example").is_visible()
    row.locator(".response-col_status").click()
    assert row.locator(".model-example").is_visible()
    assert "/problems/not-found" in row.inner_text()


def test_redoc_shows_every_operation(page: Page, url: str) -> None:
    page.goto(f"{url}/redoc")
    page.locator("h2", has_text="Submit a job").wait_for()
    take_screenshot(page, "redoc")


def test_a_problem_has_a_page(page: Page, url: str) -> None:
    page.goto(f"{url}/problems/invalid-spec")
    assert page.locator("h1").inner_text() == "The request is invalid"
    take_screenshot(page, "problem")
    page.click("text=All problems")
    assert page.url == f"{url}/problems"
    page.click("text=not-found")
    assert page.url == f"{url}/problems/not-found"
