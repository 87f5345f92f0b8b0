"""Queries for checkpoints: the stored snapshots of training jobs."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from core.db.clock import now
from core.db.repos.transitions import get_job_for_update, lock_job_for_attempt
from core.db.sweep_tables import SweepRow
from core.db.tables import CheckpointRow, JobRow
from core.errors import NotFound
from core.jobs import TERMINAL, UNFINISHED
from core.sweeps.states import OPEN_SWEEP

LATEST, BEST, RETAINED = "latest", "best", "kept"
WEIGHTS = "weights.safetensors"


class CheckpointRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def get_next_number(self, job_id: str) -> int:
        """Return the number of the job's next checkpoint."""
        newest = select(func.max(CheckpointRow.number)).where(CheckpointRow.job_id == job_id)
        return (self._session.scalars(newest).one() or 0) + 1

    def add(
        self,
        job_id: str,
        token: int,
        *,
        number: int,
        epoch: int,
        step: int,
        metrics: dict[str, Any],
        tags: tuple[str, ...],
        key: str,
        files: dict[str, dict[str, Any]],
        retained_epochs: Collection[int] | None = None,
    ) -> CheckpointRow:
        """Register a stored snapshot as a checkpoint with `tags` and the tag `latest`.

        Earlier checkpoints of the job lose the tag `latest`, and also the tag `best` if the new checkpoint has it. If
        `retained_epochs` is set, checkpoints of all other epochs lose the tag `kept`.

        Raises:
            LostLease: the attempt with this token does not hold the lease of the job.
        """
        lock_job_for_attempt(self._session, job_id, token)
        moved_tags = {LATEST, BEST} & {LATEST, *tags}
        for row in self.list_checkpoints(job_id):
            removed_tags = (
                moved_tags if retained_epochs is None or row.epoch in retained_epochs else moved_tags | {RETAINED}
            )
            row.tags = [tag for tag in row.tags if tag not in removed_tags]
        row = CheckpointRow(job_id=job_id, token=token, number=number, epoch=epoch, step=step, metrics=metrics)
        row.tags, row.key, row.files = [LATEST, *tags], key, files
        row.sha256 = files[WEIGHTS]["sha256"]
        row.size_bytes = sum(file["size_bytes"] for file in files.values())
        row.created_at = now(self._session)
        self._session.add(row)
        self._session.flush()
        return row

    def list_checkpoints(self, job_id: str) -> list[CheckpointRow]:
        """List the checkpoints of a job, oldest first."""
        query = select(CheckpointRow).where(CheckpointRow.job_id == job_id).order_by(CheckpointRow.number)
        return list(self._session.scalars(query))

    def find(self, job_id: str, number: int) -> CheckpointRow | None:
        return self._session.get(CheckpointRow, (job_id, number))

    def get(self, job_id: str, number: int) -> CheckpointRow:
        return _require(self.find(job_id, number), job_id, number)

    def list_resumable(self, job_id: str) -> list[CheckpointRow]:
        """List the checkpoints that a job can resume from, highest step first. The caller verifies their files."""
        return sorted(self.list_checkpoints(job_id), key=lambda row: (row.step, row.number), reverse=True)

    def find_prunable(self, job_id: str, num_retained: int = 2) -> list[CheckpointRow]:
        """Return the checkpoints that can be deleted.

        The newest `num_retained` checkpoints are retained, in case the files of the newest one are damaged. Checkpoints
        with the tag `best` or `kept`, and checkpoints that other jobs start from, are also retained.
        """
        rows = self.list_checkpoints(job_id)[:-num_retained]
        rows = [row for row in rows if not {BEST, RETAINED} & set(row.tags)]
        if not rows:
            return []
        needed = {*self.find_dependents(job_id).values(), *self.find_dependent_sweeps(job_id).values()}
        return [row for row in rows if row.number not in needed]

    def find_dependents(self, job_id: str) -> dict[str, int | str]:
        """Return the jobs that will start from a checkpoint of this job: {job id: checkpoint number}.

        Jobs that have ended, or that already have checkpoints, are not included.
        """
        has_checkpoint = select(CheckpointRow.number).where(CheckpointRow.job_id == JobRow.id).exists()
        checkpoint = JobRow.spec["resume_from"]["checkpoint"]
        query = select(JobRow.id, checkpoint).where(
            JobRow.resume_from_job_id == job_id, JobRow.state.in_(UNFINISHED), ~has_checkpoint
        )
        return {row[0]: row[1] for row in self._session.execute(query)}

    def find_dependent_sweeps(self, job_id: str) -> dict[str, int | str]:
        """Return the open sweeps whose trials start from a checkpoint of this job: {sweep id: checkpoint number}."""
        checkpoint = SweepRow.spec["base"]["resume_from"]["checkpoint"]
        query = select(SweepRow.id, checkpoint).where(_starts_from(job_id))
        return {row[0]: row[1] for row in self._session.execute(query)}

    def lock(self, job_id: str, number: int) -> CheckpointRow:
        """Prevent until the commit that a checkpoint is deleted, so that a job that starts from it can be stored.

        Raises:
            NotFound: the checkpoint does not exist.
        """
        get_job_for_update(self._session, job_id)
        query = select(CheckpointRow).where(CheckpointRow.job_id == job_id, CheckpointRow.number == number)
        row = self._session.scalars(query.execution_options(populate_existing=True)).one_or_none()
        return _require(row, job_id, number)

    def delete_all(self, job_id: str) -> list[str]:
        """Delete the checkpoints of a job that has ended, which then cannot be extended. Return their storage keys.

        Nothing is deleted if another job or a sweep starts from one of them. The caller deletes the files after the
        commit.
        """
        try:
            job = get_job_for_update(self._session, job_id)
        except NotFound:
            return []
        if job.state not in TERMINAL or self.has_dependents(job_id):
            return []
        deleted = delete(CheckpointRow).where(CheckpointRow.job_id == job_id).returning(CheckpointRow.key)
        keys = list(self._session.scalars(deleted))
        self._session.execute(update(JobRow).where(JobRow.id == job_id).values(has_expired_checkpoints=True))
        return keys

    def has_dependents(self, job_id: str) -> bool:
        """Return whether other jobs, or the trials of a sweep, will start from checkpoints of this job."""
        return bool(self.find_dependents(job_id) or self.find_dependent_sweeps(job_id))

    def delete(self, job_id: str, number: int) -> None:
        """Delete the row of a checkpoint. The caller deletes its files after the commit."""
        mine = (CheckpointRow.job_id == job_id, CheckpointRow.number == number)
        self._session.execute(delete(CheckpointRow).where(*mine))

    def filter_keys(self, keys: Collection[str]) -> set[str]:
        """Return the storage keys under which a checkpoint is stored."""
        return set(self._session.scalars(select(CheckpointRow.key).where(CheckpointRow.key.in_(keys))))


def _require(row: CheckpointRow | None, job_id: str, number: int) -> CheckpointRow:
    if row is None:
        raise NotFound(f"Job {job_id!r} has no checkpoint {number}.")
    return row


def build_is_source() -> ColumnElement[bool]:
    """Return the condition of the jobs from whose checkpoints other jobs, or the trials of a sweep, will start."""
    dependent, checkpoint = aliased(JobRow), aliased(CheckpointRow)
    has_checkpoint = exists().where(checkpoint.job_id == dependent.id)
    is_waiting = and_(dependent.resume_from_job_id == JobRow.id, dependent.state.in_(UNFINISHED), ~has_checkpoint)
    return or_(exists().where(is_waiting), exists().where(_starts_from(JobRow.id)))


def _starts_from(job_id: Any) -> ColumnElement[bool]:  # noqa: ANN401 - a column or a value
    """Return the condition of the open sweeps whose trials start from a checkpoint of a job."""
    source = SweepRow.spec["base"]["resume_from"]["job"].as_string()
    return and_(SweepRow.state.in_(OPEN_SWEEP), source == job_id)
