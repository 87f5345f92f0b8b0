"""`/docs`: Swagger UI from an installed package, without internet access."""

from importlib.resources import files
from os import PathLike, stat_result
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.api.downloads import RangeResponse, select_range

STATIC_URL = "/static-offline-docs"
router = APIRouter(include_in_schema=False)


class RangeStaticFiles(StaticFiles):
    """Static files whose invalid ranges are problems: Starlette's own parsing responds with plain text."""

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        if not isinstance(response, FileResponse):  # a 304
            return response
        byte_range = select_range(Headers(scope=scope), stat_result.st_size, response.headers["etag"])
        return RangeResponse(Path(full_path), byte_range=byte_range, stat_result=stat_result, status_code=status_code)


def build_static_files() -> StaticFiles:
    """Return the application that serves the Swagger UI files of the package `fastapi-offline`."""
    return RangeStaticFiles(directory=Path(str(files(fastapi_offline) / "static")))


@router.get("/")
def redirect_to_docs() -> RedirectResponse:
    """Redirect to the API documentation."""
    return RedirectResponse("/docs")


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
