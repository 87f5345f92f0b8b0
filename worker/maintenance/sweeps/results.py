"""Determines the results of trials from the states and the metric curves of their jobs."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from core.db.repos.metrics import MetricRepo
from core.db.repos.sweep_jobs import CANCELLED_BY_SWEEP
from core.db.repos.sweep_trials import is_lost
from core.db.tables import JobRow
from core.jobs import MILESTONE, JobState
from core.sweeps.spec import ObjectiveSpec, SweepSpec
from core.sweeps.states import TrialState
from core.sweeps.trials import SweepTrial, combine_scores, compute_score
from worker.maintenance.sweeps.snapshot import SweepSnapshot


class TrialResult(NamedTuple):
    """What became of a running trial.

    Attributes:
        score: the score at its milestone, or NaN; None if it has not reached the milestone.
        reason: why it ended without a score.
    """

    number: int
    state: TrialState
    score: float | None = None
    reason: str = ""


def list_results(session: Session, snapshot: SweepSnapshot) -> list[TrialResult]:
    """Return the results of the running trials whose jobs have reached their milestone, or have ended."""
    trials = {trial.number: trial for trial in snapshot.trials}
    spec = snapshot.spec
    results = [_find_result(session, spec, trials[number], jobs) for number, jobs in snapshot.jobs.items()]
    return [result for result in results if result is not None]


def _find_result(session: Session, sweep: SweepSpec, trial: SweepTrial, jobs: Sequence[JobRow]) -> TrialResult | None:
    end = find_end(trial, jobs, sweep.repeats)
    if end is not None:
        return end
    if not all(has_reached(job, trial.epochs) for job in jobs):
        return None
    is_complete = all(job.state is JobState.SUCCEEDED for job in jobs)
    scores = [
        compute_score(read_values(session, job.id, sweep.objective, trial.first_epoch), sweep.objective, trial.epochs)
        for job in jobs
    ]
    state = TrialState.SUCCEEDED if is_complete else TrialState.PAUSED
    return TrialResult(trial.number, state, combine_scores(scores))


def find_end(trial: SweepTrial, jobs: Sequence[JobRow], num_repeats: int) -> TrialResult | None:
    """Return how a trial ended before its milestone; None if it did not."""
    failed = [job for job in jobs if job.state is JobState.FAILED]
    refused = [job for job in failed if not job.is_resolved and _get_code(job) == "invalid_spec"]
    defective = [job for job in failed if not is_lost(job)]
    if refused:
        return TrialResult(trial.number, TrialState.REFUSED, reason=_describe_refusal(refused[0]))
    if len(jobs) < num_repeats:
        return TrialResult(trial.number, TrialState.STOPPED, reason="job_deleted")
    cancelled = [job for job in jobs if job.state is JobState.CANCELLED]
    if cancelled:
        is_by_sweep = cancelled[0].stop_reason == CANCELLED_BY_SWEEP
        reason = "sweep_ended" if is_by_sweep else "job_cancelled"
        return TrialResult(trial.number, TrialState.STOPPED, reason=reason)
    if defective:
        return TrialResult(trial.number, TrialState.FAILED, reason=_describe_failure(defective[0]))
    if failed:
        return TrialResult(trial.number, TrialState.INTERRUPTED, reason=_describe_failure(failed[0]))
    return None


def has_reached(job: JobRow, epochs: int) -> bool:
    """Return whether a job has trained up to a milestone, or has ended before it as its callbacks decided."""
    is_paused = job.state is JobState.PAUSED and job.stop_reason == MILESTONE
    return job.state is JobState.SUCCEEDED or (is_paused and job.milestone_epoch >= epochs)


def read_values(session: Session, job_id: str, objective: ObjectiveSpec, first_epoch: int) -> dict[int, float]:
    """Return the values of the objective after each epoch of a job, without the epochs that a copy has not trained."""
    split, _, name = objective.metric.partition("_")
    series = MetricRepo(session).list_series(job_id, names=[name], split=split)
    return {
        point.epoch: math.nan if point.value is None else point.value
        for curve in series
        for point in curve.points
        if point.epoch > first_epoch
    }


def _get_code(job: JobRow) -> str:
    return str((job.failure or {}).get("code", ""))


def _describe_failure(job: JobRow) -> str:
    return f"{_get_code(job)}: {(job.failure or {}).get('message', '')}"


def _describe_refusal(job: JobRow) -> str:
    failure = job.failure or {}
    errors = [f"{error['pointer']} {error['detail']}" for error in failure.get("errors", ())]
    return "; ".join(errors) or str(failure.get("message", ""))
