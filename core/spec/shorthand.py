"""Expands the short forms of a spec: one value in place of an array of one, and a name in place of an object.

JSON libraries of R write an array of one value as the value itself, and a component without options is only a name.
Both are accepted wherever exactly one meaning is possible, and stored in their long form. A value that a field accepts
already is not changed.
"""

import types
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import MinLen
from pydantic import BaseModel, BeforeValidator, PlainValidator, WrapValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_NAME_FIELDS = ("name", "job")
_ALL = frozenset({"string", "number", "boolean", "null", "object", "array"})
_SCALARS: dict[Any, str] = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
_ARRAYS = (list, set, frozenset, Sequence, Iterable)
_VALIDATORS = (BeforeValidator, PlainValidator, WrapValidator)


class TypeForm(NamedTuple):
    """The JSON values that a type accepts.

    Attributes:
        kinds: the kinds of JSON values that it accepts in their long form.
        item: the form of the items of its arrays; None if it accepts no arrays of any length.
        key: the field that a name alone sets in its objects; None if a name is not enough.
        members: the models of its objects.
        is_single_allowed: whether an item may stand for an array of one. It may not if arrays have more items, or if an
            item can be an array itself.
    """

    kinds: frozenset[str]
    item: "TypeForm | None" = None
    key: str | None = None
    members: tuple[type[BaseModel], ...] = ()
    is_single_allowed: bool = True

    @property
    def has_shorthand(self) -> bool:
        """Whether `expand_value` changes some value."""
        has_named_items = self.item is not None and self.item.key is not None
        return has_named_items or self.key is not None or (self.item is not None and self.is_single_allowed)


