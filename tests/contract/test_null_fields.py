"""Wherever the schema of a request body allows null, the service accepts null."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.main import ROUTERS
from app.oip import repository_schemas, schemas
from app.schemas.predictions import InstanceIn, PredictIn
from app.state import State
from core.datasets.ingest.inline import InlineIn
from core.spec.job_kinds import SPEC_BY_KIND
from tests.support.bundles import register_model

PARSED_BY_ENDPOINTS = (PredictIn, InstanceIn, InlineIn, schemas.InferIn, repository_schemas.OipIndexIn)


def list_models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models of an annotation and of the fields of these models."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from list_models(field.annotation)
    else:
        for argument in get_args(annotation):
            yield from list_models(argument)


def list_bodies() -> set[type[BaseModel]]:
    """Return the models of all request bodies, with the models of their fields."""
    routes = [route for module in ROUTERS for route in module.router.routes if isinstance(route, APIRoute)]
    bodies = [route.body_field.field_info.annotation for route in routes if route.body_field is not None]
    return {model for body in (*bodies, *SPEC_BY_KIND.values(), *PARSED_BY_ENDPOINTS) for model in list_models(body)}


def list_nullable_fields() -> list[Any]:
    """Return a parameter for each field whose schema allows null."""
    found = []
    for model in sorted(list_bodies(), key=lambda each: each.__name__):
        for name, schema in model.model_json_schema().get("properties", {}).items():
            if any(member.get("type") == "null" for member in (schema, *schema.get("anyOf", ()))):
                found.append(pytest.param(model, name, id=f"{model.__name__}.{name}"))
    return found


@pytest.mark.parametrize(("model", "name"), list_nullable_fields())
def test_null_is_accepted_where_the_schema_allows_it(model: type[BaseModel], name: str) -> None:
    found: list[Any] = []
    try:
        TypeAdapter(model).validate_python({name: None})
    except ValidationError as error:  # other fields may be missing
        found = [each for each in error.errors() if each["loc"][:1] == (name,)]
    assert found == []


def test_many_fields_are_nullable() -> None:
    names = {f"{each.values[0].__name__}.{each.values[1]}" for each in list_nullable_fields()}
    assert {"PredictIn.top_k", "JobSpec.schedule", "InferIn.outputs", "AliasIn.variant"} <= names


@pytest.mark.parametrize("path", ["/v1/models/shapes/predict", "/v1/models/shapes/embed"])
def test_a_prediction_accepts_null(client: TestClient, state: State, path: str) -> None:
    register_model(state.sessions, state.storage, "shapes", 1)
    instance = {"values": [0] * 64, "image": None}
    response = client.post(path, json={"instances": [instance], "rows": None, "top_k": None})
    assert response.status_code == 200, response.text
