"""Routes that serve `/v2/models/{model}/infer` without the routing and middleware of FastAPI."""

import re

from starlette.requests import Request
from starlette.responses import Response

from app.http.fast_path import FastRoute
from app.oip.exception_handlers import to_response
from app.oip.infer import infer
from app.state import get_state


async def _infer(request: Request) -> Response:
    state, path = get_state(request), request.path_params
    return await infer(path["model"], request, state.inference, path.get("version", ""))


INFER = FastRoute("/v2/models/{model}/infer", re.compile(r"/v2/models/(?P<model>[^/]+)/infer"), _infer, to_response)
INFER_VERSION = FastRoute(
    "/v2/models/{model}/versions/{version}/infer",
    re.compile(r"/v2/models/(?P<model>[^/]+)/versions/(?P<version>[^/]+)/infer"),
    _infer,
    to_response,
)
