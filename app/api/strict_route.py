"""The route class of all endpoints: parses JSON strictly, and rejects other media types and unknown parameters."""

import json
import math
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.api.number_parameters import check_number_parameters, list_number_parameters
from app.http.asgi import get_media_type
from app.http.json_bodies import DOCUMENTS, MAX_VALUES, check_num_values
from app.problems import InvalidJson, LimitedValidationError
from core.spec.error_pointers import build_pointer, format_unknown_name

MAX_DEPTH = 64
MAX_INLINE_BYTES = 32 * 2**10  # larger JSON is parsed in a thread; parsing this size takes up to 5 ms
INT64 = 2**63
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Validate = Callable[[Any], tuple[Any, list[dict[str, Any]]]]
"""Returns the validated document and pydantic's errors, as `ModelField.validate` of FastAPI does."""


class StrictRequest(Request):
    """A request whose JSON is parsed by `parse_json`."""

    async def json(self) -> Any:  # noqa: ANN401 - any JSON value
        if not hasattr(self, "_document"):
            self._document = parse_json(await self.body())
        return self._document

    async def parse_large_body(self, validate: Validate) -> None:
        """Parse and validate a large body in a thread, before FastAPI does both on the event loop.

        FastAPI validates the document again, which is fast if it is valid.

        Raises:
            TooLarge: the document has too many values.
            LimitedValidationError: the document does not match the schema.
            HTTPException: see `parse_json`; 400, the body is incomplete.
        """
        try:
            body = await self.body()
        except ClientDisconnect:
            raise HTTPException(400, "The body is incomplete.") from None
        if len(body) > MAX_INLINE_BYTES:
            self._document = await DOCUMENTS.run(lambda: _parse_document(body, validate))


class StrictRoute(APIRoute):
    """Rejects unknown query parameters, numbers in other than decimal digits, other media types and invalid JSON."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        names = sorted(_list_query_names(self.dependant))
        numbers = list(list_number_parameters(self.dependant))
        validate: Validate | None = None
        if self.body_field is not None and not isinstance(self.body_field.field_info, Form):
            validate = partial(self.body_field.validate, loc=("body",))

        async def handle_strictly(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            _check_parameters(request, names)
            check_number_parameters(request, numbers)
            if validate is not None:
                await require_json(request)
                await request.parse_large_body(validate)
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


def _parse_document(body: bytes, validate: Validate) -> Any:  # noqa: ANN401 - any JSON value
    check_num_values(body, MAX_VALUES)
    document = parse_json(body)
    _, errors = validate(document)
    if errors:
        raise LimitedValidationError(errors)
    return document


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
    found = _find_invalid_value(document)
    if found is not None:
        path, reason = found
        raise InvalidJson(build_pointer(reversed(path)), reason)
    return document


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise InvalidJson("", f"has the duplicate key {key[:64]!r} in an object")
        members[key] = value
    return members


def _find_invalid_value(value: Any, depth: int = 0) -> tuple[list[Any], str] | None:  # noqa: ANN401 - any JSON value
    """Return the reversed path of the first invalid value and the reason, or None if all values are valid."""
    if isinstance(value, dict):
        members: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    else:
        reason = _check_value(value)
        return None if reason is None else ([], reason)
    if depth == MAX_DEPTH and value:
        raise InvalidJson("", f"has more than {MAX_DEPTH} nested levels")
    for key, member in members:
        kind = type(member)
        if type(key) is str and (reason := _check_value(key)):
            return [], reason
        # Most values of a large document are numbers, for which a function call takes longer than the check.
        if (kind is int and -INT64 <= member < INT64) or (kind is float and math.isfinite(member)):
            continue
        found = _find_invalid_value(member, depth + 1)
        if found is not None:
            found[0].append(key)
            return found
    return None


def _check_value(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return the reason why no field allows the value, or None if the value is allowed."""
    match value:
        case float() if not math.isfinite(value):
            return "must be a finite number"
        case int() if not -INT64 <= value < INT64:
            return "must be an integer of at most 64 bits"
        case str() if "\0" in value or _has_surrogate(value):
            return "must not contain NUL or a lone surrogate"
        case _:
            return None


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _check_parameters(request: Request, names: list[str]) -> None:
    unexpected = [name for name in request.query_params if name not in names]
    if unexpected:
        message = format_unknown_name("parameter", unexpected[0], names)
        raise RequestValidationError([{"type": "unknown_parameter", "loc": ("query", unexpected[0]), "msg": message}])


async def require_json(request: Request) -> None:
    """Raise HTTPException 415 if the request has a body and its media type is not JSON."""
    media_type = get_media_type(request.scope)
    if media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json")):
        return
    if media_type or await request.body():
        raise HTTPException(415, f"The media type of the body must be application/json; got {media_type or 'none'}.")
