"""The page of the dashboard, its files and its policy."""

import gzip
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.http.middleware import is_public_path
from app.web import pages

MAX_PAGE_BYTES = 80_000
MAX_BYTES = 172_000


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


def test_a_theme_changes_only_colors_and_shadows() -> None:
    """Therefore the pages are tested in each theme and each size, not in every combination."""
    styles = (Path(pages.__file__).parent / "static" / "candela.css").read_text(encoding="utf-8")
    [rule] = re.findall(r"([^{}]*\[data-theme[^{}]*)\{([^}]*)\}", styles)
    assert rule[0].split("*/")[-1].strip() == ':root[data-theme="dark"]'
    values = dict(re.findall(r"([\w-]+): ([^;]+);", rule[1]))
    assert len(values) > 10
    for name, value in values.items():
        assert name == "--shadow" or re.fullmatch(r"--[\w-]+: #[0-9a-f]{6}", f"{name}: {value}"), name
    assert "prefers-color-scheme" not in styles


def measure_gzipped(files: Iterable[Path]) -> int:
    return sum(len(gzip.compress(file.read_bytes(), 6)) for file in files)


def find_modules(file: Path) -> set[Path]:
    """Return a module and all modules that it imports, except those of pages that are loaded later."""
    found, waiting = set(), [file]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            imports = re.findall(r'^(?:import|export) (?:.* from )?"(\.[^"]+)"', module.read_text(), re.MULTILINE)
            waiting += [(module.parent / path).resolve() for path in imports]
    return found


@pytest.mark.parametrize(
    "page", ["jobs", "job", "compare", "new_job", "sweeps", "sweep", "new_sweep", "datasets", "models", "predict"]
)
def test_a_page_is_small(page: str) -> None:
    static = pages.FOLDER / "static"
    files = find_modules(static / "main.js") | find_modules(static / "pages" / f"{page}.js")
    assert static / "lib" / "preact.js" in files
    files |= {static / name for name in ("index.html", "candela.css", "theme.js")}
    files |= {pages.FOLDER / "vendor" / name for name in ("preact-htm.js", "uplot.js", "uplot.css")}
    assert measure_gzipped(files) <= MAX_PAGE_BYTES


def test_all_files_together_are_small() -> None:
    files = [*(pages.FOLDER / "static").rglob("*.*"), *(pages.FOLDER / "vendor" / name for name in pages.LIBRARIES)]
    assert len(files) > 30
    assert measure_gzipped(files) <= MAX_BYTES


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


@pytest.mark.parametrize("path", ["/", "/ui/static/main.js", "/ui/vendor/uplot.js"])
def test_the_page_needs_no_key(path: str) -> None:
    assert is_public_path(path)
    assert not is_public_path("/v1/jobs")
