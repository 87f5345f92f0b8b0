"""Fixtures of one job, its events and its end."""

from collections.abc import Callable
from typing import Any

import pytest

from app.state import State
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.session import transaction
from core.events import EventType
from core.jobs import StopRequest

Post = Callable[..., dict[str, Any]]


@pytest.fixture
def job_id(post_job: Post) -> str:
    return str(post_job()["id"])


@pytest.fixture
def add_lines(state: State, job_id: str) -> Callable[[int], None]:
    """Append log events to the job."""

    def add(count: int) -> None:
        with transaction(state.sessions) as session:
            EventRepo(session).append(job_id, [(EventType.LOG, {"level": "info", "message": "a line"})] * count)

    return add


@pytest.fixture
def end_job(state: State, job_id: str) -> Callable[[], None]:
    """Cancel the job."""

    def cancel() -> None:
        with transaction(state.sessions) as session:
            JobRepo(session).request_stop(job_id, StopRequest.CANCEL)

    return cancel
