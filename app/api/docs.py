"""`/docs` without the internet: Swagger UI from an installed package; and what each kind of problem means."""

from importlib.resources import files
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

STATIC_URL = "/static-offline-docs"
router = APIRouter(include_in_schema=False)


def build_static_files() -> StaticFiles:
    """Swagger UI's own files, as the package `fastapi-offline` carries them."""
    return StaticFiles(directory=Path(str(files(fastapi_offline) / "static")))


@router.get("/")
def redirect_to_docs() -> RedirectResponse:
    """Send a browser to the documentation."""
    return RedirectResponse("/docs")


@router.get("/docs")
def show_docs() -> HTMLResponse:
    """Show the API, to be tried out."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Candela",
        swagger_js_url=f"{STATIC_URL}/swagger-ui-bundle.js",
        swagger_css_url=f"{STATIC_URL}/swagger-ui.css",
        swagger_favicon_url=f"{STATIC_URL}/favicon.png",
    )
