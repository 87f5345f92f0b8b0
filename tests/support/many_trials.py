"""Stores many trials of a sweep with few statements, with scores and jobs."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from core.db.sweep_tables import RungScoreRow, SweepRow, SweepTrialRow
from core.db.tables import JobRow
from core.jobs import JobState
from core.sweeps.states import TrialSource, TrialState
from tests.support.builders import job_spec

_START = datetime(2026, 1, 1, tzinfo=UTC)
RUNGS = (1, 3, 9)
"""The milestones: every third trial of one reaches the next."""


def get_score(number: int, epochs: int) -> float:
    """Return the score of a trial; the lowest one is that of trial 9."""
    return round(abs(math.log10(0.00001 + 0.01 * abs(number - 9) / 10) + 5) + 1 / epochs, 6)


def list_reached(number: int) -> list[int]:
    """Return the milestones that a trial has reached."""
    return [epochs for index, epochs in enumerate(RUNGS) if number % 3**index == 0]


def add_trials(session: Session, sweep_id: str, count: int) -> None:
    """Store trials with a learning rate, and a job each. Every tenth trial, from 5 on, has failed without a score."""
    trials, scores, jobs = list[dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
    for number in range(count):
        at, has_failed, reached = _START + timedelta(seconds=number), number % 10 == 5, list_reached(number)
        trials.append(
            {
                "sweep_id": sweep_id,
                "number": number,
                "state": TrialState.FAILED if has_failed else TrialState.PAUSED,
                "source": TrialSource.SAMPLER,
                "parameters": {"/optimizer/lr": 0.001 * (number + 1)},
                "epochs": reached[-1],
                "best_score": None if has_failed else min(get_score(number, epochs) for epochs in reached),
                "reason": "gpu_out_of_memory" if has_failed else None,
                "created_at": at,
                "updated_at": at,
            }
        )
        scores += [
            {
                "sweep_id": sweep_id,
                "trial": number,
                "epochs": epochs,
                "step": 3 * number + index,
                "score": None if has_failed else get_score(number, epochs),
                "is_reached": True,
                "reached_at": at,
            }
            for index, epochs in enumerate(reached)
        ]
        jobs.append(_build_trial_job(sweep_id, number, at))
    session.execute(insert(SweepTrialRow), trials)
    session.execute(insert(RungScoreRow), scores)
    session.execute(insert(JobRow), jobs)
    best = min((trial for trial in trials if trial["best_score"] is not None), key=lambda trial: trial["best_score"])
    values = {"best_trial": best["number"], "best_score": best["best_score"], "num_trials": count, "revision": count}
    session.execute(update(SweepRow).where(SweepRow.id == sweep_id).values(**values))


def _build_trial_job(sweep_id: str, number: int, at: datetime) -> dict[str, Any]:
    return {
        "id": f"{sweep_id[:24]}{number:08x}",
        "kind": "train",
        "name": f"trial-{number}",
        "model_name": "digits",
        "spec": job_spec(),
        "state": JobState.SUCCEEDED,
        "warnings": [],
        "progress": {},
        "metrics": {},
        "has_rollups": True,
        "event_at": at,
        "created_at": at,
        "sweep_id": sweep_id,
        "sweep_trial": number,
        "sweep_repeat": 0,
    }
