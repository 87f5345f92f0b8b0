"""Queries for lists of jobs: filters, search, and pages in several orders."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, Select, exists, or_, select, tuple_
from sqlalchemy.orm import Session

from core.db import cursor as cursors
from core.db.metric_tables import MetricSummaryRow
from core.db.registry_tables import JobTagRow
from core.db.tables import DatasetVersionRow, JobRow
from core.jobs import JobState


class JobField(StrEnum):
    """The fields by which lists of jobs can be sorted. `LAST` and `BEST` are values of a metric."""

    CREATED_AT = "created_at"
    NAME = "name"
    STATE = "state"
    DURATION = "duration"
    LAST = "last"
    BEST = "best"


class JobOrder(NamedTuple):
    """The order of a list. Jobs without the value come last in both directions."""

    field: JobField = JobField.CREATED_AT
    is_descending: bool = True
    metric: str | None = None


NEWEST_FIRST = JobOrder()


class JobFilter(NamedTuple):
    """Conditions that the listed jobs fulfill; None and empty: no condition.

    Attributes:
        text: a part of the name or of the note, in any case, or the start of the id.
        tags: tags that the job has all.
        dataset: the name of the dataset.
        dataset_version: the version of the dataset.
        id_prefix: hexadecimal digits with which the id starts.
        sweep: the id of the sweep whose trials the jobs are.
    """

    state: JobState | None = None
    name: str | None = None
    kind: str | None = None
    model: str | None = None
    text: str | None = None
    tags: Sequence[str] = ()
    dataset: str | None = None
    dataset_version: int | None = None
    id_prefix: str | None = None
    sweep: str | None = None


class JobListRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def find_missing_ids(self, ids: Sequence[str]) -> list[str]:
        """Return the ids to which no job belongs."""
        existing = set(self._session.scalars(select(JobRow.id).where(JobRow.id.in_(ids))))
        return [job_id for job_id in ids if job_id not in existing]

    def list_page(
        self,
        conditions: JobFilter = JobFilter(),  # noqa: B008 - it is immutable
        order: JobOrder = NEWEST_FIRST,
        *,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[list[JobRow], str | None]:
        """Return a page of jobs without their specs. Also return the cursor of the next page, if any.

        A page starts after the sort value and the id of the last job of the previous page. Jobs whose value does not
        change between the requests are therefore neither skipped nor repeated.

        Raises:
            InvalidSpec: the cursor is invalid, or it belongs to another order.
        """
        position = None if cursor is None else _decode_cursor(cursor, order)
        leading_tag, other_tags = _split_tags(conditions.tags, order)
        filters = self._build_filters(conditions, other_tags)
        rows: list[tuple[JobRow, Any]] = []
        if position is None or position[0] is not None:
            query = _select_with_value(filters, order, position, leading_tag).limit(limit + 1)
            rows += [(job, value) for job, value in self._session.execute(query)]
            position = None
        if len(rows) <= limit and order.field not in _NEVER_NULL:
            rest = _select_without_value(filters, order, None if position is None else position[1])
            rows += [(job, None) for job in self._session.scalars(rest.limit(limit + 1 - len(rows)))]
        if len(rows) <= limit:
            return [job for job, _ in rows], None
        last, value = rows[limit - 1]
        return [job for job, _ in rows[:limit]], _encode_cursor(order, value, last.id)

    def _build_filters(self, conditions: JobFilter, tags: Sequence[str]) -> list[ColumnElement[bool]]:
        values = (conditions.state, conditions.name, conditions.kind, conditions.model, conditions.sweep)
        columns: tuple[Any, ...] = (
            JobRow.state,
            JobRow.name,
            JobRow.kind,
            JobRow.model_name,
            JobRow.sweep_id,
        )
        found = [column == value for column, value in zip(columns, values, strict=True) if value is not None]
        has_tag = exists().where(JobTagRow.job_id == JobRow.id).correlate(JobRow)
        found += [has_tag.where(JobTagRow.tag == tag) for tag in tags]
        if conditions.id_prefix is not None:  # a range, which the primary key serves on every database, unlike LIKE
            found.append(JobRow.id >= conditions.id_prefix)
            found.append(JobRow.id < f"{conditions.id_prefix}g")
        if conditions.text is not None:
            text = conditions.text
            places = [column.icontains(text, autoescape=True) for column in (JobRow.name, JobRow.note)]
            found.append(or_(*places, JobRow.id.startswith(text.lower(), autoescape=True)))
        if conditions.dataset is not None:
            found.append(JobRow.dataset_version_id.in_(self._list_versions(conditions)))
        return found

    def _list_versions(self, conditions: JobFilter) -> list[str]:
        """Return the ids of the dataset versions of a filter.

        They are read first, because the planner then knows how many jobs use them.
        """
        versions = select(DatasetVersionRow.id).where(DatasetVersionRow.name == conditions.dataset)
        if conditions.dataset_version is not None:
            versions = versions.where(DatasetVersionRow.version == conditions.dataset_version)
        return list(self._session.scalars(versions))


_COLUMNS: dict[JobField, Any] = {
    JobField.CREATED_AT: JobRow.created_at,
    JobField.NAME: JobRow.name,
    JobField.STATE: JobRow.state,
    JobField.DURATION: JobRow.duration_s,
    JobField.LAST: MetricSummaryRow.last,
    JobField.BEST: MetricSummaryRow.best,
}
_NEVER_NULL = (JobField.CREATED_AT, JobField.NAME, JobField.STATE)


def _split_tags(tags: Sequence[str], order: JobOrder) -> tuple[str | None, Sequence[str]]:
    """Return the tag whose index has the order of the list, if any, and the other tags."""
    return (tags[0], tags[1:]) if tags and order.field is JobField.CREATED_AT else (None, tags)


def _select_with_value(
    filters: Sequence[ColumnElement[bool]], order: JobOrder, position: tuple[Any, str] | None, leading_tag: str | None
) -> Select[JobRow, Any]:
    """Select the jobs that have a sort value, with this value, after a position.

    The value and the id are those of the table whose index has the order of the list.
    """
    query = select(JobRow).where(*filters)
    value, job_id = _COLUMNS[order.field], cast("Any", JobRow.id)
    if order.metric is not None:
        job_id = MetricSummaryRow.job_id
        query = query.join(MetricSummaryRow, job_id == JobRow.id).where(MetricSummaryRow.name == order.metric)
    elif leading_tag is not None:
        value, job_id = JobTagRow.created_at, JobTagRow.job_id
        query = query.join(JobTagRow, job_id == JobRow.id).where(JobTagRow.tag == leading_tag)
    if order.field not in _NEVER_NULL:
        query = query.where(value.is_not(None))
    keys = tuple_(value, job_id)
    if position is not None:
        query = query.where(keys < position if order.is_descending else keys > position)
    return query.add_columns(value).order_by(*(key.desc() if order.is_descending else key for key in (value, job_id)))


def _select_without_value(
    filters: Sequence[ColumnElement[bool]], order: JobOrder, last_id: str | None
) -> Select[JobRow]:
    """Select the jobs that have no sort value, ordered by id, after an id."""
    value, query = _COLUMNS[order.field], select(JobRow).where(*filters)
    if order.metric is None:
        query = query.where(value.is_(None))
    else:
        row = MetricSummaryRow
        query = query.where(~exists().where(row.job_id == JobRow.id, row.name == order.metric, value.is_not(None)))
    if last_id is not None:
        query = query.where(JobRow.id < last_id if order.is_descending else JobRow.id > last_id)
    return query.order_by(JobRow.id.desc() if order.is_descending else JobRow.id)


def _format_order(order: JobOrder) -> str:
    sign = "-" if order.is_descending else ""
    return f"{sign}{order.field}" if order.metric is None else f"{sign}{order.field} {order.metric}"


def _encode_cursor(order: JobOrder, value: Any, last_id: str) -> str:  # noqa: ANN401 - a value of a column
    if isinstance(value, datetime):
        return cursors.encode(value, last_id)
    return cursors.encode_position(_format_order(order), value, last_id)


def _decode_cursor(cursor: str, order: JobOrder) -> tuple[Any, str]:
    """Return the sort value and the id of the last job of the previous page.

    Raises:
        InvalidSpec: the cursor is invalid, or it belongs to another order.
    """
    if order.field is JobField.CREATED_AT:
        return cursors.decode(cursor)
    value, last_id = cursors.decode_position(cursor, _format_order(order))
    is_text = order.field in (JobField.NAME, JobField.STATE)
    is_valid = isinstance(value, str) if is_text else not isinstance(value, str)
    if order.field is JobField.STATE:
        is_valid = value in {state.value for state in JobState}
    if not is_valid:
        raise cursors.build_cursor_error()
    return (JobState(str(value)) if order.field is JobField.STATE else value), last_id
