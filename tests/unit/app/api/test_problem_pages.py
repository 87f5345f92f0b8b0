"""The pages of problems: the `type` of every problem opens."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import app
from app.api.problem_pages import SOURCE, read_titles, split_sections


def test_every_section_of_the_reference_has_a_page() -> None:
    assert {"invalid-request", "not-found", "internal", "unauthorized"} <= set(split_sections())
    headings = re.findall(r"^## (.+)$", SOURCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(headings) == set(split_sections())


def test_the_navigation_is_that_of_the_dashboard(client: TestClient) -> None:
    source = Path(app.__file__).with_name("web") / "static" / "main.js"
    entries = re.findall(r'^  \["/(\w+)", "\w+", "([^"]+)", "\w"\],$', source.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(entries) > 5
    links = re.findall(r'<a href="\./#/(\w+)">([^<]+)</a>', client.get("/problems").text)
    assert links == entries


@pytest.mark.parametrize("slug", sorted(split_sections()))
def test_a_page_explains_a_problem(client: TestClient, slug: str) -> None:
    page = client.get(f"/problems/{slug}")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert f"<h1>{read_titles()[slug]}</h1>" in page.text
    assert f"&quot;type&quot;: &quot;/problems/{slug}&quot;" in page.text
    assert re.search(r"<p><strong>Status \d{3}\.</strong> ", page.text)
    assert "<ol" not in page.text
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    assert re.findall("<script[^>]*>", page.text) == ['<script src="../ui/static/theme.js">']


def test_the_type_of_a_problem_is_a_page(client: TestClient) -> None:
    problem = client.get("/v1/jobs/0123").json()
    assert "The resource does not exist" in client.get(problem["type"]).text


def test_the_list_links_every_problem(client: TestClient) -> None:
    page = client.get("/problems").text
    assert all(f'href="problems/{slug}"' in page for slug in split_sections())


@pytest.mark.parametrize("slug", ["nothing", "../docs", "<script>", "a" * 100])
def test_an_unknown_problem_is_not_found(client: TestClient, slug: str) -> None:
    response = client.get(f"/problems/{slug.replace('/', '%2f')}")
    assert response.status_code in (404, 422)
    assert response.headers["content-type"] == "application/problem+json"
