"""Compares the curves of two jobs point by point."""

from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, or_, select
from sqlalchemy.orm import Session, aliased

from core.db.tables import MetricPointRow

STEP_LOSS = "step_loss"
TRAIN = "train"


class LossDifference(NamedTuple):
    """The first recorded step whose training loss differs. A value is None if that job has no such step.

    `last_equal_step` is the last recorded step before it at which the losses are equal; None if there is none.
    """

    step: int
    epoch: int
    original: float | str | None
    reproduced: float | str | None
    last_equal_step: int | None


class CurveMatch(NamedTuple):
    """The comparison of the metrics of epochs: the numbers of points of both jobs, of pairs, and of unequal pairs."""

    num_original: int
    num_reproduced: int
    num_pairs: int
    num_different: int

    @property
    def is_equal(self) -> bool:
        """Whether there are points, and each has an equal one in the other job."""
        return self.num_original == self.num_reproduced == self.num_pairs > 0 == self.num_different


class CurveComparisonRepo:
    """Compares the curves of a job with those of its original.

    Args:
        original_id: the job that was repeated.
        job_id: the job that repeated it.
        last_step: later points of the original are ignored: those of its extension. None: it has none.
    """

    def __init__(self, session: Session, original_id: str, job_id: str, *, last_step: int | None = None) -> None:
        self._session = session
        self._original, self._reproduced = aliased(MetricPointRow), aliased(MetricPointRow)
        self._job_id = job_id
        self._of_original = [self._original.job_id == original_id]
        if last_step is not None:
            self._of_original.append(self._original.step <= last_step)

    def count_losses(self) -> int:
        """Return the number of steps whose training loss both jobs have recorded."""
        return self._count(self._pair(select(func.count()), TRAIN, STEP_LOSS))

    def find_first_difference(self) -> LossDifference | None:
        """Return the first recorded step whose training loss differs, or that only one of the jobs has.

        Return None if all losses are equal, or if one of the jobs has no losses.
        """
        if not all(self._has_losses(row, conditions) for row, conditions in self._get_sides()):
            return None
        first, second = self._original, self._reproduced
        columns: Any = select(first.step, first.epoch, first.value, first.special, second.value, second.special)
        differs = first.value.is_distinct_from(second.value) | first.special.is_distinct_from(second.special)
        query = self._pair(columns, TRAIN, STEP_LOSS).where(differs).order_by(first.step).limit(1)
        found = [self._find_missing_step()]
        row = self._session.execute(query).one_or_none()
        if row is not None:
            step, epoch, value, special, other, other_special = row
            values = (special if value is None else value, other_special if other is None else other)
            found.append(LossDifference(step, epoch, *values, self._find_last_equal_step(step)))
        return min((each for each in found if each is not None), key=lambda each: each.step, default=None)

    def compare_epochs(self, names: Collection[str], relative: float, absolute: float) -> CurveMatch:
        """Compare metrics of all epochs, given as `train_loss` and the like. Values that are not finite must be equal.

        Two values a and b are equal if |a - b| <= absolute + relative * |a|.
        """
        first, second = self._original, self._reproduced
        curves = [tuple(name.split("_", 1)) for name in sorted(names) if "_" in name]
        chosen = or_(false(), *(and_(first.split == split, first.name == name) for split, name in curves))
        mine = or_(false(), *(and_(second.split == split, second.name == name) for split, name in curves))
        is_far = func.abs(first.value - second.value) > absolute + relative * func.abs(first.value)
        differs = or_(is_far, first.special.is_distinct_from(second.special))
        pairs = self._pair(select(func.count())).where(chosen)
        originals = select(func.count()).select_from(first).where(*self._of_original, chosen)
        reproduced = select(func.count()).select_from(second).where(second.job_id == self._job_id, mine)
        return CurveMatch(*(self._count(query) for query in (originals, reproduced, pairs, pairs.where(differs))))

    def _pair(self, query: Select[Any], split: str | None = None, name: str | None = None) -> Select[Any]:
        """Join the points of both jobs for the same curve and step; by default, of all curves."""
        first, second = self._original, self._reproduced
        same = (first.split == second.split, first.name == second.name, first.step == second.step)
        query = query.select_from(first).join(second, and_(second.job_id == self._job_id, *same))
        query = query.where(*self._of_original)
        return query if name is None else query.where(first.split == split, first.name == name)

    def _find_last_equal_step(self, step: int) -> int | None:
        query = self._pair(select(func.max(self._original.step)), TRAIN, STEP_LOSS)
        last: int | None = self._session.scalars(query.where(self._original.step < step)).one()
        return last

    def _find_missing_step(self) -> LossDifference | None:
        """Return the first step that only one of the jobs has recorded; None if there is none."""
        found = list[LossDifference]()
        for row, conditions in self._get_sides():
            (other, same_job), *_ = [side for side in self._get_sides() if side[0] is not row]
            same = (other.split == row.split, other.name == row.name, other.step == row.step)
            query = select(row.step, row.epoch, row.value, row.special).where(*conditions, *_select_losses(row))
            query = query.where(~exists().where(*same_job, *same)).order_by(row.step).limit(1)
            point = self._session.execute(query).one_or_none()
            if point is not None:
                value = point[3] if point[2] is None else point[2]
                original, reproduced = (value, None) if row is self._original else (None, value)
                last = self._find_last_equal_step(point[0])
                found.append(LossDifference(point[0], point[1], original, reproduced, last))
        return min(found, key=lambda each: each.step, default=None)

    def _get_sides(self) -> list[tuple[Any, list[ColumnElement[bool]]]]:
        """Return the points of the original and of the reproduction, each with the conditions of its job."""
        return [(self._original, self._of_original), (self._reproduced, [self._reproduced.job_id == self._job_id])]

    def _has_losses(self, row: Any, conditions: list[ColumnElement[bool]]) -> bool:  # noqa: ANN401 - an alias
        query = select(row.step).where(*conditions, *_select_losses(row)).limit(1)
        return self._session.scalars(query).one_or_none() is not None

    def _count(self, query: Select[Any]) -> int:
        count: int = self._session.scalars(query).one()
        return count


def _select_losses(row: Any) -> list[ColumnElement[bool]]:  # noqa: ANN401 - an alias
    return [row.split == TRAIN, row.name == STEP_LOSS]
