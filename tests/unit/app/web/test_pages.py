"""The page of the dashboard, its files and its policy."""

import gzip
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.web import pages

MAX_GZIPPED_BYTES = 80_000


def test_the_page_loads_only_own_files_under_a_strict_policy(client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe-inline" not in policy
    assert "style=" not in response.text


def test_every_file_of_the_page_exists(client: TestClient) -> None:
    text = client.get("/").text
    files = [part.split('"')[0] for part in text.split('="')[1:] if part.startswith("ui/")]
    assert len(files) >= 5
    for file in files:
        response = client.get(f"/{file}")
        assert response.status_code == 200, file
        assert response.headers["Cache-Control"] == "no-cache"


def test_all_files_together_are_small() -> None:
    files = [
        *(pages.FOLDER / "static").rglob("*.js"),
        *(pages.FOLDER / "static").rglob("*.css"),
        pages.FOLDER / "static/index.html",
    ]
    files += [pages.FOLDER / "vendor" / name for name in pages.LIBRARIES]
    assert len(files) > 30
    sizes = {file.name: len(gzip.compress(file.read_bytes(), 6)) for file in files}
    assert sum(sizes.values()) <= MAX_GZIPPED_BYTES, sizes


def test_missing_libraries_are_named(client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert pages.list_missing_libraries(tmp_path) == list(pages.LIBRARIES)
    monkeypatch.setattr(pages, "list_missing_libraries", lambda: ["uplot.js"])
    response = client.get("/")
    assert response.status_code == 503
    assert "uplot.js" in response.text
    assert "make setup" in response.text


@pytest.mark.parametrize("path", ["../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "nothing.js"])
def test_no_other_file_is_served(client: TestClient, path: str) -> None:
    assert client.get(f"/ui/static/{path}").status_code == 404


def test_the_page_needs_no_key(keyed_client: TestClient) -> None:
    assert keyed_client.get("/").status_code == 200
    assert keyed_client.get("/ui/static/main.js").status_code == 200
    assert keyed_client.get("/v1/jobs").status_code == 401
