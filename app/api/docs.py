"""`/docs`: Swagger UI from an installed package, without internet access."""

from importlib.resources import files
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from app.http.static_files import RangeStaticFiles

STATIC_URL = "/static-offline-docs"
router = APIRouter(include_in_schema=False)


def build_static_files() -> RangeStaticFiles:
    """Return the application that serves the Swagger UI files of the package `fastapi-offline`."""
    return RangeStaticFiles(directory=Path(str(files(fastapi_offline) / "static")))


@router.get("/docs")
def show_docs() -> HTMLResponse:
    """Show the API documentation."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Candela",
        swagger_js_url=f"{STATIC_URL}/swagger-ui-bundle.js",
        swagger_css_url=f"{STATIC_URL}/swagger-ui.css",
        swagger_favicon_url=f"{STATIC_URL}/favicon.png",
    )
