"""Fixtures of an HTTP service in this process."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.http_service import SMALL, client, settings_options, state
from tests.support.job_events import add_lines, end_job, job_id

__all__ = ["add_lines", "client", "end_job", "job_id", "post_job", "settings_options", "state"]


@pytest.fixture
def post_job(client: TestClient) -> Callable[..., dict[str, Any]]:
    """Submit a small job with the given changes and return it."""

    def post(**changes: Any) -> dict[str, Any]:
        response = client.post("/v1/jobs", json=SMALL | changes)
        assert response.status_code == 202, response.text
        return dict(response.json())

    return post
