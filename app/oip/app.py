"""Where `/v2` joins the service."""

from fastapi import FastAPI
from starlette.routing import Route

from app.oip import endpoints, exception_handlers, infer


def create_oip_app() -> FastAPI:
    """The sub-application. It knows whole paths, so that `/v2` itself is one of them, and redirects nobody."""
    app = FastAPI(
        title="Open Inference Protocol", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    exception_handlers.install_handlers(app)
    app.include_router(infer.router)
    app.include_router(endpoints.router)
    return app


def mount(app: FastAPI) -> None:
    """Let every path that begins with `/v2` be answered by the sub-application, under any base path."""
    # A Mount would not match `/v2` without a slash behind it, which is what the protocol's clients call. It comes
    # first: looking at every other route before costs an inference more than its decoding does.
    app.router.routes.insert(0, Route("/v2{rest:path}", endpoint=create_oip_app(), include_in_schema=False))
