"""GET endpoints have no write transaction, so that a link or an image on a web page changes nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app import deps
from app.main import ROUTERS

ROUTES = [route for module in ROUTERS for route in module.router.routes if isinstance(route, APIRoute)]


def list_calls(dependant: Dependant) -> Iterator[Any]:
    """Yield the functions of all dependencies."""
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from list_calls(dependency)


def test_an_endpoint_that_writes_has_a_write_transaction() -> None:
    assert any(deps._open_session in list_calls(route.dependant) for route in ROUTES)


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if "GET" in (route.methods or ())], ids=lambda route: route.path
)
def test_a_get_endpoint_has_no_write_transaction(route: APIRoute) -> None:
    assert deps._open_session not in list_calls(route.dependant)
