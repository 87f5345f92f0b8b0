"""Reads a sweep with its trials and jobs, as the base of one decision."""

from dataclasses import dataclass
from functools import cached_property

from sqlalchemy.orm import Session

from core.db.repos.datasets import DatasetRepo
from core.db.repos.sweep_jobs import SweepJobRepo, TrialJob
from core.db.repos.sweeps import SweepRepo
from core.db.sweep_tables import SweepRow
from core.db.tables import JobRow
from core.jobs import UNFINISHED, DatasetState, JobState
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TERMINAL_SWEEP, SweepState
from core.sweeps.trials import SweepTrial

STOPPABLE = {SweepState.PAUSED: {JobState.QUEUED, JobState.RUNNING}, SweepState.FINISHING: UNFINISHED}
"""The states of jobs that a sweep in a state stops."""


@dataclass(frozen=True)
class SweepSnapshot:
    """A sweep at one revision.

    Attributes:
        row: the row of the sweep.
        trials: all trials, by number.
        steps: the trial and the milestone of each step of a deterministic sweep; empty for others.
        jobs: the jobs of the running trials, by number of the trial.
        stoppable: the jobs of all trials that a paused sweep pauses, or that a finishing one cancels and waits for.
        active_s: the seconds during which the sweep was running.
        dataset_state: the state of its dataset version; None if it has none.
    """

    row: SweepRow
    trials: list[SweepTrial]
    steps: list[tuple[int, int]]
    jobs: dict[int, list[JobRow]]
    stoppable: list[TrialJob]
    active_s: float
    dataset_state: DatasetState | None

    @cached_property
    def spec(self) -> SweepSpec:
        """The spec of the sweep."""
        return SweepSpec.model_validate(self.row.spec)

    def list_jobs(self, *states: JobState) -> list[JobRow]:
        """Return the jobs of the running trials in these states. Default: all."""
        return [job for jobs in self.jobs.values() for job in jobs if not states or job.state in states]


def read_snapshot(session: Session, sweep_id: str) -> SweepSnapshot | None:
    """Read a sweep. Return None if it has ended, or was deleted."""
    repo = SweepRepo(session)
    row = repo.find(sweep_id)
    if row is None or row.state in TERMINAL_SWEEP:
        return None
    trials = repo.list_trials(sweep_id)
    jobs: dict[int, list[JobRow]] = {trial.number: [] for trial in trials if trial.is_running}
    for job in repo.list_jobs(sweep_id, jobs):
        jobs[job.sweep_trial or 0].append(job)
    states = STOPPABLE.get(row.state)
    stoppable = [] if states is None else SweepJobRepo(session).list_trial_jobs(sweep_id, states=states)
    version = None if row.dataset_version_id is None else DatasetRepo(session).find(row.dataset_version_id)
    return SweepSnapshot(
        row=row,
        trials=trials,
        steps=repo.list_steps(sweep_id) if row.spec["deterministic"] else [],
        jobs=jobs,
        stoppable=stoppable,
        active_s=repo.get_active_s(row),
        dataset_state=None if version is None else version.state,
    )
