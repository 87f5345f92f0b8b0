"""`/`: the page of the dashboard, and the modules, styles and libraries that it loads."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

FOLDER = Path(__file__).parent
LIBRARIES = ("preact-htm.js", "js-yaml.js", "uplot.js", "uplot.css")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
HEADERS = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-cache"}
router = APIRouter(include_in_schema=False)


def list_missing_libraries(folder: Path = FOLDER) -> list[str]:
    """Return the names of the JavaScript libraries that the installation did not copy."""
    return [name for name in LIBRARIES if not (folder / "vendor" / name).is_file()]


@router.get("/")
def show_dashboard() -> HTMLResponse:
    """Show the dashboard, or say which libraries the installation lacks."""
    if missing := list_missing_libraries():
        return HTMLResponse(_format_missing(missing), headers=HEADERS, status_code=503)
    return HTMLResponse((FOLDER / "static" / "index.html").read_text(), headers=HEADERS)


def _format_missing(names: list[str]) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Candela</title>'
        "<h1>The dashboard is not installed</h1>"
        f"<p>These JavaScript libraries are missing: {', '.join(names)}. Run <code>make setup</code> or "
        "<code>pip install --no-deps -e .</code> with access to an npm registry, and reload this page."
        '<p>The API works without them: see <a href="/docs">/docs</a>.</html>'
    )
