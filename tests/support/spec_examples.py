"""Examples of every member of the spec unions, with the fields that they require."""

from typing import Any, get_args

from pydantic import BaseModel

from app.services.catalog import SPEC_UNIONS, list_union_members

OVERRIDES: dict[str, dict[str, Any]] = {
    "affine": {"degrees": 10},
    "freeze": {"until_epoch": 1},
    "top_k": {"k": 2},
}
"""Fields whose defaults have no effect, or do not fit the small datasets of tests."""


def build_member(name: str) -> dict[str, Any]:
    """Build the JSON of a union's member from the examples of its required fields."""
    members = [member for union in SPEC_UNIONS.values() for member in list_union_members(union)]
    required = {
        field_name: field.examples[0]
        for member in members
        if member.model_fields["name"].default == name
        for field_name, field in member.model_fields.items()
        if field.is_required() and field.examples
    }
    return {"name": name, **required, **OVERRIDES.get(name, {})}


def list_names(union: object) -> list[str]:
    """List the names of all members of a union, including nested ones."""
    names: list[str] = []
    for member in get_args(union):
        if isinstance(member, type) and issubclass(member, BaseModel):
            names.append(member.model_fields["name"].default)
        elif get_args(member):
            names.extend(list_names(member))
    return names
