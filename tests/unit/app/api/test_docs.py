"""The documentation page and its files."""

import asyncio
import re
from threading import Event

import httpx
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.state import State


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


async def test_requests_are_answered_while_the_openapi_document_is_built(state: State) -> None:
    app, may_finish, num_builds = create_app(state=state), Event(), 0

    def build() -> dict[str, str]:
        nonlocal num_builds
        num_builds += 1
        assert may_finish.wait(60)
        return {"openapi": "3.1.0"}

    app.openapi = build  # type: ignore[method-assign]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver") as client:
        readers = [asyncio.create_task(client.get("/openapi.json")) for _ in range(3)]
        assert (await client.get("/docs")).status_code == 200
        assert not any(reader.done() for reader in readers)
        may_finish.set()
        responses = await asyncio.gather(*readers)
    assert [response.json() for response in responses] == [{"openapi": "3.1.0"}] * 3
    assert num_builds == 1


def test_the_openapi_document_is_compressed_and_has_an_etag(client: TestClient) -> None:
    response = client.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.json()["openapi"].startswith("3.1")
    unchanged = client.get("/openapi.json", headers={"If-None-Match": response.headers["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_the_first_server_of_the_openapi_document_is_the_path_prefix(state: State) -> None:
    app = create_app(state=state)
    with TestClient(app, root_path="/base") as client:
        assert client.get("/base/openapi.json").json()["servers"][0] == {"url": "/base"}
    with TestClient(app) as client:
        assert [server["url"] for server in client.get("/openapi.json").json()["servers"]] == ["/"]
