"""Stores a sweep with successive halving that has ended, for pages and lists."""

import math
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.db.sweep_tables import RungScoreRow, SweepRow, SweepTrialRow
from core.db.tables import JobRow
from core.jobs import JobState
from core.sweeps.spec import SweepSpec
from core.sweeps.states import SweepState, TrialSource, TrialState
from tests.support.builders import job_spec

_START = datetime(2026, 11, 30, 9, tzinfo=UTC)
_MILESTONES = (1, 3, 9)
SPEC: dict[str, Any] = {
    "name": "digits-asha",
    "base": {"dataset": {"name": "digits"}, "architecture": {"name": "convnet"}, "epochs": 9, "metrics": ["accuracy"]},
    "space": {
        "/optimizer": {"type": "choice", "values": [{"name": "adam"}, {"name": "sgd"}]},
        "/optimizer/lr": {"type": "float", "low": 1e-5, "high": 0.3, "log": True},
        "/optimizer/momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"/optimizer/name": "sgd"}},
        "/architecture/channels": {"type": "choice", "values": [[16, 32], [32, 64]]},
        "/batch_size": {"type": "int", "low": 16, "high": 256, "step": 16},
    },
    "scheduler": {"name": "asha", "min_epochs": 1, "reduction": 3},
    "budget": {"trials": 20, "epochs": 100},
    "parallel": 4,
}


class _Trial(NamedTuple):
    number: int
    parameters: dict[str, Any]
    losses: list[float]  # at the milestones, if it trained for all epochs


def add_finished_sweep(session: Session, best_job: str | None = None, *, name: str = "digits-asha") -> SweepRow:
    """Store a sweep of 20 trials, of which 7 reached the second milestone and 2 the last. One failed, one was refused.

    Args:
        session: an open session.
        best_job: a stored job that becomes that of the best trial. Default: a new row.
        name: the name of the sweep.
    """
    spec = SweepSpec.model_validate(SPEC | {"name": name})
    trials = [_sample(number, random.Random(number)) for number in range(20)]
    reached = _promote(trials)
    best = min((trial for trial in trials if reached[trial.number] == 3), key=lambda trial: trial.losses[-1])
    sweep = SweepRow(id=uuid.uuid4().hex, name=name, model_name="digits", spec=spec.model_dump(mode="json"))
    sweep.state, sweep.finish_reason, sweep.revision = SweepState.SUCCEEDED, "budget.trials", 60
    sweep.num_trials, sweep.num_refused, sweep.num_epochs = 20, 1, sum(_MILESTONES[n - 1] for n in reached.values())
    sweep.best_trial, sweep.best_score = best.number, best.losses[-1]
    sweep.active_s, sweep.created_at = 754.0, _START
    sweep.updated_at = sweep.finished_at = _START + timedelta(seconds=754)
    session.add(sweep)
    session.flush()
    _add_trials(session, sweep, trials, reached)
    for trial in trials:
        job = best_job if trial is best else None
        _add_job(session, sweep, trial, is_complete=reached[trial.number] == 3, stored_id=job)
    _add_refused_trial(session, sweep)
    return sweep


def _sample(number: int, generator: random.Random) -> _Trial:
    optimizer, lr = generator.choice(["adam", "sgd"]), 10 ** generator.uniform(-5, math.log10(0.3))
    parameters = {"/optimizer": {"name": optimizer}, "/optimizer/lr": lr}
    if optimizer == "sgd":
        parameters["/optimizer/momentum"] = round(generator.uniform(0, 0.99), 3)
    parameters["/architecture/channels"] = generator.choice([[16, 32], [32, 64]])
    parameters["/batch_size"] = 16 * generator.randint(1, 16)
    distance = abs(math.log10(lr) - (-2.5 if optimizer == "adam" else -1.3))
    loss = 0.08 + 0.25 * distance + generator.uniform(0, 0.1)
    return _Trial(number, parameters, [round(loss * factor, 5) for factor in (2.4, 1.5, 1.0)])


def _promote(trials: list[_Trial]) -> dict[int, int]:
    """Return the number of milestones that each trial reached, keyed by its number. The last trial failed."""
    ranked = sorted(trials[:-1], key=lambda trial: trial.losses[0])
    reached = dict.fromkeys((trial.number for trial in trials), 1)
    return reached | {trial.number: 3 if index < 2 else 2 for index, trial in enumerate(ranked[:7])}


def _add_trials(session: Session, sweep: SweepRow, trials: list[_Trial], reached: dict[int, int]) -> None:
    step = 0
    for milestone in range(3):
        for trial in trials:
            if reached[trial.number] <= milestone:
                continue
            is_failed = trial is trials[-1]
            at = _START + timedelta(seconds=12 * step + 12)
            if milestone == 0:
                session.add(_build_trial(sweep, trial, reached[trial.number], is_failed=is_failed))
                session.flush()
            rung = RungScoreRow(sweep_id=sweep.id, trial=trial.number, epochs=_MILESTONES[milestone], step=step)
            rung.score = None if is_failed else trial.losses[milestone]
            rung.is_reached, rung.reached_at = not is_failed, None if is_failed else at
            session.add(rung)
            step += 1


def _build_trial(sweep: SweepRow, trial: _Trial, num_reached: int, *, is_failed: bool) -> SweepTrialRow:
    row = SweepTrialRow(sweep_id=sweep.id, number=trial.number, parameters=trial.parameters)
    row.state = TrialState.SUCCEEDED if num_reached == 3 else TrialState.STOPPED
    row.source, row.epochs = TrialSource.SAMPLER, _MILESTONES[num_reached - 1]
    row.best_score = min(trial.losses[:num_reached])
    row.reason = None if num_reached == 3 else "cannot_be_promoted"
    if is_failed:
        row.state, row.best_score, row.reason = TrialState.FAILED, None, "The loss is not finite in epoch 1."
    row.created_at = _START + timedelta(seconds=12 * trial.number)
    row.updated_at = row.created_at + timedelta(seconds=40 * num_reached)
    return row


def _add_refused_trial(session: Session, sweep: SweepRow) -> None:
    row = SweepTrialRow(sweep_id=sweep.id, number=20, parameters={"/optimizer": {"name": "sgd"}, "/batch_size": 256})
    row.state, row.source, row.epochs = TrialState.REFUSED, TrialSource.SAMPLER, 1
    row.reason = "/batch_size must be at most the number of training samples"
    row.created_at = row.updated_at = _START + timedelta(seconds=250)
    session.add(row)


def _add_job(
    session: Session, sweep: SweepRow, trial: _Trial, *, is_complete: bool, stored_id: str | None = None
) -> None:
    columns = {"sweep_id": sweep.id, "sweep_trial": trial.number, "sweep_repeat": 0}
    if stored_id is not None:
        session.execute(update(JobRow).where(JobRow.id == stored_id).values(columns))
        return
    job = JobRow(id=uuid.uuid4().hex, kind="train", name=f"{sweep.name}-{trial.number}", model_name="digits", **columns)
    job.spec, job.warnings, job.metrics = job_spec(), [], {"valid_loss": trial.losses[0]}
    job.progress = {"epoch": 9 if is_complete else 1, "epochs": 9, "step": 90, "steps": 90, "eta_seconds": None}
    job.state = JobState.SUCCEEDED if is_complete else JobState.CANCELLED
    job.created_at = job.started_at = _START + timedelta(seconds=12 * trial.number)
    job.finished_at, job.duration_s = job.created_at + timedelta(seconds=40), 40.0
    session.add(job)
