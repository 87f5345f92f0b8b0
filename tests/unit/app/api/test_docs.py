"""The documentation page and its files."""

import re

import pytest
from fastapi.testclient import TestClient


def test_the_documentation_requires_no_internet(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "://" not in page.text.replace("window.location.origin", "")
    for file in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"/static-offline-docs/{file}" in page.text
        assert client.get(f"/static-offline-docs/{file}").status_code == 200


@pytest.mark.parametrize("path", ["../core.py", "..%2fcore.py", "%2e%2e/core.py", "nothing.js"])
def test_no_other_file_is_served(client: TestClient, path: str) -> None:
    response = client.get(f"/static-offline-docs/{path}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "files"),
    [("/docs", ("swagger-ui-bundle.js", "swagger.js")), ("/redoc", ("redoc.standalone.js", "redoc.js"))],
)
def test_a_page_has_no_inline_script(client: TestClient, path: str, files: tuple[str, ...]) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    assert page.text.count("<script") == page.text.count("<script src=") == len(files)
    assert "://" not in page.text
    for source in re.findall(r'(?:src|href)="\.([^"]+)"', page.text):
        assert client.get(source).status_code == 200, source
    assert all(file in page.text for file in files)
