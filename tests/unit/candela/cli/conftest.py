"""Jobs with a complete id, which commands request without a search."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture
def job_answer(job_answer: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    return lambda **changed: job_answer(**({"id": "a1" * 16, "warnings": []} | changed))


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local times are UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