def expand_fields(model: type[BaseModel], document: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return the document with the values of all fields of `model` in their long form, except inside nested objects."""
    if not isinstance(document, dict):
        return document
    changes = {
        name: expanded
        for name, form in get_forms(model).items()
        if name in document and (expanded := expand_value(document[name], form)) is not document[name]
    }
    return {**document, **changes} if changes else document


def expand_document(model: type[BaseModel], document: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return the document with all values in their long form, also those of nested objects."""
    expanded = expand_fields(model, document)
    if not isinstance(expanded, dict):
        return expanded
    return expanded | {
        name: _expand_members(expanded[name], form) for name, form in get_forms(model).items() if name in expanded
    }


def expand_value(value: Any, form: TypeForm) -> Any:  # noqa: ANN401 - any JSON value
    """Return the long form of a value; the value itself if it has none, or if several are possible."""
    kind = _get_kind(value)
    if kind in form.kinds:
        if kind == "array" and form.item is not None and form.item.key is not None:
            return [expand_value(each, form.item) for each in value]
        return value
    takes_name = kind == "string" and form.key is not None
    item = form.item if form.is_single_allowed and kind != "null" else None
    takes_item = item is not None and (kind in item.kinds or (kind == "string" and item.key is not None))
    if takes_name and not takes_item:
        return {form.key: value}
    if item is not None and takes_item and not takes_name:
        return [expand_value(value, item)]
    return value


def describe_shorthand(form: TypeForm) -> str:
    """Return the end of a sentence about a field for its documentation; empty if the field has no short form."""
    if not form.is_single_allowed:
        key = None if form.item is None else form.item.key
        return "" if key is None else f"a string may stand for an object with this `{key}`."
    if form.item is not None and form.item.key is not None:
        return f"a single item may stand for an array of one, and a string for an object with this `{form.item.key}`."
    if form.item is not None:
        return "a single value may stand for an array of one."
    return f"a string may stand for an object with this `{form.key}`." if form.key is not None else ""


@lru_cache(maxsize=512)
def get_forms(model: type[BaseModel]) -> dict[str, TypeForm]:
    """Return the forms of the fields that have a short form or contain objects, keyed by their name in JSON."""
    forms = {field.alias or name: parse_field(field) for name, field in model.model_fields.items()}
    return {name: form for name, form in forms.items() if form.has_shorthand or form.members}


def parse_field(field: FieldInfo) -> TypeForm:
    """Return the form of a field."""
    return _parse_annotated(field.annotation, field.metadata, field.discriminator)


def _parse_annotated(annotation: Any, metadata: Iterable[Any], discriminator: Any = None) -> TypeForm:  # noqa: ANN401
    """Return the form of a type with metadata. A type with its own validator accepts what it declares, or any value."""
    is_single_allowed = True
    for each in metadata:
        if isinstance(each, _VALIDATORS):
            declared = getattr(each, "json_schema_input_type", PydanticUndefined)
            is_declared = declared is not PydanticUndefined
            return _parse_type(declared) if is_declared else TypeForm(_ALL - {"array"} | _parse_type(annotation).kinds)
        if isinstance(each, MinLen):
            is_single_allowed = each.min_length <= 1
        if isinstance(each, FieldInfo):
            discriminator = each.discriminator or discriminator
            annotation = Annotated[annotation, *each.metadata] if each.metadata else annotation
    form = _parse_type(annotation, discriminator if isinstance(discriminator, str) else None)
    return form if is_single_allowed else form._replace(is_single_allowed=False)


def _parse_type(annotation: Any, discriminator: str | None = None) -> TypeForm:  # noqa: ANN401 - any type
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _parse_annotated(arguments[0], arguments[1:], discriminator)
    if origin in (Union, types.UnionType):
        return _merge_forms([_parse_type(each) for each in arguments], discriminator)
    if origin is Literal:
        return TypeForm(frozenset(_get_kind(each) for each in arguments))
    if annotation in _SCALARS:
        return TypeForm(frozenset({_SCALARS[annotation]}))
    if origin is tuple:
        is_variable = len(arguments) == 2 and arguments[1] is Ellipsis
        return _build_array_form(arguments[0]) if is_variable else TypeForm(frozenset({"array"}))
    if origin in _ARRAYS:
        return _build_array_form(arguments[0])
    if origin is dict or origin is Mapping or annotation is dict:
        return TypeForm(frozenset({"object"}))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return TypeForm(frozenset({"object"}), None, _find_name_field(annotation), (annotation,))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return TypeForm(frozenset(_get_kind(each.value) for each in annotation))
    return TypeForm(_ALL)  # `Any`, or a type that this module does not know


def _build_array_form(item_type: Any) -> TypeForm:  # noqa: ANN401 - any type
    item = _parse_type(item_type)
    return TypeForm(frozenset({"array"}), item, is_single_allowed="array" not in item.kinds)


def _merge_forms(forms: Sequence[TypeForm], discriminator: str | None) -> TypeForm:
    """Return the form of a union. Several arrays, or several objects without a discriminator, have no short form."""
    items = [form.item for form in forms if form.item is not None]
    members = tuple(member for form in forms for member in form.members)
    keys = [form.key for form in forms if form.members]
    key = discriminator if discriminator is not None else keys[0] if len(keys) == 1 else None
    item = items[0] if len(items) == 1 else None
    is_single_allowed = all(form.is_single_allowed for form in forms)
    return TypeForm(frozenset[str]().union(*(form.kinds for form in forms)), item, key, members, is_single_allowed)


def _find_name_field(model: type[BaseModel]) -> str | None:
    """Return the only required field if it identifies the object, which then needs nothing else."""
    required = [field.alias or name for name, field in model.model_fields.items() if field.is_required()]
    return required[0] if len(required) == 1 and required[0] in _NAME_FIELDS else None


def _expand_members(value: Any, form: TypeForm) -> Any:  # noqa: ANN401 - any JSON value
    """Expand the objects in a value of this form."""
    if isinstance(value, list) and form.item is not None:
        return [_expand_members(each, form.item) for each in value]
    if not isinstance(value, dict):
        return value
    models = [model for model in form.members if len(form.members) == 1 or _has_tag(model, form.key, value)]
    return expand_document(models[0], value) if len(models) == 1 else value


def _has_tag(model: type[BaseModel], key: str | None, value: Mapping[str, Any]) -> bool:
    field = model.model_fields.get(key or "")
    return field is not None and value.get(key or "") in get_args(field.annotation)


def _get_kind(value: Any) -> str:  # noqa: ANN401 - any JSON value
    match value:
        case str():
            return "string"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case None:
            return "null"
        case Mapping():
            return "object"
        case list() | tuple():
            return "array"
        case _:
            return "other"
