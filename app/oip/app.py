"""Creates the sub-application of `/v2` and mounts it in the service."""

from fastapi import FastAPI
from starlette.routing import Route

from app.oip import endpoints, exception_handlers, infer


def create_oip_app() -> FastAPI:
    """Create the sub-application. The paths of its routes start with `/v2`."""
    app = FastAPI(
        title="Open Inference Protocol", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    exception_handlers.install_handlers(app)
    app.include_router(infer.router)
    app.include_router(endpoints.router)
    return app


def mount(app: FastAPI) -> FastAPI:
    """Route every path that starts with `/v2` to the sub-application, under any root path. Return the latter."""
    # A Mount does not match the path `/v2` without a trailing slash, so a Route is used. It is inserted at position 0,
    # because matching the other routes takes longer than decoding an inference request.
    oip_app = create_oip_app()
    app.router.routes.insert(0, Route("/v2{rest:path}", endpoint=oip_app, include_in_schema=False))
    return oip_app
