"""Defines the fast route for `/v1/models/{ref}/predict`, which bypasses the router."""

import re

from starlette.requests import Request
from starlette.responses import Response

from app.api.predictions import REF_PATTERN, predict
from app.http.fast_path import FastRoute
from app.problems import build_error_response
from app.state import get_state


async def _predict(request: Request) -> Response:
    return await predict(request.path_params["ref"], request, get_state(request).predictions)


PREDICT = FastRoute(
    "/v1/models/{ref}/predict",
    re.compile(f"/v1/models/(?P<ref>{REF_PATTERN.removeprefix('^').removesuffix('$')})/predict"),
    _predict,
    build_error_response,
)
