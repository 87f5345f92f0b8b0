"""Queries that start, continue and end the trials of a sweep. The caller has locked the row of the sweep."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.outbox import OutboxRepo
from core.db.repos.sweep_jobs import SweepJobRepo
from core.db.repos.transitions import lock_jobs
from core.db.repos.unresolved_jobs import build_unresolved_job
from core.db.sweep_tables import RungScoreRow, SweepRow, SweepTrialRow
from core.db.tables import JobRow
from core.errors import NotFound
from core.failures import FailureKind, get_failure_kind
from core.jobs import MILESTONE, JobState, StopRequest
from core.spec import JobSpec
from core.sweeps.milestones import get_milestones
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialSource, TrialState
from core.sweeps.trial_jobs import PRIORITY, build_trial_jobs, continue_checkpoint
from core.sweeps.trials import MAX_INTERRUPTIONS

MAX_REASON = 255


class NewTrial(NamedTuple):
    """A trial that starts.

    Attributes:
        jobs: the spec of each repeat.
        parent: the trial, and the epochs of its checkpoint, from which the trial continues; None: new weights.
    """

    number: int
    epochs: int
    parameters: Mapping[str, JsonValue]
    source: TrialSource
    jobs: Sequence[JobSpec]
    parent: tuple[int, int] | None = None


class SweepTrialRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def start(self, sweep: SweepRow, trial: NewTrial) -> None:
        """Store a trial with its jobs, which the API validates and queues.

        Raises:
            NotFound: the checkpoint of the parent does not exist any more.
        """
        specs = list(trial.jobs)
        if trial.parent is not None:
            sources = self._lock_checkpoints(sweep.id, *trial.parent, num_jobs=len(specs))
            specs = [
                continue_checkpoint(spec, JobSpec.model_validate(job.spec), job.id, number)
                for spec, (job, number) in zip(specs, sources, strict=True)
            ]
        self._add_row(sweep, trial, TrialState.RUNNING)
        first_epoch = 0 if trial.parent is None else trial.parent[1]
        self._add_step(sweep, trial.number, trial.epochs, (trial.epochs - first_epoch) * len(specs))
        sweep.num_trials += trial.source is not TrialSource.COPY
        for repeat, spec in enumerate(specs):
            JobRepo(self._session).add(_build_job(sweep, trial.number, repeat, spec))

    def add_refused(self, sweep: SweepRow, trial: NewTrial, reason: str) -> None:
        """Store a trial whose parameters give no valid job."""
        self._add_row(sweep, trial, TrialState.REFUSED, _shorten(reason))
        sweep.num_refused += 1

    def refuse(self, sweep: SweepRow, number: int, reason: str) -> None:
        """Store that the validation has refused a job of a trial, and delete its jobs, which have never run."""
        trial = self._get(sweep.id, number)
        jobs = self._cancel_jobs(sweep.id, number)
        for job in jobs:
            self._session.delete(job)
        self._set_state(trial, TrialState.REFUSED, reason)
        sweep.num_trials -= trial.source is not TrialSource.COPY
        sweep.num_refused += 1
        sweep.num_epochs -= (trial.epochs - (trial.parent_epochs or 0)) * len(jobs)
        self._session.flush()

    def promote(self, sweep: SweepRow, number: int, epochs: int, num_repeats: int) -> None:
        """Continue a trial up to a milestone, or stop it with all its jobs if one of them cannot continue."""
        trial = self._get(sweep.id, number)
        jobs = self._lock_jobs(sweep.id, number)
        if len(jobs) < num_repeats or any(job.state is JobState.CANCELLED for job in jobs):
            self._cancel_jobs(sweep.id, number)
            self._set_state(trial, TrialState.STOPPED, "job_cancelled")
            return
        for job in jobs:
            self._continue_job(job, epochs)
        if epochs > trial.epochs:  # a trial whose worker was lost continues its step
            self._add_step(sweep, number, epochs, (epochs - trial.epochs) * num_repeats)
            trial.epochs = epochs
        self._set_state(trial, TrialState.RUNNING, None)

    def record_score(self, sweep_id: str, number: int, state: TrialState, score: float, *, best: float) -> None:
        """Store the score of a trial at its milestone, and its best score so far. They can be NaN."""
        trial = self._get(sweep_id, number)
        rung = self._session.get_one(RungScoreRow, (sweep_id, number, trial.epochs))
        rung.is_reached, rung.score = True, _to_finite(score)
        self._session.flush()
        key = (RungScoreRow.sweep_id == sweep_id, RungScoreRow.trial == number, RungScoreRow.epochs == trial.epochs)
        self._session.execute(update(RungScoreRow).where(*key).values(reached_at=now(self._session)))
        trial.best_score = _to_finite(best)
        self._set_state(trial, state, None if math.isfinite(score) else "score_not_finite")

    def end(self, sweep_id: str, number: int, state: TrialState, reason: str) -> None:
        """End a trial without a score at its milestone, and cancel its jobs.

        A trial whose worker was lost may continue, and its other jobs do, until it was lost too often.
        """
        trial = self._get(sweep_id, number)
        self._set_state(trial, state, reason)
        if state is TrialState.INTERRUPTED:
            trial.interruptions += 1
        if state is not TrialState.INTERRUPTED or trial.interruptions > MAX_INTERRUPTIONS:
            self._cancel_jobs(sweep_id, number)
        self._session.flush()

    def _continue_job(self, job: JobRow, epochs: int) -> None:
        """Queue a job that has not reached the milestone, unless a client has resumed it already."""
        jobs = JobRepo(self._session)
        if job.state is JobState.PAUSED and job.stop_reason == MILESTONE and job.milestone_epoch < epochs:
            jobs.resume(job.id)
        elif job.state is JobState.FAILED and is_lost(job):
            jobs.retry(job.id)
        else:
            return
        OutboxRepo(self._session).add_missing("train", job.id)

    def _lock_checkpoints(self, sweep_id: str, number: int, epochs: int, *, num_jobs: int) -> list[tuple[JobRow, int]]:
        """Lock the jobs of a trial, and return each with the number of its newest checkpoint after these epochs.

        Raises:
            NotFound: a job or a checkpoint was deleted.
        """
        jobs = self._lock_jobs(sweep_id, number)
        if len(jobs) < num_jobs:
            raise NotFound(f"Trial {number} has {len(jobs)} of its {num_jobs} jobs.")
        found = []
        for job in jobs:
            rows = CheckpointRepo(self._session).list_checkpoints(job.id)
            numbers = [row.number for row in rows if row.epoch == epochs]
            if not numbers:
                raise NotFound(f"Job {job.name!r} has no checkpoint of epoch {epochs}.")
            found.append((job, max(numbers)))
        return found

    def _add_row(self, sweep: SweepRow, trial: NewTrial, state: TrialState, reason: str | None = None) -> None:
        parent, parent_epochs = trial.parent or (None, None)
        row = SweepTrialRow(
            sweep_id=sweep.id,
            number=trial.number,
            state=state,
            source=trial.source,
            parameters=dict(trial.parameters),
            epochs=trial.epochs,
            parent_number=parent,
            parent_epochs=parent_epochs,
            reason=reason,
        )
        row.created_at = row.updated_at = now(self._session)
        self._session.add(row)
        self._session.flush()

    def _add_step(self, sweep: SweepRow, number: int, epochs: int, cost: int) -> None:
        step = RungScoreRow(sweep_id=sweep.id, trial=number, epochs=epochs, step=sweep.num_steps, is_reached=False)
        self._session.add(step)
        sweep.num_steps += 1
        sweep.num_epochs += cost
        self._session.flush()

    def _set_state(self, trial: SweepTrialRow, state: TrialState, reason: str | None) -> None:
        trial.state, trial.reason = state, None if reason is None else _shorten(reason)
        trial.updated_at = now(self._session)
        self._session.flush()

    def _get(self, sweep_id: str, number: int) -> SweepTrialRow:
        return self._session.get_one(SweepTrialRow, (sweep_id, number), populate_existing=True)

    def _cancel_jobs(self, sweep_id: str, number: int) -> list[JobRow]:
        """Cancel the jobs of a trial that have not ended, and return all of them."""
        jobs = self._lock_jobs(sweep_id, number)
        SweepJobRepo(self._session).stop([job.id for job in jobs], StopRequest.CANCEL)
        return jobs

    def _lock_jobs(self, sweep_id: str, number: int) -> list[JobRow]:
        """Lock the jobs of a trial until the commit, and return them in the order of their repeats."""
        query = select(JobRow.id).where(JobRow.sweep_id == sweep_id, JobRow.sweep_trial == number)
        jobs = lock_jobs(self._session, self._session.scalars(query).all())
        return sorted(jobs, key=lambda job: job.sweep_repeat or 0)


def build_client_trial(sweep: SweepRow, number: int, parameters: Mapping[str, JsonValue]) -> NewTrial:
    """Return a trial with parameters of a client. No transaction is needed, and up to 100 job specs are validated.

    Raises:
        InvalidSpec: the job spec refuses a value.
    """
    spec = SweepSpec.model_validate(sweep.spec)
    jobs = build_trial_jobs(spec, parameters, name=sweep.name, model=sweep.model_name, number=number)
    return NewTrial(number, get_milestones(spec, number)[0], parameters, TrialSource.CLIENT, jobs)


def is_lost(job: JobRow) -> bool:
    """Return whether a job failed because its worker was lost."""
    return get_failure_kind(str((job.failure or {}).get("code"))) is FailureKind.LOST


def _build_job(sweep: SweepRow, number: int, repeat: int, spec: JobSpec) -> JobRow:
    return build_unresolved_job(
        spec,
        dataset_version_id=sweep.dataset_version_id,
        priority=PRIORITY,
        sweep_id=sweep.id,
        sweep_trial=number,
        sweep_repeat=repeat,
    )


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 1]}…"


def _to_finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
