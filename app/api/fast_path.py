"""Defines the fast route for `/v1/models/{ref}/predict`, which bypasses the router."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response

from app.api.predictions import REF_PATTERN, VariantName, predict
from app.http.fast_path import FastRoute
from app.problems import build_error_response
from app.schemas.predictions import MAX_TOP_K
from app.state import get_state
from core.spec.job_kinds import Views

MAX_QUERY_BYTES = 96
"""Longer than every query string of the accepted parameters."""


def _find(names: tuple[str, ...]) -> Callable[[str], str | None]:
    return {name: name for name in names}.get


def _parse_top_k(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal()):
        return None
    return int(text) if 1 <= int(text) <= MAX_TOP_K else None


PARSERS: Mapping[str, Callable[[str], Any | None]] = {
    "top_k": _parse_top_k,
    "variant": _find(get_args(VariantName)),
    "test_time_augmentation": _find(get_args(get_args(Views)[0])),
}
"""Parses the value of a query parameter; returns None for values that the documented route must parse or reject."""


@lru_cache(maxsize=256)
def parse_simple_query(query: bytes) -> Mapping[str, Any] | None:
    """Return the parameters of a query string.

    Return None if the documented route must parse it or report its error: for unknown, repeated or escaped names, and
    for values that are not plain.
    """
    if len(query) > MAX_QUERY_BYTES:
        return None
    parsed: dict[str, Any] = {}
    for pair in query.decode("latin-1").split("&") if query else ():
        name, _, text = pair.partition("=")
        value = PARSERS[name](text) if name in PARSERS and name not in parsed else None
        if value is None:
            return None
        parsed[name] = value
    return parsed


def _is_simple(query: bytes) -> bool:
    return parse_simple_query(query) is not None


async def _predict(request: Request) -> Response:
    options = parse_simple_query(request.scope["query_string"]) or {}
    return await predict(request.path_params["ref"], request, get_state(request).predictions, **options)


PREDICT = FastRoute(
    "/v1/models/{ref}/predict",
    re.compile(f"/v1/models/(?P<ref>{REF_PATTERN.removeprefix('^').removesuffix('$')})/predict"),
    _predict,
    build_error_response,
    accepts_query=_is_simple,
)
