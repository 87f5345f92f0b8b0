"""Static files that browsers revalidate."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.http.static_files import RangeStaticFiles


def test_a_file_is_revalidated_with_its_etag(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("export {};")
    app = FastAPI()
    app.mount("/static", RangeStaticFiles(directory=tmp_path))
    client = TestClient(app)
    response = client.get("/static/a.js")
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-cache")
    unchanged = client.get("/static/a.js", headers={"If-None-Match": response.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    part = client.get("/static/a.js", headers={"Range": "bytes=0-5"})
    assert (part.status_code, part.content, part.headers["cache-control"]) == (206, b"export", "no-cache")
