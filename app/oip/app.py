"""Mounts `/v2` in the service."""

from fastapi import FastAPI
from starlette.routing import Route

from app.oip import endpoints, exception_handlers, infer


def create_oip_app() -> FastAPI:
    """Create the sub-application. Its routes include the prefix `/v2`."""
    app = FastAPI(
        title="Open Inference Protocol", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    exception_handlers.install_handlers(app)
    app.include_router(infer.router)
    app.include_router(endpoints.router)
    return app


def mount(app: FastAPI) -> None:
    """Route every path that starts with `/v2` to the sub-application, under any root path."""
    # Clients of the protocol request `/v2` without a trailing slash, which a Mount does not match. The route is first,
    # because matching all other routes takes longer than decoding an inference request.
    app.router.routes.insert(0, Route("/v2{rest:path}", endpoint=create_oip_app(), include_in_schema=False))
