"""What is wrong with a request that FastAPI refused: pointers and reasons."""

from functools import lru_cache
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import Request

from core.spec.error_pointers import format_reason, to_pointers


class InvalidJson(HTTPException):
    """A body that is JSON to a lenient reader only. An HTTPException, since FastAPI turns all else into a bare 400."""

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(422, reason)
        self.pointer = pointer


Explained = tuple[int, str, str, list[tuple[str, str]]]


def explain_request(request: Request, error: RequestValidationError) -> Explained:
    """The status, slug, detail, and (JSON pointer, reason) pairs."""
    found = error.errors()
    if any(entry["type"] == "json_invalid" for entry in found):
        return 400, "malformed-request", "The body is not JSON.", []
    body = [entry for entry in found if entry["loc"][0] == "body"]
    pairs = to_pointers(
        [{**entry, "loc": entry["loc"][1:]} for entry in body], getattr(error, "schema", None) or _body_schema(request)
    )
    pairs += [(_parameter(entry["loc"]), format_reason(entry)) for entry in found if entry["loc"][0] != "body"]
    return 422, "invalid-request", _detail(pairs), pairs


def _detail(pairs: list[tuple[str, str]]) -> str:
    at, why = pairs[0]
    more = f" (and {len(pairs) - 1} more)" if len(pairs) > 1 else ""
    return f"{at or 'The body'}: {why}{more}"


def _parameter(loc: tuple[Any, ...]) -> str:
    """Parameters have no JSON pointer; `?name` marks one of the query, `{name}` of the path, `name:` a header."""
    where, name = str(loc[0]), ".".join(str(part) for part in loc[1:2])
    return {"query": f"?{name}", "path": f"{{{name}}}"}.get(where, f"{name}:")


def _body_schema(request: Request) -> dict[str, Any]:
    """The JSON Schema of the body that the matched route asks for."""
    field = getattr(request.scope.get("route"), "body_field", None)
    return _schema_of(field.field_info.annotation) if field is not None else {}


@lru_cache(maxsize=64)
def _schema_of(annotation: Any) -> dict[str, Any]:  # noqa: ANN401 - any type
    return TypeAdapter(annotation).json_schema(mode="validation")
