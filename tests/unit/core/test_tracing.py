"""`traceparent` headers are parsed, and OpenTelemetry variables enable the export of spans."""

import subprocess
import sys
from pathlib import Path

import pytest

from core import tracing as traces
from core.tracing import build_log_fields, build_tracer_provider, is_export_enabled, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VARIABLES = (*traces.ENDPOINTS, "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_SERVICE_NAME")


@pytest.fixture(autouse=True)
def clear_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("header", "stored"),
    [
        (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"cc-{TRACE}-{SPAN}-01-later-fields", f"00-{TRACE}-{SPAN}-01"),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        ("nonsense", None),
        ("", None),
        (None, None),
    ],
)
def test_only_valid_traceparent_headers_are_stored(header: str | None, stored: str | None) -> None:
    assert parse_traceparent(header) == stored
    assert build_log_fields(stored) == ({"trace_id": TRACE, "parent_span_id": SPAN} if stored else {})


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_opentelemetry_variables_enable_the_export(
    variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_export_enabled() is expected
    provider = build_tracer_provider("api")
    assert (provider is not None) is expected
    if provider is not None:
        provider.shutdown()


def test_the_service_name_can_be_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    names = []
    for name in (None, "mine"):
        if name:
            monkeypatch.setenv("OTEL_SERVICE_NAME", name)
        provider = build_tracer_provider("worker")
        assert provider is not None
        names.append(provider.resource.attributes["service.name"])
        provider.shutdown()
    assert names == ["candela-worker", "mine"]


def test_without_opentelemetry_export_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert build_tracer_provider("api") is None


def test_opentelemetry_is_not_imported_if_export_is_disabled(tmp_path: Path) -> None:
    program = (
        "import sys, app.main, worker.control.tracing; from core.settings import Settings; "
        "app.main.create_app(Settings()); worker.control.tracing.AttemptTracer.from_environment(); "
        "sys.exit(any(name.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter')) for name in sys.modules))"
    )
    root = Path(__file__).parents[3]
    environment = {"CANDELA_HOME": str(tmp_path), "PYTHONPATH": str(root)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, timeout=120).returncode == 0
