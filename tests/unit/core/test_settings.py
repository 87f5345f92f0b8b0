"""Settings that are lists are split at commas and validated; a default can depend on the machine."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.host_resources import get_memory_bytes
from core.settings import Settings


def load_setting(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> Any:
    """Return a setting that is read from the environment."""
    monkeypatch.setenv(f"CANDELA_{name.upper()}", value)
    return getattr(Settings(), name)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("allowed_hosts", "", ()),
        ("allowed_hosts", "Candela.Example.org, *.example.com,", ("candela.example.org", "*.example.com")),
        ("allowed_hosts", "*", ("*",)),
        ("allowed_hosts", "10.0.0.1,[fd00::7]", ("10.0.0.1", "[fd00::7]")),
        ("cors_origins", "https://App.example.org", ("https://app.example.org",)),
        ("cors_origins", "http://localhost:3000,http://[::1]:3000", ("http://localhost:3000", "http://[::1]:3000")),
        ("trusted_proxies", "127.0.0.1, 10.0.0.0/8,fd00::/8", ("127.0.0.1", "10.0.0.0/8", "fd00::/8")),
        ("trusted_proxies", "*", ("*",)),
    ],
)
def test_a_list_is_split_at_commas(name: str, value: str, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_setting(monkeypatch, name, value) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allowed_hosts", "https://candela.example.org"),
        ("allowed_hosts", "candela.example.org:8000"),
        ("allowed_hosts", "a.*.example.org"),
        ("allowed_hosts", "*example.org"),
        ("cors_origins", "*"),
        ("cors_origins", "null"),
        ("cors_origins", "app.example.org"),
        ("cors_origins", "https://app.example.org/"),
        ("cors_origins", "https://*.example.org"),
        ("trusted_proxies", "proxy"),
        ("trusted_proxies", "10.0.0.1/8"),
    ],
)
def test_an_invalid_item_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError) as error:
        load_setting(monkeypatch, name, value)
    assert value in str(error.value)
    assert "must be" in str(error.value)


def test_the_memory_of_models_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_setting(monkeypatch, "max_model_bytes", "1000") == 1000
    assert Settings().effective_max_model_bytes == 1000
    monkeypatch.delenv("CANDELA_MAX_MODEL_BYTES")
    assert Settings().effective_max_model_bytes == get_memory_bytes() // 4
