"""The route class of every resource: JSON read strictly, wrong media types and unknown query parameters refused."""

import json
import math
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.http.asgi import get_media_type
from app.problems import InvalidJson
from core.spec.error_pointers import pointer_of, unknown

MAX_DEPTH = 64
INT64 = 2**63
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    async def json(self) -> Any:  # noqa: ANN401 - any JSON value
        if not hasattr(self, "_strict"):
            self._strict = parse_json(await self.body())
        return self._strict


class StrictRoute(APIRoute):
    """What FastAPI leaves open is closed here, before the endpoint's own validation."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        known = sorted(_list_query_names(self.dependant))
        wants_json = self.body_field is not None and not isinstance(self.body_field.field_info, Form)

        async def strict(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            _check_parameters(request, known)
            if wants_json:
                await require_json(request)
            return await handler(request)

        return strict


def _list_query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _list_query_names(dependency)


def parse_json(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """The JSON document in `body`.

    Raises:
        HTTPException: 400, the body is no JSON in UTF-8.
        InvalidJson: 422, a key given twice, a number or text that no field can hold, or too deep.
    """
    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=_build_object)
    except UnicodeDecodeError:
        raise HTTPException(400, "The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise HTTPException(400, f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise InvalidJson("", f"is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError:  # an integer of more than 4300 digits
        raise InvalidJson("", "holds a number with too many digits") from None
    _check_values(document)
    return document


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidJson("", f"gives the key {key[:64]!r} twice in one object")
        found[key] = value
    return found


def _check_values(document: Any) -> None:  # noqa: ANN401 - any JSON value
    waiting: list[tuple[Any, tuple[Any, ...]]] = [(document, ())]
    while waiting:
        value, path = waiting.pop()
        if len(path) > MAX_DEPTH:
            raise InvalidJson("", f"is nested deeper than {MAX_DEPTH} levels")
        if reason := _check_value(value):
            raise InvalidJson(pointer_of(path), reason)
        if isinstance(value, dict):
            waiting += [(key, path) for key in value]
            waiting += [(member, (*path, key)) for key, member in value.items()]
        elif isinstance(value, list):
            waiting += [(member, (*path, index)) for index, member in enumerate(value)]


def _check_value(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    match value:
        case float() if not math.isfinite(value):
            return "should be a finite number"
        case int() if not -INT64 <= value < INT64:
            return "should be an integer of at most 64 bits"
        case str() if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            return "holds a NUL or half of a surrogate pair"
        case _:
            return None


def _check_parameters(request: Request, known: list[str]) -> None:
    strange = [name for name in request.query_params if name not in known]
    if strange:
        message = unknown("parameter", strange[0], known)
        raise RequestValidationError([{"type": "extra_forbidden", "loc": ("query", strange[0]), "msg": message}])


async def require_json(request: Request) -> None:
    """Raises HTTPException, 415, where a body is said to be anything but JSON."""
    sent_as = get_media_type(request.scope)
    if sent_as == "application/json" or (sent_as.startswith("application/") and sent_as.endswith("+json")):
        return
    if sent_as or await request.body():
        raise HTTPException(415, "This body should be application/json.")
