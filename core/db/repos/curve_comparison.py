"""Compares the curves of two jobs point by point."""

from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select
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
        """Return the first recorded step whose training loss differs, or that only one of the jobs has."""
        first, second = self._original, self._reproduced
        columns: Any = select(first.step, first.epoch, first.value, first.special, second.value, second.special)
        differs = first.value.is_distinct_from(second.value) | first.special.is_distinct_from(second.special)
        query = self._pair(columns, TRAIN, STEP_LOSS).where(differs).order_by(first.step).limit(1)
        row = self._session.execute(query).one_or_none()
        if row is not None:
            step, epoch, value, special, other, other_special = row
            values = (special if value is None else value, other_special if other is None else other)
            return LossDifference(step, epoch, *values, self._find_last_equal_step(step))
        return self._find_missing_step()

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
        """Return the first step after the last one of the job that recorded fewer steps; None if both end there."""
        last_common = self._session.scalars(self._pair(select(func.max(self._original.step)), TRAIN, STEP_LOSS)).one()
        if last_common is None:  # one of them has no points, so nothing can be compared
            return None
        for row, conditions in (
            (self._original, self._of_original),
            (self._reproduced, [self._reproduced.job_id == self._job_id]),
        ):
            loss: list[ColumnElement[bool]] = [row.split == TRAIN, row.name == STEP_LOSS, row.step > last_common]
            query = select(row.step, row.epoch, row.value, row.special).where(*conditions, *loss)
            found = self._session.execute(query.order_by(row.step).limit(1)).one_or_none()
            if found is not None:
                value = found[3] if found[2] is None else found[2]
                original, reproduced = (value, None) if row is self._original else (None, value)
                return LossDifference(found[0], found[1], original, reproduced, last_common)
        return None

    def _count(self, query: Select[Any]) -> int:
        count: int = self._session.scalars(query).one()
        return count
