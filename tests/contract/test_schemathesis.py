"""Requests that nobody thought of, made from the OpenAPI document: no 5xx, every answer as declared."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
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
from core.settings import Settings
from tests.support.http_service import service_state

OPERATIONS = [
    pytest.param(path, method.upper(), id=f"{method} {path}")
    for path, item in create_app(Settings()).openapi()["paths"].items()
    for method in item
    if path != "/v1/jobs/{job_id}/events"  # a stream without end; it has tests of its own
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Any]:
    with service_state(tmp_path_factory.mktemp("schemathesis"), sqlite_template) as state:
        yield schemathesis.openapi.from_asgi("/openapi.json", create_app(state=state))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_an_operation_keeps_its_word(schema: Any, path: str, method: str, mode: GenerationMode) -> None:
    operation = schema[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=10,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def keeps_its_word(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    keeps_its_word()
