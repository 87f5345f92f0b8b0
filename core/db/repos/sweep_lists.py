"""Queries for lists of sweeps and of their trials, with the counts and results that clients see."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_
from sqlalchemy.orm import Session

from core.db import cursor as cursors
from core.db.clock import now
from core.db.repos.datasets import DatasetReference, DatasetRepo
from core.db.repos.sweeps import compute_active_s
from core.db.sweep_tables import RungScoreRow, SweepRow, SweepTrialRow
from core.db.tables import JobRow
from core.sweeps.states import SweepState, TrialState

SPEC_PARTS = ("objective", "sampler", "scheduler", "budget", "parallel")
"""The parts of the spec that lists contain."""


class SweepFilter(NamedTuple):
    """Conditions that the listed sweeps fulfill; None: no condition.

    Attributes:
        text: a part of the name, in any case, or the start of the id.
        id_prefix: hexadecimal digits with which the id starts.
    """

    state: SweepState | None = None
    name: str | None = None
    text: str | None = None
    id_prefix: str | None = None


class BestTrial(NamedTuple):
    """The trial with the best score so far, the epochs after which it had the score, and its jobs."""

    number: int
    score: float
    epochs: int | None
    parameters: Mapping[str, Any]
    jobs: Sequence[str]


class SweepView(NamedTuple):
    """A sweep, the parts of its spec that lists contain, its number of trials by state, and its best trial.

    `elapsed_s` is the time in state `running` until the row was read.
    """

    sweep: SweepRow
    parts: Mapping[str, Any]
    counts: Mapping[TrialState, int]
    best: BestTrial | None
    dataset: DatasetReference | None
    elapsed_s: float


class Rung(NamedTuple):
    """A milestone of the trials of a sweep: how many trials were sent to it, and have reached it, and their scores."""

    epochs: int
    num_trials: int
    num_reached: int
    lowest: float | None
    highest: float | None


class SweepListRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def list_page(
        self,
        conditions: SweepFilter = SweepFilter(),  # noqa: B008 - it is immutable
        *,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[list[SweepView], str | None]:
        """Return a page of sweeps, newest first, and the cursor of the next page, if any.

        Raises:
            InvalidSpec: the cursor is invalid.
        """
        query = select(SweepRow).where(*_build_filters(conditions))
        if cursor is not None:
            query = query.where(tuple_(SweepRow.created_at, SweepRow.id) < cursors.decode(cursor))
        query = query.order_by(SweepRow.created_at.desc(), SweepRow.id.desc()).limit(limit + 1)
        rows = list(self._session.scalars(query))
        page = rows[:limit]
        following = cursors.encode(page[-1].created_at, page[-1].id) if len(rows) > limit else None
        return self.build_views(page), following

    def list_views(self, sweep_ids: Sequence[str]) -> list[SweepView]:
        """Return the sweeps with these ids that exist, in any order."""
        query = select(SweepRow).where(SweepRow.id.in_(sweep_ids)).execution_options(populate_existing=True)
        return self.build_views(list(self._session.scalars(query)))

    def list_revisions(self, sweep_ids: Sequence[str]) -> dict[str, int]:
        """Return the revision of each sweep that exists."""
        query = select(SweepRow.id, SweepRow.revision).where(SweepRow.id.in_(sweep_ids))
        return {row.id: row.revision for row in self._session.execute(query)}

    def list_changes(self, after: datetime) -> dict[str, int]:
        """Return the revisions of the sweeps that have changed after a time."""
        query = select(SweepRow.id, SweepRow.revision).where(SweepRow.updated_at > after)
        return {row.id: row.revision for row in self._session.execute(query)}

    def list_dependents(self, dataset_version_id: str) -> list[str]:
        """List the ids of the sweeps that use a dataset version, newest first."""
        query = select(SweepRow.id).where(SweepRow.dataset_version_id == dataset_version_id)
        return list(self._session.scalars(query.order_by(SweepRow.created_at.desc())))

    def build_views(self, rows: Sequence[SweepRow]) -> list[SweepView]:
        """Read what clients see of sweeps besides their rows."""
        ids = [row.id for row in rows]
        parts, counts, best = self._list_parts(ids), self._count_trials(ids), self._list_best(rows)
        time: datetime = self._session.scalars(select(now(self._session))).one()
        datasets = DatasetRepo(self._session).list_references({row.dataset_version_id or "" for row in rows})
        return [
            SweepView(
                row,
                parts[row.id],
                counts.get(row.id, {}),
                best.get(row.id),
                datasets.get(row.dataset_version_id or ""),
                compute_active_s(row, time),
            )
            for row in rows
        ]

    def list_rungs(self, sweep_id: str) -> list[Rung]:
        """List the milestones of a sweep's trials, fewest epochs first."""
        row = RungScoreRow
        num_reached = func.count().filter(row.is_reached)
        query = select(row.epochs, func.count(), num_reached, func.min(row.score), func.max(row.score))
        query = query.where(row.sweep_id == sweep_id).group_by(row.epochs).order_by(row.epochs)
        return [Rung(*values) for values in self._session.execute(query)]

    def _list_parts(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        query = select(SweepRow.id, *(SweepRow.spec[name] for name in SPEC_PARTS)).where(SweepRow.id.in_(ids))
        return {row[0]: dict(zip(SPEC_PARTS, row[1:], strict=True)) for row in self._session.execute(query)}

    def _count_trials(self, ids: Sequence[str]) -> dict[str, dict[TrialState, int]]:
        row, counts = SweepTrialRow, dict[str, dict[TrialState, int]]()
        query = select(row.sweep_id, row.state, func.count()).where(row.sweep_id.in_(ids))
        for sweep_id, state, number in self._session.execute(query.group_by(row.sweep_id, row.state)):
            counts.setdefault(sweep_id, {})[state] = number
        return counts

    def _list_best(self, sweeps: Sequence[SweepRow]) -> dict[str, BestTrial]:
        """Return the best trials, keyed by the id of the sweep."""
        pairs = {(sweep.id, sweep.best_trial): sweep for sweep in sweeps if sweep.best_trial is not None}
        if not pairs:
            return {}
        rung, trial = RungScoreRow, SweepTrialRow
        reached = select(rung.sweep_id, rung.trial, rung.epochs, rung.score)
        reached = reached.where(_is_any(rung.sweep_id, rung.trial, pairs), rung.is_reached)
        epochs = {
            sweep_id: number
            for sweep_id, best, number, score in self._session.execute(reached.order_by(rung.epochs.desc()))
            if score == pairs[sweep_id, best].best_score
        }
        jobs = self._list_jobs(pairs)
        parameters = select(trial.sweep_id, trial.number, trial.parameters)
        parameters = parameters.where(_is_any(trial.sweep_id, trial.number, pairs))
        return {
            sweep_id: BestTrial(number, score, epochs.get(sweep_id), values, jobs.get((sweep_id, number), ()))
            for sweep_id, number, values in self._session.execute(parameters)
            if (score := pairs[sweep_id, number].best_score) is not None
        }

    def _list_jobs(self, trials: Collection[tuple[str, int | None]]) -> dict[tuple[str, int], list[str]]:
        """Return the ids of the jobs of trials, in the order of their repeats."""
        jobs = dict[tuple[str, int], list[str]]()
        query = select(JobRow.sweep_id, JobRow.sweep_trial, JobRow.id)
        query = query.where(_is_any(JobRow.sweep_id, JobRow.sweep_trial, trials))
        for sweep_id, trial, job_id in self._session.execute(query.order_by(JobRow.sweep_id, JobRow.sweep_repeat)):
            jobs.setdefault((str(sweep_id), int(trial or 0)), []).append(job_id)
        return jobs


def _is_any(sweep_id: Any, number: Any, trials: Collection[tuple[str, int | None]]) -> ColumnElement[bool]:  # noqa: ANN401 - columns
    """Return the condition of the rows of trials. Indexes serve equalities, but on SQLite no list of tuples."""
    return or_(*(and_(sweep_id == first, number == second) for first, second in trials))


def _build_filters(conditions: SweepFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if conditions.state is not None:
        found.append(SweepRow.state == conditions.state)
    if conditions.name is not None:
        found.append(SweepRow.name == conditions.name)
    if conditions.id_prefix is not None:  # a range, which the primary key serves on every database, unlike LIKE
        found += [SweepRow.id >= conditions.id_prefix, SweepRow.id < f"{conditions.id_prefix}g"]
    if (text := conditions.text) is not None:
        is_id = SweepRow.id.startswith(text.lower(), autoescape=True)
        found.append(or_(SweepRow.name.icontains(text, autoescape=True), is_id))
    return found
