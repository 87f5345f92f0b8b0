"""The route class of all endpoints: parses JSON strictly, and rejects other media types and unknown parameters."""

import json
import math
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.http.asgi import get_media_type
from app.problems import InvalidJson
from core.spec.error_pointers import build_pointer, format_unknown_name

MAX_DEPTH = 64
INT64 = 2**63
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    """A request whose JSON is parsed by `parse_json`."""

    async def json(self) -> Any:  # noqa: ANN401 - any JSON value
        if not hasattr(self, "_document"):
            self._document = parse_json(await self.body())
        return self._document


class StrictRoute(APIRoute):
    """Rejects unknown query parameters, media types other than JSON, and JSON that is not strictly valid."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        names = sorted(_list_query_names(self.dependant))
        has_json_body = self.body_field is not None and not isinstance(self.body_field.field_info, Form)

        async def handle_strictly(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            _check_parameters(request, names)
            if has_json_body:
                await require_json(request)
            return await handler(request)

        return handle_strictly


def _list_query_names(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from annotation.model_fields
        else:
            yield field.alias
    for dependency in dependant.dependencies:
        yield from _list_query_names(dependency)


def parse_json(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON document in `body`.

    Raises:
        HTTPException: 400, the body is not JSON in UTF-8.
        InvalidJson: 422, the document has a duplicate key, an invalid number or string, or too many nested levels.
    """
    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=_build_object)
    except UnicodeDecodeError:
        raise HTTPException(400, "The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise HTTPException(400, f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise InvalidJson("", f"has more than {MAX_DEPTH} nested levels") from None
    except ValueError:  # raised for an integer with more than 4300 digits
        raise InvalidJson("", "has a number with more than 4300 digits") from None
    _check_values(document)
    return document


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise InvalidJson("", f"has the duplicate key {key[:64]!r} in an object")
        members[key] = value
    return members


def _check_values(document: Any) -> None:  # noqa: ANN401 - any JSON value
    pending: list[tuple[Any, tuple[Any, ...]]] = [(document, ())]
    while pending:
        value, path = pending.pop()
        if len(path) > MAX_DEPTH:
            raise InvalidJson("", f"has more than {MAX_DEPTH} nested levels")
        if reason := _check_value(value):
            raise InvalidJson(build_pointer(path), reason)
        if isinstance(value, dict):
            pending += [(key, path) for key in value]
            pending += [(member, (*path, key)) for key, member in value.items()]
        elif isinstance(value, list):
            pending += [(member, (*path, index)) for index, member in enumerate(value)]


def _check_value(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return the reason why no field allows the value, or None if the value is allowed."""
    match value:
        case float() if not math.isfinite(value):
            return "must be a finite number"
        case int() if not -INT64 <= value < INT64:
            return "must be an integer of at most 64 bits"
        case str() if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            return "must not contain NUL or a lone surrogate"
        case _:
            return None


def _check_parameters(request: Request, names: list[str]) -> None:
    unexpected = [name for name in request.query_params if name not in names]
    if unexpected:
        message = format_unknown_name("parameter", unexpected[0], names)
        raise RequestValidationError([{"type": "extra_forbidden", "loc": ("query", unexpected[0]), "msg": message}])


async def require_json(request: Request) -> None:
    """Raise HTTPException 415 if the request has a body and its media type is not JSON."""
    media_type = get_media_type(request.scope)
    if media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json")):
        return
    if media_type or await request.body():
        raise HTTPException(415, f"The media type of the body must be application/json; got {media_type or 'none'}.")
