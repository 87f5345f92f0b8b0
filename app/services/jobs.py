"""Lists, controls and deletes jobs. `job_submission.py` submits jobs, and `results.py` reads their results."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from app.services.job_extension import plan_extension
from app.services.job_order import parse_order
from app.services.validation import capacity
from core.db.queue_tables import WorkerRow
from core.db.repos.datasets import DatasetReference, DatasetRepo
from core.db.repos.events import EventRepo
from core.db.repos.job_bundles import JobBundleRepo
from core.db.repos.job_lists import JobFilter, JobListRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.metric_summaries import MetricSummary, MetricSummaryRepo
from core.db.repos.outbox import OutboxRepo
from core.db.repos.transitions import build_transition_conflict, get_job_for_update
from core.db.repos.workers import WorkerRepo
from core.db.session import on_commit
from core.db.tables import DatasetVersionRow, JobRow
from core.errors import Conflict
from core.events import Event
from core.jobs import DatasetState, JobState, StopRequest
from core.spec.schedules import ScheduleSpec
from core.storage import Storage
from core.storage.deletion import delete_stored_files

IMPORTING = DatasetState.IMPORTING


class JobView(NamedTuple):
    """A job, its state transitions and the last and best values of its metrics.

    For a queued job, also its position in the queue and the reason why it waits.
    """

    job: JobRow
    transitions: Sequence[Event]
    queue_position: int | None
    waits_for: DatasetVersionRow | None
    queue_reason: str | None
    summaries: Mapping[str, MetricSummary]


class JobPage(NamedTuple):
    """A page of jobs with the values of their metrics and their datasets, and the cursor of the next page."""

    jobs: Sequence[tuple[JobRow, Mapping[str, MetricSummary], DatasetReference | None]]
    next_cursor: str | None


class JobService:
    """Manages jobs. Every method runs in the caller's transaction.

    Args:
        wake: function that wakes the outbox relay; it is called after the commit.
        worker_silence_s: a worker is considered live for this many seconds after its last heartbeat.
    """

    def __init__(
        self,
        session: Session,
        storage: Storage,
        *,
        wake: Callable[[], None],
        worker_silence_s: float,
        queues_variants: bool = False,
    ) -> None:
        self._session = session
        self._storage = storage
        self._wake = wake
        self._worker_silence_s = worker_silence_s
        self._queues_variants = queues_variants
        self._jobs = JobRepo(session)

    def list_jobs(self, conditions: JobFilter, *, sort: str, cursor: str | None, limit: int) -> JobPage:
        """Return a page of jobs in the order `sort`, such as `-created_at` or `-metrics.valid_accuracy.best`.

        Raises:
            InvalidSpec: the order or the cursor is invalid.
        """
        order = parse_order(sort)
        rows, next_cursor = JobListRepo(self._session).list_page(conditions, order, cursor=cursor, limit=limit)
        summaries = MetricSummaryRepo(self._session).list_summaries([row.id for row in rows])
        version_ids = {row.dataset_version_id for row in rows if row.dataset_version_id is not None}
        datasets = DatasetRepo(self._session).list_references(version_ids)
        jobs = [(row, summaries[row.id], datasets.get(row.dataset_version_id or "")) for row in rows]
        return JobPage(jobs, next_cursor)

    def get_job(self, job_id: str) -> JobView:
        """Return a job. Raises NotFound."""
        job = self._jobs.get(job_id)
        transitions, position = EventRepo(self._session).list_transitions(job_id), self._jobs.get_queue_position(job)
        summaries = MetricSummaryRepo(self._session).list_summaries([job_id])[job_id]
        if position is None:
            return JobView(job, transitions, None, None, None, summaries)
        version = None if job.dataset_version_id is None else DatasetRepo(self._session).get(job.dataset_version_id)
        pending_import = version if version is not None and version.state is IMPORTING else None
        reason = capacity.get_pending_reason(job.spec, capacity.list_capacities(self.list_live_workers()))
        return JobView(job, transitions, position, pending_import, reason, summaries)

    def stop_job(self, job_id: str, stop_request: StopRequest) -> JobView:
        """Cancel or pause a job, or finish it after the current epoch.

        Raises:
            Conflict: the action is not allowed in the job's state or for its kind.
        """
        if stop_request is StopRequest.FINISH:
            _require_training(self._jobs.get(job_id), "finished early")
        self._jobs.request_stop(job_id, stop_request)
        return self.get_job(job_id)

    def kill_job(self, job_id: str) -> JobView:
        """Cancel a job without waiting for its worker. Later updates of the job by the worker are ignored."""
        self._jobs.kill(job_id)
        return self.get_job(job_id)

    def change_job(self, job_id: str, changes: Mapping[str, Any]) -> JobView:
        """Change a job's `priority` in the queue, its `tags` or its `note`. Raises Conflict as `set_priority` does."""
        if "priority" in changes:
            self._jobs.set_priority(job_id, changes["priority"])
        texts = {name: changes[name] for name in ("tags", "note") if name in changes}
        if texts:
            self._jobs.annotate(job_id, **texts)
        return self.get_job(job_id)

    def resume_job(self, job_id: str) -> JobView:
        """Queue a paused job again. The job continues from its last checkpoint."""
        self._jobs.resume(job_id)
        self.queue_job(job_id)
        return self.get_job(job_id)

    def extend_job(self, job_id: str, epochs: int, schedule: ScheduleSpec | None = None) -> JobView:
        """Queue a succeeded job again, to train `epochs` more epochs. The state of its optimizer is restored.

        With `schedule`, a new schedule covers the additional epochs (see `plan_extension`).

        Raises:
            Conflict: the job has not succeeded, it is not a training, or its checkpoints were deleted.
            InvalidSpec: the schedule is invalid, or the job's own schedule leaves nothing to train.
        """
        get_job_for_update(self._session, job_id)  # first, so that its checkpoints are not deleted after the check
        job = self._jobs.get(job_id)
        _require_training(job, "extended")
        if job.state is not JobState.SUCCEEDED:
            raise build_transition_conflict(job, "cannot be extended")
        if job.has_expired_checkpoints:
            raise Conflict(
                "The job cannot be extended: retention has deleted its checkpoints.", state=job.state, allowed=[]
            )
        plan = plan_extension(job, epochs, schedule)
        self._jobs.extend(
            job_id,
            plan.spec.model_dump(mode="json"),
            extension=plan.extension.model_dump(),
            progress=plan.progress,
            warnings=plan.warnings,
        )
        self.queue_job(job_id)
        return self.get_job(job_id)

    def register_job(self, job_id: str) -> JobView:
        """Register the network that a job with `register: false` has trained. A second call has no effect.

        Raises:
            Conflict: the job has not succeeded, or trains no network.
        """
        JobBundleRepo(self._session).register(job_id, queues_variant=self._queues_variants)
        return self.get_job(job_id)

    def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended, with its events, metrics and checkpoints. Its registered models are kept."""
        keys = self._jobs.delete(job_id)
        on_commit(self._session, lambda: delete_stored_files(self._storage, keys))

    def queue_job(self, job_id: str) -> None:
        """Add a message to the outbox that makes a worker claim the job."""
        OutboxRepo(self._session).add("train", job_id)
        on_commit(self._session, self._wake)

    def list_live_workers(self) -> list[WorkerRow]:
        """Return the workers that sent a heartbeat recently."""
        return WorkerRepo(self._session).list_alive(self._worker_silence_s)


def _require_training(job: JobRow, action: str) -> None:
    if job.kind != "train":
        raise Conflict(
            f"A job of kind {job.kind!r} cannot be {action}; only a training can.", state=job.state, allowed=[]
        )
