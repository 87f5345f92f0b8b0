"""Submissions: validation without a transaction, and one job for equal requests at the same time."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import delete, update

from app.services.submission_store import Submission
from app.serving.backend import ArchitectureQuery, ArchitectureSummary
from app.state import State
from core.db.repos.jobs import JobRepo
from core.db.session import transaction
from core.db.tables import JobRow, ModelVersionRow
from core.errors import Conflict, IdempotencyMismatch, InvalidSpec
from core.jobs import JobState
from core.spec import ANY_JOB, AnyJobSpec
from core.spec.job import ResumeFromSpec
from tests.support import bundles
from tests.support.local_backend import LocalBackend


def make_spec(**changes: Any) -> AnyJobSpec:
    return ANY_JOB.validate_python({"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}, **changes})


def count_jobs(state: State) -> int:
    with transaction(state.sessions, read_only=True) as session:
        return JobRepo(session).count_by_state().get(JobState.QUEUED, 0)


async def test_equal_requests_at_the_same_time_submit_one_job(state: State) -> None:
    submissions = [Submission(make_spec(), idempotency_key="k") for _ in range(50)]
    views = await asyncio.gather(*(state.submission.submit_job(submission) for submission in submissions))
    assert len({view.job.id for view in views}) == 1
    assert count_jobs(state) == 1
    with pytest.raises(IdempotencyMismatch):
        await state.submission.submit_job(Submission(make_spec(epochs=2), idempotency_key="k"))


async def test_request_returns_the_job_that_stored_its_key_during_its_validation(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL, the insert of the key fails after the other transaction has committed."""
    first = await state.submission.submit_job(Submission(make_spec(), idempotency_key="k"))
    store = state._build_submission_store
    results = iter([None, None, first])

    def open_store(session: Any) -> Any:
        built = store(session)
        monkeypatch.setattr(built, "find_submitted", lambda submission: next(results))
        return built

    monkeypatch.setattr(state.submission, "_open_store", open_store)
    second = await state.submission.submit_job(Submission(make_spec(), idempotency_key="k"))
    assert second.job.id == first.job.id
    assert count_jobs(state) == 1


async def test_other_conflicts_are_raised(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise Conflict("no")

    monkeypatch.setattr("app.services.submission_store.SubmissionStore.store_job", refuse)
    with pytest.raises(Conflict):
        await state.submission.submit_job(Submission(make_spec(), idempotency_key="k"))


async def test_no_transaction_is_open_while_a_network_is_checked(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, original = state.sessions.kw["bind"].pool, LocalBackend.check_architecture
    checked_out: list[int] = []

    async def check_architecture(self: LocalBackend, query: ArchitectureQuery) -> ArchitectureSummary:
        checked_out.append(pool.checkedout())
        return await original(self, query)

    monkeypatch.setattr(LocalBackend, "check_architecture", check_architecture)
    await state.submission.dry_run(make_spec())
    await state.submission.submit_job(Submission(make_spec()))
    assert checked_out == [0, 0]


async def test_dry_run_stores_nothing(state: State) -> None:
    resolved = await state.submission.dry_run(make_spec())
    assert resolved.num_parameters > 0
    assert count_jobs(state) == 0
    with pytest.raises(InvalidSpec):
        await state.submission.dry_run(make_spec(loss={"name": "mse"}))


async def test_a_waiting_job_fails_if_its_model_is_deleted_during_its_validation(
    state: State,
) -> None:
    bundles.register_model(state.sessions, state.storage, "shapes", 1)
    view = await state.submission.submit_job(Submission(make_spec()))
    resolved = await state.submission.dry_run(make_spec())
    spec = resolved.spec.model_copy(update={"init_from": "shapes@1"})
    with transaction(state.sessions) as session:
        session.execute(update(JobRow).values(is_resolved=False))
        session.execute(delete(ModelVersionRow))
    with transaction(state.sessions) as session:
        store = state._build_submission_store(session)
        store.store_resolution(view.job.id, resolved._replace(spec=spec))
    with transaction(state.sessions) as session:
        job = JobRepo(session).get(view.job.id)
        assert job.state is JobState.FAILED
        assert job.failure is not None
        assert job.failure["errors"] == [{"pointer": "/init_from", "detail": "Model 'shapes' has no version 1."}]


async def test_a_job_is_refused_if_its_checkpoint_is_deleted_during_its_validation(state: State) -> None:
    source = (await state.submission.submit_job(Submission(make_spec()))).job.id
    resolved = await state.submission.dry_run(make_spec())
    spec = resolved.spec.model_copy(update={"resume_from": ResumeFromSpec(job=source, checkpoint=1)})
    with pytest.raises(InvalidSpec) as raised, transaction(state.sessions) as session:
        state._build_submission_store(session).store_job(Submission(spec), resolved._replace(spec=spec), None)
    assert raised.value.errors == [("/resume_from", f"Job {source!r} has no checkpoint 1.")]
