"""Queries for the last and the best values of the metrics of jobs."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.bulk import upsert_rows
from core.db.metric_rollup import LEVELS
from core.db.metric_tables import MetricRollupRow, MetricSummaryRow
from core.metric_direction import get_direction

_EVALUATED_ONCE = "test_"  # prefix of the metrics that only the final evaluation has


class MetricSummary(NamedTuple):
    """The last and the best value of a metric. Values are None if they are not finite.

    `best_epoch` is None if the best value does not belong to an epoch, as for the test split.
    """

    last: float | None
    best: float | None
    best_epoch: int | None


class MetricSummaryRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def record_epochs(self, job_id: str, epochs: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Update the summaries with the metrics of complete epochs: pairs of the epoch and {name: value}."""
        summaries = self.list_summaries([job_id])[job_id]
        changed: dict[str, MetricSummary] = {}
        for epoch, metrics in epochs:
            for name, value in metrics.items():
                before = changed.get(name) or summaries.get(name)
                changed[name] = _update_summary(name, before, _to_finite(value), epoch)
        self.store(job_id, changed)

    def record_result(
        self, job_id: str, metrics: Mapping[str, Any], epoch: int | None, *, only_new: bool = False
    ) -> None:
        """Update the summaries with the metrics of the final evaluation.

        They are also the best values of metrics that no epoch had, such as those of the test split.

        Args:
            job_id: the id of the job.
            metrics: the values by name.
            epoch: the epoch whose weights were evaluated; None if they belong to no epoch.
            only_new: keep the last values of metrics that epochs had.
        """
        summaries = self.list_summaries([job_id])[job_id]
        changed = {}
        for name, value in metrics.items():
            number, before = _to_finite(value), summaries.get(name)
            if before is None or before.best is None or name.startswith(_EVALUATED_ONCE):
                changed[name] = MetricSummary(number, number, epoch)
            elif not only_new:
                changed[name] = before._replace(last=number)
        self.store(job_id, changed)

    def store(self, job_id: str, summaries: Mapping[str, MetricSummary]) -> None:
        """Insert summaries, or replace those of the same metrics."""
        rows = [{"job_id": job_id, "name": name, **summary._asdict()} for name, summary in summaries.items()]
        upsert_rows(self._session, MetricSummaryRow, ("job_id", "name"), rows)

    def list_summaries(self, job_ids: Collection[str]) -> dict[str, dict[str, MetricSummary]]:
        """Return the summaries of jobs: {job id: {metric: summary}}, with an empty entry for a job without metrics."""
        row = MetricSummaryRow
        query = select(row.job_id, row.name, row.last, row.best, row.best_epoch).where(row.job_id.in_(job_ids))
        found: dict[str, dict[str, MetricSummary]] = {job_id: {} for job_id in job_ids}
        for job_id, name, last, best, best_epoch in self._session.execute(query.order_by(row.name)):
            found[job_id][name] = MetricSummary(last, best, best_epoch)
        return found

    def refresh_bests(self, job_id: str, curves: Collection[tuple[str, str]]) -> None:
        """Compute the best values of curves, given as (split, name), again from their rollups."""
        row, names = MetricRollupRow, {f"{split}_{name}": (split, name) for split, name in curves}
        summaries = self.list_summaries([job_id])[job_id]
        bests: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
        query = select(row.split, row.name, row.min_value, row.min_epoch, row.max_value, row.max_epoch)
        query = query.where(row.job_id == job_id, row.level == LEVELS[-1], row.num_finite > 0).order_by(row.bucket)
        for split, name, min_value, min_epoch, max_value, max_epoch in self._session.execute(query):
            is_max = get_direction(f"{split}_{name}") == "max"
            value, epoch = (max_value, max_epoch) if is_max else (min_value, min_epoch)
            if value is not None and epoch is not None:
                bests[split, name].append((value, epoch))
        changed = {}
        for name in summaries.keys() & names.keys():
            choose = max if get_direction(name) == "max" else min
            candidates = bests[names[name]]
            best = choose(candidates, key=lambda pair: pair[0]) if candidates else (None, None)
            changed[name] = MetricSummary(summaries[name].last, *best)
        self.store(job_id, changed)


def _update_summary(name: str, before: MetricSummary | None, value: float | None, epoch: int) -> MetricSummary:
    if before is None:
        return MetricSummary(value, value, None if value is None else epoch)
    sign = 1.0 if get_direction(name) == "max" else -1.0
    is_better = value is not None and (before.best is None or sign * value > sign * before.best)
    return MetricSummary(value, value, epoch) if is_better else before._replace(last=value)


def _to_finite(value: object) -> float | None:
    """Return a number, or None for the strings that stand for values that are not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
