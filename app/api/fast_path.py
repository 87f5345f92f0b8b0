"""Defines the fast route for `/v1/models/{ref}/predict`, which bypasses the router."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.api.predictions import REF_PATTERN, TestTimeAugmentation, TopK, Variant, predict
from app.http.fast_path import QUERY_KEY, FastRoute
from app.problems import build_error_response
from app.state import get_state

PARAMETERS: Mapping[str, TypeAdapter[Any]] = {
    "top_k": TypeAdapter(TopK),
    "variant": TypeAdapter(Variant),
    "test_time_augmentation": TypeAdapter(TestTimeAugmentation),
}


def parse_simple_query(query: bytes) -> Mapping[str, Any] | None:
    """Return the parameters of a query string.

    Return None if the documented route must parse it or report its error: for unknown, repeated or escaped names, and
    for escaped or invalid values.
    """
    parsed: dict[str, Any] = {}
    for pair in query.decode("latin-1").split("&") if query else ():
        name, _, text = pair.partition("=")
        if name not in PARAMETERS or name in parsed:
            return None
        try:
            parsed[name] = PARAMETERS[name].validate_python(text)
        except ValidationError:
            return None
    return parsed


async def _predict(request: Request) -> Response:
    ref, predictions = request.path_params["ref"], get_state(request).predictions
    return await predict(ref, request, predictions, **request.scope[QUERY_KEY])


PREDICT = FastRoute(
    "/v1/models/{ref}/predict",
    re.compile(f"/v1/models/(?P<ref>{REF_PATTERN.removeprefix('^').removesuffix('$')})/predict"),
    _predict,
    build_error_response,
    parse_query=parse_simple_query,
)
