"""Stores sweeps and plays their workers: jobs reach milestones, fail or end without any training."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update

from core.db.registry_tables import JobBundleRow
from core.db.repos.attempts import AttemptRepo, EpochMetrics
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.job_bundles import JobBundleRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.metrics import MetricPoint, MetricRepo
from core.db.repos.sweeps import SweepRepo
from core.db.session import SessionFactory, transaction
from core.db.sweep_tables import SweepRow, SweepTrialRow
from core.db.tables import JobRow
from core.failures import build_failure
from core.jobs import JobState
from core.storage import Storage
from core.storage.deletion import delete_stored_files
from core.sweeps.spec import SweepSpec
from tests.support.builders import dataset_version

WEIGHTS = {"weights.safetensors": {"sha256": "0" * 64, "size_bytes": 1}}


def add_sweep(sessions: SessionFactory, spec: SweepSpec, *, name: str = "lr") -> str:
    """Store a sweep with a ready dataset, and return its id."""
    with transaction(sessions) as session:
        version = dataset_version(packed_key="datasets/v/t1")
        session.add(version)
        session.flush()
        sweep = SweepRow(
            name=name, model_name="digits", spec=spec.model_dump(mode="json"), dataset_version_id=version.id
        )
        return SweepRepo(session).add(sweep).id


def get_sweep(sessions: SessionFactory, sweep_id: str) -> SweepRow:
    with transaction(sessions, read_only=True) as session:
        return SweepRepo(session).get(sweep_id)


def list_trial_rows(sessions: SessionFactory, sweep_id: str) -> list[SweepTrialRow]:
    with transaction(sessions, read_only=True) as session:
        query = select(SweepTrialRow).where(SweepTrialRow.sweep_id == sweep_id)
        return list(session.scalars(query.order_by(SweepTrialRow.number)))


def list_sweep_jobs(sessions: SessionFactory, sweep_id: str, *states: JobState) -> list[JobRow]:
    """List the jobs of a sweep in these states. Default: all."""
    with transaction(sessions, read_only=True) as session:
        jobs = SweepRepo(session).list_jobs(sweep_id)
        found = [JobRepo(session).get(job.id) for job in jobs]
    return [job for job in found if not states or job.state in states]


class PlayedWorker:
    """Plays the API and a worker: jobs are validated and claimed, and then reach what the test says."""

    def __init__(self, sessions: SessionFactory, storage: Storage) -> None:
        self.sessions, self.storage = sessions, storage

    def resolve(self, job_id: str) -> None:
        """Accept a job, as the API does."""
        with transaction(self.sessions) as session:
            jobs = JobRepo(session)
            job = jobs.lock_for_resolution(job_id)
            if job is not None:
                jobs.resolve(job_id, job.spec, [], {"epoch": 0, "epochs": job.spec["epochs"]})

    def refuse(self, job_id: str, detail: str = "the loss is unknown") -> None:
        """Refuse a job, as the API does."""
        with transaction(self.sessions) as session:
            JobRepo(session).fail_resolution(job_id, build_failure("invalid_spec", detail))

    def claim(self, job_id: str) -> int:
        """Start an attempt, and return its token."""
        self.resolve(job_id)
        with transaction(self.sessions) as session:
            job = AttemptRepo(session).claim(job_id, "worker", 60.0)
            assert job is not None
            return job.token

    def train(self, job_id: str, losses: Mapping[int, float]) -> str:
        """Run a queued job up to the last of these epochs, with a checkpoint there; it pauses or completes.

        Return the storage key of its checkpoint.
        """
        token = self.claim(job_id)
        epoch = max(losses)
        with transaction(self.sessions) as session:
            attempts, job = AttemptRepo(session), JobRepo(session).get(job_id)
            points = [
                MetricPoint("valid", "loss", 10 * number, number, *_split_value(value), None)
                for number, value in losses.items()
            ]
            MetricRepo(session).upsert(job_id, points)
            attempts.record_progress(job_id, token, {"epoch": epoch}, epoch=EpochMetrics({}, None))
            checkpoints = CheckpointRepo(session)
            number = checkpoints.get_next_number(job_id)
            key = f"jobs/{job_id}/t{token}/checkpoints/{number}"
            fields: dict[str, Any] = {"metrics": {}, "tags": (), "key": key, "files": WEIGHTS}
            checkpoints.add(job_id, token, number=number, epoch=epoch, step=10 * epoch, **fields)
            pruned = checkpoints.find_prunable(job_id, 1)
            for row in pruned:
                checkpoints.delete(job_id, row.number)
            if epoch < job.spec["epochs"]:
                attempts.pause_at_milestone(job_id, token, epoch)
            else:
                self._store_bundle(session, job_id, token)
                attempts.complete_with_model(job_id, token, None, {}, None)
        delete_stored_files(self.storage, [row.key for row in pruned])
        return key

    def fail(self, job_id: str, code: str) -> None:
        """Let the next attempt of a job fail."""
        self.claim(job_id)
        self.fail_attempt(job_id, code)

    def fail_attempt(self, job_id: str, code: str) -> None:
        """Let the running attempt of a job fail."""
        with transaction(self.sessions) as session:
            AttemptRepo(session).fail(job_id, JobRepo(session).get(job_id).token, build_failure(code))

    def release(self, job_id: str) -> None:
        """End the running attempt of a job as it was requested."""
        with transaction(self.sessions) as session:
            AttemptRepo(session).release(job_id, JobRepo(session).get(job_id).token, "requested")

    def set_columns(self, job_id: str, **values: Any) -> None:
        with transaction(self.sessions) as session:
            session.execute(update(JobRow).where(JobRow.id == job_id).values(**values))

    def _store_bundle(self, session: Any, job_id: str, token: int) -> None:
        bundle = JobBundleRow(job_id=job_id, token=token, key=f"jobs/{job_id}/t{token}/bundle", files=WEIGHTS)
        bundle.sha256, bundle.size_bytes, bundle.num_parameters = "0" * 64, 1, 1
        bundle.bundle, bundle.metrics, bundle.dataset = {}, {}, {}
        JobBundleRepo(session).put(bundle)


def _split_value(value: float) -> tuple[float | None, str | None]:
    if value != value:
        return None, "NaN"
    return value, None
