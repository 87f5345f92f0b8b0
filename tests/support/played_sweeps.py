"""Runs a sweep with the controller of maintenance. Its jobs have results that depend only on their parameters."""

import hashlib
from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from core.db.repos.jobs import JobRepo
from core.db.repos.sweeps import SweepRepo
from core.db.session import SessionFactory, transaction
from core.db.sweep_tables import SweepRow, SweepTrialRow
from core.db.tables import CheckpointRow, JobRow, ModelVersionRow
from core.jobs import JobState, StopRequest
from core.storage import LocalStorage
from core.sweeps.states import TERMINAL_SWEEP, TrialState
from tests.support.stored_sweeps import PlayedWorker, add_sweep, get_sweep, list_sweep_jobs, list_trial_rows
from tests.support.sweeps import build_sweep
from worker.maintenance.sweeps.controller import SweepController

StartSweep = Callable[..., "PlayedSweep"]
MAX_ROUNDS = 500
Record = tuple[int, dict[str, Any], int, TrialState, float | None]


def compute_loss(lr: float, epoch: int) -> float:
    """Return the loss of a job after an epoch: a function of its learning rate, without ties."""
    digest = hashlib.sha256(f"{lr:.17g}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 + 1 / epoch


class PlayedSweep:
    """A sweep on a database and a storage.

    Attributes:
        controller: a process of maintenance. `restart` replaces it.
        wake_ups: a record of the wake-ups of the relay.
    """

    def __init__(self, sessions: SessionFactory, storage: LocalStorage, **fields: Any) -> None:
        self.sessions, self.storage = sessions, storage
        self.spec = build_sweep(**fields)
        self.id = add_sweep(sessions, self.spec)
        self.worker = PlayedWorker(sessions, storage)
        self.wake_ups: list[str] = []
        self.controller = self.create_controller()

    def create_controller(self, sessions: SessionFactory | None = None, **options: Any) -> SweepController:
        wake = lambda: self.wake_ups.append("relay")  # noqa: E731 - called without arguments
        return SweepController(sessions or self.sessions, self.storage, wake, **options)

    def run_round(self) -> None:
        self.controller.run_once()

    @property
    def row(self) -> SweepRow:
        return get_sweep(self.sessions, self.id)

    @property
    def trials(self) -> list[SweepTrialRow]:
        return list_trial_rows(self.sessions, self.id)

    @property
    def states(self) -> list[TrialState]:
        return [trial.state for trial in self.trials]

    def list_jobs(self, *states: JobState) -> list[JobRow]:
        return list_sweep_jobs(self.sessions, self.id, *states)

    def get_job(self, trial: int, repeat: int = 0) -> JobRow:
        return next(job for job in self.list_jobs() if (job.sweep_trial, job.sweep_repeat) == (trial, repeat))

    def get_next_milestone(self, job: JobRow) -> int:
        """Return the epoch at which the next attempt of a job ends."""
        milestones = (job.spec["milestones"] or {"epochs": []})["epochs"]
        next_epoch: int = min(
            [epoch for epoch in milestones if epoch > job.milestone_epoch], default=job.spec["epochs"]
        )
        return next_epoch

    def train(self, trial: int, *, loss: float | None = None, repeat: int = 0) -> str:
        """Train a queued job of a trial to its next milestone, with a file as its checkpoint. Return its key."""
        job = self.get_job(trial, repeat)
        end = self.get_next_milestone(job)
        first = job.milestone_epoch + 1
        lr = job.spec["optimizer"]["lr"]
        values = {epoch: compute_loss(lr, epoch) if loss is None else loss for epoch in range(first, end + 1)}
        key = self.worker.train(job.id, values)
        self._publish(key)
        return key

    def train_all(self) -> int:
        """Train every queued job to its next milestone, in the order of the queue. Return their number."""
        queued = self.list_jobs(JobState.QUEUED)
        for job in queued:
            self.train(job.sweep_trial or 0, repeat=job.sweep_repeat or 0)
        return len(queued)

    def run(self) -> SweepRow:
        """Run the sweep to its end."""
        for _ in range(MAX_ROUNDS):
            self.run_round()
            if self.row.state in TERMINAL_SWEEP:
                return self.row
            self.train_all()
        raise AssertionError(f"the sweep does not end: {self.row.state} {self.states}")

    def request(self, change: Callable[[SweepRepo], object]) -> None:
        """Change the sweep as a client does."""
        with transaction(self.sessions) as session:
            change(SweepRepo(session))

    def cancel_job(self, trial: int) -> None:
        job_id = self.get_job(trial).id
        with transaction(self.sessions) as session:
            JobRepo(session).request_stop(job_id, StopRequest.CANCEL)

    def pause_job(self, trial: int) -> None:
        job_id = self.get_job(trial).id
        with transaction(self.sessions) as session:
            JobRepo(session).request_stop(job_id, StopRequest.PAUSE)

    def delete_job(self, trial: int) -> None:
        job_id = self.get_job(trial).id
        with transaction(self.sessions) as session:
            JobRepo(session).delete(job_id)

    def list_checkpoints(self) -> list[tuple[int, int]]:
        """Return the trial and the epoch of each checkpoint."""
        query = select(JobRow.sweep_trial, CheckpointRow.epoch).join(JobRow, JobRow.id == CheckpointRow.job_id)
        with transaction(self.sessions, read_only=True) as session:
            rows = session.execute(query.where(JobRow.sweep_id == self.id).order_by(JobRow.sweep_trial))
            return [(trial or 0, epoch) for trial, epoch in rows]

    def list_stored_checkpoints(self) -> set[str]:
        """Return the folders of checkpoints in the storage."""
        return {key.rpartition("/")[0] for key in self.storage.list_keys("jobs") if "/checkpoints/" in key}

    def list_versions(self) -> list[ModelVersionRow]:
        """Return the model versions of its jobs, oldest first."""
        query = select(ModelVersionRow).join(JobRow, JobRow.id == ModelVersionRow.job_id)
        with transaction(self.sessions, read_only=True) as session:
            rows = session.scalars(query.where(JobRow.sweep_id == self.id).order_by(ModelVersionRow.version))
            return list(rows)

    def describe(self) -> tuple[list[Record], list[tuple[int, int]], int | None]:
        """Return what a twin must have too: the trials, the steps and the best trial."""
        records = [
            (trial.number, trial.parameters, trial.epochs, trial.state, trial.best_score) for trial in self.trials
        ]
        with transaction(self.sessions, read_only=True) as session:
            return records, SweepRepo(session).list_steps(self.id), self.row.best_trial

    def _publish(self, key: str) -> None:
        folder = self.storage.create_scratch_folder() / "files"
        folder.mkdir()
        (folder / "weights.safetensors").write_text("1")
        self.storage.publish(folder, key)
