"""Credentials are removed from texts, and other texts do not change."""

import pytest

from core.redaction import redact_credentials


@pytest.mark.parametrize(
    "text",
    [
        "postgresql+psycopg://candela:hidden@db:5432/candela",
        "cannot connect to redis://:hidden@queue:6379/0 now",
        "postgresql://user:p@hidden/word@db/candela",
        "('connection to postgresql://user:hidden@db failed', 1)",
        '{"url":"amqp://user:hidden@host//","level":"info"}',
        "connection failed: host=db user=candela password=hidden dbname=candela",
        "postgresql://db/candela?user=candela&password=hidden&sslmode=require",
        '{"password": "hidden", "user": "candela"}',
        "AWS_SECRET_ACCESS_KEY=hidden",
        "CANDELA_API_KEYS=hidden",
        "Authorization: Bearer hidden",
    ],
)
def test_credentials_are_replaced(text: str) -> None:
    redacted = redact_credentials(text)
    assert "hidden" not in redacted
    assert "***" in redacted


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/v1/jobs?name=a",
        '{"url":"http://127.0.0.1:8000/v1","user":"me@example.org"}',
        "it must be postgresql://user:password@host:port/name",
        "token 12 of attempt 3; key models/a/1",
        '{"token": 4, "key": "jobs/1/checkpoints/2", "event": "lease.lost"}',
    ],
)
def test_other_texts_are_unchanged(text: str) -> None:
    assert redact_credentials(text) == text
