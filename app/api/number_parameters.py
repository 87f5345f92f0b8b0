"""Checks the syntax of the parameters of an endpoint that are numbers, before FastAPI parses them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, TypeAdapter
from pydantic.fields import FieldInfo
from starlette.requests import Request

from app.http.number_syntax import INTEGER, NUMBER

_PATTERNS = {"integer": INTEGER, "number": NUMBER}


class NumberParameter(NamedTuple):
    """A parameter that is a number. `place` is `path`, `query` or `header`, and `kind` is `integer` or `number`."""

    place: str
    name: str
    kind: str

    def list_texts(self, request: Request) -> Sequence[str]:
        """Return the values that a request has for this parameter."""
        if self.place == "path":
            return [request.path_params[self.name]]
        source = request.query_params if self.place == "query" else request.headers
        return source.getlist(self.name)


def list_number_parameters(dependant: Dependant) -> Iterator[NumberParameter]:
    """Yield the parameters that are numbers. Those with a custom validator are left to it."""
    places = {"path": dependant.path_params, "query": dependant.query_params, "header": dependant.header_params}
    for place, fields in places.items():
        for field in fields:
            for name, declared in _list_fields(field.alias, field.field_info):
                if not any(isinstance(each, BeforeValidator) for each in declared.metadata):
                    yield from (NumberParameter(place, name, kind) for kind in _find_kinds(declared.annotation))
    for dependency in dependant.dependencies:
        yield from list_number_parameters(dependency)


def check_number_parameters(request: Request, parameters: Iterable[NumberParameter]) -> None:
    """Check that each number consists of decimal digits.

    Raises:
        RequestValidationError: a value is not a decimal number.
    """
    for parameter in parameters:
        for text in parameter.list_texts(request):
            if not _PATTERNS[parameter.kind].fullmatch(text):
                raise RequestValidationError([_build_error(parameter, text)])


def check_number_texts(model: type[BaseModel], texts: Mapping[str, str]) -> None:
    """Check the texts of the fields of `model` that are numbers, which do not come from parameters.

    Raises:
        RequestValidationError: a text is not a decimal number. The location is `("query", name)`.
    """
    for name, field in model.model_fields.items():
        for kind in _find_kinds(field.annotation) if name in texts else ():
            if not _PATTERNS[kind].fullmatch(texts[name]):
                raise RequestValidationError([_build_error(NumberParameter("query", name, kind), texts[name])])


def _list_fields(name: str, field: FieldInfo) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the fields of a model whose fields are parameters, or the field itself."""
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from annotation.model_fields.items()
    else:
        yield name, field


def _find_kinds(annotation: Any) -> set[str]:  # noqa: ANN401 - any type
    """Return the kind of number that a type accepts, or an empty set."""
    schema = TypeAdapter(annotation).json_schema()
    return {each.get("type", "") for each in (schema, *schema.get("anyOf", ()))} & _PATTERNS.keys()


def _build_error(parameter: NumberParameter, text: str) -> dict[str, Any]:
    article = "an" if parameter.kind == "integer" else "a"
    reason = f"Input should be {article} {parameter.kind} in decimal digits"
    return {
        "type": f"{parameter.kind}_syntax",
        "loc": (parameter.place, parameter.name),
        "msg": reason,
        "input": text,
    }
