"""`/docs`, `/redoc` and `/openapi.json`: the API documentation, from installed packages, without internet access."""

from importlib.resources import files
from pathlib import Path

import anyio
import fastapi_offline
import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, Response
from starlette.requests import Request

from app.api.etags import compute_etag, send_json
from app.http.static_files import RangeStaticFiles

STATIC_URL = "/static-offline-docs"
ASSETS_URL = "/ui/docs"
ASSETS = Path(__file__).parent / "docs_assets"
# Both programs create style elements. Neither needs inline scripts.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-cache"}
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{base}.{static}/favicon.png">
{styles}<link rel="stylesheet" href="{base}.{assets}/docs.css">
</head>
"""
SWAGGER = """<body>
<nav class="home"><a href="./">Candela dashboard</a></nav>
<div id="swagger-ui"></div>
<script src=".{static}/swagger-ui-bundle.js"></script>
<script src=".{assets}/swagger.js"></script>
</body>
</html>
"""
REDOC = """<body>
<nav class="home"><a href="./">Candela dashboard</a></nav>
<div id="redoc"></div>
<script src=".{static}/redoc.standalone.js"></script>
<script src=".{assets}/redoc.js"></script>
</body>
</html>
"""
router = APIRouter(include_in_schema=False)


def mount_files(app: FastAPI) -> None:
    """Serve the files of Swagger UI and Redoc, which the package `fastapi-offline` contains, and our own."""
    app.mount(STATIC_URL, RangeStaticFiles(directory=Path(str(files(fastapi_offline) / "static"))))
    app.mount(ASSETS_URL, RangeStaticFiles(directory=ASSETS))


def add_openapi_endpoint(app: FastAPI) -> None:
    """Serve the OpenAPI document at `/openapi.json`. Behind a path prefix, its first server is the prefix.

    Building it takes more than a second. The first request does that in a thread, not on the event loop.
    """
    lock = anyio.Lock()
    rendered: dict[str, tuple[bytes, str]] = {}  # by the path prefix, which is a setting of the server

    def render(prefix: str) -> tuple[bytes, str]:
        document = app.openapi()
        if prefix:
            document = document | {"servers": [{"url": prefix}, *document["servers"]]}
        body = orjson.dumps(document)
        return body, compute_etag(body)

    async def show_openapi(request: Request) -> Response:
        prefix = request.scope.get("root_path", "").rstrip("/")
        async with lock:
            if prefix not in rendered:
                rendered[prefix] = await run_sync(render, prefix)
        return send_json(request, *rendered[prefix])

    app.add_route("/openapi.json", show_openapi, include_in_schema=False)


def render_head(title: str, *, styles: str = "", base: str = "") -> str:
    """Return the start of a page. `base` is the relative path to the root, such as `../`."""
    return HEAD.format(title=title, styles=styles, base=base, static=STATIC_URL, assets=ASSETS_URL)


@router.get("/docs")
def show_docs() -> HTMLResponse:
    """Show the API documentation in Swagger UI."""
    styles = f'<link rel="stylesheet" href=".{STATIC_URL}/swagger-ui.css">\n'
    body = SWAGGER.format(static=STATIC_URL, assets=ASSETS_URL)
    return HTMLResponse(render_head("Candela", styles=styles) + body, headers=HEADERS)


@router.get("/redoc")
def show_redoc() -> HTMLResponse:
    """Show the API documentation in Redoc."""
    body = REDOC.format(static=STATIC_URL, assets=ASSETS_URL)
    return HTMLResponse(render_head("Candela") + body, headers=HEADERS)
