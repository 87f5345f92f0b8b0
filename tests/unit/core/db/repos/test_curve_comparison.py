"""The curves of two jobs are compared point by point, on both databases."""

from collections.abc import Callable, Sequence

import pytest

from core.db.repos.curve_comparison import CurveComparisonRepo, CurveMatch, LossDifference
from core.db.repos.jobs import JobRepo
from core.db.repos.metrics import MetricPoint, MetricRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from tests.support.builders import job

Compare = Callable[[Sequence[MetricPoint], Sequence[MetricPoint]], CurveComparisonRepo]


def losses(*values: float | None) -> list[MetricPoint]:
    """Return training losses of every tenth step; None is NaN."""
    return [
        MetricPoint(
            "train",
            "step_loss",
            10 * number,
            1,
            None if value is None else float(value),
            "NaN" if value is None else None,
        )
        for number, value in enumerate(values, 1)
    ]


def epochs(*values: float) -> list[MetricPoint]:
    return [MetricPoint("valid", "loss", 100 * epoch, epoch, float(value)) for epoch, value in enumerate(values, 1)]


@pytest.fixture
def jobs(sessions: SessionFactory, queued: JobRow) -> tuple[str, str]:
    with transaction(sessions) as session:
        version = session.get_one(DatasetVersionRow, queued.dataset_version_id)
        return queued.id, JobRepo(session).add(job(version)).id


@pytest.fixture
def store(sessions: SessionFactory, jobs: tuple[str, str]) -> Callable[..., None]:
    def store_points(*points: Sequence[MetricPoint]) -> None:
        with transaction(sessions) as session:
            for job_id, curve in zip(jobs, points, strict=True):
                MetricRepo(session).upsert(job_id, curve)

    return store_points


@pytest.mark.parametrize(
    ("original", "reproduced", "expected"),
    [
        (losses(3, 2, 1), losses(3, 2, 1), None),
        (losses(3, 2, 1), losses(3, 2.5, 1.5), LossDifference(20, 1, 2, 2.5, 10)),
        (losses(3, 2), losses(4, 2), LossDifference(10, 1, 3, 4, None)),
        (losses(3, None), losses(3, None), None),
        (losses(3, None), losses(3, 2), LossDifference(20, 1, "NaN", 2, 10)),
        (losses(3, 2, 1), losses(3, 2), LossDifference(30, 1, 1, None, 20)),
        (losses(3), losses(3, 2), LossDifference(20, 1, None, 2, 10)),
        (losses(3, 2, 1)[::2], losses(3, 2, 1), LossDifference(20, 1, None, 2, 10)),
        (losses(3, 2, 1), [*losses(3), *losses(3, 2, 2)[2:]], LossDifference(20, 1, 2, None, 10)),
        (losses(3, 2)[1:], losses(3), LossDifference(10, 1, None, 3, None)),  # no step in common
        ([], losses(3), None),  # retention has deleted the points of the original
    ],
)
def test_first_different_step(
    sessions: SessionFactory,
    jobs: tuple[str, str],
    store: Callable[..., None],
    original: list[MetricPoint],
    reproduced: list[MetricPoint],
    expected: LossDifference | None,
) -> None:
    store(original, reproduced)
    with transaction(sessions, read_only=True) as session:
        comparison = CurveComparisonRepo(session, *jobs)
        assert comparison.find_first_difference() == expected
        assert comparison.count_losses() == len({one.step for one in original} & {one.step for one in reproduced})


@pytest.mark.parametrize(
    ("original", "reproduced", "expected", "is_equal"),
    [
        (epochs(3, 2), epochs(3, 2), CurveMatch(2, 2, 2, 0), True),
        (epochs(3, 2), epochs(3, 2.00001), CurveMatch(2, 2, 2, 0), True),
        (epochs(3, 2), epochs(3, 2.0001), CurveMatch(2, 2, 2, 1), False),
        (epochs(3, 2), epochs(3), CurveMatch(2, 1, 1, 0), False),
        ([], [], CurveMatch(0, 0, 0, 0), False),
    ],
)
def test_metrics_of_epochs(
    sessions: SessionFactory,
    jobs: tuple[str, str],
    store: Callable[..., None],
    original: list[MetricPoint],
    reproduced: list[MetricPoint],
    expected: CurveMatch,
    is_equal: bool,
) -> None:
    store([*original, *losses(1)], [*reproduced, *losses(2)])
    with transaction(sessions, read_only=True) as session:
        match = CurveComparisonRepo(session, *jobs).compare_epochs(["valid_loss", "test_loss"], 1e-5, 1e-8)
    assert (match, match.is_equal) == (expected, is_equal)


def test_points_of_an_extension_of_the_original_are_ignored(
    sessions: SessionFactory, jobs: tuple[str, str], store: Callable[..., None]
) -> None:
    store([*losses(3, 2, 1), *epochs(3, 2)], [*losses(3, 2), *epochs(3)])
    with transaction(sessions, read_only=True) as session:
        comparison = CurveComparisonRepo(session, *jobs, last_step=100)
        assert comparison.compare_epochs(["valid_loss"], 0, 0).is_equal
        assert CurveComparisonRepo(session, *jobs, last_step=20).find_first_difference() is None


def test_metrics_that_are_not_finite_must_be_equal(
    sessions: SessionFactory, jobs: tuple[str, str], store: Callable[..., None]
) -> None:
    broken = [MetricPoint("valid", "loss", 100, 1, None, "NaN")]
    store(broken, broken)
    with transaction(sessions) as session:
        assert CurveComparisonRepo(session, *jobs).compare_epochs(["valid_loss"], 1, 1).is_equal
        MetricRepo(session).upsert(jobs[1], epochs(3))
        assert not CurveComparisonRepo(session, *jobs).compare_epochs(["valid_loss"], 1, 1).is_equal
