"""Requests that are generated from the OpenAPI document: no 5xx, and every response as declared."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from app.main import create_app
from app.state import State
from tests.support.finished import finish_job
from tests.support.http_service import SMALL, service_state
from tests.support.openapi_document import DOCUMENT

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
BOUNDED = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
ALL = {
    (path, method): operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if path not in {"/v1/events", "/v1/jobs/{job_id}/events"}  # streams without end; they have separate tests
}


def parameters(chosen: Callable[[str, dict[str, Any]], object]) -> list[Any]:
    return [
        pytest.param(path, method.upper(), id=f"{method} {path}")
        for (path, method), operation in ALL.items()
        if chosen(path, operation)
    ]


OPERATIONS = parameters(lambda path, operation: True)
WITH_PATH = parameters(lambda path, operation: "{" in path)
WITH_INPUT = parameters(lambda path, operation: operation.get("parameters") or "requestBody" in operation)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


DEADLINE = "X-Request-Timeout"
# The default statuses, 412 and 413: another version of tus, or a request that is too large, is rejected first.
REFUSALS = ["400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "422", "428", "429", "5xx"]
CONFIG = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})


class ExploredService(NamedTuple):
    schema: Any
    client: TestClient
    state: State


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[ExploredService]:
    with service_state(tmp_path_factory.mktemp("schemathesis"), sqlite_template) as state:
        app = create_app(state=state)
        with TestClient(app) as client:
            yield ExploredService(schemathesis.openapi.from_asgi("/openapi.json", app, config=CONFIG), client, state)


@pytest.fixture
def resources(service: ExploredService) -> dict[str, Any]:
    """Path parameters of existing resources: a finished job and its model."""
    job = service.client.post("/v1/jobs", json=SMALL).json()
    finish_job(service.state, job["id"])
    return {"job_id": job["id"], "number": 1, "name": "digits", "version": 1, "alias": "champion"}


def is_positive(text: object) -> bool:
    """Return whether the text is a positive number."""
    try:
        return float(str(text)) > 0
    except ValueError:
        return False


def explore(operation: Any, resources: dict[str, Any], mode: GenerationMode = GenerationMode.POSITIVE) -> None:
    """Send generated requests to an operation, with the path parameters of `resources`; raise the first failure."""

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def send_case(case: Any) -> None:
        case.path_parameters.update({key: resources[key] for key in case.path_parameters if key in resources})
        if is_positive(case.headers.get(DEADLINE)):  # a timeout of a nanosecond is a correct 504
            case.headers.pop(DEADLINE)
        case.call_and_validate(checks=CHECKS)

    send_case()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_valid_requests_get_declared_responses(service: ExploredService, path: str, method: str) -> None:
    explore(service.schema[path][method], {})


@pytest.mark.parametrize(("path", "method"), WITH_PATH)
def test_requests_for_existing_resources_get_declared_responses(
    service: ExploredService, resources: dict[str, Any], path: str, method: str
) -> None:
    explore(service.schema[path][method], resources)


@pytest.mark.parametrize(("path", "method"), WITH_INPUT)
def test_invalid_requests_are_rejected(service: ExploredService, path: str, method: str) -> None:
    explore(service.schema[path][method], {}, GenerationMode.NEGATIVE)
