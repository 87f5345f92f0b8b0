"""The dashboard: pages of native ES modules that use the public API only."""

from fastapi import FastAPI

from app.http.static_files import RangeStaticFiles
from app.web.pages import FOLDER, router

STATIC_URL = "/ui/static"
LIBRARIES_URL = "/ui/vendor"


def mount(app: FastAPI) -> None:
    """Add the page at `/`, and its modules, styles and libraries, to the application."""
    app.include_router(router)
    app.mount(STATIC_URL, RangeStaticFiles(directory=FOLDER / "static"))
    app.mount(LIBRARIES_URL, RangeStaticFiles(directory=FOLDER / "vendor", check_dir=False))
