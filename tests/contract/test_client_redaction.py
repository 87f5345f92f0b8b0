"""The client, which is installed without `core`, removes the same credentials from messages as the service."""

import pytest

from candela import redaction as client
from core import redaction as service

TEXTS = [
    "cannot connect to http://user:hidden@example.org: refused",
    "postgresql://user:p@hidden/word@db/candela",
    "it must be postgresql://user:password@host:port/name",
    '{"password": "hidden", "user": "candela"}',
    "AWS_SECRET_ACCESS_KEY=hidden",
    "CANDELA_API_KEYS=hidden, CANDELA_API_KEY: hidden",
    "Authorization: Bearer hidden",
    "http://127.0.0.1:8000/v1/jobs?name=a",
    "token 12 of attempt 3; key models/a/1",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_client_removes_the_same_credentials(text: str) -> None:
    redacted = client.redact_credentials(text)
    assert redacted == service.redact_credentials(text)
    assert "hidden" not in redacted
