"""Redocly and Spectral find no error in the OpenAPI document: `make clients`."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.openapi_clients.node_tools import (
    DOCUMENT,
    FOLDER,
    REDOCLY,
    SPECTRAL,
    install_packages,
    parse_json,
    run_tool,
)

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1500)]
EXAMPLE_RULES = {"no-invalid-media-type-examples", "no-invalid-schema-examples", "no-invalid-parameter-examples"}
ERROR = 0  # Spectral's severities are numbers


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    install_packages()


def lint_with_redocly(document: Path) -> list[dict[str, Any]]:
    """Return the problems that Redocly finds with its recommended rules."""
    run = run_tool(REDOCLY, "lint", "--extends=recommended", "--format=json", "--max-problems=1000", document)
    problems: list[dict[str, Any]] = parse_json(run.stdout)["problems"]
    return problems


def lint_with_spectral(document: Path) -> list[dict[str, Any]]:
    """Return the errors that Spectral finds with its rules for OpenAPI."""
    run = run_tool(SPECTRAL, "lint", "--quiet", "--format=json", "--ruleset", FOLDER / "spectral.yaml", document)
    return [problem for problem in parse_json(run.stdout) if problem["severity"] == ERROR]


def test_redocly_finds_no_error_and_no_invalid_example() -> None:
    problems = lint_with_redocly(DOCUMENT)
    assert [problem for problem in problems if problem["severity"] == "error"] == []
    assert [problem for problem in problems if problem["ruleId"] in EXAMPLE_RULES] == []


def test_spectral_finds_no_error() -> None:
    assert lint_with_spectral(DOCUMENT) == []


def test_both_find_errors_in_a_damaged_document(tmp_path: Path) -> None:
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    del document["servers"]
    document["components"]["schemas"]["PredictionsOut"]["example"] = {"model": 3}
    document["paths"]["/v1/jobs/{job_id}"]["get"]["parameters"] = []
    damaged = tmp_path / "openapi.json"
    damaged.write_text(json.dumps(document))
    redocly = {problem["ruleId"] for problem in lint_with_redocly(damaged)}
    assert {"no-empty-servers", "path-parameters-defined"} & redocly
    assert "oas3-valid-schema-example" in {problem["code"] for problem in lint_with_spectral(damaged)}
