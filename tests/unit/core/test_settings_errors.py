"""Messages about invalid settings: every setting names its variable and what it accepts."""

import pytest
from pydantic import ValidationError

from core.settings import Settings, get_variable_name
from core.settings_errors import describe_accepted_values, format_validation_error

NUMBERS = [
    name
    for name in Settings.model_fields
    if describe_accepted_values(name).startswith(("must be an integer", "must be a "))
]


def format_invalid(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError) as raised:
        Settings()
    return format_validation_error(raised.value)


def test_most_settings_are_numbers() -> None:
    assert len(NUMBERS) > 30


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["abc", "-1", "nan", "inf", "-inf", "1e400", "0x10", "3 GB"])
def test_every_number_names_its_variable_its_value_and_the_accepted_range(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = get_variable_name(name)
    line = format_invalid(variable, value, monkeypatch)
    assert line.startswith(f"{variable}={value!r}: must be a")
    assert "(default: " in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("CANDELA_SLOTS", "0", "CANDELA_SLOTS='0': must be an integer of at least 1 (default: 1)"),
        ("CANDELA_PORT", "65536", "CANDELA_PORT='65536': must be an integer from 0 to 65535 (default: 8000)"),
        (
            "CANDELA_UPLOAD_EXPIRY_S",
            "0",
            "CANDELA_UPLOAD_EXPIRY_S='0': must be a finite number greater than 0 and at most 2592000 "
            "(default: 86400.0)",
        ),
        (
            "CANDELA_SESSION_IDLE_S",
            "1",
            "CANDELA_SESSION_IDLE_S='1': must be a finite number from 60 to 31536000 (default: 28800.0)",
        ),
        (
            "CANDELA_PREDICT_PRECISION",
            "fp8",
            "CANDELA_PREDICT_PRECISION='fp8': must be one of fp32, bf16, auto (default: fp32)",
        ),
        (
            "CANDELA_LOG_LEVEL",
            "LOUD",
            "CANDELA_LOG_LEVEL='LOUD': must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL (default: INFO)",
        ),
        ("CANDELA_UMASK", "999", "CANDELA_UMASK='999': must be an octal number from 000 to 077 (default: 077)"),
        (
            "CANDELA_CORS_ORIGINS",
            "x",
            "CANDELA_CORS_ORIGINS='x': 'x' must be an origin, such as `https://app.example.org`, without a path",
        ),
    ],
)
def test_the_message_says_what_is_accepted(
    variable: str, value: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert format_invalid(variable, value, monkeypatch) == line


@pytest.mark.parametrize("url", ["http://queue", "localhost:6379", "redis://:hidden/x@queue:port", "amqp://u:hidden@q"])
def test_a_wrong_queue_url_names_the_accepted_schemes_and_hides_the_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = format_invalid("CANDELA_REDIS_URL", url, monkeypatch)
    assert line.startswith("CANDELA_REDIS_URL")
    assert "redis://" in line
    assert "hidden" not in line


@pytest.mark.parametrize(
    "url", ["redis://queue:6379/0", "rediss://:a@queue", "redis+socket:///run/valkey.sock?virtual_host=0", ""]
)
def test_queue_urls_are_accepted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_REDIS_URL", url)
    assert Settings().redis_url == url


def test_two_wrong_settings_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_PORT", "x")
    line = format_invalid("CANDELA_SLOTS", "y", monkeypatch)
    assert "CANDELA_PORT='x'" in line
    assert "; CANDELA_SLOTS='y'" in line


def test_a_long_value_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(format_invalid("CANDELA_SLOTS", "y" * 10_000, monkeypatch)) < 200


def test_an_empty_variable_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_SLOTS", "")
    monkeypatch.setenv("CANDELA_CACHE", "")
    assert (Settings().slots, Settings().cache) == (1, None)


@pytest.mark.parametrize("level", ["info", " Warning ", "ERROR"])
def test_log_levels_are_accepted_in_any_case(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_LOG_LEVEL", level)
    assert Settings().log_level == level.strip().upper()
