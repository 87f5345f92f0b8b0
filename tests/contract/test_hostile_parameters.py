"""No value of a path, query or header parameter causes a server error, and no response repeats a long value."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from app.state import State
from tests.support.bundles import register_model
from tests.support.http_service import client, settings_options, state
from tests.support.openapi_document import DOCUMENT

__all__ = ["client", "settings_options", "state"]

VALUES = {
    "25 digits": "9" * 25,
    "5000 digits": "9" * 5000,
    "above int32": str(2**31),
    "above int64": str(2**63),
    "negative": "-1",
    "exponent": "1e309",
    "nan": "nan",
    "infinity": "-Infinity",
    "other digits": "\u0661\u0662",
    "underscore": "1_0",
    "plus sign": "+1",
    "surrounding spaces": " 1 ",
    "empty": "",
    "NUL": "a\0b",
    "a long text": "a" * 20_000,
    "line break": "a\nb",
    "traversal": "../../etc/passwd",
    "not UTF-8": "\udcff",
}
OIP_PATHS = (
    "/v2/models/{model}",
    "/v2/models/{model}/ready",
    "/v2/models/{model}/config",
    "/v2/models/{model}/stats",
    "/v2/models/shapes/versions/{version}",
    "/v2/models/shapes/versions/{version}/ready",
    "/v2/models/shapes/versions/{version}/config",
    "/v2/models/shapes/versions/{version}/stats",
)
PATH_VALUES = {
    "job_id": "0" * 32,
    "sweep_id": "0" * 32,
    "name": "shapes",
    "ref": "shapes",
    "version": "1",
    "format": "onnx",
    "alias": "a",
}
TIMEOUTS = ("0", "-1", "nan", "inf", "-inf", "1e309", "1e-400", "9" * 5000, "0x1", "3601", "a", "\u00b2", "1_0", "+1")


def list_parameters() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the method, the path and every parameter of every operation."""
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", ()):
                yield method, path, parameter


def fill_path(path: str, name: str = "", value: str = "") -> str:
    """Return a path whose parameters are filled; `name` gets `value`."""
    for key, valid in PATH_VALUES.items():
        path = path.replace(f"{{{key}}}", value if key == name else valid)
    return path.replace(f"{{{name}}}", value).replace("{number}", "1").replace("{file}", "x")


def check_response(response: Any, where: str) -> None:
    """Check that a response is no server error, and that an error is short and has the documented form."""
    assert response.status_code < 500 or response.status_code == 501, f"{where}: {response.status_code} {response.text}"
    if response.status_code >= 400:
        assert len(response.content) < 5000, f"{where}: {len(response.content)} bytes"
        body = response.json()
        assert ("error" in body) if where.split()[1].startswith("/v2") else ("type" in body), (
            f"{where}: {response.text}"
        )


@pytest.mark.parametrize("kind", VALUES)
def test_no_parameter_causes_a_server_error(kind: str, client: TestClient, state: State) -> None:
    register_model(state.sessions, state.storage, "shapes", 1)
    value, num_requests = VALUES[kind], 0
    escaped = quote(value, safe="", errors="surrogateescape")
    for method, path, parameter in list_parameters():
        name, place = parameter["name"], parameter["in"]
        url = fill_path(path, name, escaped) if place == "path" else fill_path(path)
        if place == "query":
            url += f"?{name}={escaped}"
        headers = {name: value.encode("utf-8", "surrogateescape")} if place == "header" and value.isprintable() else {}
        json: dict[str, Any] | None = {} if method in ("post", "put", "patch") else None
        response = client.request(method, url, headers=headers, json=json)
        check_response(response, f"{method} {path} {name}={kind}")
        num_requests += 1
    assert num_requests > 50


@pytest.mark.parametrize("kind", VALUES)
def test_no_name_or_version_of_v2_causes_a_server_error(kind: str, client: TestClient, state: State) -> None:
    register_model(state.sessions, state.storage, "shapes", 1)
    escaped = quote(VALUES[kind], safe="", errors="surrogateescape")
    for path in OIP_PATHS:
        url = path.replace("{model}", escaped).replace("{version}", escaped)
        check_response(client.get(url), f"get {path} {kind}")
    for path in ("/v2/models/{}/infer", "/v2/models/shapes/versions/{}/infer", "/v2/repository/models/{}/load"):
        check_response(client.post(path.format(escaped), json={}), f"post {path} {kind}")


@pytest.mark.parametrize("kind", ["underscore", "plus sign", "surrounding spaces", "other digits", "infinity"])
def test_a_number_must_have_decimal_digits(kind: str, client: TestClient) -> None:
    num_requests = 0
    for method, path, parameter in list_parameters():
        types = {each.get("type") for each in (parameter["schema"], *parameter["schema"].get("anyOf", ()))}
        if not types & {"integer", "number"} or parameter["in"] == "header":
            continue
        name, value = parameter["name"], quote(VALUES[kind])
        url = fill_path(path, name, value) if parameter["in"] == "path" else f"{fill_path(path)}?{name}={value}"
        response = client.request(method, url)
        assert response.status_code == 422, f"{method} {url}: {response.status_code} {response.text}"
        num_requests += 1
    assert num_requests > 20


@pytest.mark.parametrize("value", TIMEOUTS)
def test_an_invalid_timeout_is_rejected(value: str, client: TestClient, state: State) -> None:
    register_model(state.sessions, state.storage, "shapes", 1)
    headers = {b"X-Request-Timeout": value.encode("latin-1")}
    for path, status in (("/v1/models/shapes/predict", 422), ("/v2/models/shapes/infer", 400)):
        tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}
        response = client.post(path, json={"inputs": [tensor]}, headers=headers)
        assert response.status_code == status, response.text
        check_response(response, f"post {path}")


@pytest.mark.parametrize("key", ["timeout", "priority"])
@pytest.mark.parametrize("value", ["9" * 25, "1e309", "-1", "0.5", '"1"', "[]", "true"])
def test_an_invalid_parameter_of_v2_is_rejected(key: str, value: str, client: TestClient, state: State) -> None:
    register_model(state.sessions, state.storage, "shapes", 1)
    response = client.post("/v2/models/shapes/infer", content=f'{{"inputs":[],"parameters":{{"{key}":{value}}}}}')
    assert response.status_code == 400, response.text
    check_response(response, "post /v2")
