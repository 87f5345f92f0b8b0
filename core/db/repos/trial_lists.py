"""Queries for pages of a sweep's trials in several orders."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, or_, select, tuple_
from sqlalchemy.orm import Session

from core.db import cursor as cursors
from core.db.sweep_tables import RungScoreRow, SweepTrialRow
from core.db.tables import JobRow
from core.sweeps.spec import MAX_TRIALS
from core.sweeps.states import TrialState


class TrialOrder(StrEnum):
    """The orders of a list of trials. A `-` reverses an order. Trials without a score come last in both directions."""

    NUMBER = "number"
    NEWEST = "-number"
    SCORE = "score"
    HIGHEST_SCORE = "-score"
    EPOCHS = "epochs"
    MOST_EPOCHS = "-epochs"


class TrialScore(NamedTuple):
    """The score of a trial at a milestone; None: it was not finite."""

    epochs: int
    score: float | None
    reached_at: datetime | None


class TrialView(NamedTuple):
    """A trial, its scores at the milestones that it has reached, and the ids of its jobs, by repeat."""

    trial: SweepTrialRow
    scores: Sequence[TrialScore]
    jobs: Sequence[str]


_COLUMNS: Mapping[str, Any] = {
    "number": SweepTrialRow.number,
    "score": SweepTrialRow.best_score,
    "epochs": SweepTrialRow.epochs,
}


class TrialListRepo:
    """Lists the trials of one sweep."""

    def __init__(self, session: Session, sweep_id: str) -> None:
        self._session = session
        self._sweep_id = sweep_id

    def list_page(
        self,
        order: TrialOrder = TrialOrder.NUMBER,
        *,
        state: TrialState | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[list[TrialView], str | None]:
        """Return a page of trials, and the cursor of the next page, if any.

        A page starts after the sort value and the number of the last trial of the previous page.

        Raises:
            InvalidSpec: the cursor is invalid, or it belongs to another order.
        """
        is_descending = order.startswith("-")
        column, row = _COLUMNS[order.removeprefix("-")], SweepTrialRow
        query = select(row).where(row.sweep_id == self._sweep_id)
        if state is not None:
            query = query.where(row.state == state)
        if cursor is not None:
            query = query.where(_is_after(column, *_decode_cursor(cursor, order), is_descending=is_descending))
        keys = [key.desc() if is_descending else key.asc() for key in (column, row.number)]
        query = query.order_by(column.is_(None), *keys) if column.key == "best_score" else query.order_by(*keys)
        rows = list(self._session.scalars(query.limit(limit + 1)))
        page = rows[:limit]
        if len(rows) <= limit:
            return self.build_views(page), None
        last = page[-1]
        return self.build_views(page), cursors.encode_position(order, getattr(last, column.key), str(last.number))

    def build_views(self, rows: Sequence[SweepTrialRow]) -> list[TrialView]:
        """Read the scores and the jobs of trials."""
        numbers = [row.number for row in rows]
        scores, jobs = self._list_scores(numbers), self._list_jobs(numbers)
        return [TrialView(row, scores.get(row.number, []), jobs.get(row.number, [])) for row in rows]

    def _list_scores(self, numbers: Sequence[int]) -> dict[int, list[TrialScore]]:
        row, scores = RungScoreRow, dict[int, list[TrialScore]]()
        query = select(row.trial, row.epochs, row.score, row.reached_at).where(row.sweep_id == self._sweep_id)
        query = query.where(row.trial.in_(numbers), row.is_reached).order_by(row.trial, row.epochs)
        for number, epochs, score, reached_at in self._session.execute(query):
            scores.setdefault(number, []).append(TrialScore(epochs, score, reached_at))
        return scores

    def _list_jobs(self, numbers: Sequence[int]) -> dict[int, list[str]]:
        jobs = dict[int, list[str]]()
        query = select(JobRow.sweep_trial, JobRow.id).where(JobRow.sweep_id == self._sweep_id)
        query = query.where(JobRow.sweep_trial.in_(numbers)).order_by(JobRow.sweep_trial, JobRow.sweep_repeat)
        for number, job_id in self._session.execute(query):
            jobs.setdefault(int(number or 0), []).append(job_id)
        return jobs


def _is_after(column: Any, value: float | None, number: int, *, is_descending: bool) -> ColumnElement[bool]:  # noqa: ANN401 - a column
    """Return the condition of the trials after a sort value and a number. Those without the value come last."""
    keys, position = tuple_(column, SweepTrialRow.number), (value, number)
    if value is None:
        is_later = SweepTrialRow.number < number if is_descending else SweepTrialRow.number > number
        return and_(column.is_(None), is_later)
    return or_(keys < position if is_descending else keys > position, column.is_(None))


def _decode_cursor(cursor: str, order: TrialOrder) -> tuple[float | None, int]:
    value, number = cursors.decode_position(cursor, order)
    is_number = number.isdecimal() and int(number) < MAX_TRIALS  # the column cannot store every number
    if isinstance(value, str) or not is_number or (value is None and not order.endswith("score")):
        raise cursors.build_cursor_error()
    return value, int(number)
